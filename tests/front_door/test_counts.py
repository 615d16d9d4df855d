"""Counts of tokens by the one client dialect that has them, at each provider that counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import anthropic
import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.sdks import SCHEMA, anthropic_sdk
from support.simulators import Simulators

# Dialect → base path, model, where it counts.
COUNTERS: Mapping[str, tuple[str, str, str]] = {
    "anthropic-messages": ("", "claude-sonnet-4-5", "/v1/messages/count_tokens"),
    "openai-responses": ("/v1", "gpt-5", "/v1/responses/input_tokens"),
    "bedrock-converse": (
        "",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/count-tokens",
    ),
    "gemini": ("/v1beta", "gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:countTokens"),
}
ASKED: dict[str, Any] = {
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Weather in São Paulo?"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "x"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "30 ❄"}]},
    ],
    "tools": [{"name": "get_weather", "input_schema": SCHEMA}],
}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*COUNTERS, "openai-chat") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    def pool(name: str, *dialects: str) -> dict[str, Any]:
        members = [
            {"provider": dialect, "model": COUNTERS.get(dialect, ("", "gpt-5", ""))[1], "priority": place}
            for place, dialect in enumerate(dialects)
        ]
        return {"name": name, "ejection": "off", "members": members}

    entries = [provider(name, sims[name].port, name, base) for name, (base, _, _) in COUNTERS.items()]
    entries.append(provider("openai-chat", sims["openai-chat"].port, "openai-chat", "/v1"))
    config = {
        "providers": entries,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            *(pool(name, name) for name in COUNTERS),
            pool("nobody", "openai-chat"),
            pool("some", "openai-chat", "gemini"),
            pool("many", "anthropic-messages", "gemini", "openai-responses"),
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()
    for sim in sims:
        sim.script(strict=True, replies=[{"tokens": {"input": 1234}}])


def count(broker: Broker, pool: str, **more: Any) -> tuple[int, Mapping[str, str]]:
    with anthropic_sdk(broker.url) as sdk:
        raw = sdk.messages.with_raw_response.count_tokens(model=pool, **{**ASKED, **more})
        return raw.parse().input_tokens, raw.headers


@pytest.mark.parametrize("name", COUNTERS)
def test_any_counter_serves(broker: Broker, sims: Simulators, name: str) -> None:
    _, model, path = COUNTERS[name]
    tokens, headers = count(broker, name)
    assert tokens == 1234 and headers["x-broker-member"] == f"{name}/{model}"
    (call,) = sims[name].settled_calls()
    assert (unquote(call["path"]), call["status"]) == (path, 200)
    said = json.dumps(json.loads(call["body"]), ensure_ascii=False)
    assert all(word in said for word in ("Be brief.", "São Paulo", "get_weather", "30 ❄")), said


@pytest.mark.parametrize("name", COUNTERS)
def test_thinking_is_no_hindrance(broker: Broker, name: str) -> None:
    """A count has no `max_tokens` that could hold the budget."""
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    assert count(broker, name, **asked, thinking={"type": "enabled", "budget_tokens": 9000})[0] == 1234


def test_a_prompt_that_is_too_large_can_be_counted(broker: Broker) -> None:
    assert count(broker, "bedrock-converse", system="long " * 300_000)[0] == 1234


def test_one_that_fails_is_left_for_another_dialect(broker: Broker, sims: Simulators) -> None:
    sims["anthropic-messages"].script(faults=[{"status": 529}])
    sims["gemini"].script(faults=[{"status": 429}])
    tokens, headers = count(broker, "many")
    assert tokens == 1234 and headers["x-broker-member"] == "openai-responses/gpt-5"
    assert headers["x-broker-attempts"] == "3"


def test_those_who_do_not_count_are_not_asked(broker: Broker, sims: Simulators) -> None:
    assert count(broker, "some")[1]["x-broker-member"].startswith("gemini/")
    with pytest.raises(anthropic.BadRequestError) as raised:
        count(broker, "nobody")
    body: Any = raised.value.body
    assert body["error"]["code"] == "content_not_supported"
    assert sims["openai-chat"].settled_calls() == []


@pytest.mark.parametrize("status", [400, 403, 429])
@pytest.mark.parametrize("name", COUNTERS)
def test_errors_are_the_clients_own(broker: Broker, sims: Simulators, name: str, status: int) -> None:
    sims[name].script(faults=[{"status": status, "error": {"message": "Not today."}}])
    with pytest.raises(anthropic.APIStatusError) as raised:
        count(broker, name)
    body: Any = raised.value.body
    assert raised.value.status_code == (502 if status == 403 else status)
    assert body["type"] == "error" and body["error"]["type"]
    assert ("Not today." in body["error"]["message"]) == (status != 403)
