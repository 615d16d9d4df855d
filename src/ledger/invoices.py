"""Providers' invoices and exports of usage (CSV) → lines by day and model. Pure.

The forms are told by their columns. Sources: the exports of OpenAI's dashboard (usage:
`completions_usage_…`, costs: `amount_value`), of Anthropic's console (usage: `usage_input_tokens_…`, costs:
`token_type`, `cost_usd`), and AWS's Cost and Usage Report, 2.0 and legacy (user guide, "Line item details").
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from ..core.errors import Misconfigured
from ..core.prices import NANO
from .tables import COUNTS

Cells = Mapping[str, str]
# What `--columns` may name.
GENERIC = ("day", "model", "cost", *COUNTS, "prompt")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_UNIT = re.compile(r"\s*(1|1000|1K|1M|1,000|1,000,000)?\s*tokens?", re.IGNORECASE)
_UNITS = {"1": 1, "1000": 1000, "1,000": 1000, "1K": 1000, "1M": 1_000_000, "1,000,000": 1_000_000}


@dataclass(slots=True)
class Line:
    """What a line bills: `tokens` by bucket, None where it does not tell them; `cost` in nano-dollars, None
    where it tells none. `what`: for lines that are no usage of a model (taxes, credits)."""

    number: int
    day: str
    model: str
    tokens: dict[str, int] | None = None
    cost: int | None = None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Invoice:
    form: str
    lines: tuple[Line, ...]
    skipped: int = 0  # of other services


class _Wrong(ValueError):
    """(column, what is wrong)"""


def read(name: str, text: Iterable[str], columns: Mapping[str, str] | None = None) -> Invoice:
    """`columns`: our name (GENERIC) → theirs, for a form of one's own. Misconfigured with the line where it
    can't be read."""
    rows = csv.reader(text)
    header = next(rows, None)
    if not header:
        raise _refusal(name, 1, "the file is empty; give the provider's export as CSV")
    names = [cell.strip().removeprefix("\ufeff") for cell in header]
    form = _generic(names, columns, name) if columns else _form_of(names, name)
    lines: list[Line] = []
    skipped = 0
    for row in rows:
        number = rows.line_num
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(names):
            raise _refusal(name, number, f"has {len(row)} cells, and there are {len(names)} columns")
        cells = dict(zip(names, row, strict=False))
        try:
            line = form.read({column: cells.get(column, "").strip() for column in names})
        except _Wrong as wrong:
            raise _refusal(name, number, f"{wrong.args[0]}: {wrong.args[1]}") from None
        if line is None:
            skipped += 1
            continue
        line.number = number
        lines.append(line)
    return Invoice(form.name, tuple(lines), skipped)


def _refusal(name: str, number: int, wrong: str) -> Misconfigured:
    return Misconfigured(500, "bad_invoice", f"{name}:{number}: {wrong}")


@dataclass(frozen=True, slots=True)
class _Form:
    """`read` gives None for a line that bills nothing of ours."""

    name: str
    needs: tuple[str, ...]
    read: Callable[[Cells], Line | None] = field(compare=False)


def _form_of(names: list[str], file: str) -> _Form:
    for form in _FORMS:
        if all(need in names for need in form.needs):
            return form
    known = "; ".join(f"{form.name}: {', '.join(form.needs)}" for form in _FORMS)
    wrong = f"these columns are of no form that is known ({known}); say --columns day=…,model=…,cost=…"
    raise _refusal(file, 1, wrong)


# -- cells


def _day(cells: Cells, column: str) -> str:
    value = cells[column]
    if value.isdecimal() and len(value) in (10, 13):
        return datetime.fromtimestamp(int(value[:10]), UTC).strftime("%Y-%m-%d")
    if found := _DATE.match(value):
        return found[0]
    raise _Wrong(column, f"{value!r} is no day; a day is written 2026-11-29")


def _count(cells: Cells, column: str) -> int:
    return int(_number(cells, column)) if cells.get(column) else 0


