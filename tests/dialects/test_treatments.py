"""What the tables of fields say is what happens: each line's treatment, in requests that say the field."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from modelbroker.core.errors import BadRequest
from modelbroker.dialects import client_dialect, provider_dialect
from modelbroker.dialects.conversation import Encoded, Upstream
from modelbroker.dialects.openai_chat.deviations import REFUSABLE
from modelbroker.dialects.reference import TABLES
from modelbroker.dialects.translation import Field
from support.field_requests import BASES, Json
from support.treatments import is_whole, of_a_kind, otherwise, places, requests

DIALECTS = tuple(BASES)
_POOR = {"unsupported": [name for name in REFUSABLE if name != "choices"], "strict_tools": False}
UPSTREAMS = [
    Upstream("house", dialect, model, deviations=deviations)
    for dialect, model, deviations in (
        ("openai-chat", "gpt-5.1", {}),
        ("openai-chat", "gpt-4o", {}),
        ("openai-chat", "m", {"cache": "cache_control", "document_urls": True, "extra": ["top_k"]}),
        ("openai-chat", "m", {"reasoning_field": "reasoning_content"}),
        ("openai-chat", "m", {**_POOR, "reasoning_style": "none"}),
        ("openai-responses", "gpt-5.1", {}),
        ("openai-responses", "gpt-4o", {"cache_breakpoints": True}),
        ("anthropic-messages", "claude-sonnet-4-5", {}),
        ("anthropic-messages", "claude-opus-4-8", {}),
        ("bedrock-converse", "anthropic.claude-sonnet-4-5-20250929-v1:0", {}),
        ("bedrock-converse", "anthropic.claude-opus-4-7-v1:0", {}),
        ("bedrock-converse", "amazon.nova-pro-v1:0", {}),
        ("bedrock-converse", "cohere.command-r-v1:0", {}),
        ("gemini", "gemini-2.5-pro", {}),
        ("gemini", "gemini-3-pro", {}),
    )
]


# What is carried otherwise than in a member's request: in its path or place, or in the client's reply.
ELSEWHERE = {"model", "stream_options", "stream_options.include_usage"}


def leaves(dialect: str) -> list[Any]:
    """Carried lines that say something themselves: other than what is in them, which has its own lines."""
    carried = rows("carried")
    names = [param.values[1] for param in carried if param.values[0] == dialect]
    return [
        param
        for param in carried
        if param.values[0] == dialect
        and param.values[1] not in ELSEWHERE
        and not any(re.match(re.escape(param.values[1]) + r"(\[\])?\.", name) for name in names)
    ]


def rows(treatment: str) -> list[Any]:
    return [
        pytest.param(dialect, row, said, id=f"{dialect}:{row}")
        for dialect in DIALECTS
        for table in TABLES[dialect][1]
        for row, said in table.items()
        if said.treatment == treatment
    ]


def others(dialect: str) -> list[Upstream]:
    """Members that a client's request is translated for."""
    return [upstream for upstream in UPSTREAMS if upstream.dialect != dialect]


@functools.cache
def _sent(dialect: str, body: str, upstream: int) -> Encoded | None:
    """What a member gets, with the knobs that it does not by the client's own names; None: nothing."""
    client, to = client_dialect(dialect), others(dialect)[upstream]
    try:
        chat = client.decode_request(body.encode())
        encoded = provider_dialect(to.dialect).encode_request(chat, to)
    except BadRequest:
        return None
    own = [chat.said_as.get(name) or client.own_field(name) for name in encoded.dropped]
    return Encoded(encoded.path, encoded.body, encoded.headers, (*chat.dropped, *own))


def sent(dialect: str, body: Json) -> list[Encoded | None]:
    return [_sent(dialect, json.dumps(body), number) for number in range(len(others(dialect)))]


def saying(dialect: str, row: str) -> Iterator[Json]:
    """Requests that say this field, and nothing that only members of the dialect take."""
    for body in requests(dialect):
        if places(dialect, row, body):
            yield body


def facts(dialect: str, body: Json) -> str:
    return client_dialect(dialect).read(json.dumps(body).encode()).same_dialect


def refusal(dialect: str, body: Json) -> str:
    """The field for which a request is refused, whoever the member; "" if it is not."""
    try:
        client_dialect(dialect).decode_request(json.dumps(body).encode())
    except BadRequest as refused:
        return refused.param
    return ""


def is_named(row: str, name: str) -> bool:
    """Does `name`, a field as the broker tells it, mean this line's field, or all that it is a part of?"""
    if name == "name":  # of messages: tools have one too, which is never left out
        return row == "messages[].name"
    field = [part for part in re.sub(r"\[\d*\]", "", row).split(".") if part]
    told = [part for part in re.sub(r"\[\d*\]", "", name).split(".") if part]
    if told == field[: len(told)] or (len(told) == 1 and told[0] in field):
        return True
    return told[0] == field[0] and (told[-1] in (field[-1], "type") or len(field) == 2)


