"""A member's call through Python: what the provider gets, and what is said of what it does not get."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects import Upstream
from modelbroker.exchange import Inbound, MemberCall, NotSent, Send, Spoken
from modelbroker.exchange.member_call import Mode, shown

BEDROCK = Upstream("amazon", "", "anthropic.claude-sonnet-4-5-20250929-v1:0", variant="bedrock")
VERTEX = Upstream("google", "", "claude-sonnet-4-5", variant="vertex", project="p", region="r")
HOUSE = Upstream("house", "", "claude-sonnet-4-5")
HI = [{"role": "user", "content": "Hi"}]


def sent(
    upstream: Upstream,
    dialect: str,
    surface: str,
    suffix: str,
    body: Any,
    headers: Any = (),
    stream: str = "",
) -> tuple[Mode, Send]:
    told = [("x-broker-surface", surface), ("x-broker-suffix", suffix), ("x-broker-stream", stream), *headers]
    call = MemberCall(Spoken((dialect,), upstream), 1)
    mode = call.on_request_headers(Inbound(told))
    outcome = call.on_request_body(json.dumps(body).encode())
    assert not isinstance(outcome, NotSent), outcome.body
    return mode, outcome


def messages(upstream: Upstream, query: str = "", count: bool = False, **more: Any) -> tuple[Mode, Send]:
    surface = "anthropic-count-tokens" if count else "anthropic-messages"
    path = "/v1/messages/count_tokens" if count else "/v1/messages"
    body: dict[str, Any] = {"model": "pool", "messages": HI}
    if not count:
        body["max_tokens"] = 10
    return sent(upstream, "anthropic-messages", surface, path + query, body, **more)


def test_queries_pass_where_paths_are_the_dialects_own() -> None:
    assert dict(messages(HOUSE, "?beta=true")[1].headers)[":path"] == "/v1/messages?beta=true"
    assert dict(messages(BEDROCK, "?beta=true")[1].headers)[":path"].endswith("/invoke")
    assert dict(messages(VERTEX, "?beta=true")[1].headers)[":path"].endswith(":rawPredict")
    azure = Upstream("azure", "", "my gpt/5", variant="azure", api_version="2024-10-21")
    _, chat = sent(
        azure, "openai-chat", "openai-chat", "/chat/completions?a=b", {"model": "m", "messages": HI}
    )
    path = "/openai/deployments/my%20gpt%2F5/chat/completions?api-version=2024-10-21&a=b"
    assert dict(chat.headers)[":path"] == path
    undated = msgspec.structs.replace(azure, api_version="v1")
    _, chat = sent(undated, "openai-chat", "openai-chat", "/chat/completions", {"model": "m", "messages": HI})
    assert dict(chat.headers)[":path"] == "/openai/v1/chat/completions"


@pytest.mark.parametrize("upstream", [BEDROCK, VERTEX, HOUSE], ids=lambda upstream: upstream.provider)
def test_betas_of_the_same_dialect_are_not_lost(upstream: Upstream) -> None:
    betas = [("anthropic-beta", "one-2025-01-01, two-2025-01-01")]
    _, send = messages(upstream, headers=betas)
    in_body = json.loads(send.body).get("anthropic_beta")
    is_amazon = upstream is BEDROCK
    assert in_body == (["one-2025-01-01", "two-2025-01-01"] if is_amazon else None)
    assert ("anthropic-beta" in send.remove_headers) == is_amazon and send.dropped == ()


def test_betas_mean_nothing_to_others() -> None:
    gemini = Upstream("google", "", "gemini-2.5-flash")
    body = {"model": "pool", "messages": HI, "max_tokens": 10}
    betas = [("anthropic-beta", "one-2025-01-01")]
    _, send = sent(gemini, "gemini", "anthropic-messages", "/v1/messages", body, headers=betas)
    assert send.dropped == ("betas",) and "anthropic-beta" in send.remove_headers


def test_bedrock_counts_in_words_of_its_own() -> None:
    mode, send = messages(BEDROCK, count=True)
    assert mode is Mode.WHOLE and dict(send.headers)[":path"].endswith("/count-tokens")
    assert list(json.loads(send.body)) == ["input"]


def test_replies_of_hosts_are_looked_at() -> None:
    """Their errors are not of the dialect."""
    assert [messages(upstream)[0] for upstream in (HOUSE, VERTEX, BEDROCK)] == [
        Mode.LEAVE,
        Mode.WHOLE,
        Mode.WHOLE,
    ]


@given(st.lists(st.text(max_size=200) | st.just("tools.strict"), max_size=200))
def test_names_of_knobs_fit_into_a_header(names: list[str]) -> None:
    told = shown(names)
    line = ", ".join(told)
    assert len(line) <= 1_510 and all(32 < ord(letter) < 127 or letter == " " for letter in line)
    assert line.split(", ") == (list(told) or [""])
    if len(told) < len(names):
        assert told[-1] == f"+{len(names) - len(told) + 1}"
    else:
        assert [name for name in names if name == "tools.strict"] == [n for n in told if n == "tools.strict"]


def chat_at(upstream: Upstream, dialect: str, **fields: Any) -> Send | NotSent:
    """A chat client's call at a member that speaks `dialect`."""
    told = [("x-broker-surface", "openai-chat"), ("x-broker-suffix", "/chat/completions")]
    call = MemberCall(Spoken((dialect,), upstream), 1)
    call.on_request_headers(Inbound(told))
    return call.on_request_body(json.dumps({"model": "pool", "messages": HI, **fields}).encode())


