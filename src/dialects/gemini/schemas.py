"""JSON schemas as Gemini understands them.

It reads a part of JSON schema and passes over the other keywords. What can be said in its words without
changing what it means is; the rest stays as it came. `$defs`, `$ref`, `anyOf`, `prefixItems` and so on are
understood. Source: Gemini API reference, `Schema`, `GenerationConfig.responseJsonSchema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..body import holds

_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not")
_OURS = ("const", "allOf", "exclusiveMinimum", "exclusiveMaximum", "$schema")
_MARKS = tuple(f'"{word}"'.encode() for word in _OURS)


def written(schema: Any) -> msgspec.Raw:
    """The schema as it is sent. Most need no other words: those are not gone through."""
    raw = msgspec.json.encode(schema)
    return msgspec.Raw(msgspec.json.encode(understood(schema)) if holds(raw, *_MARKS) else raw)


def understood(schema: Any) -> Any:
    """The same schema; the very same object where nothing has to be otherwise."""
    if not isinstance(schema, dict):
        return schema
    changed: dict[str, Any] = {}
    for key in _MAPS:
        inner = schema.get(key)
        if isinstance(inner, dict):
            new = {name: understood(value) for name, value in inner.items()}
            if any(new[name] is not inner[name] for name in inner):
                changed[key] = new
    for key in _LISTS:
        inner = schema.get(key)
        if isinstance(inner, list):
            items = [understood(value) for value in inner]
            if any(new is not old for new, old in zip(items, inner, strict=True)):
                changed[key] = items
    for key in _SINGLE:
        inner = schema.get(key)
        if isinstance(inner, dict) and (one := understood(inner)) is not inner:
            changed[key] = one
    if changed:
        schema = {key: changed.get(key, value) for key, value in schema.items()}
    return _respelled(schema) if any(key in schema for key in _OURS) else schema


def _respelled(schema: Mapping[str, Any]) -> dict[str, Any]:
    said = {key: value for key, value in schema.items() if key != "$schema"}
    if "const" in said and "enum" not in said:
        said = {("enum" if key == "const" else key): value for key, value in said.items()}
        said["enum"] = [said["enum"]]
    alternatives = said.get("allOf")
    if isinstance(alternatives, list) and len(alternatives) == 1 and isinstance(alternatives[0], dict):
        only = alternatives[0]
        others = {key: value for key, value in said.items() if key != "allOf"}
        if not only.keys() & others.keys():
            said = {**only, **others}
    if said.get("type") == "integer":
        _close_bound(said, "exclusiveMinimum", "minimum", 1)
        _close_bound(said, "exclusiveMaximum", "maximum", -1)
    return said


def _close_bound(schema: dict[str, Any], excluded: str, included: str, step: int) -> None:
    bound = schema.get(excluded)
    if isinstance(bound, int) and not isinstance(bound, bool) and included not in schema:
        del schema[excluded]
        schema[included] = bound + step
