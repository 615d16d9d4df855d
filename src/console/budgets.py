"""The page of budgets and rate limits: how full each account is, what was done about it, when it is free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

from markupsafe import Markup

from ..changes.written import condition
from ..core.budgets import CALLS, CONCURRENCY, DEGRADE, DENY, NANO_DOLLARS
from ..core.catalog import Condition, Op
from ..ledger.questions import FILTERS
from ..policy.budgets import window_named
from .asked import Asked, Page
from .charts import meter
from .choice import PATH as SPEND
from .choice import filter_pairs
from .lending import is_spent, lender_of
from .sources import Sources
from .words import exact, lasting, moment, money, percent, plural

PATH = "/console/budgets"
AT_A_TIME = 50
STATES = {"all": "All", "reached": "Something reached", "denying": "Used up"}
_KEPT = {
    "here": ("", "Figures of this broker alone: there is no Redis in which a fleet counts together."),
    "redis": ("good", "Figures of the whole fleet, by its Redis."),
    "away": (
        "bad",
        "Redis is away: figures of this broker alone, which goes on until its own share is used up.",
    ),
}
# A forecast needs some of the window behind it, or it is a guess.
_LEAST_PART, _LEAST_S = 0.1, 600.0
_SPANS = {"minute": "today", "hour": "today", "day": "today", "month": "month"}
Row = Mapping[str, Any]


def show(asked: Asked, sources: Sources) -> Page:
    answer = sources.tree("/budgets")
    return Page("budgets.html", {"title": "Budgets", **told(answer, asked.query, asked.now_s)}, every_s=5)


@dataclass(frozen=True, slots=True)
class Reached:
    """`words`: `warn at 50%`."""

    words: str
    is_reached: bool


@dataclass(frozen=True, slots=True)
class Account:
    """One line. `state`: `good`, `warn`, `bad` or "", and `said` is it in words. `share`: 1 is the limit."""

    budget: str
    kind: str
    scope: str
    whose: str
    share: float
    meter: Markup
    steps: tuple[Reached, ...]
    spent: str
    reserved: str
    limit: str
    exactly: str
    window: str
    resets: str
    state: str
    said: str
    forecast: str
    borrows: str
    spend_url: str


def told(answer: Mapping[str, Any], query: Mapping[str, str], now_s: float) -> dict[str, Any]:
    """What the template shows."""
    accounts = sorted(
        (account_of(row, now_s, lender_of(row, answer["budgets"])) for row in answer["budgets"]),
        key=lambda one: (-one.share, one.budget, one.limit, one.scope),
    )
    budget, words, state = query.get("budget", ""), query.get("q", "").strip(), query.get("state", "all")
    chosen = [
        one
        for one in accounts
        if (not budget or one.budget == budget)
        and (not words or words.casefold() in f"{one.budget} {one.scope}".casefold())
        and _is_in(one, state)
    ]
    page = _number(query.get("page", "1"))
    first = min((page - 1) * AT_A_TIME, max(len(chosen) - 1, 0) // AT_A_TIME * AT_A_TIME)
    kept = {"budget": budget, "q": words, "state": state if state != "all" else ""}
    return {
        "kept": _KEPT.get(answer["kept"], _KEPT["here"]),
        "is_fleet": answer["kept"] != "here",
        "names": sorted({one.budget for one in accounts}),
        "chosen": {"budget": budget, "q": words, "state": state if state in STATES else "all"},
        "states": [
            (name, text, _url(kept, state="" if name == "all" else name)) for name, text in STATES.items()
        ],
        "accounts": chosen[first : first + AT_A_TIME],
        "of": len(accounts),
        "found": len(chosen),
        "first": first + 1,
        "previous": _url(kept, page=str(first // AT_A_TIME)) if first else "",
        "next": _url(kept, page=str(first // AT_A_TIME + 2)) if first + AT_A_TIME < len(chosen) else "",
        "states_count": Counter(one.state for one in accounts),
        "happened": _happened(answer),
        "since": moment(answer["since_s"]),
        "denied": sum(answer["denied"].values()),
        "degraded": sum(answer["degraded"].values()),
    }


def account_of(row: Row, now_s: float, lender: str = "") -> Account:
    """`lender`: the budget from whose rest it borrows where its own does not do."""
    unit, limit = row["unit"], row["limit"]
    used = row["spent"] + row["reserved"]
    share = used / limit if limit else 1.0
    state, said = _state(row, used, lender)
    return Account(
        budget=row["budget"],
        kind="rate limit" if row["kind"] == "rate_limit" else "budget",
        scope=_scope_words(row["scope"]),
        whose=_whose(row),
        share=share,
        meter=meter(share, state, f"{percent(share)} of {row['budget']}: {said}"),
        steps=tuple(_step(one, used, limit) for one in row["at"]),
        spent=amount(row["spent"], unit) if unit != CONCURRENCY else "",
        reserved=amount(row["reserved"], unit),
        limit=amount(limit, unit),
        exactly=f"{_exact(row['spent'], unit)} spent, {_exact(row['reserved'], unit)} reserved",
        window=_window(row),
        resets=_resets(row, now_s),
        state=state,
        said=said,
        forecast=forecast(row, now_s),
        borrows=row["borrows_from"] or "",
        spend_url=spend_url(row),
    )


def amount(value: int, unit: str) -> str:
    """`$1.25`, `1,200 tokens`: as far as people read it."""
    if unit == NANO_DOLLARS:
        return money(value)
    return plural(value, "call") if unit in (CALLS, CONCURRENCY) else plural(value, "token")


def forecast(row: Row, now_s: float) -> str:
    """What becomes of it by its window's end if calls go on as since its beginning; "": that would be a
    guess, or there is nothing to say."""
    if row["begins_s"] is None or not 0 < row["spent"] < row["limit"]:
        return ""
    length_s, elapsed_s = row["resets_s"] - row["begins_s"], now_s - row["begins_s"]
    if elapsed_s < max(length_s * _LEAST_PART, _LEAST_S) or elapsed_s >= length_s:
        return ""
    full_s = row["begins_s"] + elapsed_s * row["limit"] / row["spent"]
    if full_s < row["resets_s"]:
        return f"at this pace used up by {moment(full_s)[:16]}, in {lasting(max(full_s - now_s, 0))}"
    return f"at this pace {percent(row['spent'] / row['limit'] * length_s / elapsed_s)} at its end"


def spend_url(row: Row) -> str:
    """The spend of whom it is about. What has no page of its own there (patterns, several values) is left
    out: that shows more, never less."""
    where = {one["fact"]: str(one["values"][0]) for one in row["match"] if _is_one_value(one)}
    where |= dict(scope_of(row["scope"] or ""))
    purpose, _, rest = row["budget"].partition(":")
    if rest:
        where["purpose"] = purpose  # of shadows, say: no budget that people name has a colon
    pairs = filter_pairs(tuple((name, where[name]) for name in FILTERS if name in where))
    unit = window_named(row["window"]).unit
    return f"{SPEND}?{urlencode([('span', _SPANS.get(unit, '7d')), *pairs])}"


def scope_of(scope: str) -> list[tuple[str, str]]:
    """`team=search,customer=a%2Cb` → what it is about."""
    parts = (one.partition("=") for one in scope.split(",") if one)
    return [(fact, unquote(value)) for fact, _, value in parts]


# -- parts of a line


def _scope_words(scope: str | None) -> str:
    """ "": no account has been used yet."""
    if scope is None:
        return ""
    return ", ".join(f"{fact} {value}" for fact, value in scope_of(scope)) or "all"


def _whose(row: Row) -> str:
    """Which calls it is of, in words."""
    those = [
        condition(Condition(one["fact"], Op(one["op"]), tuple(one["values"]), one["negated"]))
        for one in row["match"]
    ]
    by = f"an account for each {' and '.join(row['by'])}" if row["by"] else ""
    return "; ".join(part for part in (", ".join(those), by) if part)


def _is_one_value(match: Mapping[str, Any]) -> bool:
    return match["op"] == Op.IN.value and not match["negated"] and len(match["values"]) == 1


def _step(step: Mapping[str, Any], used: int, limit: int) -> Reached:
    pool = f" to {step['pool']}" if step["pool"] else ""
    return Reached(f"{step['do']}{pool} at {step['percent']:g} %", _is_at(step, used, limit))


def _is_at(step: Mapping[str, Any], used: int, limit: int) -> bool:
    return used >= limit * round(step["percent"] * 10_000) // 1_000_000 and used > 0


def _state(row: Row, used: int, lender: str) -> tuple[str, str]:
    """How it stands: the gravest of what was reached."""
    reached = [step for step in row["at"] if _is_at(step, used, row["limit"])]
    kinds = {step["do"] for step in reached}
    if DENY in kinds or is_spent(row):
        return ("warn", f"used up: {lender} lends") if lender else ("bad", "used up: calls are denied")
    if used >= row["limit"]:
        return "warn", "over its limit, which denies nothing"
    if DEGRADE in kinds:
        pool = next(step["pool"] for step in reversed(reached) if step["do"] == DEGRADE)
        return "warn", f"calls go to {pool}"
    if reached:
        return "warn", f"warned at {reached[-1]['percent']:g} %"
    return ("good", "has room") if used else ("", "unused")


def _window(row: Row) -> str:
    """As YAML has it."""
    window = window_named(row["window"])
    if window.unit:
        return f"{window.unit}, {window.time_zone}"
    return window.written or "at a time"


def _resets(row: Row, now_s: float) -> str:
    if row["resets_s"] is None:
        return ""
    return f"resets in {lasting(max(row['resets_s'] - now_s, 0))}, {moment(row['resets_s'])} UTC"


def _exact(value: int, unit: str) -> str:
    return exact(value) if unit == NANO_DOLLARS else f"{value:,}"


# -- the whole


def _happened(answer: Mapping[str, Any]) -> list[tuple[str, int, int, str]]:
    """(budget, denied, sent on, warnings) of those of which there is something to tell."""
    told = []
    for name, denied in answer["denied"].items():
        parts = answer["warned"].get(name, {})
        warned = ", ".join(f"{part} reached {plural(times, 'time')}" for part, times in parts.items())
        degraded = answer["degraded"].get(name, 0)
        if denied or degraded or warned:
            told.append((name, denied, degraded, warned))
    return sorted(told, key=lambda one: (-one[1], -one[2], one[0]))


def _is_in(account: Account, state: str) -> bool:
    if state == "denying":
        return account.state == "bad"
    return state != "reached" or account.state in ("warn", "bad")


def _url(kept: Mapping[str, str], **more: str) -> str:
    words: Sequence[tuple[str, str]] = [one for one in {**kept, **more}.items() if one[1]]
    return f"{PATH}?{urlencode(words)}" if words else PATH


def _number(text: str) -> int:
    return max(int(text), 1) if text.isascii() and text.isdecimal() and len(text) < 9 else 1
