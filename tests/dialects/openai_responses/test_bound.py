"""Calls that stay in the dialect: what is one account's gets its name, loses it, or is left out."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest
from modelbroker.dialects.blobs import MARK, tagged
from modelbroker.dialects.conversation import Blob, Upstream
from modelbroker.dialects.openai_responses import OpenAiResponses
from modelbroker.dialects.openai_responses.wire import ENCRYPTED, NO_BLOB, attached
from support.dialects import cuts_of
from support.recordings import recordings

DIALECT = OpenAiResponses()
HOUSE = Upstream("house", "openai-responses", "gpt-x")
ASK = {"role": "user", "content": "mail me at a@b.example, mb1:no tag"}


def rebound(**fields: Any) -> Any:
    body = json.dumps({"model": "pool", "input": "hi", **fields}).encode()
    return json.loads(DIALECT.rebind(body, HOUSE).body)


def reasoning(encrypted: str | None, ident: str = "rs_1") -> Any:
    return {"type": "reasoning", "id": ident, "summary": [], "encrypted_content": encrypted}


# -- back to the provider


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"previous_response_id": "resp_1@house"}, {"previous_response_id": "resp_1"}),
        ({"conversation": "conv_1@house"}, {"conversation": "conv_1"}),
        ({"conversation": {"id": "conv_1@house"}}, {"conversation": {"id": "conv_1"}}),
        (
            {"prompt": {"id": "p_1@house", "variables": {"a": "x@y"}}},
            {"prompt": {"id": "p_1", "variables": {"a": "x@y"}}},
        ),
        (
            {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1@house", "vs_2"]}]},
            {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}]},
        ),
        (
            {"tools": [{"type": "code_interpreter", "container": "c_1@house"}]},
            {"tools": [{"type": "code_interpreter", "container": "c_1"}]},
        ),
        (
            {"tools": [{"type": "function", "name": "f", "description": "to a@b"}]},
            {"tools": [{"type": "function", "name": "f", "description": "to a@b"}]},
        ),
        (
            {"tools": [{"type": "mcp", "headers": {"container": "c@house"}}]},
            {"tools": [{"type": "mcp", "headers": {"container": "c@house"}}]},
        ),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": {"default": {"file_id": "x@y"}}}]},
            {"tools": [{"type": "function", "name": "f", "parameters": {"default": {"file_id": "x@y"}}}]},
        ),
        (
            {"prompt": {"id": "p_1@house", "variables": {"id": "bob@house"}}},
            {"prompt": {"id": "p_1", "variables": {"id": "bob@house"}}},
        ),
        (
            {"prompt_cache_options": {"comparison_response_id": "resp_1@house"}},
            {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
        ),
        # Nobody can be compared with what another account answered.
        (
            {"prompt_cache_options": {"comparison_response_id": "resp_1@other"}},
            {"prompt_cache_options": {"comparison_response_id": None}},
        ),
        ({"input": [ASK]}, {"input": [ASK]}),
        ({"input": "mb1:house"}, {"input": "mb1:house"}),
        (
            {"input": [{"type": "item_reference", "id": "msg_1@house"}]},
            {"input": [{"type": "item_reference", "id": "msg_1"}]},
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1@house"}]}]},
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        ),
    ],
)
def test_ids_lose_their_owner(fields: Any, expected: Any) -> None:
    assert rebound(**fields) == {"model": "gpt-x", "input": "hi", **expected}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (reasoning("gAAA"), reasoning("gAAA")),
        (reasoning(None), reasoning(None)),
        (reasoning(tagged(Blob("house", ENCRYPTED, "gAAA")), "rs_1@house"), reasoning("gAAA")),
        (reasoning(tagged(Blob("house", ENCRYPTED, "rs_1:gAAA"))), reasoning("gAAA")),
        (reasoning(tagged(Blob("other", ENCRYPTED, "gAAA"))), None),
        (reasoning(tagged(Blob("house", "anthropic-messages.signature", "gAAA"))), None),
        (reasoning(attached(Blob("house", ENCRYPTED, "gAAA"))), None),
        (reasoning(NO_BLOB), None),
        (reasoning(None, "rs_1@other"), None),
        # Whole items go to anyone, without another account's names for them.
        ({**ASK, "id": "msg_1@other"}, ASK),
        ({**ASK, "id": "msg_1@house"}, {**ASK, "id": "msg_1"}),
        (
            {
                "type": "function_call",
                "id": "fc_1@other",
                "call_id": "c",
                "name": "f",
                "arguments": '{"id":"a@b"}',
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"id":"a@b"}'},
        ),
        (
            {"type": "web_search_call", "id": "ws_1@other", "action": {"query": "a@b"}},
            {"type": "web_search_call", "id": "ws_1", "action": {"query": "a@b"}},
        ),
        (reasoning(None, "rs_1@house"), reasoning(None)),
        (
            {"type": "compaction", "id": "c_1@house", "encrypted_content": f"mb1:house:{ENCRYPTED}:gA"},
            {"type": "compaction", "id": "c_1", "encrypted_content": "gA"},
        ),
    ],
)
def test_reasoning_goes_back_to_its_issuer_alone(item: Any, expected: Any) -> None:
    assert rebound(input=[ASK, item])["input"] == [ASK, *([expected] if expected else [])]


def test_the_order_of_fields_stays() -> None:
    body = b'{"input":[{"role":"user","content":"a@b"}],"temperature":1.0,"model":"pool","top_p":0.30}'
    assert DIALECT.rebind(body, HOUSE).body == body.replace(b"pool", b"gpt-x")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":"m","input":["mb1:",' + b"[" * 5000])
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(BadRequest):
        DIALECT.rebind(body, HOUSE)


def test_deep_items() -> None:
    deep = '{"id":"x@y","a":' + "[" * 900 + "]" * 900 + "}"
    body = f'{{"model":"m","input":[{deep}]}}'.encode()
    try:
        assert b'"x"' in DIALECT.rebind(body, HOUSE).body
    except BadRequest as refused:
        assert "nested" in refused.message


@pytest.mark.parametrize("row", recordings("openai-responses"))
def test_recorded_requests_change_in_their_model_alone(row: Any) -> None:
    body = row["request"]["body"]
    assert json.loads(DIALECT.rebind(json.dumps(body).encode(), HOUSE).body) == {**body, "model": "gpt-x"}


# -- out to the client


def test_an_owned_reply() -> None:
    body = {
        "id": "resp_2",
        "previous_response_id": "resp_1",
        "conversation": {"id": "conv_1"},
        "temperature": 1.0,
        "output": [
            reasoning("gAAA"),
            reasoning(None, "rs_2"),
            {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "reasoning@x"}]},
            {"type": "compaction", "id": "c_1", "encrypted_content": "gB"},
        ],
    }
    owned = json.loads(DIALECT.owned_reply(json.dumps(body).encode(), "eu"))
    assert owned == {
        **body,
        "id": "resp_2@eu",
        "previous_response_id": "resp_1@eu",
        "conversation": {"id": "conv_1@eu"},
        "output": [
            reasoning(f"mb1:eu:{ENCRYPTED}:gAAA", "rs_1@eu"),
            reasoning(None, "rs_2@eu"),
            {**body["output"][2], "id": "msg_1@eu"},  # type: ignore[index]
            {"type": "compaction", "id": "c_1@eu", "encrypted_content": f"mb1:eu:{ENCRYPTED}:gB"},
        ],
    }


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]"])
def test_replies_that_are_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        DIALECT.owned_reply(body, "eu")


def data_of(event: bytes) -> bytes:
    return event.partition(b"data: ")[2]


def own(raw: bytes, *cuts: int) -> bytes:
    stream = DIALECT.owned_stream("eu")
    places = [0, *cuts, len(raw)]
    pieces = [raw[start:end] for start, end in itertools.pairwise(places)]
    return b"".join(stream.feed(piece) for piece in pieces) + stream.end()


@pytest.mark.parametrize("row", recordings("openai-responses"))
def test_a_recorded_exchange_goes_out_and_comes_back(row: Any) -> None:
    """What a client was told of an account's own, sent back, is what the account said."""
    body = row["response"]["body"]
    if row["response"]["status"] != 200:
        return
    if isinstance(body, str):
        raw = body.encode()
        owned = own(raw)
        for cut in cuts_of(raw)[:: 1 if len(raw) < 4096 else 5]:
            assert own(raw, cut) == owned
        before, after = raw.split(b"\n\n"), owned.split(b"\n\n")
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            if b'_id"' not in one and b'"item"' not in one and b'"response":{' not in one:
                assert one == other
            elif MARK.encode() not in other:
                assert json.loads(data_of(other).replace(b"@eu", b"")) == json.loads(data_of(one))
        response = json.loads([line for line in after if b"data: " in line][-1].partition(b"data: ")[2])
        output, ident = response["response"]["output"], response["response"]["id"]
        last = [line for line in before if b"data: " in line][-1].partition(b"data: ")[2]
        said = json.loads(last)["response"]
    else:
        said = body
        response = json.loads(DIALECT.owned_reply(json.dumps(body).encode(), "eu"))
        output, ident = response["output"], response["id"]
    assert ident == said["id"] + "@eu"
    request = {"model": "m", "previous_response_id": ident, "input": output}
    raw = json.dumps(request).encode()
    facts = DIALECT.read(raw)
    assert ("previous_response_id", ident) in facts.ids and facts.marked
    back = json.loads(DIALECT.rebind(raw, Upstream("eu", "openai-responses", "gpt-x")).body)
    assert back["previous_response_id"] == said["id"]
    assert back["input"] == said["output"]
    to_other = json.loads(DIALECT.rebind(raw, HOUSE).body)["input"]
    assert [item["type"] for item in to_other] == [
        item["type"] for item in said["output"] if item["type"] not in ("reasoning", "compaction")
    ]


@given(cuts=st.lists(st.integers(1, 400), max_size=6), newline=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_streams_pass_byte_for_byte_where_nothing_changes(cuts: list[int], newline: bytes) -> None:
    raw = b"".join(
        b"event: x" + newline + b"data:" + data + newline * 2
        for data in (b'{"type":"a", "delta":"Gr\xc3\xbc\xc3\x9fe"}', b" [DONE]", b'{"reasoning" : 1}', b"{x")
    )
    places = sorted({cut for cut in cuts if cut < len(raw)})
    assert own(raw, *places) == raw
    assert own(raw[:-3], *[cut for cut in places if cut < len(raw) - 3]) == raw[:-3]


def test_events_name_the_item_that_they_are_about() -> None:
    raw = (
        b'data: {"type":"response.reasoning_summary_text.delta","item_id":"rs_1","delta":"a"}\n\n'
        b'data: {"type":"response.content_part.added","item_id":"rs_1","part":{"type":"reasoning_text"}}\n\n'
        b'data: {"type":"response.output_text.delta","item_id":"msg_1","delta":"reasoning"}\r\n\r\n'
    )
    assert own(raw) == raw.replace(b"rs_1", b"rs_1@eu").replace(b"msg_1", b"msg_1@eu")
