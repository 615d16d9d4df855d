"""`prices`: what each member costs, since when, and where that is said."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.globs import glob_matches
from ..core.prices import Price, PriceBook, Rates, Scale, dollars, percent
from ..prices.bundled import NoPriceList, bundled
from ..settings import PriceList
from .runtime import Overrides, prepare_path
from .status_table import aligned

_COLUMNS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
_HEAD = ("MEMBER", "INPUT", "CACHE READ", "WRITE 5M", "WRITE 1H", "OUTPUT", "FURTHER", "HOLDS", "FROM")


def price_list_here() -> tuple[PriceList | None, str]:
    """The prices that come with the broker, or why there are none."""
    try:
        return bundled(), ""
    except NoPriceList as why:
        return None, str(why)


def price_list_or_warning() -> PriceList | None:
    """The same for a command: why there are none is said on stderr."""
    price_list, why = price_list_here()
    if why:
        print(f"warning: {why}", file=sys.stderr)
    return price_list


def print_prices(config: Path | str, model: str, at: datetime | None, how: str) -> int:
    """1: `model` (a part of a member's name, or a pattern) matches no member."""
    at_s = int(at.timestamp() if at else time.time())
    ready = prepare_path(config, Overrides(), price_list=price_list_or_warning(), priced_at_s=at_s)
    pools = ready.catalog.pools.values()
    members = sorted(
        {(m.provider, m.model) for pool in pools for m in pool.members if _is_meant(model, m.id)}
    )
    if not members:
        print(f"no member's name has {model!r} in it", file=sys.stderr)
        return 1
    found = [(provider, name, ready.prices.find(provider, name, at_s)) for provider, name in members]
    if how == "json":
        told = [{"member": f"{p}/{name}", "price": price and tree(price)} for p, name, price in found]
        print(json.dumps({"revision": ready.prices.revision, "at_s": at_s, "prices": told}, indent=2))
        return 0
    rows = [_HEAD, *(row for p, name, price in found for row in _rows(f"{p}/{name}", price))]
    print("\n".join(aligned(rows)))
    print(f"\nDollars per million tokens; ?: not known. Revision {ready.prices.revision}")
    for counted in ("web searches", "request"):
        if any(counted in row[6] for row in rows[1:]):
            print(f"{counted.capitalize()}: dollars per million of them, which are no tokens.")
    return 0


def _is_meant(model: str, ident: str) -> bool:
    return model in ident or glob_matches(model, ident)


def tree(price: Price) -> dict[str, Any]:
    """As JSON: rates in nano-dollars per million units."""
    return {
        "commitment": price.commitment,
        "from_s": price.from_s,
        "until_s": price.until_s,
        "daily_s": price.daily,
        "discount": percent(price.discount_ppm) if price.discount_ppm else None,
        "standard": _scale_tree(price.scale),
        "tiers": {name: _scale_tree(scale) for name, scale in price.tiers},
        "source": price.source,
    }


def _scale_tree(scale: Scale) -> dict[str, Any]:
    above = [{"tokens": tokens, "rates": dict(rates.items())} for tokens, rates in scale.above]
    return {"rates": dict(scale.rates.items()), "above": above}


def _rows(ident: str, price: Price | None) -> Iterator[tuple[str, ...]]:
    if price is None:
        yield (ident, *"?????", "", "", "nowhere: add it to `prices`")
        return
    if price.commitment:
        yield (ident, *("0",) * 5, "paid otherwise", _span(price), price.source)
        return
    yield (ident, *_cells(price.scale.rates), _span(price), price.source)
    for name, scale in (("", price.scale), *price.tiers):
        if name:
            yield (f"  {name}", *_cells(scale.rates), "", "")
        for tokens, rates in scale.above:
            yield (f"  {name} above {_tokens(tokens)}".replace("   ", "  "), *_cells(rates), "", "")


def _cells(rates: Rates) -> tuple[str, ...]:
    shown = dict(rates.items())
    plain = tuple(dollars(shown.pop(name)) if name in shown else "?" for name in _COLUMNS)
    return (*plain, ", ".join(f"{name.replace('_', ' ')} {dollars(rate)}" for name, rate in shown.items()))


def _tokens(count: int) -> str:
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def _span(price: Price) -> str:
    """`from 2026-06-01 until 2026-12-31, 01:00 to 04:00 UTC`"""
    parts = [f"from {_day(price.from_s)}"] if price.from_s else []
    if price.until_s is not None:
        parts.append(f"until {_day(price.until_s - 1)}")
    span = " ".join(parts)
    if price.daily is None:
        return span
    start, end = (f"{second // 3600:02d}:{second // 60 % 60:02d}" for second in price.daily)
    return f"{span}, {start} to {end} UTC".removeprefix(", ")


def _day(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")


def in_short(book: PriceBook, provider: str, model: str) -> str:
    """What a member costs now, in a few words."""
    price = book.find(provider, model, int(time.time()))
    if price is None:
        return "its price is not known"
    if price.commitment:
        return "paid otherwise"
    rates = price.scale.rates
    said = (("in", rates.input), ("out", rates.output))
    return (
        ", ".join(f"${dollars(rate)} {way}" for way, rate in said if rate is not None) + " a million tokens"
    )
