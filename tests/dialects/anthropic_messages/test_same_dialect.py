"""Calls that stay in the dialect: what the front reads of them, and what a member gets."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from modelbroker.core.call import Surface
from modelbroker.core.errors import BadRequest
from modelbroker.dialects.anthropic_messages import AnthropicMessages
from modelbroker.dialects.blobs import tagged
from modelbroker.dialects.conversation import Blob, Reasoning, Text, ToolCall, Upstream
from modelbroker.dialects.replies import Choice, Reply, Stop
from modelbroker.dialects.translation import CannotCarry, Context
from support.dialects import Recorded, cuts_of, parameters

DIALECT = AnthropicMessages()
CHAT, COUNT = DIALECT.surfaces
SIGNATURE, REDACTED = "anthropic-messages.signature", "anthropic-messages.redacted_thinking"
HOUSE = Upstream("house", "anthropic-messages", "claude-sonnet-4-5")
VERTEX = Upstream("v", "anthropic-messages", "claude@1", variant="vertex", project="p", region="r")
BEDROCK = Upstream("b", "anthropic-messages", "claude-v1:0", variant="bedrock")
HI = {"role": "user", "content": "hi"}
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
DONE = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}
OURS = [
    row
    for row in parameters(streamed=None, good=None)
    if row.values[0] is None or row.values[0].dialect == DIALECT.name
]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "pool", "max_tokens": 10, "messages": [HI], **fields}).encode()


def of_assistant(*blocks: Any) -> list[Any]:
    return [HI, {"role": "assistant", "content": list(blocks)}, DONE]


def thinking(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": signature}


def redacted(data: str) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


def rebound(upstream: Upstream = HOUSE, **fields: Any) -> Any:
    return json.loads(DIALECT.rebind(body(**fields), upstream).body)


# -- what the front reads


def test_tools_that_run_at_the_provider_are_told_from_those_that_it_only_defines() -> None:
    for kind in ("web_search_20250305", "web_fetch_20250910", "code_execution_20250825", "mcp_toolset"):
        assert DIALECT.read(body(tools=[{"name": "f"}, {"type": kind}])).hosted_tools, kind
    assert DIALECT.read(body(mcp_servers=[{"type": "url", "url": "https://x", "name": "x"}])).hosted_tools
    # Hosts of Claude have the search for tools.
    for kind in ("bash_20250124", "computer_20251124", "memory_20250818", "tool_search_tool_regex_20251119"):
        facts = DIALECT.read(body(tools=[{"type": kind, "name": "f"}]))
        assert facts.same_dialect == "tools[0].type" and not facts.hosted_tools, kind
    assert not DIALECT.read(body(tools=[{"name": "web_search"}], mcp_servers=[])).hosted_tools


def test_what_the_provider_is_to_fetch_is_told_from_what_is_there() -> None:
    def urls(*content: Any) -> tuple[bool, bool]:
        facts = DIALECT.read(body(messages=[{"role": "user", "content": list(content)}]))
        return facts.image_urls, facts.document_urls

    url = {"type": "url", "url": "https://x.test/a"}
    text = {"type": "text", "media_type": "text/plain", "data": 'see "url": https://x.test/a'}
    data = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    assert urls({"type": "image", "source": url}) == (True, False)
    assert urls({"type": "document", "source": url}) == (False, True)
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": url}]}
    assert urls(result) == (True, False)
    assert urls({"type": "image", "source": data}, {"type": "document", "source": text}) == (False, False)
    assert urls({"type": "text", "text": "https://x.test/a"}) == (False, False)


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({}, ()),
        ({"container": "container_1@house"}, (("container", "container_1@house"),)),
        ({"container": {"id": "container_1", "skills": []}}, (("container", "container_1"),)),
        ({"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}, ()),
        (
            {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
            (("thread.previous_message_id", "msg_1"),),
        ),
        ({"thread": {"type": "create"}}, ()),
        (
            {"workspace_id": "w", "user_profile_id": "u"},
            (("user_profile_id", "u"), ("workspace_id", "w")),
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "file", "file_id": "file_1@house"}},
                            {"type": "container_upload", "file_id": "file_2"},
                        ],
                    }
                ]
            },
            (
                ("messages[0].content[0].source.file_id", "file_1@house"),
                ("messages[0].content[1].file_id", "file_2"),
            ),
        ),
    ],
)
def test_ids_of_accounts(fields: Any, ids: Any) -> None:
    facts = DIALECT.read(body(**fields))
    assert facts.ids == ids
    assert facts.files == bool(ids)
    assert facts.marked == any("@" in ident for _, ident in ids)


@pytest.mark.parametrize(
    ("blocks", "marked"),
    [
        ([thinking("EqQB"), redacted("Eq"), CALL], False),
        ([{"type": "text", "text": '"mb1:'}, CALL], False),
        ([thinking("mb1:::"), CALL], True),
        ([redacted("mb1:a:b:c"), CALL], True),
        (
            [{"type": "text", "text": "a", "citations": [{"encrypted_index": "mb1::citation:"}]}],
            True,
        ),
    ],
)
def test_tags(blocks: Any, marked: bool) -> None:
    assert DIALECT.read(body(messages=of_assistant(*blocks))).marked is marked


@pytest.mark.parametrize(
    ("fields", "binds"),
    [
        ({}, False),
        ({"tools": [{"name": "f", "input_schema": {}}]}, False),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, False),
        ({"tools": [{"type": "code_execution_20260120", "name": "code_execution"}]}, True),
        ({"container": "container_1"}, True),
        ({"thread": {"type": "create"}}, True),
    ],
)
def test_replies_that_only_their_account_can_use_again(fields: Any, binds: bool) -> None:
    assert DIALECT.read(body(**fields)).binds is binds


def test_images_and_documents_are_found_wherever_they_are() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 9000}}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image], "toolset_name": None}
    assert DIALECT.read(body(messages=[{"role": "user", "content": [result]}])).images
    facts = DIALECT.read(body(messages=[{"role": "user", "content": [document]}]))
    assert (facts.images, facts.documents, facts.same_dialect) == (False, True, "")


@pytest.mark.parametrize("messages", [5, {}, [5], [{"content": 5}], [{"content": [{"type": 5}]}]])
def test_odd_messages_are_routed_all_the_same(messages: Any) -> None:
    facts = DIALECT.read(body(messages=messages))
    assert (facts.model, facts.same_dialect, facts.ids) == ("pool", "", ())


# -- what a member gets


@pytest.mark.parametrize("row", OURS)
def test_only_the_model_changes_where_nothing_is_marked(row: Recorded) -> None:
    sent = json.loads(DIALECT.rebind(row.request_body, HOUSE).body)
    assert sent == {**row.request, "model": HOUSE.model}
    assert list(sent) == list(row.request)


def test_spelling_stays() -> None:
    raw = b'{"b":1.0,"model":"pool","a":1e5,"messages":[{"role":"user","content":"\\u00e4"}]}'
    expected = raw.replace(b'"pool"', b'"claude-sonnet-4-5"')
    assert DIALECT.rebind(raw, HOUSE).body == expected


@pytest.mark.parametrize(
    ("block", "sent"),
    [
        (thinking("EqQB"), thinking("EqQB")),
        (thinking(tagged(Blob("house", SIGNATURE, "EqQB"))), thinking("EqQB")),
        (thinking(tagged(Blob("other", SIGNATURE, "EqQB"))), None),
        (thinking(tagged(Blob("house", "bedrock-converse.signature", "EqQB"))), None),
        (thinking("mb1:::"), None),
        (redacted("Eq"), redacted("Eq")),
        (redacted(tagged(Blob("house", REDACTED, "Eq"))), redacted("Eq")),
        (redacted(tagged(Blob("house", SIGNATURE, "Eq"))), None),
        (redacted("mb1:house:anthropic-messages.redacted_thinking<:Eq"), None),
        (redacted("mb1:google:gemini.thoughtSignature<:Eq"), None),
    ],
)
def test_blobs_go_back_to_their_issuer_alone(block: Any, sent: Any) -> None:
    found = rebound(messages=of_assistant(block, CALL), note="mb1:")
    assert found["messages"] == of_assistant(*([sent] if sent else []), CALL)


def test_what_the_broker_wrote_for_others_is_taken_out() -> None:
    cited = {"type": "text", "text": "a", "citations": [{"encrypted_index": "mb1::citation:"}]}
    both = {"type": "text", "text": "b", "citations": [*cited["citations"], {"encrypted_index": "E"}]}
    empty = {"type": "text", "text": ""}
    alone = {"role": "assistant", "content": [thinking("mb1:::")]}
    found = rebound(messages=[*of_assistant(cited, both, empty, CALL), alone])
    assert found["messages"] == of_assistant(
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "citations": [{"encrypted_index": "E"}]},
        CALL,
    )


@pytest.mark.parametrize(
    ("signature", "given", "sent"),
    [
        ("EqQB", {"type": "enabled", "budget_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}),
        ("mb1:other:a:b", {"type": "enabled", "budget_tokens": 2000}, {"type": "disabled"}),
        ("mb1:other:a:b", {"type": "adaptive"}, {"type": "adaptive"}),
        ("mb1:other:a:b", None, None),
    ],
)
def test_a_tool_loop_that_another_began_goes_on_without_thinking(
    signature: str, given: Any, sent: Any
) -> None:
    fields = {"thinking": given} if given else {}
    assert rebound(messages=of_assistant(thinking(signature), CALL), **fields).get("thinking") == sent
    # With the next question it thinks again.
    messages = [*of_assistant(thinking(signature), CALL), {"role": "assistant", "content": "so"}, HI]
    assert rebound(messages=messages, **fields).get("thinking") == given


def test_ids_lose_the_name_of_their_account() -> None:
    found = rebound(
        container={"id": "container_1@house", "skills": []},
        thread={"type": "continue", "previous_message_id": "msg_1@house"},
        workspace_id="w@house",
        metadata={"user_id": "a@b.c"},
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "mail a@b.c"},
                    {
                        "type": "document",
                        "title": "a@b",
                        "source": {"type": "file", "file_id": "file_1@house"},
                    },
                ],
            }
        ],
    )
    assert found["container"]["id"] == "container_1"
    assert found["thread"]["previous_message_id"] == "msg_1"
    assert (found["workspace_id"], found["metadata"]["user_id"]) == ("w", "a@b.c")
    text, document = found["messages"][0]["content"]
    assert text["text"] == "mail a@b.c"
    assert (document["title"], document["source"]["file_id"]) == ("a@b", "file_1")
    assert rebound(container="container_1@house")["container"] == "container_1"


def test_variants() -> None:
    sent = rebound(VERTEX, stream=True)
    assert sent == {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 10,
        "messages": [HI],
        "stream": True,
    }
    sent = json.loads(DIALECT.rebind(body(stream=True), BEDROCK, ("a", "b")).body)
    assert sent == {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["a", "b"],
        "max_tokens": 10,
        "messages": [HI],
    }
    newer = msgspec.structs.replace(BEDROCK, api_version="2026-10-21")
    assert rebound(newer)["anthropic_version"] == "2026-10-21"
    # A count names its model in the body.
    count = json.dumps({"model": "pool", "messages": [HI]}).encode()
    assert json.loads(DIALECT.rebind(count, VERTEX).body)["model"] == "claude@1"


@pytest.mark.parametrize(
    ("upstream", "surface", "stream", "path"),
    [
        (HOUSE, CHAT, True, "/v1/messages"),
        (HOUSE, COUNT, False, "/v1/messages/count_tokens"),
        (VERTEX, CHAT, False, "/projects/p/locations/r/publishers/anthropic/models/claude@1:rawPredict"),
        (VERTEX, CHAT, True, "/projects/p/locations/r/publishers/anthropic/models/claude@1:streamRawPredict"),
        (VERTEX, COUNT, False, "/projects/p/locations/r/publishers/anthropic/models/count-tokens:rawPredict"),
        (BEDROCK, CHAT, False, "/model/claude-v1:0/invoke"),
        (BEDROCK, CHAT, True, "/model/claude-v1:0/invoke-with-response-stream"),
    ],
)
def test_paths(upstream: Upstream, surface: Surface, stream: bool, path: str) -> None:
    assert DIALECT.same_dialect_path(upstream, surface, stream) == path


def test_bedrock_counts_in_its_own_words_only() -> None:
    with pytest.raises(CannotCarry):
        DIALECT.same_dialect_path(BEDROCK, COUNT, False)


@pytest.mark.parametrize("odd", [b"", b"[]", b"{"])
def test_odd_bodies(odd: bytes) -> None:
    with pytest.raises(BadRequest):
        DIALECT.rebind(odd, HOUSE)


def test_a_translated_reply_can_go_on_at_anthropic() -> None:
    """What another provider's model said, as the client sends it back, is what Anthropic takes."""
    foreign = Blob("openai", "openai-responses.encrypted_content", "rs:gA")
    parts = (
        Reasoning("hm", foreign),
        Reasoning("", foreign, hidden=True),
        Reasoning("so"),
        Text("", blob=Blob("google", "gemini.thoughtSignature", "s")),
        ToolCall("t", "f", "{}", Blob("google", "gemini.thoughtSignature", "s")),
    )
    reply = Reply("r", "m", (Choice(parts, Stop.TOOL_CALLS),))
    content = json.loads(DIALECT.encode_reply(reply, Context("0" * 32, 0, "m")))["content"]
    found = rebound(messages=[HI, {"role": "assistant", "content": content}, DONE])
    assert found["messages"] == of_assistant(CALL)


