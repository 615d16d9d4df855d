"""Every field of a request, held against the official SDK's own types: a new one shows up here."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import typing_extensions
from modelbroker.dialects.conversation import Chat
from modelbroker.dialects.openai_responses.fields import (
    CONTENT_FIELDS,
    FIELDS,
    OWN_NAMES,
    chat_field,
    own_field,
)
from openai.types import responses as sdk
from openai.types.responses import (
    response_create_params,
    response_input_content_param,
    response_input_item_param,
    tool_param,
)
from openai.types.shared_params import Reasoning
from support.typed_dicts import alternatives, fields_of

PARAMS = response_create_params.ResponseCreateParamsStreaming
# Types that the SDK keeps for its own convenience, or that stand elsewhere in the tables.
INPUT_PARTS = [
    *alternatives(response_input_content_param.ResponseInputContentParam),
    sdk.ResponseInputAudioParam,
    sdk.ResponseOutputTextParam,
    sdk.ResponseOutputRefusalParam,
]
MESSAGES = (
    sdk.EasyInputMessageParam,
    response_input_item_param.Message,
    sdk.ResponseOutputMessageParam,
)


def types_of(typed_dict: Any) -> tuple[str, ...]:
    """The values of its `type`."""
    hint, _ = fields_of(typed_dict)["type"]
    return tuple(
        value
        for each in alternatives(hint)
        if typing.get_origin(each) is Literal
        for value in typing.get_args(each)
    )


def lines(prefix: str, typed_dict: Any) -> Iterator[str]:
    """`<prefix>.<type>.<field>`; of a type without fields `<prefix>.<type>.`"""
    for name in types_of(typed_dict):
        for field in fields_of(typed_dict).keys() - {"type"} or {""}:
            yield f"{prefix}.{name}.{field}"


def accounted(wanted: set[str], prefix: str) -> None:
    """Each wanted line is there, by itself or by a line for all of its type; and no other line is."""
    have = {name for name in CONTENT_FIELDS if name.startswith(prefix + ".")}
    missing = {name for name in wanted if name not in have and name.rpartition(".")[0] not in have}
    assert not missing
    wholes = {name.rpartition(".")[0] for name in wanted}
    assert not {name for name in have if name not in wanted and name not in wholes}


def test_every_field_of_a_request() -> None:
    assert set(fields_of(PARAMS)) == set(FIELDS)


def test_every_item_of_the_input() -> None:
    wanted = set()
    for item in alternatives(response_input_item_param.ResponseInputItemParam):
        wanted |= set(lines("input", sdk.EasyInputMessageParam if item in MESSAGES else item))
    for part in INPUT_PARTS:
        wanted |= set(lines("input", part))
    for message in MESSAGES:
        wanted |= {f"input.message.{name}" for name in fields_of(message) if name != "type"}
    accounted(wanted, "input")


def test_every_tool() -> None:
    wanted = {line for tool in alternatives(tool_param.ToolParam) for line in lines("tools", tool)}
    accounted(wanted, "tools")


def test_every_choice_of_a_tool() -> None:
    hint, _ = fields_of(PARAMS)["tool_choice"]
    named = set()
    for choice in alternatives(hint):
        if typing_extensions.is_typeddict(choice):
            named |= set(types_of(choice))
        else:
            named |= set(typing.get_args(choice))
    assert {f"tool_choice.{name}" for name in named} == {
        name for name in CONTENT_FIELDS if name.startswith("tool_choice.")
    }


@pytest.mark.parametrize(
    ("prefix", "typed_dict"),
    [
        ("reasoning", Reasoning),
        ("text", sdk.ResponseTextConfigParam),
        ("stream_options", response_create_params.StreamOptions),
        ("prompt_cache_options", response_create_params.PromptCacheOptions),
    ],
)
def test_fields_within_fields(prefix: str, typed_dict: Any) -> None:
    have = {name for name in CONTENT_FIELDS if name.startswith(prefix + ".")}
    wanted = {f"{prefix}.{name}" for name in fields_of(typed_dict)}
    for name, (hint, _) in fields_of(typed_dict).items():
        inside = [each for each in alternatives(hint) if typing_extensions.is_typeddict(each)]
        wanted |= {f"{prefix}.{name}.{inner}" for each in inside for inner in fields_of(each)}
    assert have == wanted


def test_own_names_are_fields_of_both() -> None:
    for canonical, own in OWN_NAMES.items():
        assert canonical in Chat.__struct_fields__
        assert own.partition(".")[0] in FIELDS


@pytest.mark.parametrize(
    ("canonical", "own"),
    [
        ("messages[2].parts[0]", "input"),
        ("system", "instructions"),
        ("max_output_tokens", "max_output_tokens"),
        ("output", "text.format"),
        ("output.strict", "text.format.strict"),
        ("effort", "reasoning"),
        ("tools[1].schema", "tools[1].schema"),
        ("", ""),
    ],
)
def test_own_field(canonical: str, own: str) -> None:
    assert own_field(canonical) == own


@pytest.mark.parametrize(
    ("own", "canonical"),
    [
        ("input[4].content[0].file_data", "messages"),
        ("text.format.schema", "output"),
        ("text.verbosity", "verbosity"),
        ("reasoning.effort", "effort"),
        ("reasoning.summary", "effort"),
        ("tools[0].parameters", "tools[0].parameters"),
        ("model", "model"),
        ("", ""),
    ],
)
def test_chat_field(own: str, canonical: str) -> None:
    assert chat_field(own) == canonical
