"""Agents in a loop of tools and reasoning, on the official SDKs: what they are told they send back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai

from .broker import KEY, Broker

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
QUESTION = "Where is it warmest?"
CITIES = ["Oslo", "Tromsø ❄", "São Paulo"]
TURNS = 7  # calls of the loop; the last one is the answer


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