# -- replies that name their account


FILE = {"type": "code_execution_output", "file_id": "file_1"}
EXECUTED = {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {"content": [FILE]}}


def test_a_whole_reply_names_its_account() -> None:
    reply = {
        "id": "msg_1",
        "content": [{"type": "text", "text": "a"}, EXECUTED],
        "container": {"id": "container_1", "expires_at": "2026-01-01T00:00:00Z"},
        "usage": {"input_tokens": 1},
    }
    owned = json.loads(DIALECT.owned_reply(json.dumps(reply).encode(), "house"))
    assert (owned["id"], owned["container"]["id"]) == ("msg_1@house", "container_1@house")
    assert owned["content"][1]["content"]["content"][0]["file_id"] == "file_1@house"
    assert owned["usage"] == reply["usage"] and owned["content"][0] == reply["content"][0]
    with pytest.raises(ValueError, match="no message"):
        DIALECT.owned_reply(b"[]", "house")


def test_what_a_model_says_to_tools_is_not_the_accounts() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"file_id": "x", "container": {"id": "y"}}}
    cited = {"type": "text", "text": "a", "citations": [{"type": "char_location", "file_id": "file_1"}]}
    owned = json.loads(DIALECT.owned_reply(json.dumps({"content": [use, cited]}).encode(), "house"))
    assert owned["content"] == [use, cited]
    assert DIALECT.owned_reply(b'{"input_tokens":3}', "house") == b'{"input_tokens":3}'


