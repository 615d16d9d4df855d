"""How providers that speak this dialect differ from OpenAI: what `deviations` of a provider may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Name → (what it means, the value where nothing is said).
DEVIATIONS: Mapping[str, tuple[str, Any]] = {
    "max_tokens_field": ("the field that bounds the output", "max_completion_tokens"),
    "system_role": ("the role of instructions: `system` or `developer`", "system"),
    "stream_usage": ("it knows stream_options.include_usage", True),
    "json_schema": ("it takes response_format json_schema; false: a json_object is asked for", True),
    "strict_tools": ("it takes `strict` at tools", True),
    "reasoning_effort": ("it takes reasoning_effort", True),
    "reasoning_field": ("the field of an assistant's message that takes its own reasoning back", ""),
    "tool_call_ids": ("`9-alphanumeric`: the only ids of tool calls that it takes", ""),
    "unsupported": ("knobs that it refuses, by their names in the canonical conversation", ()),
}


def deviation(said: Mapping[str, Any], name: str) -> Any:
    """What a provider says, or the dialect's own way."""
    return said.get(name, DEVIATIONS[name][1])
