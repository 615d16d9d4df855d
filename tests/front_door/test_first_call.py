"""The main job: an official SDK asks for a pool, and a member answers, whatever its provider speaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.simulators import Simulators


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("anthropic", "openai") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [
            provider("anthropic", sims["anthropic"].port, "anthropic-messages"),
            provider("openai", sims["openai"].port, ["openai-chat", "openai-responses"], "/v1"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": "reasoning-tier",
                "members": [
                    {"provider": "anthropic", "model": "claude-opus-4-7"},
                    {"provider": "openai", "model": "gpt-5-thinking"},
                ],
            },
            {"name": "claudes", "members": [{"provider": "anthropic", "model": "claude-opus-4-7"}]},
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


QUESTION: Any = [{"role": "user", "content": "hello"}]
# With two members of equal weight, fewer would miss one of them once in a million runs.
CALLS = 21
ANSWERS = {
    ("claude-opus-4-7", "anthropic answering as claude-opus-4-7: hello"),
    ("gpt-5-thinking", "openai answering as gpt-5-thinking: hello"),
}


def test_openai_sdk_whole_and_streamed(broker: Broker) -> None:
    client = openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0)
    answers, streamed = set(), set()
    for _ in range(CALLS):
        whole = client.chat.completions.create(model="reasoning-tier", messages=QUESTION)
        answers.add((whole.model, whole.choices[0].message.content))
        chunks = list(client.chat.completions.create(model="reasoning-tier", messages=QUESTION, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        streamed.update((chunk.model, text) for chunk in chunks)
    assert answers | streamed == ANSWERS


def test_anthropic_sdk_whole_and_streamed(broker: Broker) -> None:
    client = anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0)
    asked: Any = {"model": "reasoning-tier", "max_tokens": 100, "messages": QUESTION}
    answers, streamed = set(), set()
    for _ in range(CALLS):
        whole = client.messages.create(**asked)
        answers.add((whole.model, whole.content[0].text))
        with client.messages.stream(**asked) as stream:
            streamed.add((stream.get_final_message().model, stream.get_final_text()))
    assert answers | streamed == ANSWERS


def test_the_clients_key_stays_here_and_the_providers_key_stays_there(
    broker: Broker, sims: Simulators
) -> None:
    sims["anthropic"].forget()
    client = anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0)
    raw = client.messages.with_raw_response.create(model="claudes", max_tokens=9, messages=QUESTION)
    (call,) = sims["anthropic"].settled_calls()
    sent = dict(call["headers"])
    assert sent["x-api-key"] == "sk-provider-secret"
    assert KEY not in str(sent)
    assert not [name for name in sent if name.startswith(("x-broker-", "x-envoy-", "x-forwarded-"))]
    assert "sk-provider-secret" not in str(dict(raw.headers))
    assert raw.headers["x-broker-member"] == "anthropic/claude-opus-4-7"
    assert raw.headers["x-broker-attempts"] == "1"
