"""JSON schemas as Anthropic enforces them: a part of JSON Schema in which every object is closed.

What it can't enforce but a model can read (lengths, bounds, patterns) goes into the description, as
Anthropic's own SDK does. What would mean another thing then is not carried at all.

Sources: Anthropic's documentation, "Structured outputs", sections "JSON Schema limitations" and "Schema
complexity limits"; the SDK's lib/_parse/_transform.py.

Schemas stand as they were decoded, in dicts: asking for a Mapping costs ten times as much, at every node.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
)
_TYPES = frozenset(("object", "array", "string", "integer", "number", "boolean", "null"))
_KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("items", "minItems", "maxItems", "uniqueItems"),
    "string": ("format", "pattern", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_OF_ONE_TYPE = frozenset(key for keys in _KEYWORDS.values() for key in keys)
_DEFINITIONS = ("$defs", "definitions")
# Keywords that say nothing to a model.
_SILENT = frozenset(("$schema", "$id", "$comment", "$anchor"))
# Keywords that change what is valid in ways that no description makes up for.
_UNKNOWN = ("patternProperties", "prefixItems", "not", "if", "dependentSchemas", "unevaluatedProperties")
# What few schemas have, asked for at once.
_RARE = _SILENT | frozenset((*_DEFINITIONS, *_UNKNOWN, "$ref"))
# Leaves that say no more than this stay as they are.
_SCALARS = ("string", "integer", "number", "boolean", "null")
_PLAIN_ORDER = ("type", "description", "title")
_PLAIN = frozenset(_PLAIN_ORDER)
_VARIANTS = ("anyOf", "oneOf", "allOf")

MOST_STRICT_TOOLS = 20
_MOST_OPTIONAL = 24
_MOST_UNIONS = 16


class Unenforceable(ValueError):
    """The schema asks for what can't be enforced; its words say what."""


