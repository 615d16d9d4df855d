"""What every request says, whatever its dialect's words: prompt text, tools, limits.

A `Reader` reads one dialect's body. It takes any JSON object: what is of the wrong kind is as if it were
not there, for odd requests are answered too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function tool on offer and the JSON schema of its arguments."""

    name: str
    schema: Any


@dataclass(frozen=True, slots=True)
class Reader:
    """How to read a dialect's body."""

    texts: Callable[[Fields], Iterable[str]]  # all prompt text, for counting
    last_user_text: Callable[[Fields], str]
    offered_tools: Callable[[Fields], list[Tool]]
    forced_tool: Callable[[Fields], str | Literal[True] | None]  # True: any of those on offer
    wanted_schema: Callable[[Fields], tuple[bool, Any]]  # whether JSON is wanted, and its schema
    token_limits: Callable[[Fields], Iterable[Any]]  # the first that is a number holds


def size_tokens(size: int) -> int:
    """The token count of `size` UTF-8 bytes of text: four bytes a token, rounded up."""
    return -(-size // 4)


def text_size(text: str) -> int:
    """UTF-8 bytes of `text`, lone surrogates included."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def texts_under(keys: frozenset[str], value: Any, depth: int = 0) -> Iterator[str]:
    """Every string in `value` that lies under these keys alone."""
    if isinstance(value, str):
        yield value
    elif depth > 32:
        return
    elif isinstance(value, list):
        for item in value:
            yield from texts_under(keys, item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in keys:
                yield from texts_under(keys, item, depth + 1)


def last_turn(turns: Any, roles: tuple[str | None, ...]) -> Mapping[str, Any] | None:
    """The last of `turns` in one of these roles."""
    for turn in reversed(turns) if isinstance(turns, list) else ():
        if isinstance(turn, dict) and turn.get("role") in roles:
            return turn
    return None


def objects(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in a list; none when it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def member(value: Any, *path: str) -> Any:
    """What lies below `value` at these keys; None when something on the way is no object."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
