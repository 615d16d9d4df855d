"""Schemas in Gemini's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects.gemini.schemas import understood, written
from support.conversations import JSON, SCHEMAS


@pytest.mark.parametrize(
    ("schema", "same"),
    [
        ({"const": "a"}, {"enum": ["a"]}),
        ({"type": "string", "const": "a", "enum": ["a"]}, None),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}, {"type": "object"}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "exclusiveMaximum": 9, "maximum": 5}, None),
        ({"type": "number", "exclusiveMinimum": 0}, None),
        ({"type": "integer", "exclusiveMinimum": True}, None),
        (
            {"allOf": [{"$ref": "#/$defs/A"}], "description": "d"},
            {"$ref": "#/$defs/A", "description": "d"},
        ),
        ({"allOf": [{"type": "string"}], "type": "number"}, None),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, None),
        (
            {"properties": {"const": {"const": 1}, "x": {"type": "string"}}, "$defs": {"A": {"const": 2}}},
            {"properties": {"const": {"enum": [1]}, "x": {"type": "string"}}, "$defs": {"A": {"enum": [2]}}},
        ),
        ({"anyOf": [{"const": 1}, True]}, {"anyOf": [{"enum": [1]}, True]}),
        (
            {"items": {"const": 1}, "additionalProperties": False},
            {"items": {"enum": [1]}, "additionalProperties": False},
        ),
        ({"enum": [{"const": 1}], "default": {"const": 1}}, None),
    ],
)
def test_the_same_in_other_words(schema: dict[str, Any], same: dict[str, Any] | None) -> None:
    before = repr(schema)
    found = understood(schema)
    assert found == (schema if same is None else same) == json.loads(bytes(written(schema)))
    assert repr(schema) == before


@given(SCHEMAS)
def test_what_gemini_understands_is_not_touched(schema: Any) -> None:
    assert understood(schema) is schema


@given(JSON, st.sampled_from(["properties", "anyOf", "items", "allOf", "const", "$defs", "type"]))
def test_odd_schemas_pass(value: Any, key: str) -> None:
    understood({key: value})
    understood(value)
