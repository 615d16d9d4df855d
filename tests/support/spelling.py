"""The same JSON value in other bytes: odd whitespace, key order, escapes and numbers."""

from __future__ import annotations

import json
import random
from typing import Any

_SPACE = ("", "", "", " ", "  ", "\t", "\n", "\r\n ", "\n\n\t")


class Speller:
    """Writes JSON its own way; what it does follows from the seed alone."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def request(self, body: dict[str, Any], model: str, own_model: str) -> tuple[bytes, bytes]:
        """A request for `model` in odd bytes, and the same bytes but for `own_model` in its place."""
        fields = [(key, value) for key, value in body.items() if key != "model"]
        fields.append(
            ("x_unknown", {"model": "not this one", "cache_control": {"type": "ephemeral"}, "a": "\\"})
        )
        self._random.shuffle(fields)
        at = self._random.randrange(len(fields) + 1)
        before, after = fields[:at], fields[at:]
        first = "".join(f"{self._pair(*each)}{self._space()},{self._space()}" for each in before)
        last = "".join(f"{self._space()},{self._space()}{self._pair(*each)}" for each in after)
        start = f"{self._space()}{{{self._space()}{first}{self._key('model')}{self._space()}:{self._space()}"
        end = f"{last}{self._space()}}}{self._space()}"
        asked = f"{start}{self._text(model)}{end}"
        return asked.encode(), f"{start}{json.dumps(own_model)}{end}".encode()

    def _value(self, value: Any) -> str:
        if isinstance(value, dict):
            pairs = list(value.items())
            self._random.shuffle(pairs)
            return self._joined("{", [self._pair(*pair) for pair in pairs], "}")
        if isinstance(value, list):
            return self._joined("[", [self._value(item) for item in value], "]")
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self._number(value)
        return json.dumps(value)

    def _joined(self, first: str, parts: list[str], last: str) -> str:
        inner = "".join(
            f"{',' if number else ''}{self._space()}{part}{self._space()}"
            for number, part in enumerate(parts)
        )
        return f"{first}{inner or self._space()}{last}"

    def _pair(self, key: str, value: Any) -> str:
        return f"{self._key(key)}{self._space()}:{self._space()}{self._value(value)}"

    def _key(self, key: str) -> str:
        return self._text(key) if self._random.random() < 0.1 else json.dumps(key)

    def _text(self, text: str) -> str:
        """Plain UTF-8, all escaped, or some characters as escapes that nobody needs."""
        how = self._random.random()
        if how < 0.5:
            return json.dumps(text, ensure_ascii=how < 0.2)
        return '"' + "".join(self._character(c) for c in text) + '"'

    def _character(self, character: str) -> str:
        if character == "/" and self._random.random() < 0.5:
            return "\\/"
        if ord(character) < 0x10000 and self._random.random() < 0.05:
            code = f"{ord(character):04x}"
            return "\\u" + (code.upper() if self._random.random() < 0.5 else code)
        return json.dumps(character, ensure_ascii=self._random.random() < 0.3)[1:-1]

    def _number(self, number: float) -> str:
        plain = json.dumps(number)
        if "e" in plain.lower():
            return plain
        with_point = plain if "." in plain else f"{plain}.0"
        return self._random.choice(
            (plain, with_point, f"{with_point}00", f"{with_point}e0", f"{with_point}E+00")
        )

    def _space(self) -> str:
        return self._random.choice(_SPACE)
