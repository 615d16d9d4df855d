"""The main job: an official SDK asks for a pool, and a member answers."""

from __future__ import annotations

from collections.abc import Iterator

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
            }
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


def test_openai_sdk_whole_and_streamed(broker: Broker) -> None:
    client = openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0)
    question = [{"role": "user", "content": "hello"}]
    whole = client.chat.completions.create(model="reasoning-tier", messages=question)
    assert whole.model == "gpt-5-thinking"
    stream = client.chat.completions.create(model="reasoning-tier", messages=question, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content


def test_anthropic_sdk_whole_and_streamed(broker: Broker) -> None:
    client = anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0)
    question = [{"role": "user", "content": "hello"}]
    whole = client.messages.create(model="reasoning-tier", max_tokens=100, messages=question)
    assert whole.model == "claude-opus-4-7"
    with client.messages.stream(model="reasoning-tier", max_tokens=100, messages=question) as stream:
        assert stream.get_final_text() == whole.content[0].text


def test_the_clients_key_stays_here_and_the_providers_key_stays_there(
    broker: Broker, sims: Simulators
) -> None:
    sims["anthropic"].forget()
    client = anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0)
    question = [{"role": "user", "content": "hello"}]
    raw = client.messages.with_raw_response.create(model="reasoning-tier", max_tokens=9, messages=question)
    (call,) = sims["anthropic"].settled_calls()
    sent = dict(call["headers"])
    assert sent["x-api-key"] == "sk-provider-secret"
    assert KEY not in str(sent)
    assert not [name for name in sent if name.startswith(("x-broker-", "x-envoy-", "x-forwarded-"))]
    assert "sk-provider-secret" not in str(dict(raw.headers))
    assert raw.headers["x-broker-member"] == "anthropic/claude-opus-4-7"
    assert raw.headers["x-broker-attempts"] == "1"