def enforced(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as Anthropic takes it. Unenforceable in words where there is none such."""
    if _is_recursive(schema):
        raise Unenforceable("the schema is recursive")
    return _enforced(schema)


def _enforced(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise Unenforceable("a schema without a type allows anything")
    if schema.get("type") in _SCALARS and schema.keys() <= _PLAIN:  # most schemas: leaves of a tool's
        return {key: said for key in _PLAIN_ORDER if (said := schema.get(key)) is not None}
    rest = dict(schema)
    out: dict[str, Any] = {}
    if not _RARE.isdisjoint(rest):
        for key in _SILENT:
            rest.pop(key, None)
        for key in _DEFINITIONS:
            if isinstance(defs := rest.pop(key, None), dict):
                out[key] = {name: _enforced(inner) for name, inner in defs.items()}
        if "$ref" in rest:
            out["$ref"] = rest["$ref"]
            return out
        for key in _UNKNOWN:
            if key in rest:
                raise Unenforceable(f"{key} can't be enforced")
    kind = _kind_of(rest.pop("type", None))
    literal = _literals(rest, out)
    if isinstance(kind, list):
        if not literal:
            out["anyOf"] = [_enforced(_alone(rest, one)) for one in kind]
        rest = {key: value for key, value in rest.items() if key not in _OF_ONE_TYPE}
        return _described(rest, out)
    for key in _VARIANTS:
        if key in rest and isinstance(variants := rest.pop(key), Sequence):
            out["allOf" if key == "allOf" else "anyOf"] = [_enforced(variant) for variant in variants]
            literal = literal or kind is None
    if not literal:
        kind = kind or _implied(rest)
        if kind not in _TYPES:
            raise Unenforceable("a schema without a type allows anything")
        out["type"] = kind
        _of_kind(str(kind), rest, out)
    return _described(rest, out)


def _kind_of(said: Any) -> str | list[str] | None:
    if said is None or isinstance(said, str):
        return said
    if isinstance(said, list | tuple) and all(isinstance(one, str) for one in said):
        return list(said)
    raise Unenforceable("type is neither a text nor a list of texts")


def _alone(rest: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """One of several types, with what is said of that one."""
    return {"type": kind, **{key: rest[key] for key in _KEYWORDS.get(kind, ()) if key in rest}}


def _described(rest: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
    """What is left is told to the model."""
    for key in ("description", "title"):
        if (said := rest.pop(key, None)) is not None:
            out[key] = said
    if rest:
        note = "{" + ", ".join(f"{key}: {value}" for key, value in rest.items()) + "}"
        out["description"] = f"{out['description']}\n\n{note}" if out.get("description") else note
    return out


def _literals(rest: dict[str, Any], out: dict[str, Any]) -> bool:
    """Takes enum and const over: values say their type themselves."""
    for key in ("enum", "const"):
        if key not in rest:
            continue
        value = rest.pop(key)
        values = value if key == "enum" else [value]
        if not isinstance(values, list | tuple) or not all(_is_plain(one) for one in values):
            raise Unenforceable(f"{key} holds more than texts, numbers, booleans and null")
        out[key] = value
    return "enum" in out or "const" in out


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _implied(rest: Mapping[str, Any]) -> str:
    return "object" if "properties" in rest else "array" if "items" in rest else ""


def _of_kind(kind: str, rest: dict[str, Any], out: dict[str, Any]) -> None:
    """Takes over what goes with a type; the rest stays for the description."""
    match kind:
        case "object":
            others = rest.pop("additionalProperties", None)
            properties = rest.pop("properties", None)
            if properties is not None and not isinstance(properties, dict):
                raise Unenforceable("properties is no object")
            if others not in (None, False) or (others is None and properties is None):
                raise Unenforceable("an object may hold members that the schema does not name")
            out["properties"] = {name: _enforced(inner) for name, inner in (properties or {}).items()}
            out["additionalProperties"] = False
            if (required := rest.pop("required", None)) is not None:
                if not isinstance(required, list | tuple):
                    raise Unenforceable("required is no list")
                out["required"] = list(required)
        case "array":
            if "items" in rest:
                out["items"] = _enforced(rest.pop("items"))
            if rest.get("minItems") in (0, 1):
                out["minItems"] = rest.pop("minItems")
        case "string" if isinstance(rest.get("format"), str) and rest["format"] in _FORMATS:
            out["format"] = rest.pop("format")


# -- limits


def is_too_much(schemas: Sequence[Mapping[str, Any]]) -> bool:
    """Does what one request enforces exceed Anthropic's limits? What stands behind a $ref is not counted."""
    optional = unions = 0
    for schema in schemas:
        for node in _nodes(schema):
            properties, required = node.get("properties") or {}, node.get("required") or ()
            for name, inner in properties.items():
                optional += name not in required
                unions += isinstance(inner, dict) and "anyOf" in inner
    return optional > _MOST_OPTIONAL or unions > _MOST_UNIONS


def _nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    """The schema and all that stand in it, but for its definitions."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if not isinstance(node, dict):
            continue
        yield node
        if isinstance(properties := node.get("properties"), dict):
            stack.extend(properties.values())
        for key in _VARIANTS:
            if key in node and isinstance(variants := node[key], Sequence):
                stack.extend(variants)
        if "items" in node:
            stack.append(node["items"])


def _is_recursive(schema: Mapping[str, Any]) -> bool:
    """Does a definition lead back to itself?"""
    graph = {"#": _references(schema)}
    for key in _DEFINITIONS:
        defs = schema.get(key)
        for name, inner in defs.items() if isinstance(defs, dict) else ():
            graph[f"#/{key}/{name}"] = _references(inner)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        return True
    return False


def _references(schema: Any) -> frozenset[str]:
    """The $refs of a schema and all that stand in it, without those of its definitions."""
    found = (node.get("$ref") for node in _nodes(schema))
    return frozenset(ref for ref in found if isinstance(ref, str))