def test_thinking_names_its_issuer_and_goes_back_as_it_came() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "EqQB/+=="},
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "redacted_thinking", "data": "AbC"},
    ]
    reply = json.dumps({"content": blocks}).encode()
    owned = json.loads(DIALECT.owned_reply(reply, HOUSE.provider))["content"]
    assert owned[0]["signature"] == f"mb1:{HOUSE.provider}:anthropic-messages.signature:EqQB/+=="
    assert owned[1] == blocks[1] and owned[2]["data"].startswith(f"mb1:{HOUSE.provider}:")
    assert rebound(messages=of_assistant(*owned, CALL))["messages"] == of_assistant(*blocks, CALL)
    elsewhere = json.loads(DIALECT.owned_reply(reply, "elsewhere"))["content"]
    assert rebound(messages=of_assistant(*elsewhere, CALL))["messages"] == of_assistant(blocks[1], CALL)


@pytest.mark.parametrize(("owner", "sent"), [("@house", "msg_1"), ("", "msg_1"), ("@other", None)])
def test_a_message_to_compare_with_is_one_of_the_same_account(owner: str, sent: str | None) -> None:
    raw = body(diagnostics={"previous_message_id": f"msg_1{owner}"})
    assert DIALECT.read(raw).marked == bool(owner) and DIALECT.read(raw).ids == ()
    assert json.loads(DIALECT.rebind(raw, HOUSE).body)["diagnostics"] == {"previous_message_id": sent}


