"""Any JSON at all is taken for a schema, and gives a value."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.simulator.samples import sample

KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "items",
        "minItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "minLength",
        "maxLength",
        "enum",
        "const",
        "$ref",
        "anyOf",
        "oneOf",
        "allOf",
        "format",
        "a",
    ]
)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["object", "array", "string", "integer", "#", "#/properties/a", "x"])
)
SCHEMAS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=15,
)


@given(schema=SCHEMAS)
def test_any_schema_gives_a_value(schema: Any) -> None:
    json.dumps(sample(schema))


def test_what_is_of_the_wrong_kind_is_ignored() -> None:
    assert sample({"type": "object", "properties": "text"}) == {}
    assert sample({"type": "object", "properties": {"a": {"type": "array", "minItems": 10**12}}})["a"]
