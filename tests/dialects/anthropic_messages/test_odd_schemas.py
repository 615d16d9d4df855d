"""Schemas that are none: refused in words, whatever stands where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects.anthropic_messages.schemas import Unenforceable, enforced
from support.conversations import JSON

KEYS = ["type", "properties", "items", "required", "format", "anyOf", "enum", "$ref", "additionalProperties"]
SCHEMAS = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": [["string"]]},
        {"type": {"a": 1}},
        {"type": "string", "format": ["date"]},
        {"type": "object", "properties": {}, "additionalProperties": False, "required": 3},
    ],
)
def test_odd_places(schema: dict[str, Any]) -> None:
    try:
        json.dumps(enforced(schema))
    except Unenforceable as refused:
        assert str(refused)


@given(SCHEMAS)
def test_any_json(schema: dict[str, Any]) -> None:
    try:
        json.dumps(enforced(schema))
    except Unenforceable as refused:
        assert str(refused)