def test_files_of_a_tools_result_lead_to_their_account_if_they_say_which() -> None:
    for owner in ("", "@house"):
        file = {"type": "code_execution_output", "file_id": f"file_1{owner}"}
        result = {**EXECUTED, "content": {"stdout": "a@b", "content": [file]}}
        raw = body(messages=[{"role": "assistant", "content": [result]}])
        at = "messages[0].content[0].content.file_id"
        assert DIALECT.read(raw).ids == (((at, "file_1@house"),) if owner else ())
        (back,) = json.loads(DIALECT.rebind(raw, HOUSE).body)["messages"][0]["content"]
        assert back["content"] == {"stdout": "a@b", "content": [{**file, "file_id": "file_1"}]}


def test_a_stream_names_its_account() -> None:
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "content": [], "container": None}},
        {"type": "content_block_start", "index": 0, "content_block": EXECUTED},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "é"}},
        {"type": "message_delta", "delta": {"container": {"id": "container_1"}}, "usage": {}},
    ]
    stream = b"".join(
        b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events
    )  # type: ignore[attr-defined]
    whole = _filtered(stream, [])
    found = [json.loads(line[6:]) for line in whole.split(b"\n") if line.startswith(b"data: ")]
    assert found[0]["message"]["id"] == "msg_1@house"
    assert found[1]["content_block"]["content"]["content"][0]["file_id"] == "file_1@house"
    assert found[2] == events[2]
    assert found[3]["delta"]["container"]["id"] == "container_1@house"
    for cut in cuts_of(stream):
        assert _filtered(stream, [cut]) == whole


def _filtered(stream: bytes, cuts: list[int]) -> bytes:
    owned = DIALECT.owned_stream("house")
    places = [0, *cuts, len(stream)]
    return b"".join(owned.feed(stream[a:b]) for a, b in pairwise(places)) + owned.end()
