"""What a model's name tells of what it takes. Names that tell nothing are taken for models of today.

Sources: Gemini API, "Gemini thinking", "Function calling", "Thought signatures", "File input methods".
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")


@dataclass(frozen=True, slots=True)
class Traits:
    """`thinking`: how it is governed. `levels`, least first, where by level; `least_budget` up to
    `most_budget` (tokens) where by budget, and `can_stop`: a budget of 0 switches it off."""

    thinking: Literal["level", "budget", "none"]
    levels: tuple[str, ...] = ()
    least_budget: int = 0
    most_budget: int = 0
    can_stop: bool = False
    validates_calls: bool = True  # has the mode VALIDATED
    joins_tools_and_schema: bool = True  # calls functions and answers by a schema in one request
    wants_signatures: bool = True  # refuses a turn's function calls without a thought signature
    media_in_results: bool = True  # function responses hold images and documents
    reads_urls: bool = True  # the Gemini API fetches https URLs for it


_OLD = Traits(
    thinking="none",
    validates_calls=False,
    joins_tools_and_schema=False,
    wants_signatures=False,
    media_in_results=False,
    reads_urls=False,
)


def _of_2_5(name: str) -> Traits:
    pro, lite = "pro" in name, "lite" in name
    return Traits(
        thinking="none" if "image" in name else "budget",
        least_budget=128 if pro else 512 if lite else 1,
        most_budget=32768 if pro else 24576,
        can_stop=not pro,
        joins_tools_and_schema=False,
        wants_signatures=False,
        media_in_results=False,
    )


def _levels(name: str, version: tuple[int, int]) -> tuple[str, ...]:
    if "pro" in name and version == (3, 0):
        return ("LOW", "HIGH")
    if "image" in name and "flash" in name:
        return ("MINIMAL", "HIGH")
    # Flash models before 3.7 have a level that all but switches thinking off; no others do.
    return _LEVELS if "flash" in name and (3, 0) <= version < (3, 7) else _LEVELS[1:]


@functools.lru_cache(maxsize=1024)
def traits(model: str) -> Traits:
    name = model.rpartition("/")[2]
    if "gemma" in name:
        return _OLD
    match = _VERSION.search(name)
    if match is None:  # an alias (gemini-flash-latest) or an endpoint of its owner's
        return Traits(thinking="level", levels=_LEVELS[1:])
    version = (int(match[1]), int(match[2] or 0))
    if version < (2, 5):
        return _OLD
    if version < (3, 0):
        return _of_2_5(name)
    return Traits(thinking="level", levels=_levels(name, version))
