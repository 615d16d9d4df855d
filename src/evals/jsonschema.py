"""Is a value what a JSON schema says? The keywords that models are asked with (structured output, tools);
others mean nothing here. Pure.

JSON Schema 2020-12, "A Vocabulary for Structural Validation".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_DEEPEST = 64
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "integer": lambda v: (
        (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, float) and v.is_integer())
    ),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
}


def problem_of(value: Any, schema: Any) -> str:
    """The first thing that is wrong; "" where nothing is."""
    return _problem(value, schema, schema, "$", 0)


_INNER = ("items", "additionalProperties", "not")
_MANY = ("allOf", "anyOf", "oneOf")
_NAMED = ("properties", "$defs", "definitions")


def mistake_in(schema: Any, at: str = "$") -> str:
    """The first thing by which no value, or every value, would be right by mistake; "" where nothing is."""
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, Mapping):
        return f"{at} is no mapping"
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            return f"{at}.type: {kind!r} is none of {', '.join(_TYPES)}"
    for name in ("required", "enum", *_MANY):
        if not isinstance(schema.get(name, []), list):
            return f"{at}.{name} is no list"
    for name in _NAMED:
        if not isinstance(schema.get(name, {}), Mapping):
            return f"{at}.{name} is no mapping"
    # (A list of `items` is how drafts before 2020-12 spelled tuples; it means nothing here.)
    inner = [(name, schema[name]) for name in _INNER if not isinstance(schema.get(name, []), list)]
    inner += [(f"{name}[{i}]", one) for name in _MANY for i, one in enumerate(schema.get(name, []))]
    inner += [(f"{name}.{key}", one) for name in _NAMED for key, one in schema.get(name, {}).items()]
    return next((wrong for name, one in inner if (wrong := mistake_in(one, f"{at}.{name}"))), "")


def _problem(value: Any, schema: Any, root: Any, at: str, depth: int) -> str:
    if schema is True or depth > _DEEPEST:
        return ""
    if schema is False:
        return f"{at}: must not be there"
    if not isinstance(schema, Mapping):
        return ""
    if isinstance(reference := schema.get("$ref"), str):
        found = _resolved(root, reference)
        if found is not None and (wrong := _problem(value, found, root, at, depth + 1)):
            return wrong
    for check in (_kind, _scalar, _object, _array):
        if wrong := check(value, schema, root, at, depth):
            return wrong
    return _joined(value, schema, root, at, depth)


def _resolved(root: Any, reference: str) -> Any:
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _kind(value: Any, schema: Mapping[str, Any], root: Any, at: str, depth: int) -> str:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES[kind](value) for kind in kinds if kind in _TYPES):
        return f"{at}: is no {' or '.join(map(str, kinds))}"
    if "enum" in schema and not any(same(value, one) for one in schema["enum"]):
        return f"{at}: is none of the values that it may have"
    if "const" in schema and not same(value, schema["const"]):
        return f"{at}: is not {schema['const']!r}"
    return ""


def _scalar(value: Any, schema: Mapping[str, Any], root: Any, at: str, depth: int) -> str:
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0) or len(value) > schema.get("maxLength", len(value)):
            return f"{at}: is too short or too long"
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            try:
                if not re.search(pattern, value):
                    return f"{at}: does not match {pattern}"
            except re.error:
                return ""
    elif _TYPES["number"](value):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            return f"{at}: is too small or too large"
        if ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]) or (
            "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]
        ):
            return f"{at}: is too small or too large"
    return ""


def _object(value: Any, schema: Mapping[str, Any], root: Any, at: str, depth: int) -> str:
    if not isinstance(value, dict):
        return ""
    for name in schema.get("required", ()):
        if name not in value:
            return f"{at}.{name}: is missing"
    known = schema.get("properties", {})
    for name, inner in value.items():
        rule = known[name] if name in known else schema.get("additionalProperties", True)
        if rule is False:
            return f"{at}.{name}: is not in the schema"
        if wrong := _problem(inner, rule, root, f"{at}.{name}", depth + 1):
            return wrong
    return ""


def _array(value: Any, schema: Mapping[str, Any], root: Any, at: str, depth: int) -> str:
    if not isinstance(value, list):
        return ""
    if len(value) < schema.get("minItems", 0) or len(value) > schema.get("maxItems", len(value)):
        return f"{at}: has too few or too many"
    for number, inner in enumerate(value):
        if wrong := _problem(inner, schema.get("items", True), root, f"{at}[{number}]", depth + 1):
            return wrong
    return ""


def _joined(value: Any, schema: Mapping[str, Any], root: Any, at: str, depth: int) -> str:
    for one in schema.get("allOf", ()):
        if wrong := _problem(value, one, root, at, depth + 1):
            return wrong
    for way in ("anyOf", "oneOf"):
        choices = schema.get(way, ())
        good = [not _problem(value, one, root, at, depth + 1) for one in choices]
        if choices and (not any(good) or (way == "oneOf" and sum(good) > 1)):
            return f"{at}: is none of {way}" if not any(good) else f"{at}: is more than one of oneOf"
    if "not" in schema and not _problem(value, schema["not"], root, at, depth + 1):
        return f"{at}: is what it must not be"
    return ""


def same(one: Any, other: Any) -> bool:
    """JSON's equality: true is not 1, and 1.0 is 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
