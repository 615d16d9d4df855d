"""The table of causes (dialects/causes.py) as Lua, for the member listeners."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib import resources

from ..dialects import causes
from ..dialects.cause_rule import Rule


@functools.cache
def lua_rules(dialect: str) -> str:
    """A Lua table literal: the first argument of `cause_of` in causes.lua."""
    by_status = ",".join(f'[{status}]="{cause.value}"' for status, cause in causes.BY_STATUS.items())
    told = [*(_rule(rule) for rule in causes.rules(dialect)), f"by_status={{{by_status}}}"]
    return "{" + ",\n".join([*told, f"most_bytes={causes.MOST_BYTES}"]) + "}"


@functools.cache
def lua_source() -> str:
    """What defines `cause_of(rules, status, body, kind)`, a local function."""
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
