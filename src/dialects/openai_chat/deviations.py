"""How providers that speak this dialect differ from OpenAI: what `deviations` of a provider may say."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ..conversation import Upstream

# Name → (what it means, the value where nothing is said).
DEVIATIONS: Mapping[str, tuple[str, Any]] = MappingProxyType(
    {
        "max_tokens_field": ("the field that bounds the output", "max_completion_tokens"),
        "seed_field": ("the field of the seed", "seed"),
        "system_role": ("the role of instructions: `system` or `developer`", "system"),
        "late_system": (
            "it takes instructions in the middle of a conversation; false: they go to the end of the first",
            True,
        ),
        "after_tool": (
            "what an assistant has to say before a user may speak after a tool; empty: nothing",
            "",
        ),
        "parts": (
            "the kinds of parts that a message may have: `text`, `image_url`, `input_audio`, `file`, "
            "`document_url` (Mistral's); an empty list: content is always one text",
            ("text", "image_url", "input_audio", "file"),
        ),
        "document_urls": ("documents may be URLs", False),
        "tool_call_ids": ("`9-alphanumeric`: the only ids of tool calls that it takes", ""),
        "strict_tools": ("it takes `strict` at tools", True),
        "forced_choice": (
            "`not-thinking`: it calls a tool by command only where it does not reason, so reasoning is "
            "switched off for such a call",
            "",
        ),
        "json_schema": (
            "it takes response_format json_schema; false: a json_object is asked for, and the schema stands "
            "in the instructions",
            True,
        ),
        "stream_usage": ("it knows stream_options.include_usage", True),
        "reasoning_style": (
            "how effort is said: `reasoning_effort`, `reasoning` (OpenRouter's object), `thinking` "
            "(DeepSeek's switch, and reasoning_effort) or `none`",
            "reasoning_effort",
        ),
        "efforts": ("the levels of effort that it takes; an empty list: what is known of the model", ()),
        "reasoning_field": ("the field of an assistant's message that takes its own reasoning back", ""),
        "cache": ("how cache hints are said: `cache_control`, `prompt_cache_breakpoint`, or not at all", ""),
        "extra": ("knobs that OpenAI lacks and it has, by their names in the conversation: `top_k`", ()),
        "unsupported": (
            "what it refuses: knobs by their names in the conversation, `name` of messages, `refusal`",
            (),
        ),
    }
)


class Deviations(msgspec.Struct, frozen=True):
    """The same for one provider. Each field is an entry of DEVIATIONS."""

    max_tokens_field: str
    seed_field: str
    system_role: str
    late_system: bool
    after_tool: str
    parts: frozenset[str]
    document_urls: bool
    tool_call_ids: str
    strict_tools: bool
    forced_choice: str
    json_schema: bool
    stream_usage: bool
    reasoning_style: str
    efforts: tuple[str, ...]
    reasoning_field: str
    cache: str
    extra: frozenset[str]
    unsupported: frozenset[str]


_SETS = frozenset(("parts", "extra", "unsupported"))


def deviations_of(upstream: Upstream) -> Deviations:
    """What the provider says, and the dialect's own way where it says nothing."""
    return _compiled(msgspec.json.encode(upstream.deviations, order="sorted"))


@functools.lru_cache(maxsize=256)
def _compiled(said: bytes) -> Deviations:
    own: dict[str, Any] = msgspec.json.decode(said)
    found: dict[str, Any] = {}
    for name, (_, usual) in DEVIATIONS.items():
        value = own.get(name, usual)
        found[name] = frozenset(value) if name in _SETS else tuple(value) if name == "efforts" else value
    return Deviations(**found)