def _number(cells: Cells, column: str) -> Decimal:
    value = cells[column].replace(",", "").replace("$", "").strip()
    try:
        found = Decimal(value or "0")
    except InvalidOperation:
        raise _Wrong(column, f"{cells[column]!r} is no number") from None
    if not found.is_finite():
        raise _Wrong(column, f"{cells[column]!r} is no number")
    return found


def _nano(cells: Cells, column: str) -> int:
    """Dollars → nano-dollars, half to even."""
    return int((_number(cells, column) * NANO).to_integral_value())


def _tokens(**counts: int) -> dict[str, int]:
    return {name: counts.get(name, 0) for name in COUNTS}


# -- forms


def _anthropic_usage(cells: Cells) -> Line:
    tokens = _tokens(
        input=_count(cells, "usage_input_tokens_no_cache"),
        cache_read=_count(cells, "usage_input_tokens_cache_read"),
        cache_write_5m=_count(cells, "usage_input_tokens_cache_write_5m"),
        cache_write_1h=_count(cells, "usage_input_tokens_cache_write_1h"),
        output=_count(cells, "usage_output_tokens"),
    )
    return Line(0, _day(cells, "usage_date_utc"), cells["model_version"], tokens)


def _anthropic_cost(cells: Cells) -> Line:
    kind = cells.get("cost_type", "token")
    what = "" if kind in ("token", "") else kind
    return Line(0, _day(cells, "usage_date_utc"), cells["model"], None, _nano(cells, "cost_usd"), what)


def _openai_usage(cells: Cells) -> Line | None:
    """`input_tokens` holds the cached ones, too. A span in which nothing was used has no model."""
    if not cells["model"]:
        return None
    cached = _count(cells, "input_cached_tokens")
    read = _count(cells, "input_tokens")
    if cached > read:
        raise _Wrong("input_cached_tokens", f"{cached} are more than input_tokens ({read})")
    tokens = _tokens(input=read - cached, cache_read=cached, output=_count(cells, "output_tokens"))
    return Line(0, _day(cells, _openai_day(cells)), cells["model"], tokens)


def _openai_cost(cells: Cells) -> Line | None:
    """`line_item`: `gpt-5-mini-2025-08-07, cached input`."""
    if not cells["amount_value"]:
        return None
    currency = cells.get("amount_currency", "usd").lower()
    if currency not in ("usd", ""):
        raise _Wrong("amount_currency", f"{currency!r}: only US dollars can be compared")
    model, _, kind = cells.get("line_item", "").partition(", ")
    what = "" if kind or not model else model
    return Line(0, _day(cells, _openai_day(cells)), model, None, _nano(cells, "amount_value"), what)


def _openai_day(cells: Cells) -> str:
    return "start_time_iso" if cells.get("start_time_iso") else "start_time"


def _aws(prefix: Callable[[str], str]) -> Callable[[Cells], Line | None]:
    """A report whose columns are named by `prefix`, e.g. `line_item_usage_type`, `lineItem/UsageType`."""

    def read(cells: Cells) -> Line | None:
        product = _product(cells)
        code = cells.get(prefix("product_code"), "")
        if "bedrock" not in f"{code} {product}".lower():
            return None
        usage_type = cells[prefix("usage_type")]
        day = _day(cells, prefix("usage_start_date"))
        cost = _nano(cells, prefix("unblended_cost"))
        kind = cells.get(prefix("line_item_type"), "Usage")
        if kind not in ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", ""):
            return Line(0, day, "", None, cost, kind)
        bucket = _bucket(usage_type)
        model = product.partition(" (Amazon Bedrock")[0] if "Bedrock Edition" in product else ""
        model = model or _model_in(usage_type)
        if not bucket:
            return Line(0, day, model, None, cost, usage_type)
        unit = cells.get("pricing_unit") or cells.get("pricing/unit") or ""
        found = _UNIT.fullmatch(unit)
        amount = _number(cells, prefix("usage_amount"))
        count = int((amount * _UNITS[(found[1] or "1").upper()]).to_integral_value()) if found else None
        return Line(0, day, model, None if count is None else _tokens(**{bucket: count}), cost)

    return read


