"""What well-known models can do, read from models.yaml."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from ..core.catalog import UNKNOWN, Capabilities
from . import yamltext

# Word in YAML → field of Capabilities.
FIELDS = {
    "context": "context_tokens",
    "max_output": "max_output_tokens",
    "tools": "tools",
    "images": "images",
    "documents": "documents",
    "audio": "audio",
    "schema": "schema",
    "reasoning": "reasoning",
    "choices": "choices",
}


@cache
def _entries() -> tuple[tuple[tuple[str, ...], Capabilities], ...]:
    text = Path(__file__).with_name("models.yaml").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = yamltext.parse(text)[0]
    return tuple((tuple(entry["models"]), overlaid(UNKNOWN, entry["can"])) for entry in entries)


def overlaid(known: Capabilities, said: dict[str, Any]) -> Capabilities:
    """`known` with what `said` says otherwise, by the words of YAML."""
    return replace(known, **{FIELDS[word]: value for word, value in said.items()})


@cache
def capabilities_of(*names: str) -> Capabilities:
    """Of the model that goes by these names: the first entry that fits any of them."""
    for patterns, can in _entries():
        if any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            return can
    return UNKNOWN
