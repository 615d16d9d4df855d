"""How pages write numbers, money and times. Pure: `now_s` is given wherever it matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..core.prices import dollars

NOTHING = "–"


def count(value: float | None) -> str:
    """`12,345`"""
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """`950`, `12.3k`, `4.1M`: for where there is little room."""
    if value is None:
        return NOTHING
    for unit, of in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= of * (1 if of > 1e3 else 10):
            return f"{value / of:.1f}{unit}"
    return f"{value:,.0f}"


def money(nano: int | None, unknown: int = 0) -> str:
    """Nano-dollars, for people: to the cent, or to two digits where it is less. `unknown` calls more are not
    in it; None is not known."""
    if nano is None:
        return "unknown"
    if unknown and not nano:
        return "unknown"
    more = " + ?" if unknown else ""
    sign, amount = ("−" if nano < 0 else ""), abs(nano)
    if amount == 0 or amount >= 10_000_000:
        cents = (amount + 5_000_000) // 10_000_000
        return f"{sign}${cents // 100:,}.{cents % 100:02d}{more}"
    unit = 1
    while amount >= 100 * unit:
        unit *= 10
    return f"{sign}${dollars((amount + unit // 2) // unit * unit)}{more}"


def tick(nano: float) -> str:
    """Of an axis: no digit too few, or lines that are as far from each other say they are not."""
    whole = round(nano)
    return money(whole) if whole % 10_000_000 == 0 else exact(whole)


def exact(nano: int | None) -> str:
    """To the last digit: for what stands behind a number."""
    if nano is None:
        return "unknown"
    return f"−${dollars(-nano)}" if nano < 0 else f"${dollars(nano)}"


def percent(share: float | None) -> str:
    """0 to 1 → `12 %`, `0.3 %`"""
    if share is None:
        return NOTHING
    value = share * 100
    text = f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}" if value >= 0.1 else "< 0.1"
    return f"{text} %"


def ms(value: float | None) -> str:
    """Milliseconds: `84 ms`, `2.31 s`, `1 min 20 s`"""
    if value is None:
        return NOTHING
    if value < 1_000:
        return f"{value:.0f} ms"
    if value < 60_000:
        return f"{value / 1000:.2f} s" if value < 10_000 else f"{value / 1000:.1f} s"
    return lasting(value / 1000)


def lasting(seconds: float | None) -> str:
    """`45 s`, `3 min`, `2 h 10 min`, `5 d 3 h`"""
    if seconds is None:
        return NOTHING
    whole = int(seconds)
    for unit, of, less, least in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= of:
            rest = whole % of // least
            return f"{whole // of} {unit}" + (f" {rest} {less}" if rest else "")
    return f"{whole} s"


def moment(at_s: float | None) -> str:
    """Unix time → `2026-11-30 03:20:10` (UTC)"""
    return NOTHING if not at_s else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(at_s: float | None) -> str:
    """Unix time → `03:20:10` (UTC)"""
    return NOTHING if not at_s else datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")


def date(at_s: float | None) -> str:
    """Unix time → `2026-11-30` (UTC)"""
    return NOTHING if not at_s else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")


def ago(at_s: float | None, now_s: float) -> str:
    """`12 s ago`, `in 3 min`"""
    if not at_s:
        return NOTHING
    return f"in {lasting(at_s - now_s)}" if at_s > now_s + 1 else f"{lasting(max(now_s - at_s, 0))} ago"


def plural(number: int, word: str, words: str = "") -> str:
    """`1 call`, `12,000 calls`"""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (count, short, money, exact, percent, ms, lasting, moment, clock, date, ago, plural)
}
