"""Records are what their contract says: proto/modelbroker/record/v1/record.proto."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.budgets import Charge
from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Eligible, Record, Saved
from modelbroker.core.usage import Beside, Usage
from modelbroker.records.reference import contract, page, tables

FILE = contract()
MESSAGES = {message.name: message for message in FILE.message_type}
PAGE = Path(__file__).parents[2] / "docs" / "records.md"
NOUNS = {noun.__name__: noun for noun in (Record, Eligible, Attempt, Saved, Usage, Beside, Cost, Charge)}
KINDS = {
    "string": str,
    "bool": bool,
    "double": float,
    "int32": int,
    "int64": int,
}


def classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(FILE)
    found = message_factory.GetMessageClassesForFiles([FILE.name], pool)
    return {name.rpartition(".")[2]: found[name] for name in found}


CLASSES = classes()


def _entries() -> dict[str, Any]:
    """The messages of the contract's maps."""
    return {entry.name: entry for message in FILE.message_type for entry in message.nested_type}


def kind_of(field: Any) -> Any:
    """As Python spells the type of a contract's field."""
    if field.type == field.TYPE_MESSAGE:
        name = field.type_name.rpartition(".")[2]
        if name.endswith("Entry"):
            (value,) = (f for f in _entries()[name].field if f.name == "value")
            return dict[str, KINDS[field.Type.Name(value.type).removeprefix("TYPE_").lower()]]
        kind: Any = NOUNS[name]
    else:
        kind = KINDS[field.Type.Name(field.type).removeprefix("TYPE_").lower()]
    if field.label == field.LABEL_REPEATED:
        return tuple[kind, ...]
    return kind | None if field.proto3_optional else kind


@pytest.mark.parametrize("noun", NOUNS.values())
def test_nouns_have_the_contracts_fields(noun: Any) -> None:
    """A record's in the contract's order, too."""
    hints = get_type_hints(noun)
    said = {field.name: kind_of(field) for field in MESSAGES[noun.__name__].field}
    assert {name: hints[name] for name in (f.name for f in dataclasses.fields(noun))} == said
    if noun is not Attempt:
        assert [f.name for f in dataclasses.fields(noun)] == list(said)


VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    bool: st.booleans(),
    int: st.integers(0, 2**31 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    float | None: st.none() | st.floats(allow_nan=False, allow_infinity=False),
    tuple[str, ...]: st.lists(st.text(), max_size=2).map(tuple),
    int | None: st.none() | st.integers(0, 2**53),
    dict[str, str]: st.dictionaries(st.text(), st.text(), max_size=2),
    dict[str, int]: st.dictionaries(st.text(), st.integers(0, 2**53), max_size=2),
    tuple[Beside, ...]: st.just(()),
}


def filled(noun: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(noun)
    return st.builds(noun, **{name: VALUES[kind] for name, kind in hints.items()})


VALUES[Usage] = filled(Usage)
VALUES[Usage | None] = st.none() | VALUES[Usage]
VALUES[tuple[Beside, ...]] = st.lists(filled(Beside), max_size=2).map(tuple)
VALUES[Cost | None] = st.none() | filled(Cost)
VALUES[tuple[Charge, ...]] = st.lists(filled(Charge), max_size=2).map(tuple)
VALUES[Saved | None] = st.none() | filled(Saved)
VALUES[tuple[Attempt, ...]] = st.lists(filled(Attempt), max_size=2).map(tuple)
VALUES[tuple[Eligible, ...]] = st.lists(filled(Eligible), max_size=2).map(tuple)


def plain(tree: Any) -> Any:
    """As protobuf's JSON and ours agree: it has large numbers as text, and leaves out what is null."""
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items() if value is not None}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    return str(tree) if isinstance(tree, int) and not isinstance(tree, bool) else tree


@given(filled(Record))
def test_a_line_is_a_message_of_the_contract(record: Record) -> None:
    line = msgspec.json.encode(record)
    message = json_format.Parse(line, CLASSES["Record"]())
    again = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert plain(again) == plain(json.loads(line))


def test_the_page_is_made_of_the_contract() -> None:
    text = PAGE.read_text()
    assert page(text) == text, "run: ./dev docs"
    assert all(
        f"| `{field.name}` |" in tables(FILE) for message in FILE.message_type for field in message.field
    )
