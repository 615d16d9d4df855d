"""JSON schemas that Bedrock enforces: a part of JSON Schema, in which every object is closed.

Sources: Amazon Bedrock user guide, "Get validated JSON results from models", "JSON Schema Draft 2020-12
subset"; where the service refuses something else than it says, pydantic-ai's providers/bedrock.py.

Schemas stand as they were decoded, in dicts: asking for a Mapping costs ten times as much, at every node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNENFORCED = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("maxItems", "contains"),
}
_NAMED_SCHEMAS = frozenset(("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"))
_SCHEMA_LISTS = frozenset(("anyOf", "allOf", "oneOf", "prefixItems"))
_SCHEMAS = frozenset(("items", "not", "if", "then", "else"))
# Most schemas are leaves with nothing that has to be looked at: these are asked for at once.
_CHANGED = _NAMED_SCHEMAS | _SCHEMA_LISTS | _SCHEMAS | {"$schema"}
_NOTED = frozenset(key for keys in _UNENFORCED.values() for key in keys) | {"minItems", "pattern"}
# Groups that look around and back-references: the service's regular expressions have none.
_UNKNOWN_PATTERNS = ("(?=", "(?!", "(?<=", "(?<!", "(?P=")


class OpenSchema(ValueError):
    """An object in the schema may hold members that it does not name: that can't be enforced."""


def enforced(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as it can be enforced: objects that leave it open are closed, and what is not enforced
    stands in the description, where the model reads it. OpenSchema where an object is open on purpose."""
    out = dict(schema)
    if not _CHANGED.isdisjoint(out):
        out.pop("$schema", None)
        for key, value in out.items():
            if key in _NAMED_SCHEMAS and isinstance(value, dict):
                out[key] = {name: _enforced_any(inner) for name, inner in value.items()}
            elif key in _SCHEMA_LISTS and isinstance(value, list | tuple):
                out[key] = [_enforced_any(inner) for inner in value]
            elif key in _SCHEMAS:
                out[key] = _enforced_any(value)
    kind = schema.get("type")
    if kind == "object" or "properties" in schema or (isinstance(kind, list | tuple) and "object" in kind):
        _close(schema, out)
    if _NOTED.isdisjoint(schema):
        return out
    notes = [f"{key}={out.pop(key)}" for key in _unenforced(schema, kind)]
    if notes:
        said = out.get("description")
        out["description"] = f"{said} ({', '.join(notes)})" if said else ", ".join(notes)
    return out


def _enforced_any(schema: Any) -> Any:
    return enforced(schema) if isinstance(schema, dict) else schema


def _close(schema: Mapping[str, Any], out: dict[str, Any]) -> None:
    others = schema.get("additionalProperties")
    if others not in (None, False) or (others is None and "properties" not in schema):
        raise OpenSchema("an object may hold members that the schema does not name")
    out["additionalProperties"] = False


def _unenforced(schema: Mapping[str, Any], kind: Any) -> list[str]:
    kinds = kind if isinstance(kind, list | tuple) else [kind]
    keys = [key for each in kinds for key in _UNENFORCED.get(str(each), ()) if key in schema]
    least = schema.get("minItems")
    if isinstance(least, int) and least > 1:
        keys.append("minItems")
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and _is_unknown(pattern):
        keys.append("pattern")
    return list(dict.fromkeys(keys))


def _is_unknown(pattern: str) -> bool:
    escaped = in_class = False
    for at, char in enumerate(pattern):
        if escaped:
            if char.isdigit():
                return True
            escaped = False
        elif char == "\\":
            escaped = True
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif pattern.startswith(_UNKNOWN_PATTERNS, at):
            return True
    return False
