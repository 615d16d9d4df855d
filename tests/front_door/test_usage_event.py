"""The usage event of a chat stream: the broker asks for it, and a client that did not does not see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.records import lines_of
from support.simulators import Simulators
from support.waiting import wait_until

ASK: list[Any] = [{"role": "user", "content": "Hello ❄"}]
# What another provider said, as a client sends it back: with the broker's tag, which no provider may see.
TAG = "mb1:other:openai-chat.reasoning_details:c2VjcmV0"
TAGGED: list[Any] = [
    {"role": "user", "content": "Think."},
    {
        "role": "assistant",
        "content": "I did.",
        "reasoning_details": [{"type": "reasoning.encrypted", "data": TAG, "index": 0}],
    },
    *ASK,
]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("house", "old", "claude") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    old = provider("old", sims["old"].port, "openai-chat", "/v1") | {"deviations": {"stream_usage": False}}
    config = {
        "providers": [
            provider("house", sims["house"].port, "openai-chat", "/v1"),
            provider("branch", sims["house"].port, "openai-chat", "/v1"),
            provider("claude", sims["claude"].port, "anthropic-messages"),
            old,
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "strip", "members": [{"provider": "house", "model": "m"}]},
            {"name": "pass", "usage_event": "pass", "members": [{"provider": "house", "model": "m"}]},
            {"name": "old", "members": [{"provider": "old", "model": "m"}]},
            {"name": "accounts", "members": [{"provider": n, "model": "m"} for n in ("house", "branch")]},
            {"name": "claude", "members": [{"provider": "claude", "model": "claude-sonnet-4-5"}]},
            {
                "name": "claude-pass",
                "usage_event": "pass",
                "members": [{"provider": "claude", "model": "claude-sonnet-4-5"}],
            },
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def chunks(broker: Broker, pool: str, messages: list[Any] = ASK, **more: Any) -> list[Any]:
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        return list(sdk.chat.completions.create(model=pool, messages=messages, stream=True, **more))


def said(got: list[Any]) -> str:
    """In writing, or aloud."""
    deltas = [chunk.choices[0].delta.model_dump() for chunk in got if chunk.choices]
    return "".join(d.get("content") or (d.get("audio") or {}).get("transcript") or "" for d in deltas)


def asked(sims: Simulators, name: str = "house") -> Any:
    (call,) = sims[name].settled_calls()
    return json.loads(call["body"]).get("stream_options")


# Calls that pass through Envoy alone, those whose tags Python takes off, and those whose ids it has to name.
WAYS: dict[str, dict[str, Any]] = {
    "passing": {"pool": "strip"},
    "tagged": {"pool": "strip", "messages": TAGGED},
    "owned": {
        "pool": "accounts",
        "modalities": ["text", "audio"],
        "audio": {"voice": "ash", "format": "wav"},
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_nobody_who_did_not_ask_sees_it(broker: Broker, sims: Simulators, way: str) -> None:
    got = chunks(broker, **WAYS[way])
    assert all(chunk.choices for chunk in got) and not any(chunk.usage for chunk in got)
    assert said(got).endswith("Hello ❄") and got[-1].choices[0].finish_reason == "stop"
    assert asked(sims) == {"include_usage": True}
    (call,) = sims["house"].settled_calls()
    assert "mb1:" not in call["body"]


@pytest.mark.parametrize("way", WAYS)
def test_who_asks_sees_it(broker: Broker, sims: Simulators, way: str) -> None:
    got = chunks(broker, **WAYS[way], stream_options={"include_usage": True})
    assert got[-1].usage.total_tokens > 0 and got[-1].choices == []
    assert asked(sims) == {"include_usage": True}


@pytest.mark.parametrize("way", WAYS)
def test_nobody_hides_usage_from_the_record(broker: Broker, sims: Simulators, way: str) -> None:
    """Who wants no usage event gets none, and its call is paid for all the same."""
    options = {"include_usage": False, "include_obfuscation": False}
    got = chunks(broker, **WAYS[way], stream_options=options)
    assert all(chunk.choices for chunk in got) and not any(chunk.usage for chunk in got)
    assert asked(sims) == {**options, "include_usage": True}
    wait_until(lambda: lines_of(broker, '"usage_state":"exact"') == lines_of(broker))


def test_who_wants_none_gets_none_whatever_its_pool_passes(broker: Broker, sims: Simulators) -> None:
    assert not any(chunk.usage for chunk in chunks(broker, "pass", stream_options={"include_usage": False}))
    sims.reset()
    assert any(chunk.usage for chunk in chunks(broker, "pass", stream_options=None))
    assert asked(sims) == {"include_usage": True}


@pytest.mark.parametrize("messages", [ASK, TAGGED], ids=["passing", "tagged"])
def test_a_pool_may_pass_it(broker: Broker, sims: Simulators, messages: list[Any]) -> None:
    got = chunks(broker, "pass", messages)
    assert got[-1].usage.total_tokens > 0
    assert asked(sims) == {"include_usage": True}


@pytest.mark.parametrize("messages", [ASK, TAGGED], ids=["passing", "tagged"])
def test_a_provider_that_does_not_know_it_is_not_asked(
    broker: Broker, sims: Simulators, messages: list[Any]
) -> None:
    assert not any(chunk.usage for chunk in chunks(broker, "old", messages))
    assert asked(sims, "old") is None


def test_a_provider_of_another_dialect_tells_it_always(broker: Broker) -> None:
    """And the client gets it as it would from one of its own dialect."""
    assert not any(chunk.usage for chunk in chunks(broker, "claude"))
    for pool, more in (("claude-pass", {}), ("claude", {"stream_options": {"include_usage": True}})):
        got = chunks(broker, pool, **more)
        assert got[-1].usage.total_tokens > 0 and got[-1].choices == []
    unasked = chunks(broker, "claude-pass", stream_options={"include_usage": False})
    assert not any(chunk.usage for chunk in unasked)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 7, 61])
def test_however_the_stream_is_cut_on_every_way(
    broker: Broker, sims: Simulators, way: str, size: int
) -> None:
    sims["house"].script(split_bytes=size)
    got = chunks(broker, **WAYS[way])
    assert all(chunk.choices for chunk in got) and said(got).endswith("Hello ❄")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 61, 250])
def test_however_the_stream_is_cut(broker: Broker, sims: Simulators, size: int) -> None:
    sims["house"].script(split_bytes=size)
    (got,) = make(broker.url, [Ask("strip", stream=True)])
    assert got.is_whole and got.text.endswith(got.ask.question), str(got)
    assert b'"choices":[]' not in got.body
    (passed,) = make(broker.url, [Ask("pass", stream=True)])
    events = [event for event in passed.body.split(b"\n\n") if b'"choices":[]' not in event]
    assert len(got.body.split(b"\n\n")) == len(events)
