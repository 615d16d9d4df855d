"""`up --mock-providers`: a simulator in the place of each provider, whatever it is like."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.broker import KEY, KEY_SHA256, Broker
from support.waiting import wait_until

OWN = {"dialect": "openai-chat", "base_url": "http://127.0.0.1:9/v1"}
KEYLESS = {"name": "own-servers", **OWN, "auth": "none"}
NOT_SET_UP = ("bedrock", "bedrock-anthropic", "vertex", "vertex-anthropic", "azure-openai")
KEYED = {"name": "keyed", **OWN, "auth": "bearer", "credential": {"env": "NOT_SET_ANYWHERE"}}


def config(*added: dict[str, Any]) -> dict[str, Any]:
    """A pool for each provider, of the provider's name: three without a key, one with, and `added`."""
    providers = [{"name": "vllm", "base_url": "http://127.0.0.1:9/v1"}, KEYLESS, KEYED, *added]
    names = ["ollama", *(str(provider["name"]) for provider in providers)]
    pools = [{"name": name, "members": [{"provider": name, "model": f"model-of-{name}"}]} for name in names]
    spare = {"provider": "keyed", "model": "m", "priority": 1}
    return {
        "providers": providers,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            *pools,
            *({"name": name, "members": [{"provider": name, "model": "m"}, spare]} for name in NOT_SET_UP),
        ],
    }


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    with Broker(folder, config(), arguments=("--mock-providers",)) as running:
        yield running


def ask(broker: Broker, pool: str, **headers: str) -> httpx.Response:
    body = {"model": pool, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"authorization": f"Bearer {KEY}", **headers}
    return httpx.post(f"{broker.url}/v1/chat/completions", json=body, headers=headers, timeout=30)


@pytest.mark.parametrize("pool", ["vllm", "ollama", "own-servers", "keyed"])
def test_providers_with_and_without_a_key_answer(broker: Broker, pool: str) -> None:
    got = ask(broker, pool)
    assert got.status_code == 200, got.text
    assert got.headers["x-mock-provider"] == pool


@pytest.mark.parametrize("pool", NOT_SET_UP)
def test_providers_that_are_not_set_up_can_be_rehearsed_with(broker: Broker, pool: str) -> None:
    """No region, no project, no URL: that is for the day when there is a provider."""
    got = ask(broker, pool)
    assert got.status_code == 200, got.text
    assert got.headers["x-broker-member"] == f"{pool}/m"


def test_clouds_and_stores_are_not_asked_for_what_simulators_do_not_want(broker: Broker) -> None:
    """Bedrock's identity is nowhere here: nothing is said of it, and no start waits for it."""
    assert "identity:" not in broker.log() and broker.status()["secrets"] == []


def test_a_provider_that_an_edit_adds_answers_without_a_key_too(broker: Broker) -> None:
    broker.edit(config({**KEYLESS, "name": "added"}))
    assert ask(broker, "added").status_code == 200


def test_status_and_log_say_where_the_simulators_are(broker: Broker) -> None:
    """Their scripts and journals can be had by hand, also while they refuse every call."""
    simulators = broker.status()["simulators"]
    assert set(simulators) == {"vllm", "ollama", "own-servers", "keyed", "*", *NOT_SET_UP}
    for name, where in simulators.items():
        assert f"simulator of {name}: {where['url']}, control {where['control']}" in broker.log()
    control = simulators["keyed"]["control"]
    assert httpx.put(f"{control}/script", content="refuse: true").status_code == 200
    assert ask(broker, "keyed").status_code == 503
    assert httpx.put(f"{control}/script", content="{}").status_code == 200
    got = ask(broker, "keyed", **{"x-mock-reply": "{text: by hand}"})
    assert got.json()["choices"][0]["message"]["content"] == "by hand"
    journal = httpx.get(f"{simulators['keyed']['url']}/journal").json()
    assert journal[-1]["path"].endswith("/chat/completions")


def test_simulators_that_die_come_back_where_they_were(broker: Broker) -> None:
    before = broker.status()["simulators"]
    (pid,) = broker.child_pids("mock")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: broker.child_pids("mock") not in ([], [pid]))
    wait_until(lambda: is_up(before["keyed"]["control"]))
    assert broker.status()["simulators"] == before
    assert ask(broker, "keyed").status_code == 200


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/_mock/health").status_code == 200
    except httpx.TransportError:
        return False
