"""The usage event of a chat stream: the broker asks for it, and a client that did not does not see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.simulators import Simulators

ASK: list[Any] = [{"role": "user", "content": "Hello ❄"}]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("house", "old") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    old = provider("old", sims["old"].port, "openai-chat", "/v1") | {"deviations": {"stream_usage": False}}
    config = {
        "providers": [provider("house", sims["house"].port, "openai-chat", "/v1"), old],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "strip", "members": [{"provider": "house", "model": "m"}]},
            {"name": "pass", "usage_event": "pass", "members": [{"provider": "house", "model": "m"}]},
            {"name": "old", "members": [{"provider": "old", "model": "m"}]},
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def chunks(broker: Broker, pool: str, **more: Any) -> list[Any]:
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        return list(sdk.chat.completions.create(model=pool, messages=ASK, stream=True, **more))


def asked(sims: Simulators, name: str = "house") -> Any:
    (call,) = sims[name].settled_calls()
    return json.loads(call["body"]).get("stream_options")


def test_nobody_who_did_not_ask_sees_it(broker: Broker, sims: Simulators) -> None:
    got = chunks(broker, "strip")
    assert all(chunk.choices for chunk in got) and not any(chunk.usage for chunk in got)
    assert "".join(c.choices[0].delta.content or "" for c in got).endswith("Hello ❄")
    assert asked(sims) == {"include_usage": True}


def test_who_asks_sees_it(broker: Broker, sims: Simulators) -> None:
    got = chunks(broker, "strip", stream_options={"include_usage": True})
    assert got[-1].usage.total_tokens > 0 and got[-1].choices == []
    assert asked(sims) == {"include_usage": True}


def test_who_says_otherwise_is_left_alone(broker: Broker, sims: Simulators) -> None:
    got = chunks(broker, "strip", stream_options={"include_usage": False})
    assert not any(chunk.usage for chunk in got)
    assert asked(sims) == {"include_usage": False}


def test_a_pool_may_pass_it(broker: Broker, sims: Simulators) -> None:
    got = chunks(broker, "pass")
    assert got[-1].usage.total_tokens > 0
    assert asked(sims) == {"include_usage": True}


def test_a_provider_that_does_not_know_it_is_not_asked(broker: Broker, sims: Simulators) -> None:
    assert not any(chunk.usage for chunk in chunks(broker, "old"))
    assert asked(sims, "old") is None


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 61, 250])
def test_however_the_stream_is_cut(broker: Broker, sims: Simulators, size: int) -> None:
    sims["house"].script(split_bytes=size)
    (got,) = make(broker.url, [Ask("strip", stream=True)])
    assert got.is_whole and got.text.endswith(got.ask.question), str(got)
    assert b'"choices":[]' not in got.body
    (passed,) = make(broker.url, [Ask("pass", stream=True)])
    events = [event for event in passed.body.split(b"\n\n") if b'"choices":[]' not in event]
    assert len(got.body.split(b"\n\n")) == len(events)
