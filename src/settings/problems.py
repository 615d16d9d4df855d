"""What is wrong with a configuration, said so that a person can mend it."""

from __future__ import annotations

import bisect
import difflib
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NoReturn

from pydantic_core import PydanticCustomError

SHOWN = 60  # characters of a wrong value that a message repeats
NEIGHBOURS = 100  # names, in the order of the alphabet, among which the one that was meant is looked for


def refuse(wrong: str, right: str) -> NoReturn:
    """Refuse a value inside a pydantic validator. `wrong` must not repeat a value that may be secret."""
    raise PydanticCustomError("refused", "{wrong}", {"wrong": wrong, "right": right})


def show(value: Any) -> str:
    """A wrong value as a message repeats it: JSON's spelling, shortened; only the kind of a container."""
    if isinstance(value, (list, dict)):
        return kind(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def kind(value: Any) -> str:
    """What kind of YAML value this is, for messages that must not repeat it."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a mapping"
    return "text"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be; "" where none is near."""
    return _nearest(word.lower()[:200], tuple(sorted(known)))


@lru_cache(maxsize=64)  # a pool that was renamed may be missed in a thousand places
def _nearest(word: str, known: tuple[str, ...]) -> str:
    if len(known) > NEIGHBOURS:  # comparing with all would take seconds where much is wrong
        start = max(0, bisect.bisect(known, word) - NEIGHBOURS // 2)
        known = known[start : start + NEIGHBOURS]
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word, list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """`did you mean "x"?`, or what stands in `otherwise`."""
    name = nearest(word, known)
    return f'did you mean "{name}"?' if name else otherwise


def listing(words: Iterable[str], limit: int = 24) -> str:
    """`a, b, c`, with an end."""
    names = list(words)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def field_name(path: Iterable[str | int]) -> str:
    """`("pools", 0, "name")` → `pools[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, str):
            part = part[:SHOWN] if part.isprintable() else json.dumps(part[:SHOWN])
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
