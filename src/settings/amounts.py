"""The small languages of budgets: amounts, windows, rates and what is done at which part of a limit."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from ..core.budgets import CALLS, DEGRADE, DENY, NANO_DOLLARS, TOKENS, WARN, OnUnknown, Step, Window
from .problems import refuse, show, suggestion

# What Redis adds up without an error: 9,000,000 dollars in nano-dollars are just below it.
MOST = 2**53
_MOST_DOLLARS = 1_000_000
_DOLLARS = re.compile(r"\$\s*([0-9]{1,7}(?:_?[0-9]{3})*(?:\.[0-9]{1,9})?)")
_COUNT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([kMG]?)")
_SCALE = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_RATE = re.compile(r"(.+?)\s*/\s*(?:([0-9]{1,4})\s*)?(s|m|h|d)")
_ROLLING = re.compile(r"rolling\s+([0-9]{1,6})\s*(s|m|h|d)")
_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = 366 * 86_400_000
_PERCENT = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4})?)\s*%")
UNITS = ("minute", "hour", "day", "month")
_AMOUNT = "give $50, 2M tokens or 1000 calls"


def amount(value: Any) -> tuple[int, str]:
    """`$50`, `2M tokens`, `1000 calls` → (how much, unit); dollars in nano-dollars, exactly as written."""
    text = value.strip() if isinstance(value, str) else ""
    if found := _DOLLARS.fullmatch(text):
        return _nano(found[1], value), NANO_DOLLARS
    number, _, unit = text.rpartition(" ")
    if unit not in (TOKENS, CALLS):
        refuse(f"{show(value)} is not an amount", _AMOUNT)
    return _counted(number.strip(), value, _AMOUNT), unit


def _nano(text: str, value: Any) -> int:
    dollars = Decimal(text)
    if not 0 < dollars <= _MOST_DOLLARS:
        refuse(f"{show(value)} is out of range", "give more than $0, at most $1000000")
    return int(dollars.scaleb(9))


def _counted(text: str, value: Any, right: str) -> int:
    found = _COUNT.fullmatch(text)
    if not found:
        refuse(f"{show(value)} is not an amount", right)
    count = Decimal(found[1]) * _SCALE[found[2]]
    if count != count.to_integral_value() or not 0 < count < MOST:
        refuse(f"{show(value)} is not a whole number in range", right)
    return int(count)


def window(value: Any) -> Window:
    """`minute`, `hour`, `day`, `month`, or `rolling 24h`."""
    right = "give minute, hour, day, month, or e.g. rolling 24h"
    if value in UNITS:
        return Window(str(value))
    found = _ROLLING.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        near = suggestion(str(value), UNITS, right) if isinstance(value, str) else right
        refuse(f"{show(value)} is not a window of time", near)
    return Window(length_ms=_length(int(found[1]) * _MS[found[2]], value))


def _length(ms: int, value: Any) -> int:
    if not 1_000 <= ms <= _LONGEST_MS:
        refuse(f"{show(value)} is not a window of time", "give 1s to 366d")
    return ms


def rate(value: Any) -> tuple[int, Window]:
    """`60/m`, `100k/m`, `1000/24h` → so many in a rolling window of that length."""
    right = "give a number in a time, e.g. 60/m, 100k/h or 5/s"
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        refuse(f"{show(value)} is not a rate", right)
    length_ms = _length(int(found[2] or 1) * _MS[found[3]], value)
    return _counted(found[1], value, right), Window(length_ms=length_ms)


def spend_cap(value: Any) -> tuple[int, Window] | None:
    """`$20/day` → nano-dollars in that window of the calendar, or one that rolls on (`$5/rolling 24h`)."""
    if value is None:
        return None
    money, slash, span = value.partition("/") if isinstance(value, str) else ("", "", "")
    found = _DOLLARS.fullmatch(money.strip())
    if not found or not slash:
        refuse(f"{show(value)} is not an amount in a time", "give e.g. $20/day")
    return _nano(found[1], value), window(span.strip())


def time_zone(value: Any) -> str:
    """A name of the tz database: `Europe/Berlin`, `UTC`."""
    try:
        return str(ZoneInfo(value if isinstance(value, str) else "").key)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        pass
    except KeyError:
        pass
    refuse(f"{show(value)} is not a time zone", "give a name of the tz database, e.g. Europe/Berlin or UTC")


def step(one: Any) -> Step:
    """`{90%: {degrade: cheap-tier}}`. Pools, and what several say together, are checked later."""
    right = "give e.g. {50%: warn}, {90%: {degrade: cheap-tier}} or {100%: deny}"
    if not isinstance(one, dict) or len(one) != 1:
        refuse(f"{show(one)} is not one part of the limit with what is done from there on", right)
    ((part, action),) = one.items()
    percent = _PERCENT.fullmatch(part.strip()) if isinstance(part, str) else None
    if not percent:
        refuse(f"{show(part)} is not a percentage", right)
    ppm = int(Decimal(percent[1]) * 10_000)
    if not 0 <= ppm <= 10_000_000:
        refuse(f"{show(part)} is out of range", "give 0% to 1000%")
    if isinstance(action, dict) and list(action) == [DEGRADE] and isinstance(action[DEGRADE], str):
        return Step(ppm, DEGRADE, action[DEGRADE])
    if action not in (WARN, DENY):
        refuse(f"{show(action)} is nothing to do there", "give warn, deny or {degrade: NAME OF A POOL}")
    return Step(ppm, str(action))


def readable_step(one: Any) -> Step | None:
    """None: it is wrong, which is told elsewhere."""
    try:
        return step(one)
    except PydanticCustomError:
        return None


def unknown_cost(value: Any) -> str | int:
    """`deny`, `allow`, or what such a call counts as: `$0.05`."""
    if value in (OnUnknown.ALLOW, OnUnknown.DENY):
        return str(value)
    found = _DOLLARS.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        refuse(f"{show(value)} says nothing of unknown costs", "give deny, allow or an amount, e.g. $0.05")
    return _nano(found[1], value)


def redis_url(value: Any) -> str:
    """`redis://host:port/db`, `rediss://…` or `unix:///path`; a password is no part of it."""
    right = "give e.g. redis://redis.internal:6379/0; a password is `credential: {env: NAME}`"
    if not isinstance(value, str) or not re.fullmatch(r"(redis|rediss|unix)://[!-~]{1,500}", value):
        refuse("is not a URL of a Redis", right)
    parts = urlsplit(value)
    if parts.password is not None or "password" in parts.query:
        refuse("the URL holds a password", right)
    return value


def share(value: Any) -> int:
    """`10%` → parts of a million; 0% is none."""
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    ppm = int(Decimal(found[1]) * 10_000) if found else -1
    if not 0 <= ppm <= 1_000_000:
        refuse(f"{show(value)} is not a share", "give 0% to 100%")
    return ppm
