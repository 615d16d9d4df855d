"""The small languages of shadows and rollouts: targets, shares, margins."""

from __future__ import annotations

import re
from typing import Any

from . import values
from .problems import refuse, show

_DAY_MS = 86_400_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MARGIN = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)\s*%")
_DAYS = re.compile(r"([0-9]{1,4})\s*d")
_MOST_DAYS = 90
_LEAST_CONFIDENCE = 500_000


def target(value: Any) -> tuple[str, str]:
    """`pool`, `provider/model` or {provider: …, model: …} → (the text, "") or (provider, model)."""
    right = "give a pool, or a member: openai/gpt-5-mini"
    if isinstance(value, dict):
        texts = [value.get("provider"), value.get("model")]
        if set(value) != {"provider", "model"} or not all(isinstance(t, str) and t for t in texts):
            refuse("a member has a provider and a model, and nothing else here", right)
        return str(texts[0]), str(texts[1])
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,321}", value):
        refuse(f"{show(value)} is no pool and no member", right)
    return value, ""


def share(value: Any) -> Any:
    """`5%` → parts of a million."""
    return None if value is None else values.discount(value)


def margin(value: Any) -> int | None:
    """`2%` → parts of a million; 0% is none at all; `off`: None."""
    if value is None or value is False or value == "off":
        return None
    found = _MARGIN.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        refuse(f"{show(value)} is not a percentage", "give e.g. 2%, or off")
    return round(float(found[1]) * 10_000)


def confidence(value: Any) -> int:
    """`95%` → parts of a million: at least 50 %, less than 100 %."""
    found = margin(value) or 0
    if not _LEAST_CONFIDENCE <= found < 1_000_000:
        refuse(f"{show(value)} is no confidence", "give 50% to 99.999%, e.g. 95%")
    return found


def hold(value: Any) -> Any:
    """A duration of up to 90 days, which may be said in days: `7d`."""
    if value is None:
        return None
    if isinstance(value, str) and (found := _DAYS.fullmatch(value.strip())):
        days = int(found[1])
        if not 1 <= days <= _MOST_DAYS:
            refuse(f"{show(value)} is not between 1d and {_MOST_DAYS}d", 'give e.g. "7d"')
        return days * _DAY_MS
    return values.duration(1, _MOST_DAYS * _DAY_MS)(value)


def name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        refuse(f"{show(value)} is no name", "give a name of letters, digits, `.`, `_` and `-`, e.g. try-2")
    return value


def shadows(value: Any) -> Any:
    """A single mapping stands for a list of one; `off` for none."""
    if value in (False, None, "off", "none"):
        return []
    return [value] if isinstance(value, dict) else value
