"""The official SDKs, as their users use them, against pools of simulated members."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.simulators import Simulators

ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
RESPONSES_TOOL = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
MESSAGES_TOOL = {"name": "get_weather", "input_schema": SCHEMA}
TWO_CALLS = [
    {
        "tool_calls": [
            {"name": "get_weather", "arguments": {"city": "Oslo"}},
            {"name": "get_weather", "arguments": {"city": "Tromsø ❄"}},
        ]
    }
]
CITIES = [{"city": "Oslo"}, {"city": "Tromsø ❄"}]


POOLS = ["claudes", "gpts", "gpt-4o", "tier"]


class Weather(BaseModel):
    city: str
    degrees: int


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("ant-a", "ant-b", "oai-a", "oai-b") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    openai_dialects = ["openai-chat", "openai-responses", "openai-embeddings"]
    members = [
        {"provider": name, "model": f"model-of-{name}"} for name in ("ant-a", "ant-b", "oai-a", "oai-b")
    ]
    config = {
        "providers": [
            provider("ant-a", sims["ant-a"].port, "anthropic-messages"),
            provider("ant-b", sims["ant-b"].port, "anthropic-messages"),
            provider("oai-a", sims["oai-a"].port, openai_dialects, "/v1"),
            provider("oai-b", sims["oai-b"].port, openai_dialects, "/openai/v1"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "tier", "ejection": "off", "members": members},
            {"name": "claudes", "ejection": "off", "members": members[:2]},
            {"name": "gpts", "aliases": ["gpt-4o"], "ejection": "off", "members": members[2:]},
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture
def oai(broker: Broker, sims: Simulators) -> Iterator[openai.OpenAI]:
    sims.reset()
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def ant(broker: Broker, sims: Simulators) -> Iterator[anthropic.Anthropic]:
    sims.reset()
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as client:
        yield client


def script(sims: Simulators, **script: Any) -> None:
    for each in sims:
        each.script(**script)


# -- Chat Completions


def test_chat_whole_and_streamed(oai: openai.OpenAI) -> None:
    whole = oai.chat.completions.create(model="gpts", messages=ASK)
    assert whole.model in ("model-of-oai-a", "model-of-oai-b")
    assert whole.choices[0].finish_reason == "stop" and whole.usage and whole.usage.total_tokens
    options: Any = {"include_usage": True}
    chunks = list(
        oai.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, stream_options=options)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith("What is the weather in Oslo?")
    assert chunks[-1].usage and chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_chat_parallel_tool_calls(oai: openai.OpenAI, sims: Simulators) -> None:
    script(sims, replies=TWO_CALLS)
    asked: dict[str, Any] = {
        "model": "tier",
        "messages": ASK,
        "tools": [CHAT_TOOL],
        "parallel_tool_calls": True,
    }
    whole = oai.chat.completions.create(**asked).choices[0]
    with oai.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion().choices[0]
    for choice in (whole, final):
        assert choice.finish_reason == "tool_calls"
        calls = choice.message.tool_calls or []
        assert [json.loads(call.function.arguments) for call in calls] == CITIES
        assert len({call.id for call in calls}) == 2
    turns: list[Any] = [*ASK, whole.message.model_dump(exclude_none=True)]
    turns += [
        {"role": "tool", "tool_call_id": c.id, "content": "cold"} for c in whole.message.tool_calls or []
    ]
    sims.reset()
    after = oai.chat.completions.create(model="tier", messages=turns, tools=[CHAT_TOOL])
    assert after.choices[0].message.content


def test_chat_structured_output(oai: openai.OpenAI) -> None:
    parsed = oai.chat.completions.parse(model="tier", messages=ASK, response_format=Weather)
    assert isinstance(parsed.choices[0].message.parsed, Weather)


# -- Responses and Embeddings


def test_responses_whole_and_streamed(oai: openai.OpenAI) -> None:
    whole = oai.responses.create(model="tier", input="Hello")
    assert whole.status == "completed" and whole.output_text.endswith("Hello")
    with oai.responses.stream(model="tier", input="Hello") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text.endswith("Hello") and final.usage == whole.usage


def test_responses_parallel_tool_calls(oai: openai.OpenAI, sims: Simulators) -> None:
    script(sims, replies=TWO_CALLS)
    asked: dict[str, Any] = {"model": "tier", "input": "Hello", "tools": [RESPONSES_TOOL]}
    whole = oai.responses.create(**asked)
    with oai.responses.stream(**asked) as stream:
        final = stream.get_final_response()
    for response in (whole, final):
        assert [item.type for item in response.output] == ["function_call"] * 2
        assert [json.loads(item.arguments) for item in response.output] == CITIES


def test_embeddings_in_both_encodings(oai: openai.OpenAI) -> None:
    packed = oai.embeddings.create(model="tier", input=["a", "b"], dimensions=8)
    floats = oai.embeddings.create(model="tier", input=["a", "b"], dimensions=8, encoding_format="float")
    assert [len(each.embedding) for each in packed.data] == [8, 8]
    assert floats.data[1].embedding == pytest.approx(packed.data[1].embedding)


# -- Messages


def test_messages_whole_and_streamed(ant: anthropic.Anthropic) -> None:
    whole = ant.messages.create(model="claudes", max_tokens=100, messages=ASK)
    assert whole.model in ("model-of-ant-a", "model-of-ant-b") and whole.stop_reason == "end_turn"
    with ant.messages.stream(model="claudes", max_tokens=100, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text and text.endswith("What is the weather in Oslo?")
    assert final.usage.input_tokens == whole.usage.input_tokens


def test_messages_parallel_tool_calls(ant: anthropic.Anthropic, sims: Simulators) -> None:
    script(sims, replies=TWO_CALLS)
    asked: dict[str, Any] = {"model": "tier", "max_tokens": 100, "messages": ASK, "tools": [MESSAGES_TOOL]}
    whole = ant.messages.create(**asked)
    with ant.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    for message in (whole, final):
        assert message.stop_reason == "tool_use"
        assert [block.input for block in message.content] == CITIES
        assert len({block.id for block in message.content}) == 2
    results = [{"type": "tool_result", "tool_use_id": b.id, "content": "cold"} for b in whole.content]
    turns: list[Any] = [*ASK, {"role": "assistant", "content": whole.content}]
    turns.append({"role": "user", "content": results})
    sims.reset()
    after = ant.messages.create(model="tier", max_tokens=100, messages=turns, tools=[MESSAGES_TOOL])
    assert after.content[0].type == "text"


def test_messages_thinking_cache_and_beta(ant: anthropic.Anthropic, sims: Simulators) -> None:
    script(sims, replies=[{"reasoning": "Hm.", "tokens": {"cache_read": 5, "cache_write": 2}}])
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    asked: dict[str, Any] = {"model": "claudes", "max_tokens": 2000, "messages": ASK, "system": system}
    whole = ant.beta.messages.create(
        **asked, thinking=thinking, betas=["prompt-caching-2024-07-31"], extra_query={"beta": "true"}
    )
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert whole.usage.cache_read_input_tokens == 5 and whole.usage.cache_creation_input_tokens == 2
    (call,) = [call for name in ("ant-a", "ant-b") for call in sims[name].settled_calls()]
    assert call["path"] == "/v1/messages?beta=true"
    assert dict(call["headers"])["anthropic-beta"] == "prompt-caching-2024-07-31"
    assert '"cache_control"' in call["body"]


def test_count_tokens(ant: anthropic.Anthropic) -> None:
    assert ant.messages.count_tokens(model="tier", messages=ASK).input_tokens == 7


# -- either


def test_models(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    assert [model.id for model in oai.models.list()] == POOLS
    assert [model.id for model in ant.models.list(limit=20)] == POOLS


def test_the_keys_header_is_free(broker: Broker) -> None:
    """OpenAI's SDK with Anthropic's header and the other way round: a key is a key."""
    headers: Any = {"Authorization": openai.Omit(), "x-api-key": KEY}
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key="-") as client:
        assert client.chat.completions.create(model="tier", messages=ASK, extra_headers=headers).choices
    with anthropic.Anthropic(base_url=broker.url, api_key=None, auth_token=KEY) as other:
        assert other.messages.create(model="tier", max_tokens=9, messages=ASK).content


def test_raw_headers_name_member_and_call(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    raw = oai.chat.completions.with_raw_response.create(model="gpts", messages=ASK)
    assert raw.headers["x-broker-member"] == f"oai-{raw.parse().model[-1]}/{raw.parse().model}"
    streamed = ant.messages.with_raw_response.create(model="tier", max_tokens=9, messages=ASK, stream=True)
    assert streamed.headers["x-broker-attempts"] == "1" and len(streamed.headers["x-broker-request-id"]) == 32
    assert list(streamed.parse())[-1].type == "message_stop"


def test_async_sdks_side_by_side(broker: Broker, sims: Simulators) -> None:
    sims.reset()

    async def chat(client: openai.AsyncOpenAI, number: int) -> str:
        question: Any = [{"role": "user", "content": f"question {number}."}]
        whole = await client.chat.completions.create(model="tier", messages=question)
        stream = await client.chat.completions.create(model="tier", messages=question, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        response = await client.responses.create(model="tier", input=f"question {number}.")
        async with client.responses.stream(model="tier", input=f"question {number}.") as events:
            final = await events.get_final_response()
        vector = await client.embeddings.create(model="tier", input="a", dimensions=4)
        assert len(vector.data[0].embedding) == 4
        said = [whole.choices[0].message.content or "", text, response.output_text, final.output_text]
        assert all(each.endswith(f"question {number}.") for each in said), said
        return text

    async def messages(client: anthropic.AsyncAnthropic, number: int) -> str:
        question: Any = [{"role": "user", "content": f"question {number}."}]
        asked: dict[str, Any] = {"model": "tier", "max_tokens": 100, "messages": question}
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            text = await stream.get_final_text()
        assert (await client.messages.count_tokens(model="tier", messages=question)).input_tokens > 0
        assert whole.content[0].text.endswith(f"question {number}.")
        return text

    async def main() -> list[str]:
        oai = openai.AsyncOpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0)
        ant = anthropic.AsyncAnthropic(base_url=broker.url, api_key=KEY, max_retries=0)
        async with oai, ant:
            assert [model.id async for model in oai.models.list()] == POOLS
            assert [model.id async for model in ant.models.list()] == POOLS
            work = [chat(oai, n) for n in range(10)] + [messages(ant, n) for n in range(10)]
            return list(await asyncio.gather(*work))

    texts = asyncio.run(main())
    assert [text.split("question ")[1] for text in texts] == [f"{n}." for n in [*range(10), *range(10)]]


def test_exceptions_of_the_sdks(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        oai.with_options(api_key="wrong").chat.completions.create(model="tier", messages=ASK)
    assert refused.value.code == "invalid_api_key" and refused.value.type == "authentication_error"
    with pytest.raises(anthropic.AuthenticationError) as denied:
        ant.with_options(api_key="wrong").messages.create(model="tier", max_tokens=9, messages=ASK)
    assert denied.value.body["error"]["code"] == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as unknown:
        oai.responses.create(model="teir", input="x", stream=True)
    assert unknown.value.code == "model_not_found" and "tier" in unknown.value.message
    with pytest.raises(anthropic.NotFoundError) as missing:
        ant.messages.count_tokens(model="teir", messages=ASK)
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.body["request_id"] == missing.value.response.headers["x-broker-request-id"]


def test_provider_errors_reach_the_sdks(
    oai: openai.OpenAI, ant: anthropic.Anthropic, sims: Simulators
) -> None:
    """When no member is left, the client gets the last one's own words."""
    script(sims, faults=[{"status": 429, "retry_after_s": 7}])
    with pytest.raises(openai.RateLimitError) as limited:
        oai.chat.completions.create(model="gpts", messages=ASK, stream=True)
    assert limited.value.code == "rate_limit_exceeded"
    assert limited.value.response.headers["retry-after"] == "7"
    assert int(limited.value.response.headers["x-broker-attempts"]) > 1
    with pytest.raises(anthropic.RateLimitError):
        ant.messages.create(model="tier", max_tokens=9, messages=ASK)
    script(sims, faults=[{"error_event": True}])
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        list(ant.messages.create(model="claudes", max_tokens=9, messages=ASK, stream=True))
    assert overloaded.value.status_code == 529
    script(sims, faults=[{"status": 400, "error": {"message": "too long"}}])
    with pytest.raises(openai.BadRequestError, match="too long") as bad:
        oai.chat.completions.create(model="tier", messages=ASK)
    assert bad.value.response.headers["x-broker-attempts"] == "1"
