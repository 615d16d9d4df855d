"""An agent's loop of tools and reasoning that changes providers in its middle, the agent none the wiser.

The simulators are strict, as the providers are: a signature that another one issued, a tool turn without its
reasoning, a tool result without its call are refused.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.simulators import Simulators

DIALECTS = {
    "anthropic-messages": ("", "claude-sonnet-4-5"),
    "openai-chat": ("/v1", "gpt-5"),
    "openai-responses": ("/v1", "gpt-5"),
    "bedrock-converse": ("", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "gemini": ("/v1beta", "gemini-3-pro"),
}
PAIRS = list(itertools.permutations(DIALECTS, 2))
CLIENTS = ("anthropic-messages", "openai-chat", "openai-responses")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
QUESTION = "Where is it warmest?"
CITIES = ["Oslo", "Tromsø ❄", "São Paulo"]
TURNS = 7  # calls of the loop; the last one is the answer


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*DIALECTS) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [provider(name, sims[name].port, name, path) for name, (path, _) in DIALECTS.items()],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": f"{first}.{second}",
                "ejection": "off",
                "members": [
                    {"provider": first, "model": DIALECTS[first][1]},
                    {"provider": second, "model": DIALECTS[second][1], "priority": 1},
                ],
            }
            for first, second in PAIRS
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


def turns_of(simulator: Any, faulty: list[int], answers_at: int) -> None:
    """This provider calls tools with reasoning; the `faulty` ones of its calls fail, the n-th one answers."""
    tools = [{"name": "get_weather", "arguments": {"city": city}} for city in CITIES]
    simulator.script(
        strict=True,
        faults=[{"calls": faulty, "status": 503}] if faulty else [],
        replies=[
            {"calls": [answers_at], "text": "In São Paulo.", "reasoning": "Now I know."},
            {"tool_calls": tools, "reasoning": "I have to look. ❄", "interleave": True},
        ],
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-then-{pair[1]}")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_loop_changes_providers_and_ends_right(
    broker: Broker, sims: Simulators, client: str, pair: tuple[str, str], stream: bool
) -> None:
    first, second = pair
    # The first one serves turns 1 and 2, the second one 3 to 5, and the first one again from 6 on.
    turns_of(sims[first], faulty=[3, 4, 5], answers_at=4)
    turns_of(sims[second], faulty=[], answers_at=99)
    for name in pair:
        sims[name].forget()
    members: list[str] = []
    loop = LOOPS[client](broker, f"{first}.{second}", stream, members)
    assert loop == "In São Paulo."
    assert [member.split("/")[0] for member in members] == [*[first] * 2, *[second] * 3, *[first] * 2]
    for name in pair:
        assert [call for call in sims[name].settled_calls() if call["status"] not in (200, 503)] == []


def result_of(name: str, arguments: Any) -> str:
    assert name == "get_weather" and arguments["city"] in CITIES
    return json.dumps({"city": arguments["city"], "degrees": 30 if "Paulo" in arguments["city"] else -5})


def chat_loop(broker: Broker, pool: str, stream: bool, members: list[str]) -> str:
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    history: list[Any] = [{"role": "user", "content": QUESTION}]
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        for _ in range(TURNS):
            asked: dict[str, Any] = {
                "model": pool,
                "messages": history,
                "tools": [tool],
                "reasoning_effort": "medium",
            }
            if stream:
                with sdk.chat.completions.stream(**asked) as events:
                    message = events.get_final_completion().choices[0].message
                    members.append(events._response.headers["x-broker-member"])
            else:
                raw = sdk.chat.completions.with_raw_response.create(**asked)
                members.append(raw.headers["x-broker-member"])
                message = raw.parse().choices[0].message
            if not message.tool_calls:
                return message.content or ""
            assert len(message.tool_calls) == len(CITIES)
            history.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
            for call in message.tool_calls:
                content = result_of(call.function.name, json.loads(call.function.arguments))
                history.append({"role": "tool", "tool_call_id": call.id, "content": content})
            for call in history[-len(CITIES) - 1]["tool_calls"]:
                call["function"].pop("parsed_arguments", None)
    raise AssertionError("the loop does not end")


def responses_loop(broker: Broker, pool: str, stream: bool, members: list[str]) -> str:
    tool: Any = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}
    history: list[Any] = [{"role": "user", "content": QUESTION}]
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        for _ in range(TURNS):
            asked: dict[str, Any] = {
                "model": pool,
                "input": history,
                "tools": [tool],
                "reasoning": {"effort": "medium", "summary": "auto"},
                "include": ["reasoning.encrypted_content"],
                "store": False,
            }
            if stream:
                with sdk.responses.stream(**asked) as events:
                    response: Any = events.get_final_response()
                    members.append(events._response.headers["x-broker-member"])
            else:
                raw = sdk.responses.with_raw_response.create(**asked)
                members.append(raw.headers["x-broker-member"])
                response = raw.parse()
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                text: str = response.output_text
                return text
            assert len(calls) == len(CITIES)
            history += [
                i.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for i in response.output
            ]
            for call in calls:
                output = result_of(call.name, json.loads(call.arguments))
                history.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
    raise AssertionError("the loop does not end")


def messages_loop(broker: Broker, pool: str, stream: bool, members: list[str]) -> str:
    tool: Any = {"name": "get_weather", "input_schema": SCHEMA}
    history: list[Any] = [{"role": "user", "content": QUESTION}]
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as sdk:
        for _ in range(TURNS):
            asked: dict[str, Any] = {
                "model": pool,
                "max_tokens": 4000,
                "messages": history,
                "tools": [tool],
                "thinking": {"type": "enabled", "budget_tokens": 2000},
            }
            if stream:
                with sdk.messages.stream(**asked) as events:
                    message = events.get_final_message()
                    members.append(events.response.headers["x-broker-member"])
            else:
                raw = sdk.messages.with_raw_response.create(**asked)
                members.append(raw.headers["x-broker-member"])
                message = raw.parse()
            calls = [block for block in message.content if block.type == "tool_use"]
            if not calls:
                return "".join(block.text for block in message.content if block.type == "text")
            assert len(calls) == len(CITIES)
            history.append({"role": "assistant", "content": message.content})
            results = [
                {"type": "tool_result", "tool_use_id": c.id, "content": result_of(c.name, c.input)}
                for c in calls
            ]
            history.append({"role": "user", "content": results})
    raise AssertionError("the loop does not end")


LOOPS: dict[str, Callable[[Broker, str, bool, list[str]], str]] = {
    "openai-chat": chat_loop,
    "openai-responses": responses_loop,
    "anthropic-messages": messages_loop,
}
