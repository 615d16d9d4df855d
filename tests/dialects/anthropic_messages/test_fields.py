"""Every field of a request, held against the official SDK's own types, beta ones too: new ones show here."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pytest
import typing_extensions
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_count_tokens_params as beta_count_params
from anthropic.types.beta import message_create_params as beta_params
from modelbroker.dialects.anthropic_messages import blocks, requests_in
from modelbroker.dialects.anthropic_messages.faults import OWN_FIELDS
from modelbroker.dialects.anthropic_messages.fields import CONTENT_FIELDS, FIELDS
from modelbroker.dialects.anthropic_messages.wire import CARRIED_BLOCKS, OWN_BLOCKS
from modelbroker.dialects.conversation import Chat, Document
from support.typed_dicts import alternatives, fields_of

CREATE = (
    message_create_params.MessageCreateParamsStreaming,
    beta_params.MessageCreateParamsStreaming,
    message_count_tokens_params.MessageCountTokensParams,
    beta_count_params.MessageCountTokensParams,
)
# What older clients send in the body.
OLDER = {"output_format"}
# Dropped as a whole, whatever is in them.
NO_PLACE = {name for name, field in CONTENT_FIELDS.items() if field.treatment == "dropped"}
# Sampling is gone from the newest SDK, and older ones still send it.
REMOVED = {"temperature", "top_p", "top_k"}


def kinds(typed_dict: Any) -> tuple[str, ...]:
    """The values of its `type`; `custom` stands for a tool without one."""
    hint = fields_of(typed_dict).get("type", (None, False))[0]
    return tuple(
        value
        for each in alternatives(hint)
        if typing.get_origin(each) is Literal
        for value in typing.get_args(each)
    )


def typed_dicts(hint: Any) -> Iterator[Any]:
    """Those that a field may hold, alone or in a list."""
    for each in alternatives(hint):
        if typing_extensions.is_typeddict(each):
            yield each
        elif typing.get_origin(each) in (list, collections.abc.Iterable, types.UnionType, typing.Union):
            for inner in typing.get_args(each):
                yield from typed_dicts(inner)


def held(name: str) -> set[Any]:
    """The TypedDicts that the request's field `name` may hold, of all SDK types."""
    return {
        found
        for params in CREATE
        if name in fields_of(params)
        for found in typed_dicts(fields_of(params)[name][0])
    }


def accounted(wanted: set[str], prefix: str) -> None:
    """Each wanted line is there, by itself or by a line for all of its type; and no other line is."""
    have = {name for name in CONTENT_FIELDS if name.startswith(prefix + ".")}
    wholes = {name.rpartition(".")[0] for name in wanted}
    missing = {name for name in wanted if name not in have and name.rpartition(".")[0] not in have}
    assert not missing
    assert not {name for name in have if name not in wanted and name not in wholes}


def test_every_field_of_a_request() -> None:
    wanted = {name for params in CREATE for name in fields_of(params)}
    assert wanted | OLDER | REMOVED == set(FIELDS)


def test_every_field_of_messages_and_their_blocks() -> None:
    wanted: set[str] = set()
    for message in held("messages"):
        wanted |= {f"messages.{name}" for name in fields_of(message)}
        for block in typed_dicts(fields_of(message)["content"][0]):
            wanted |= _lines("messages", block)
    for block in _in_results():
        wanted |= _lines("messages", block)
    accounted(wanted, "messages")


def _in_results() -> Iterator[Any]:
    for message in held("messages"):
        for block in typed_dicts(fields_of(message)["content"][0]):
            if "tool_result" in kinds(block):
                yield from typed_dicts(fields_of(block)["content"][0])


def _lines(prefix: str, typed_dict: Any) -> set[str]:
    return {
        f"{prefix}.{kind}.{name}"
        for kind in kinds(typed_dict)
        for name in fields_of(typed_dict).keys() - {"type"}
    }


def test_every_tool() -> None:
    accounted({line for tool in held("tools") for line in _lines("tools", tool)}, "tools")


@pytest.mark.parametrize("name", ["cache_control", "metadata", "output_config", "thinking", "tool_choice"])
def test_fields_within_fields(name: str) -> None:
    wanted = set()
    for held_one in held(name):
        for inner, (hint, _) in fields_of(held_one).items():
            wanted |= {f"{name}.{inner}"} - {f"{name}.type"}
            if f"{name}.{inner}" in NO_PLACE:
                continue
            wanted |= {f"{name}.{inner}.{deep}" for each in typed_dicts(hint) for deep in fields_of(each)}
    assert wanted == {line for line in CONTENT_FIELDS if line.startswith(name + ".")}


def test_every_field_of_a_system_prompt() -> None:
    accounted({line for block in held("system") for line in _lines("system", block)}, "system")


def test_blocks_are_carried_or_our_own() -> None:
    seen = {
        kind
        for message in held("messages")
        for block in typed_dicts(fields_of(message)["content"][0])
        for kind in kinds(block)
    } | {kind for block in _in_results() for kind in kinds(block)}
    assert seen == CARRIED_BLOCKS | OWN_BLOCKS


STRUCTS = {
    struct.__struct_config__.tag: struct
    for struct in vars(blocks).values()
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and struct.__struct_config__.tag
}


@pytest.mark.parametrize("kind", sorted(CARRIED_BLOCKS))
def test_blocks_are_read_with_all_their_fields(kind: str) -> None:
    for message in held("messages"):
        for block in typed_dicts(fields_of(message)["content"][0]):
            if kind in kinds(block):
                assert set(STRUCTS[kind].__struct_fields__) == fields_of(block).keys() - {"type"}


def test_same_dialect_fields_are_known_before_routing() -> None:
    """What decode_request refuses, read() reports: both go by the table."""
    from modelbroker.dialects.anthropic_messages import facts

    own = {name for name, field in FIELDS.items() if field.treatment == "same-dialect"}
    assert own | {"max_tokens"} == set(facts._OWN)
    assert own.isdisjoint(requests_in._READ)


def test_own_names_are_fields_of_both() -> None:
    for canonical, own in OWN_FIELDS.items():
        assert canonical in Chat.__struct_fields__ or canonical in Document.__struct_fields__
        name = own.partition(".")[0]
        assert name in FIELDS or f"messages.document.{name}" in CONTENT_FIELDS
