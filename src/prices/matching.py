"""How genai-prices recognises a model's name: nested clauses, here as lists that begin with their kind."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Sequence
from typing import Any

Matches = Callable[[str], bool]

_COMPACT_DATE = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def matcher(clause: Sequence[Any]) -> Matches:
    """Whether a name in lower case is meant. ValueError: there is no such kind of clause."""
    kind, *rest = clause
    if kind in ("or", "and"):
        inner = [matcher(each) for each in rest]
        if kind == "or":
            return lambda name: any(matches(name) for matches in inner)
        return lambda name: all(matches(name) for matches in inner)
    (text,) = rest
    match kind:
        case "equals":
            return lambda name: name == text
        case "starts_with":
            return lambda name: name.startswith(text)
        case "ends_with":
            return lambda name: name.endswith(text)
        case "contains":
            return lambda name: text in name
        case "regex":
            search = re.compile(text).search
            return lambda name: search(name) is not None
    raise ValueError(f"there is no clause {kind}")


def spellings(model: str) -> tuple[str, ...]:
    """A name as it is asked for, in order: in lower case, and with its date as `-2025-12-11`."""
    name = model.lower()
    dashed = _COMPACT_DATE.sub(_with_dashes, name)
    return (name,) if dashed == name else (name, dashed)


def _with_dashes(found: re.Match[str]) -> str:
    year, month, day = (int(found[i]) for i in (2, 3, 4))
    is_date = day <= calendar.monthrange(year, month)[1]
    return f"-{year:04d}-{month:02d}-{day:02d}" if is_date else found[0]
