"""Texts and JSON of calls as they may go to a collector: of a bounded length, of a bounded depth, and such as
OTLP can carry. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Nested = None | bool | int | float | str | list["Nested"] | dict[str, "Nested"]
Object = dict[str, Nested]

MOST_NAME = 100  # characters of an id, a name, a role: no text of a call
# A level of JSON is three of OTLP's messages, and readers of protobuf give up at a hundred of those.
_DEEPEST = 12
_MOST_INT = 2**63 - 1
TOO_DEEP = "[nested too deeply to be told]"
# What OTLP has around a value, and around a key and its value, at most: tags and lengths.
_AROUND, _AROUND_KEY = 12, 12


class Texts:
    """Of one call. `cut`: so many of them had more than `most_chars` characters."""

    def __init__(self, most_chars: int) -> None:
        self._most = most_chars
        self.cut = 0

    def text(self, value: str) -> str:
        """As it is; a longer one with a mark at its end that says how much is not there."""
        value = _sendable(value)
        if len(value) <= self._most:
            return value
        self.cut += 1
        return _shortened(value, self._most)

    def json(self, value: Any) -> Nested:
        """A value of JSON; as a text where it is too long or too deep to stand for itself."""
        if isinstance(value, str):
            return self.text(value)
        fits, text = self._spelled(value)
        return _clean(value) if fits else self.text(text)

    def whole(self, value: Any) -> Nested:
        """The same of one that is nothing in pieces; None: it is too long."""
        fits, _ = self._spelled(value)
        self.cut += not fits
        return _clean(value) if fits else None

    def _spelled(self, value: Any) -> tuple[bool, str]:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except RecursionError:
            return False, TOO_DEEP
        return len(text) <= self._most and not _is_deeper(value, _DEEPEST), text


def name_of(value: Any) -> str:
    """An id, a name or a role; "" where there is none."""
    if not isinstance(value, str):
        return ""
    value = _sendable(value)
    return value if len(value) <= MOST_NAME else _shortened(value, MOST_NAME)


def size_of(value: Nested) -> int:
    """How many bytes of OTLP it takes, at most."""
    match value:
        case str():
            return _AROUND + len(value.encode())
        case list():
            return _AROUND + sum(map(size_of, value))
        case dict():
            pairs = ((len(key.encode()), size_of(inner)) for key, inner in value.items())
            return _AROUND + sum(_AROUND_KEY + key + inner for key, inner in pairs)
    return _AROUND


def _shortened(text: str, most: int) -> str:
    mark = f"… [{len(text):,} characters, cut]"
    return text[: most - len(mark)] + mark


def _sendable(text: str) -> str:
    """Half of a pair, which JSON may spell, is no character."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _is_deeper(value: Any, most: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_is_deeper(one, most - 1) for one in inner)


def _clean(value: Any) -> Nested:
    match value:
        case str():
            return _sendable(value)
        case int() if abs(value) > _MOST_INT:  # another number would be a wrong one
            return str(value)
        case list():
            return [_clean(one) for one in value]
        case Mapping():
            return {_sendable(str(key)): _clean(one) for key, one in value.items()}
    return value  # type: ignore[no-any-return]
