"""What is read of a request at the front, and what is mended for a member that speaks the same dialect."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from modelbroker.dialects import client_dialect
from modelbroker.dialects.base import RequestFacts
from modelbroker.dialects.conversation import Upstream
from modelbroker.dialects.openai_chat.owned import owned_stream
from support.dialects import Recorded, parameters

DIALECT = client_dialect("openai-chat")
UPSTREAM = Upstream("house", "openai-chat", "own-model")
HI = {"role": "user", "content": "hi"}


def read(*messages: Any, **fields: Any) -> RequestFacts:
    return DIALECT.read(json.dumps({"model": "m", "messages": list(messages) or [HI], **fields}).encode())


def part(**fields: Any) -> Any:
    return {"role": "user", "content": [fields]}


AUDIO = part(type="input_audio", input_audio={"data": "AA==", "format": "wav"})
FILE = part(type="file", file={"file_id": "file-1"})
NO_URLS = {"image_urls": False, "document_urls": False}
URL_IMAGE = {**NO_URLS, "images": True, "image_urls": True}
INLINE_IMAGE = {**NO_URLS, "images": True}
URL_DOCUMENT = {**NO_URLS, "documents": True, "document_urls": True}
INLINE_DOCUMENT = {**NO_URLS, "documents": True}
FACTS: list[tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ((), {}, {"audio": False, "choices": 1, "same_dialect": "", "ids": (), "marked": False, "binds": False}),
    ((AUDIO,), {}, {"audio": True, "same_dialect": ""}),
    ((), {"n": 3}, {"choices": 3}),
    ((), {"store": True}, {"same_dialect": "store", "stateful": True}),
    ((), {"store": False}, {"same_dialect": "", "stateful": False}),
    ((), {"web_search_options": {"search_context_size": "low"}}, {"same_dialect": "web_search_options"}),
    ((), {"moderation": {"model": "m"}}, {"same_dialect": "moderation"}),
    ((), {"modalities": ["text", "audio"]}, {"same_dialect": "modalities", "binds": True}),
    ((), {"modalities": ["text"]}, {"same_dialect": "", "binds": False}),
    ((), {"audio": {"voice": "a", "format": "wav"}}, {"same_dialect": "audio", "binds": True}),
    ((), {"tools": [{"type": "openrouter:web_search"}]}, {"same_dialect": "tools[0]"}),
    (
        (),
        {"tools": [{"type": "function"}, {"type": "custom", "custom": {"format": {"type": "grammar"}}}]},
        {"same_dialect": "tools[1]"},
    ),
    ((), {"tools": [{"type": "custom", "custom": {"name": "sh"}}]}, {"same_dialect": "", "tools": True}),
    ((), {"tools": [{"type": "function", "function": {"name": '"grammar"'}}]}, {"same_dialect": ""}),
    (
        (HI, FILE),
        {},
        {
            "documents": True,
            "same_dialect": "messages[1].content[0].file.file_id",
            "ids": (("messages[1].content[0].file.file_id", "file-1"),),
            "marked": False,
        },
    ),
    ((part(type="file", file={"file_id": "file-1@house"}),), {}, {"marked": True}),
    (
        ({"role": "assistant", "audio": {"id": "audio_1"}},),
        {},
        {"same_dialect": "messages[0].audio", "ids": (("messages[0].audio.id", "audio_1"),)},
    ),
    ((part(type="video_url", video_url={}),), {}, {"same_dialect": "messages[0].content[0].type"}),
    ((part(type="hologram"),), {}, {"same_dialect": "messages[0].content[0].type"}),
    (
        (part(type="document_url", document_url="https://x/a.pdf"),),
        {},
        {"same_dialect": "", "documents": True},
    ),
    (({"role": "user", "content": "mb1: look"},), {}, {"marked": True}),
    (({"role": "user", "content": '"file" image_url"'},), {}, {"documents": False, "images": False}),
    ((), {"stream": True}, {"adds_usage": True}),
    ((), {"stream": True, "stream_options": {"include_usage": True}}, {"adds_usage": False}),
    ((), {}, {"adds_usage": False}),
    (
        (),
        {"stream": True, "stream_options": None},
        {"adds_usage": True, "hides_usage": False, "marked": True},
    ),
    ((), {"stream": True, "stream_options": {}}, {"adds_usage": False, "hides_usage": True, "marked": True}),
    ((), {"stream_options": {}}, {"adds_usage": False, "hides_usage": False, "marked": False}),
    ((), {"reasoning": {"effort": "low"}}, {"reasoning": True}),
    ((), {"reasoning": {"enabled": False}}, {"reasoning": False}),
    ((), {"reasoning": {"effort": "none"}}, {"reasoning": False}),
    # Tools that run at the provider.
    ((), {"tools": [{"type": "openrouter:web_search"}]}, {"hosted_tools": True}),
    ((), {"web_search_options": {}}, {"hosted_tools": True, "tools": False}),
    ((), {"web_search_options": {}, "tools": [{"type": "function"}]}, {"hosted_tools": True}),
    ((), {"web_search_options": None, "store": True}, {"hosted_tools": False}),
    ((), {"tools": [{"type": "custom", "custom": {"format": {"type": "grammar"}}}]}, {"hosted_tools": False}),
    # Things at an account.
    ((FILE,), {}, {"files": True}),
    (({"role": "assistant", "audio": {"id": "audio_1"}},), {}, {"files": True}),
    ((AUDIO,), {"store": True}, {"files": False}),
    # What the provider is to fetch.
    ((part(type="image_url", image_url={"detail": "low", "url": "https://x/a"}),), {}, URL_IMAGE),
    ((part(type="image_url", image_url="http://x/a"),), {}, URL_IMAGE),
    ((part(type="image_url", image_url={"url": "data:image/png;base64,AA"}),), {}, INLINE_IMAGE),
    ((part(type="image_url", image_url={"url": "s3://bucket/a.png"}),), {}, INLINE_IMAGE),
    ((part(type="image_url"),), {}, INLINE_IMAGE),
    ((part(type="text", text='"https://x/a"'), {"role": "user", "content": "https://x"}), {}, NO_URLS),
    ((part(type="document_url", document_url="https://x/a.pdf"),), {}, URL_DOCUMENT),
    ((part(type="file", file={"filename": "http.pdf", "file_data": "https://x/a.pdf"}),), {}, URL_DOCUMENT),
    ((part(type="document_url", document_url="data:application/pdf;base64,AA"),), {}, INLINE_DOCUMENT),
    ((part(type="file", file={"filename": "http.pdf", "file_data": "data:x"}),), {}, INLINE_DOCUMENT),
]


@pytest.mark.parametrize(("messages", "fields", "facts"), FACTS)
def test_facts(messages: tuple[Any, ...], fields: dict[str, Any], facts: dict[str, Any]) -> None:
    found = read(*messages, **fields)
    assert {name: getattr(found, name) for name in facts} == facts


@pytest.mark.parametrize("tools", [5, "x", {}, [5], [{"type": 5}], [{"custom": '"grammar"'}]])
def test_odd_tools_are_nobodys_facts(tools: Any) -> None:
    assert read(tools=tools).same_dialect in ("", "tools[0]")


# -- mended for a member of the same dialect


def rebound(*messages: Any, upstream: Upstream = UPSTREAM, **fields: Any) -> Any:
    body = {"model": "pool", "messages": list(messages), **fields}
    return json.loads(DIALECT.rebind(json.dumps(body).encode(), upstream).body)


@pytest.mark.parametrize("row", parameters(streamed=None, good=None, client=True))
def test_of_a_request_without_tags_only_the_model_changes(row: Recorded) -> None:
    """And a stream is asked for its usage, as in calls that pass, if its client does not say."""
    if row.dialect == DIALECT.name:
        mended = json.loads(DIALECT.rebind(row.request_body, UPSTREAM).body)
        asks = row.request.get("stream") is True and "stream_options" not in row.request
        wanted = {**row.request, "model": "own-model"}
        if asks:
            wanted["stream_options"] = {"include_usage": True}
        assert mended == wanted and list(mended) == list(wanted)


def test_of_usage_only_providers_are_asked_that_know_it() -> None:
    assert rebound(stream=True)["stream_options"] == {"include_usage": True}
    assert rebound(stream=True, stream_options=None)["stream_options"] == {"include_usage": True}
    said = {"include_usage": False, "include_obfuscation": True}
    assert rebound(stream=True, stream_options=said)["stream_options"] == {**said, "include_usage": True}
    assert rebound(stream=True, stream_options=[1])["stream_options"] == [1]
    assert "stream_options" not in rebound(stream=False) and "stream_options" not in rebound()
    old = msgspec.structs.replace(UPSTREAM, deviations={"stream_usage": False})
    assert "stream_options" not in rebound(stream=True, upstream=old)


ENTRY = {"type": "reasoning.text", "signature": "S", "format": "anthropic-claude-v1", "index": 0}
DETAILS = "openai-chat.reasoning_details"


def told(issuer: str, kind: str, data: str) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": "hm", "signature": f"mb1:{issuer}:{kind}:{data}", "index": 0}


def test_own_reasoning_goes_back_as_its_provider_gave_it() -> None:
    message = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "hm",
        "reasoning_details": [told("house", DETAILS, json.dumps(ENTRY)), told("other", DETAILS, "{}")],
    }
    assert rebound(message)["messages"] == [
        {"role": "assistant", "content": "a", "reasoning_details": [{**ENTRY, "text": "hm"}]}
    ]


def test_foreign_reasoning_is_left_out_words_and_all() -> None:
    foreign = told("claude", "anthropic-messages.signature", "SIG")
    message = {"role": "assistant", "content": "a", "reasoning_content": "hm", "reasoning_details": [foreign]}
    assert rebound(message)["messages"] == [{"role": "assistant", "content": "a"}]


def test_plain_reasoning_goes_back_to_who_wants_it() -> None:
    upstream = Upstream("house", "openai-chat", "m", deviations={"reasoning_field": "reasoning_content"})
    details = [told("house", "openai-chat.reasoning_content", "")]
    message = {"role": "assistant", "reasoning_content": "hm", "reasoning_details": details}
    assert rebound(message, upstream=upstream)["messages"] == [
        {"role": "assistant", "reasoning_content": "hm"}
    ]


def test_untagged_reasoning_stays() -> None:
    message = {"role": "assistant", "reasoning": "hm", "reasoning_details": [{**ENTRY, "text": "hm"}]}
    assert rebound(message)["messages"] == [message]


def test_signatures_of_calls() -> None:
    def call(signature: str) -> Any:
        extra = {"google": {"thought_signature": signature}}
        return {"id": "c", "type": "function", "function": {"name": "f"}, "extra_content": extra}

    own, foreign, plain = (
        call("mb1:house:openai-chat.thought_signature:T"),
        call("mb1:gemini:gemini.thoughtSignature:T"),
        call("T"),
    )
    message = {"role": "assistant", "tool_calls": [own, foreign, plain]}
    calls = rebound(message)["messages"][0]["tool_calls"]
    assert [each.get("extra_content") for each in calls] == [
        {"google": {"thought_signature": "T"}},
        None,
        {"google": {"thought_signature": "T"}},
    ]


def test_ids_lose_their_owner() -> None:
    audio = {"role": "assistant", "audio": {"id": "audio_1@house"}}
    mended = rebound(part(type="file", file={"file_id": "file-1@house"}), audio)
    assert mended["messages"][0]["content"][0]["file"]["file_id"] == "file-1"
    assert mended["messages"][1]["audio"]["id"] == "audio_1"


@pytest.mark.parametrize(
    "messages", [5, [5], [{"content": [5]}], [{"reasoning_details": [5]}], [{"tool_calls": [5, {}]}]]
)
def test_odd_requests_are_the_providers_to_judge(messages: Any) -> None:
    body = json.dumps({"model": "pool", "messages": messages}).encode()
    assert json.loads(DIALECT.rebind(body, UPSTREAM).body) == {"model": "own-model", "messages": messages}


def test_paths_of_azure() -> None:
    azure = Upstream("az", "openai-chat", "dep", variant="azure", api_version="v")
    path = DIALECT.same_dialect_path(azure, DIALECT.surfaces[0], True)
    assert path == "/openai/deployments/dep/chat/completions?api-version=v"
    assert DIALECT.same_dialect_path(UPSTREAM, DIALECT.surfaces[0], False) == "/chat/completions"


# -- replies whose ids name their account


def spoken(holder: str, ident: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, holder: {"role": "assistant", "audio": {"id": ident, "data": "AA=="}}}]}


def test_a_spoken_reply() -> None:
    body = json.dumps(spoken("message", "audio_1")).encode()
    assert json.loads(DIALECT.owned_reply(body, "house")) == spoken("message", "audio_1@house")
    plain = b'{ "choices": [{"message": {"content": "audio"}}] }'
    assert DIALECT.owned_reply(plain, "house") is plain
    with pytest.raises(ValueError, match="no JSON object"):
        DIALECT.owned_reply(b"<html>", "house")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_spoken_stream_wherever_it_is_cut(end: bytes) -> None:
    lines = [
        b": ping",
        b'data: {"choices": [ ]}',
        b"data: " + json.dumps(spoken("delta", "audio_1")).encode(),
        b'data: {"choices":[{"delta":{"audio":{"data":"AA=="}}}]}',
        b"data: [DONE]",
    ]
    raw = b"".join(line + end + end for line in lines)
    expected = owned_stream("house").feed(raw)
    events = expected.split(end + end)
    assert json.loads(events[2].removeprefix(b"data: ")) == spoken("delta", "audio_1@house")
    assert [event for n, event in enumerate(events) if n != 2] == [*lines[:2], *lines[3:], b""]
    for cut in range(len(raw)):
        stream = DIALECT.owned_stream("house")
        assert stream.feed(raw[:cut]) + stream.feed(raw[cut:]) + stream.end() == expected