@pytest.mark.parametrize(
    ("dialect", "row", "said"), [param for dialect in DIALECTS for param in leaves(dialect)]
)
def test_carried_fields_reach_a_provider(dialect: str, row: str, said: Field) -> None:
    """Said otherwise, some member gets another request (or none: what it can't have it is not asked for)."""
    bodies = list(saying(dialect, row))
    assert bodies, "no request says it"
    assert all(facts(dialect, body) == "" for body in bodies)
    if row.endswith(".type"):  # what stands beside it follows from it, so another one alone is wrong
        assert any(refusal(dialect, other) for body in bodies for other in otherwise(dialect, row, body))
        return
    assert any(
        here is not None and there is not None and here.body != there.body
        for body in bodies
        for other in otherwise(dialect, row, body)
        for here, there in zip(sent(dialect, body), sent(dialect, other), strict=True)
    ), "whatever it says, every member gets the same"


def test_what_is_carried_elsewhere() -> None:
    chat = client_dialect("openai-chat").decode_request
    asks: Json = {**BASES["openai-chat"], "stream": True, "stream_options": {"include_usage": True}}
    assert chat(json.dumps(asks).encode()).include_usage
    assert not chat(json.dumps({**asks, "stream_options": {}}).encode()).include_usage
    for dialect in DIALECTS:
        assert client_dialect(dialect).read(json.dumps(BASES[dialect]).encode()).model == "p"
        for upstream, encoded in zip(others(dialect), sent(dialect, BASES[dialect]), strict=True):
            assert encoded is not None and b'"p"' not in encoded.body
            assert upstream.model in unquote(encoded.path) + encoded.body.decode()


@pytest.mark.parametrize(("dialect", "row", "said"), rows("dropped"))
def test_dropped_fields_are_named(dialect: str, row: str, said: Field) -> None:
    """Where a request lacks the field nobody names it."""
    bodies = list(saying(dialect, row))
    assert bodies, "no request says it"
    assert all(facts(dialect, body) == "" for body in bodies)
    got = [encoded for body in bodies for encoded in sent(dialect, body) if encoded is not None]
    naming = [any(is_named(row, name) for name in encoded.dropped) for encoded in got]
    assert any(naming), [encoded.dropped for encoded in got]
    if "where" not in said.note and "said" not in said.note:
        assert all(naming), "some member is told it, or nobody says that it is not"
    bare = [encoded for encoded in sent(dialect, BASES[dialect]) if encoded is not None]
    assert bare and not any(is_named(row, name) for encoded in bare for name in encoded.dropped)


@pytest.mark.parametrize(("dialect", "row", "said"), rows("label"))
def test_labels_say_nothing_and_are_not_named(dialect: str, row: str, said: Field) -> None:
    bodies = list(saying(dialect, row))
    assert bodies, "no request says it"
    pairs = [
        (here, there)
        for body in bodies
        for other in otherwise(dialect, row, body)
        for here, there in zip(sent(dialect, body), sent(dialect, other), strict=True)
        if here is not None and there is not None
    ]
    assert pairs and all(here == there for here, there in pairs)
    assert not any(is_named(row, name) for here, _ in pairs for name in here.dropped)


@pytest.mark.parametrize(("dialect", "row", "said"), rows("same-dialect"))
def test_same_dialect_fields_are_known_before_routing_and_refused_elsewhere(
    dialect: str, row: str, said: Field
) -> None:
    bodies = [body for body in requests(dialect, own=True) if places(dialect, row, body)]
    if not bodies:
        assert is_whole(dialect, row), "no request says it"
        bodies = [of_a_kind(dialect, row)]
    for body in bodies:
        assert is_named(row, facts(dialect, body)), facts(dialect, body)
        with pytest.raises(BadRequest) as refused:
            client_dialect(dialect).decode_request(json.dumps(body).encode())
        assert is_named(row, refused.value.param), refused.value.param
    assert facts(dialect, BASES[dialect]) == ""


def test_every_line_has_a_treatment_that_is_tested() -> None:
    tested = {"carried", "dropped", "label", "same-dialect"}
    assert {
        said.treatment for name in DIALECTS for table in TABLES[name][1] for said in table.values()
    } == tested


def test_no_request_here_is_wrong() -> None:
    """Each can be translated for some member: else it would prove nothing."""
    for dialect in DIALECTS:
        for body in requests(dialect):
            assert any(sent(dialect, body)), body
