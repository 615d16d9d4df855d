"""What finds a field of the tables in `dialects/*/fields.py` in a request, and says it otherwise."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from .field_requests import BASES, CARRIED, CHAT, MESSAGES, OWN, RESPONSES, Json

Place = tuple[Any, Any]  # a container and a key of it

# Where the table names what is inside by its type.
_BY_TYPE: Mapping[str, frozenset[str]] = {
    CHAT: frozenset(),
    RESPONSES: frozenset(("input", "tools", "tool_choice")),
    MESSAGES: frozenset(("messages", "system", "tools")),
}
_DEFAULT_KINDS = {"tools": "custom", "input": "message"}


def requests(dialect: str, own: bool = False) -> Iterator[Json]:
    """Whole requests, each a copy of its own."""
    for more in (OWN if own else CARRIED)[dialect]:
        yield copy.deepcopy(BASES[dialect] | more)


def is_whole(dialect: str, row: str) -> bool:
    """Is the line for all of a type, like `tools.web_search`?"""
    names = row.split(".")
    return len(names) == 2 and names[0] in _BY_TYPE[dialect]


def of_a_kind(dialect: str, row: str) -> Json:
    """A request that holds something of the type that a line like `tools.web_search` is for, and no more."""
    prefix, kind = row.split(".", 1)
    thing = {"type": kind}
    within: Any = thing
    if prefix in ("tools", "input"):
        within = [thing]
    elif prefix == "messages":
        within = [{"role": "user", "content": [thing]}]
    return copy.deepcopy(BASES[dialect] | {prefix: within})


def places(dialect: str, row: str, body: Json) -> list[Place]:
    """Where a line's field stands in a request."""
    names = row.replace("[]", "").split(".")
    if names[0] not in _BY_TYPE[dialect] or len(names) == 1:
        return list(_by_path(names, body))
    found = list(_dicts(body.get(names[0])))
    if names[0] == "tool_choice":
        choice = body.get("tool_choice")
        is_it = choice == names[1] or (isinstance(choice, dict) and choice.get("type") == names[1])
        return [(body, "tool_choice")] if is_it else []
    if len(names) == 2:  # a field of messages
        return [(one, names[1]) for one in found if "role" in one and names[1] in one]
    usual = _DEFAULT_KINDS.get(names[0], "")
    return [(one, names[2]) for one in found if one.get("type", usual) == names[1] and names[2] in one]


def _by_path(names: list[str], value: Any) -> Iterator[Place]:
    if isinstance(value, list):
        for each in value:
            yield from _by_path(names, each)
    elif isinstance(value, dict) and names[0] in value:
        if len(names) == 1:
            yield value, names[0]
        else:
            yield from _by_path(names[1:], value[names[0]])


def _dicts(value: Any) -> Iterator[Json]:
    if isinstance(value, list):
        for each in value:
            yield from _dicts(each)
    elif isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _dicts(each)


_OTHER_WORDS: Mapping[str, tuple[Any, ...]] = {
    "role": ("user", "assistant", "system", "developer"),
    "ttl": ("5m", "1h", ""),
    "mode": ("explicit", "auto", "required"),
    "effort": ("low",),
    "reasoning_effort": ("low",),
    "format": ("mp3", {"type": "text"}),
    "tool_choice": ("auto", "none", "required"),
    "detail": ("high",),
}


def otherwise(dialect: str, row: str, body: Json) -> Iterator[Json]:
    """The same request with that field left out, or saying something else."""
    for n, (holder, key) in enumerate(places(dialect, row, body)):
        was = holder[key]
        values = [None, *_OTHER_WORDS.get(key, ()), *_changed(was)]
        for value in values:
            other = copy.deepcopy(body)
            there, key = places(dialect, row, other)[n]
            if value is None:
                del there[key]
            else:
                there[key] = value
            if other != body:
                yield other
        if isinstance(was, str) and was:  # an id or a name that other fields repeat
            yield json.loads(json.dumps(body).replace(json.dumps(was), json.dumps(was + "x")))


def _changed(was: Any) -> Iterator[Any]:
    match was:
        case bool():
            yield not was
        case int() | float():
            yield was + 1
        case str():
            yield was + "x"
        case list() if was:
            yield was[:-1]
        case dict():
            for key, inner in was.items():
                yield from ({**was, key: value} for value in _changed(inner))
