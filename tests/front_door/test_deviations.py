"""Providers that speak openai-chat otherwise than OpenAI does: what they get, by the simulator's journal.

They are the built-in ones, with simulators in their places: what is tested is what is shipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker
from support.simulators import Simulators

PROVIDERS = ("mistral", "groq", "deepseek", "openrouter", "vllm")
ASK: Any = [{"role": "user", "content": "Hello ❄"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"name": "weather", "input_schema": SCHEMA}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*PROVIDERS) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [
            {
                "name": name,
                "base_url": f"http://127.0.0.1:{sims[name].port}/v1",
                "credential": {"env": "KEY_OF_PROVIDERS"},
            }
            for name in PROVIDERS
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            *({"name": f"at-{n}", "members": [{"provider": n, "model": "a-model"}]} for n in PROVIDERS),
            {"name": "llama", "members": [{"provider": "groq", "model": "llama-3.3-70b-versatile"}]},
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def got(sims: Simulators, name: str) -> Any:
    """The body of the one call that the provider received."""
    (call,) = sims[name].settled_calls()
    return json.loads(call["body"])


def messages(broker: Broker, pool: str, **request: Any) -> list[str]:
    """Sent with Anthropic's SDK; what `x-broker-dropped` names."""
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as sdk:
        raw = sdk.messages.with_raw_response.create(
            **{"model": pool, "max_tokens": 500, "messages": ASK, **request}
        )
        assert request.get("stream") or raw.parse().content
        if request.get("stream"):
            assert [event.type for event in raw.parse()][-1] == "message_stop"
        return [name.strip() for name in raw.headers.get("x-broker-dropped", "").split(",") if name]


def responses(broker: Broker, pool: str, **request: Any) -> list[str]:
    """The same with OpenAI's SDK, in the dialect of the Responses API."""
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        raw = sdk.responses.with_raw_response.create(**{"model": pool, "input": "Hello ❄", **request})
        assert raw.parse().output_text
        return [name.strip() for name in raw.headers.get("x-broker-dropped", "").split(",") if name]


LOOP: Any = [
    *ASK,
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "toolu_01A", "name": "weather", "input": {}}],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_01A", "content": "12 °C"},
            {"type": "text", "text": "And tomorrow?"},
        ],
    },
]


@pytest.mark.parametrize("stream", [False, True])
def test_mistral_gets_its_own_fields_ids_and_order(broker: Broker, sims: Simulators, stream: bool) -> None:
    asked = {"messages": LOOP, "tools": [TOOL], "metadata": {"user_id": "u-1"}, "stream": stream}
    assert messages(broker, "at-mistral", **asked) == ["metadata.user_id"]
    body = got(sims, "mistral")
    assert body["max_tokens"] == 500
    assert not {"max_completion_tokens", "stream_options", "user", "name"} & set(body)
    assert [message["role"] for message in body["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    (call,) = body["messages"][1]["tool_calls"]
    assert re.fullmatch(r"[0-9A-Za-z]{9}", call["id"]) and body["messages"][2]["tool_call_id"] == call["id"]
    assert body["messages"][3]["content"] == "OK"


def test_mistral_gets_nothing_that_it_refuses_of_the_responses_api(broker: Broker, sims: Simulators) -> None:
    dropped = responses(
        broker,
        "at-mistral",
        max_output_tokens=600,
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
        safety_identifier="u-1",
        service_tier="flex",
        prompt_cache_key="k",
    )
    assert sorted(dropped) == ["safety_identifier", "service_tier", "text.verbosity"]
    body = got(sims, "mistral")
    assert body["reasoning_effort"] == "high"  # of `none` and `high` the nearest
    assert body["prompt_cache_key"] == "k"
    assert {"model", "messages", "max_tokens", "reasoning_effort", "prompt_cache_key"} == set(body)


def test_groq_gets_no_field_that_it_answers_with_400(broker: Broker, sims: Simulators) -> None:
    dropped = responses(
        broker,
        "at-groq",
        include=["message.output_text.logprobs"],
        text={"verbosity": "low"},
        prompt_cache_key="k",
        reasoning={"effort": "minimal"},
    )
    assert sorted(dropped) == ["include", "prompt_cache_key", "text.verbosity"]
    assert got(sims, "groq")["reasoning_effort"] == "low"


def test_a_model_that_is_known_not_to_reason_is_not_asked_to(broker: Broker, sims: Simulators) -> None:
    """Groq answers 400 to it; and the client is told."""
    assert messages(broker, "llama", thinking={"type": "adaptive"}) == ["thinking"]
    assert chat(broker, "llama", reasoning_effort="low") == ["reasoning_effort"]
    assert responses(broker, "llama", reasoning={"effort": "low"}) == ["reasoning"]
    for call in sims["groq"].settled_calls():
        assert "reasoning_effort" not in json.loads(call["body"])


def test_deepseek_thinks_by_its_switch(broker: Broker, sims: Simulators) -> None:
    thinking = {"type": "adaptive"}
    assert messages(broker, "at-deepseek", thinking=thinking, output_config={"effort": "xhigh"}) == []
    body = got(sims, "deepseek")
    assert (body["thinking"], body["reasoning_effort"]) == ({"type": "enabled"}, "max")
    assert body["max_tokens"] == 500


def test_deepseek_does_not_think_where_a_tool_is_commanded(broker: Broker, sims: Simulators) -> None:
    tool = {**TOOL, "strict": True}
    asked = {"thinking": {"type": "adaptive"}, "tools": [tool], "tool_choice": {"type": "any"}}
    assert sorted(messages(broker, "at-deepseek", **asked)) == ["thinking", "tools.strict"]
    body = got(sims, "deepseek")
    assert body["thinking"] == {"type": "disabled"} and "reasoning_effort" not in body
    assert body["tool_choice"] == "required" and "strict" not in body["tools"][0]["function"]


def test_deepseek_is_not_asked_for_a_schema(broker: Broker, sims: Simulators) -> None:
    """Its capabilities say so too: the call goes to others, and here there are none."""
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    with pytest.raises(anthropic.BadRequestError, match="schema"):
        messages(broker, "at-deepseek", output_config=form)
    assert sims["deepseek"].calls() == []


def test_openrouter_gets_hints_budgets_and_top_k(broker: Broker, sims: Simulators) -> None:
    hint = {"type": "ephemeral", "ttl": "1h"}
    asked = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": hint}]}],
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "max_tokens": 2000,
        "extra_body": {"top_k": 5},
    }
    assert messages(broker, "at-openrouter", **asked) == []
    body = got(sims, "openrouter")
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][1]["content"][0]["cache_control"] == hint
    assert (body["reasoning"], body["top_k"]) == ({"max_tokens": 1024}, 5)


