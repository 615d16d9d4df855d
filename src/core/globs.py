"""Patterns as people write them: `*` any text, `?` one character, all else is itself."""

from __future__ import annotations

import fnmatch
import functools
import re


def glob_matches(pattern: str, text: str) -> bool:
    return _pattern(pattern).match(text) is not None


@functools.lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    # Only `*` and `?` are special: a `[` in a model's name is a `[`.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))
