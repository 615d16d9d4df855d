"""How providers that speak this dialect differ from OpenAI: what `deviations` of a provider may say."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ...core.deviation import Deviation
from ..conversation import Upstream
from ..openai import EFFORT_LEVELS

# What `unsupported` may name: knobs by their names in the conversation, or in Chat Completions where only it
# has them; and of messages `name`, `refusal` and an assistant's earlier `reasoning`.
REFUSABLE = (
    "max_output_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "choices",
    "logprobs",
    "top_logprobs",
    "verbosity",
    "service_tier",
    "user",
    "cache_key",
    "parallel_tools",
    "logit_bias",
    "prediction",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "name",
    "refusal",
    "reasoning",
)

DEVIATIONS: Mapping[str, Deviation] = MappingProxyType(
    {
        "max_tokens_field": Deviation("the field that bounds the output", "max_completion_tokens"),
        "seed_field": Deviation("the field of the seed", "seed"),
        "system_role": Deviation("the role of instructions", "system", ("system", "developer")),
        "late_system": Deviation(
            "it takes instructions in the middle of a conversation; false: they go to the end of the first",
            True,
        ),
        "after_tool": Deviation(
            "what an assistant has to say before a user may speak after a tool; empty: nothing", ""
        ),
        "parts": Deviation(
            "the kinds of parts that a message may have (`document_url` is Mistral's); an empty list: "
            "content is always one text",
            ("text", "image_url", "input_audio", "file"),
            ("text", "image_url", "input_audio", "file", "document_url"),
        ),
        "document_urls": Deviation("documents may be URLs", False),
        "tool_call_ids": Deviation("the only ids of tool calls that it takes", "", ("9-alphanumeric",)),
        "strict_tools": Deviation("it takes `strict` at tools", True),
        "allowed_tools": Deviation(
            "it knows tool_choice `allowed_tools`; false: it gets only the tools that may be called, and "
            "`auto` or `required`",
            True,
        ),
        "forced_choice": Deviation(
            "`not-thinking`: it calls a tool by command only where it does not reason, so reasoning is "
            "switched off for such a call",
            "",
            ("not-thinking",),
        ),
        "json_schema": Deviation(
            "it takes response_format json_schema; false: a json_object is asked for, and the schema stands "
            "in the instructions",
            True,
        ),
        "stream_usage": Deviation("it knows stream_options.include_usage", True),
        "reasoning_style": Deviation(
            "how effort is said: `reasoning` is OpenRouter's object, `thinking` DeepSeek's switch with "
            "reasoning_effort beside it, `none` not at all",
            "reasoning_effort",
            ("reasoning_effort", "reasoning", "thinking", "none"),
        ),
        "efforts": Deviation(
            "the levels of effort that it takes; an empty list: what is known of the model", (), EFFORT_LEVELS
        ),
        "reasoning_field": Deviation(
            "the field of an assistant's message that takes its own reasoning back", ""
        ),
        "cache": Deviation(
            "how cache hints are said; empty: not at all", "", ("cache_control", "prompt_cache_breakpoint")
        ),
        "extra": Deviation(
            "knobs that OpenAI lacks and it has, by their names in the conversation", (), ("top_k",)
        ),
        "unsupported": Deviation(
            "what it refuses: knobs by their names in the conversation; `name`, `refusal` and earlier "
            "`reasoning` of messages",
            (),
            REFUSABLE,
        ),
    }
)


# What calls of this very dialect seldom meet: these alone do not take a provider's calls off the way on which
# bytes pass.
ONLY_TRANSLATED = frozenset(("late_system", "parts", "cache", "extra", "document_urls", "allowed_tools"))


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
    allowed_tools: bool
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
    for name, known in DEVIATIONS.items():
        value: Any = own.get(name, known.usual)
        found[name] = frozenset(value) if name in _SETS else tuple(value) if name == "efforts" else value
    return Deviations(**found)