def test_vllm_gets_all_instructions_in_front(broker: Broker, sims: Simulators) -> None:
    late: Any = [
        *ASK,
        {"role": "assistant", "content": "Hi."},
        *ASK,
        {"role": "system", "content": "Be brief."},
    ]
    messages(broker, "at-vllm", system="Be kind.", messages=late)
    said = got(sims, "vllm")["messages"]
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user"]
    assert said[0]["content"] == "Be kind.\n\nBe brief."


def chat(broker: Broker, pool: str, **request: Any) -> list[str]:
    """Sent with OpenAI's SDK in the provider's own dialect; what `x-broker-dropped` names."""
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(**{"model": pool, "messages": ASK, **request})
        if request.get("stream"):
            assert "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)
        else:
            assert raw.parse().choices[0].message.content
        return [name.strip() for name in raw.headers.get("x-broker-dropped", "").split(",") if name]


CALL: Any = {"id": "call_01A", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CHAT_LOOP: Any = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Hello ❄", "name": "ann"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "I have to look."},
    {"role": "tool", "tool_call_id": "call_01A", "content": "12 °C"},
    {"role": "user", "content": "And tomorrow?"},
]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_in_the_providers_own_dialect_is_mended(
    broker: Broker, sims: Simulators, stream: bool
) -> None:
    """In the middle of a tool loop that began at another provider: what this one would refuse changes, and
    all else stays, also what the broker does not know."""
    of_tomorrow = {"a": [1, 2.5], "max_completion_tokens": 3}
    dropped = chat(
        broker,
        "at-mistral",
        messages=CHAT_LOOP,
        max_completion_tokens=9,
        seed=1,
        verbosity="low",
        store=False,
        stream=stream,
        extra_body={"of_tomorrow": of_tomorrow, "safe_prompt": True},
    )
    assert dropped == ["store", "verbosity", "name"]
    body = got(sims, "mistral")
    said = body.pop("messages")
    assert body.pop("stream") is stream
    assert body == {
        "model": "a-model",
        "max_tokens": 9,
        "random_seed": 1,
        "of_tomorrow": of_tomorrow,
        "safe_prompt": True,
    }
    ident = said[2]["tool_calls"][0]["id"]
    assert re.fullmatch(r"[0-9A-Za-z]{9}", ident)
    assert said == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello ❄"},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": ident}]},
        {"role": "tool", "tool_call_id": ident, "content": "12 °C"},
        {"role": "assistant", "content": "OK"},
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_a_call_that_the_provider_takes_as_it_is_stays(broker: Broker, sims: Simulators) -> None:
    sent = {"top_p": 0.5, "of_tomorrow": {"a": [1, 2.50]}, "max_tokens": 7}
    assert chat(broker, "at-mistral", extra_body=sent) == []
    assert got(sims, "mistral") == {"model": "a-model", "messages": ASK, **sent}


def test_a_provider_that_hardly_differs_gets_the_clients_bytes(broker: Broker, sims: Simulators) -> None:
    body = '{"messages":[{"role":"user","content":"Hi"}], "model" : "at-vllm","x":[1.0,1e2]}'
    headers = {"authorization": f"Bearer {KEY}"}
    assert httpx.post(f"{broker.url}/v1/chat/completions", content=body, headers=headers).status_code == 200
    (call,) = sims["vllm"].settled_calls()
    assert call["body"] == body.replace('"at-vllm"', '"a-model"')
