"""The table of causes (dialects/causes.py) as Lua, for the member listeners."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib import resources

from ..dialects import causes
from ..dialects.cause_rule import Rule


@functools.cache
def lua_rules(dialect: str) -> str:
    """A Lua table literal: the first argument of `cause_of` in causes.lua. See `lua_texts`."""
    by_status = ",".join(f'[{status}]="{cause.value}"' for status, cause in causes.BY_STATUS.items())
    told = [*(_rule(rule) for rule in causes.rules(dialect)), f"by_status={{{by_status}}}"]
    return "{" + ",\n".join([*told, f"most_bytes={causes.MOST_BYTES}"]) + "}"


def lua_texts(dialects: Iterable[str]) -> str:
    """A Lua expression: dialect → the text that gives its rules. It is the first argument of `rules_of` in
    causes.lua. Dialects with the same rules share their text."""
    names: dict[str, list[str]] = {}
    for dialect in dialects:
        names.setdefault(lua_rules(dialect), []).append(dialect)
    texts = "".join(f"local t{number}=[==[return {text}]==]\n" for number, text in enumerate(names))
    fields = (f'["{name}"]=t{number}' for number, group in enumerate(names.values()) for name in group)
    return f"(function()\n{texts}return {{{','.join(fields)}}}\nend)()"


@functools.cache
def lua_source() -> str:
    """The local functions `rules_of(texts, dialect)` and `cause_of(rules, status, body, kind)`."""
    return resources.files(__package__).joinpath("causes.lua").read_text()


def _rule(rule: Rule) -> str:
    parts = []
    if rule.statuses:
        parts.append("s={" + ",".join(f"[{status}]=1" for status in rule.statuses) + "}")
    lists = {"n": rule.needles, "a": rule.also, "l": rule.lacks}
    parts += [f"{name}={_texts(needles)}" for name, needles in lists.items() if needles]
    return "{" + ",".join([*parts, f'c="{rule.cause.value}"']) + "}"


def _texts(needles: Iterable[str]) -> str:
    """Needles are ASCII, printable but for ends of lines: a test holds the table to that."""
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
    return "{" + ",".join(f'"{needle.translate(escapes)}"' for needle in needles) + "}"
