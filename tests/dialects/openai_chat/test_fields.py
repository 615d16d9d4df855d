"""Every field of a request, held against the official SDK's own types: a new one shows up here."""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import typing_extensions
from modelbroker.dialects.conversation import Chat
from modelbroker.dialects.openai_chat.deviations import DEVIATIONS, Deviations
from modelbroker.dialects.openai_chat.fields import CONTENT_FIELDS, FIELDS, OWN_NAMES, own_field
from openai.types.chat import completion_create_params as sdk
from support.typed_dicts import alternatives, fields_of

_LISTS = (list, collections.abc.Iterable, collections.abc.Sequence)
PARAMS = (sdk.CompletionCreateParamsStreaming, sdk.CompletionCreateParamsNonStreaming)


def names_in(hint: Any, path: str) -> Iterator[str]:
    """Every field below `path`: `messages[].content[].text`."""
    for each in alternatives(hint):
        if typing_extensions.is_typeddict(each):
            for name, (inner, _) in fields_of(each).items():
                here = f"{path}.{name}" if path else name
                yield here
                yield from names_in(inner, here)
        elif typing.get_origin(each) in _LISTS:
            yield from names_in(typing.get_args(each)[0], path + "[]")


ALL = {name for params in PARAMS for name in names_in(params, "")}


def test_every_field_of_a_request() -> None:
    assert {name for name in ALL if "." not in name} == set(FIELDS)


def test_every_field_inside() -> None:
    assert {name for name in ALL if "." in name} == set(CONTENT_FIELDS)


def test_own_names_are_fields_of_both() -> None:
    for canonical, own in OWN_NAMES.items():
        assert canonical in Chat.__struct_fields__
        assert own in FIELDS or f"messages[].content[].{own}" in CONTENT_FIELDS


@pytest.mark.parametrize(
    ("canonical", "own"),
    [
        ("messages[2].parts[0]", "messages"),
        ("system", "messages"),
        ("max_output_tokens", "max_completion_tokens"),
        ("output", "response_format"),
        ("tools[1].schema", "tools[1].schema"),
        ("temperature", "temperature"),
        ("", ""),
    ],
)
def test_own_field(canonical: str, own: str) -> None:
    assert own_field(canonical) == own


def test_deviations_are_all_told() -> None:
    assert tuple(DEVIATIONS) == Deviations.__struct_fields__
    for known in DEVIATIONS.values():
        assert known.meaning and isinstance(known.usual, (str, bool, tuple))
