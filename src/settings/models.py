"""What models and dialects can carry, read from models.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..core.catalog import UNKNOWN, Capabilities
from ..core.globs import glob_matches
from . import values, yamltext

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
    "keeps_replies": "keeps_replies",
    "chat": "chat",
    "embeddings": "embeddings",
    "hosted_tools": "hosted_tools",
    "files": "files",
    "image_urls": "image_urls",
    "document_urls": "document_urls",
}
SIZES = frozenset(("context", "max_output"))
_PARTS = re.compile(r"[/.:]")  # a model's name may begin behind each
_HEAD = 2  # characters that every pattern begins with literally


_Said = Mapping[str, Any]  # word in YAML → value
# Head → (place in the file, pattern, what it says), in the order of the file.
_Entries = Mapping[str, list[tuple[int, str, _Said]]]


@dataclass(frozen=True, slots=True)
class _Known:
    families: _Entries
    models: _Entries
    dialects: Mapping[str, Capabilities]


@cache
def _known() -> _Known:
    text = Path(__file__).with_name("models.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yamltext.parse(text)[0]
    dialects = {name: overlaid(UNKNOWN, _read(said)) for name, said in document["dialects"].items()}
    return _Known(
        _entries(document["families"]),
        _entries(document["models"]),
        MappingProxyType(dict(sorted(dialects.items()))),
    )


def _entries(section: Iterable[Mapping[str, Any]]) -> _Entries:
    by_head: dict[str, list[tuple[int, str, _Said]]] = {}
    for place, entry in enumerate(section):
        said = _read(entry["can"])
        for pattern in entry["models"]:
            by_head.setdefault(pattern[:_HEAD], []).append((place, pattern, said))
    return by_head


def _read(said: Mapping[str, Any]) -> dict[str, Any]:
    return {word: values.tokens(value) if word in SIZES else value for word, value in said.items()}


def overlaid(known: Capabilities, *said: Mapping[str, Any]) -> Capabilities:
    """`known` with what each of `said` says otherwise, by the words of YAML; later ones win."""
    changes = {FIELDS[word]: value for each in said for word, value in each.items()}
    return replace(known, **changes) if changes else known


def wires() -> Mapping[str, Capabilities]:
    """Dialect → what a call can hold that is translated into it."""
    return _known().dialects


@lru_cache(maxsize=16_384)
def capabilities_of(*names: str) -> Capabilities:
    """Of the model that goes by these names: the first one that is known tells, of its family and itself."""
    known = _known()
    return overlaid(UNKNOWN, _first_hit(known.families, names), _first_hit(known.models, names))


def _first_hit(entries: _Entries, names: tuple[str, ...]) -> _Said:
    for name in names:
        found = [hit for part in _starts(name.lower()) for hit in _hits(entries, part)]
        if found:
            return min(found, key=lambda hit: hit[0])[1]
    return {}


def _starts(name: str) -> Iterable[str]:
    """The name, and what stands behind each of its separators."""
    yield name
    for separator in _PARTS.finditer(name):
        yield name[separator.end() :]


def _hits(entries: _Entries, name: str) -> Iterable[tuple[int, _Said]]:
    for place, pattern, said in entries.get(name[:_HEAD], ()):
        if glob_matches(pattern, name):
            yield place, said
            return  # those behind it are later ones
