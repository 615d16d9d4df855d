"""JSON schemas as Anthropic enforces them, beside what its own SDK makes of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from anthropic.lib._parse._transform import transform_schema
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.dialects.anthropic_messages.schemas import Unenforceable, enforced, is_too_much

POINT = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
CLOSED_POINT = {**POINT, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        (POINT, CLOSED_POINT),
        ({"$schema": "s", "$id": "i", **POINT}, CLOSED_POINT),
        ({"properties": {}}, {"type": "object", "properties": {}, "additionalProperties": False}),
        (
            {"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"},
            {"type": "integer", "description": "A number\n\n{minimum: 1, maximum: 10}"},
        ),
        ({"type": "string", "pattern": "a+"}, {"type": "string", "description": "{pattern: a+}"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "odd"}, {"type": "string", "description": "{format: odd}"}),
        (
            {"type": "array", "items": POINT, "minItems": 1, "maxItems": 3},
            {"type": "array", "items": CLOSED_POINT, "minItems": 1, "description": "{maxItems: 3}"},
        ),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 2},
            {"type": "array", "items": {"type": "null"}, "description": "{minItems: 2}"},
        ),
        ({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}),
        ({"type": "string", "enum": ["a"], "title": "T"}, {"enum": ["a"], "title": "T"}),
        ({"const": "a"}, {"const": "a"}),
        ({"oneOf": [POINT, {"type": "null"}]}, {"anyOf": [CLOSED_POINT, {"type": "null"}]}),
        (
            {"type": ["string", "null"], "maxLength": 3, "description": "d"},
            {
                "anyOf": [{"type": "string", "description": "{maxLength: 3}"}, {"type": "null"}],
                "description": "d",
            },
        ),
        (
            {"$ref": "#/$defs/P", "$defs": {"P": POINT}},
            {"$ref": "#/$defs/P", "$defs": {"P": CLOSED_POINT}},
        ),
        (
            {"type": "array", "items": {"$ref": "#/definitions/P"}, "definitions": {"P": POINT}},
            {"type": "array", "items": {"$ref": "#/definitions/P"}, "definitions": {"P": CLOSED_POINT}},
        ),
    ],
)
def test_what_is_enforced(schema: Any, sent: Any) -> None:
    before = copy.deepcopy(schema)
    assert enforced(schema) == sent
    assert schema == before


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({}, "allows anything"),
        ({"type": "object", "properties": {"a": True}}, "allows anything"),
        ({"type": "object", "properties": {"a": {}}}, "allows anything"),
        ({"type": "file"}, "allows anything"),
        ({"type": "object"}, "does not name"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "does not name"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "does not name"),
        ({"type": "object", "properties": []}, "no object"),
        ({"type": "object", "properties": {}, "patternProperties": {}}, "patternProperties"),
        ({"type": "array", "prefixItems": []}, "prefixItems"),
        ({"enum": [{"a": 1}]}, "enum"),
        ({"$ref": "#/$defs/N", "$defs": {"N": NODE}}, "recursive"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}}, "recursive"),
        (
            {
                "$ref": "#/$defs/A",
                "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"items": {"$ref": "#/$defs/A"}}},
            },
            "recursive",
        ),
    ],
)
def test_what_can_not_be_enforced(schema: Any, why: str) -> None:
    with pytest.raises(Unenforceable, match=why):
        enforced(schema)


def test_definitions_may_lead_far() -> None:
    last = 5000
    defs: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(last)}
    defs[f"d{last}"] = {"type": "string"}
    schema = {"$ref": "#/$defs/d0", "$defs": defs}
    assert enforced(copy.deepcopy(schema)) == schema
    defs[f"d{last}"] = {"$ref": "#/$defs/d0"}
    with pytest.raises(Unenforceable, match="recursive"):
        enforced(schema)


def closed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, required: {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name in required],
            "additionalProperties": False,
        },
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.sets(st.sampled_from("abc")),
    )


def said(schema: Any, description: str | None) -> Any:
    return schema if description is None else {**schema, "description": description}


LEAVES = st.builds(
    said,
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "string", "format": "uuid", "minLength": 3},
            {"type": "integer", "exclusiveMinimum": 0},
            {"type": "boolean", "default": True},
            {"type": "null"},
            {"enum": ["a", "b"]},
            {"const": 5},
        ]
    ),
    st.none() | st.just("words"),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: (
        closed(inner)
        | st.builds(lambda items: {"type": "array", "items": items, "minItems": 1}, inner)
        | st.builds(lambda variants: {"anyOf": variants}, st.lists(inner, min_size=1, max_size=2))
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(SCHEMAS)
def test_the_sdk_makes_the_same_of_a_schema(schema: Any) -> None:
    assert enforced(schema) == transform_schema(copy.deepcopy(schema))


@settings(max_examples=50, deadline=None)
@given(SCHEMAS)
def test_what_is_enforced_stays_so(schema: Any) -> None:
    once = enforced(schema)
    assert enforced(once) == once


def test_limits() -> None:
    optional = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(13)}}
    assert not is_too_much([optional])
    assert is_too_much([optional, optional])
    union = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    names = [f"p{n}" for n in range(9)]
    unions = {"type": "object", "properties": dict.fromkeys(names, union), "required": names}
    assert not is_too_much([unions])
    assert is_too_much([unions, {"type": "array", "items": unions}])
    assert not is_too_much([{"$ref": "#/$defs/U", "$defs": {"U": unions}}] * 3)