@pytest.mark.parametrize(("reasons", "dropped"), [(None, ()), (True, ()), (False, ("reasoning_effort",))])
@pytest.mark.parametrize("dialect", ["openai-responses", "anthropic-messages", "gemini"])
def test_a_member_that_cannot_reason_is_not_asked_to(
    dialect: str, reasons: bool | None, dropped: tuple[str, ...]
) -> None:
    models = {
        "openai-responses": "gpt-5.1",
        "anthropic-messages": "claude-sonnet-4-5",
        "gemini": "gemini-2.5-pro",
    }
    upstream = Upstream("house", "", models[dialect], reasons=reasons)
    send = chat_at(upstream, dialect, reasoning_effort="low", max_completion_tokens=9000)
    assert isinstance(send, Send) and send.dropped == dropped
    asked = {"reasoning", "thinking", "output_config"} & set(json.loads(send.body))
    asked |= {"thinkingConfig"} & set(json.loads(send.body).get("generationConfig", {}))
    assert bool(asked) is (not dropped)


def test_a_knob_that_is_off_is_not_named() -> None:
    upstream = Upstream("house", "", "gpt-5.1", reasons=False)
    send = chat_at(upstream, "openai-responses", reasoning_effort="none")
    assert isinstance(send, Send) and send.dropped == ()


def test_a_mended_call_does_not_ask_either() -> None:
    upstream = Upstream("groq", "", "llama", deviations={"efforts": ("low",)}, reasons=False)
    send = chat_at(upstream, "openai-chat", reasoning_effort="low")
    assert isinstance(send, Send) and send.dropped == ("reasoning_effort",)
    assert "reasoning_effort" not in json.loads(send.body)


def test_what_cannot_be_carried_is_named_in_the_clients_words() -> None:
    """The message too."""
    image = {"type": "image", "source": {"type": "url", "url": "https://example.test/a.png"}}
    body = {"model": "pool", "max_tokens": 9, "messages": [{"role": "user", "content": ["x", image][1:]}]}
    amazon = Upstream("amazon", "", "anthropic.claude-sonnet-4-5-20250929-v1:0")
    told = [("x-broker-surface", "anthropic-messages"), ("x-broker-suffix", "/v1/messages")]
    call = MemberCall(Spoken(("bedrock-converse",), amazon), 1)
    call.on_request_headers(Inbound(told))
    refusal = call.on_request_body(json.dumps(body).encode())
    assert isinstance(refusal, NotSent)
    error = json.loads(refusal.body)["error"]
    assert error["param"].startswith("messages[0].content[0]")
    assert error["message"].startswith("messages[0].content[0]") and "parts" not in error["message"]


@pytest.mark.parametrize("dialect", ["anthropic-messages", "bedrock-converse", "gemini"])
def test_a_conversation_without_a_message_is_refused(dialect: str) -> None:
    refusal = chat_at(HOUSE, dialect, messages=[])
    assert isinstance(refusal, NotSent) and refusal.status == 400
    assert json.loads(refusal.body)["error"]["param"] == "messages"
    assert isinstance(chat_at(HOUSE, dialect, messages=[{"role": "system", "content": "Hi"}]), Send)