def _product(cells: Cells) -> str:
    """The product's name; in CUR 2.0 in a column that holds JSON."""
    for column in ("product_product_name", "product/ProductName", "product_name"):
        if cells.get(column):
            return cells[column]
    try:
        told = json.loads(cells.get("product") or "{}")
    except ValueError:
        return ""
    return str(told.get("product_name", "")) if isinstance(told, dict) else ""


def _bucket(usage_type: str) -> str:
    text = usage_type.lower().replace("-", "").replace("_", "")
    for words, bucket in (
        (("cacheread",), "cache_read"),
        (("cachewrite1h", "1hcachewrite", "cachewriteinputtokencount1h"), "cache_write_1h"),
        (("cachewrite",), "cache_write_5m"),
        (("outputtoken",), "output"),
        (("inputtoken",), "input"),
    ):
        if any(word in text for word in words):
            return bucket
    return ""


def _model_in(usage_type: str) -> str:
    """`USW2-Claude4.5Sonnet-cache-read-input-token-count` → `Claude4.5Sonnet`."""
    parts = usage_type.split("-")
    return parts[1] if len(parts) > 2 else usage_type


def _legacy(name: str) -> str:
    words = "".join(word.capitalize() for word in name.split("_"))
    return f"lineItem/{words}"


_AWS_NEEDS = ("usage_type", "usage_start_date", "unblended_cost", "usage_amount")
_FORMS = (
    _Form(
        "Anthropic usage",
        ("usage_date_utc", "model_version", "usage_input_tokens_no_cache", "usage_output_tokens"),
        _anthropic_usage,
    ),
    _Form("Anthropic costs", ("usage_date_utc", "model", "token_type", "cost_usd"), _anthropic_cost),
    _Form("OpenAI usage", ("start_time", "model", "input_tokens", "output_tokens"), _openai_usage),
    _Form("OpenAI costs", ("start_time", "amount_value", "line_item"), _openai_cost),
    _Form(
        "AWS Cost and Usage Report 2.0",
        tuple(f"line_item_{name}" for name in _AWS_NEEDS),
        _aws(lambda name: f"line_item_{name}"),
    ),
    _Form(
        "AWS Cost and Usage Report",
        tuple(_legacy(name) for name in _AWS_NEEDS),
        _aws(_legacy),
    ),
)
FORMS = tuple(form.name for form in _FORMS)


def columns_of(text: str) -> dict[str, str]:
    """`day=Date,model=Model,cost=Amount` → a mapping. ValueError where it is none."""
    found: dict[str, str] = {}
    for part in text.split(","):
        ours, separator, theirs = part.partition("=")
        if not separator or ours.strip() not in GENERIC or not theirs.strip():
            raise ValueError(f"{part!r}: give NAME=COLUMN; the names are {', '.join(GENERIC)}")
        found[ours.strip()] = theirs.strip()
    missing = [name for name in ("day", "model") if name not in found]
    if missing or len(found) < 3:
        raise ValueError("day, model and at least one of cost and tokens are needed")
    return found


def _generic(names: list[str], columns: Mapping[str, str], file: str) -> _Form:
    """`prompt`: all that was read, cached tokens included, in the place of `input`."""
    for theirs in columns.values():
        if theirs not in names:
            raise _refusal(file, 1, f"there is no column {theirs!r}; there are {', '.join(names)}")
    counted = [name for name in columns if name in COUNTS or name == "prompt"]

    def read(cells: Cells) -> Line:
        tokens: dict[str, int] | None = None
        if counted:
            found = {name: _count(cells, columns[name]) for name in counted}
            prompt = found.pop("prompt", None)
            if prompt is not None:
                cached = sum(count for name, count in found.items() if name.startswith("cache"))
                if cached > prompt:
                    raise _Wrong(columns["prompt"], f"{prompt} are less than what was cached ({cached})")
                found["input"] = prompt - cached
            tokens = _tokens(**found)
        cost = _nano(cells, columns["cost"]) if "cost" in columns else None
        return Line(0, _day(cells, columns["day"]), cells[columns["model"]], tokens, cost)

    return _Form("your columns", (), read)
