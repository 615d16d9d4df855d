"""Calls through the official SDKs: what they read, and the reply's headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import anthropic
import openai

from . import essence
from .broker import KEY
from .essence import Essence

CLIENTS = ("openai-chat", "openai-responses", "anthropic-messages")
QUESTION = "What is the weather in Oslo?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_ASK: list[Any] = [{"role": "user", "content": QUESTION}]

Seen = tuple[Essence, Mapping[str, str]]


def ask(client: str, url: str, pool: str, stream: bool, **more: Any) -> Seen:
    """One call by the SDK of the dialect `client` with a question and a tool; `more` are the SDK's own
    arguments. Raises the SDK's own errors."""
    return _ASKS[client](url, pool, stream, more)


def openai_sdk(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def anthropic_sdk(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)


def _chat(url: str, pool: str, stream: bool, more: Mapping[str, Any]) -> Seen:
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
    asked: dict[str, Any] = {"model": pool, "messages": _ASK, "tools": tools, **more}
    with openai_sdk(url) as sdk:
        if not stream:
            raw = sdk.chat.completions.with_raw_response.create(**asked)
            return _tidy(essence.of_completion(raw.parse())), raw.headers
        asked.setdefault("stream_options", {"include_usage": True})
        with sdk.chat.completions.stream(**asked) as events:
            seen = essence.of_completion(events.get_final_completion())
            return _tidy(seen), events._response.headers


def _responses(url: str, pool: str, stream: bool, more: Mapping[str, Any]) -> Seen:
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
    asked: dict[str, Any] = {"model": pool, "input": QUESTION, "tools": tools, "store": False, **more}
    with openai_sdk(url) as sdk:
        if not stream:
            raw = sdk.responses.with_raw_response.create(**asked)
            return _tidy(essence.of_response(raw.parse())), raw.headers
        with sdk.responses.stream(**asked) as events:
            # `get_final_response` knows no answers that end early.
            ends = [e for e in events if e.type in ("response.completed", "response.incomplete")]
            return _tidy(essence.of_response(ends[-1].response)), events._response.headers


def _messages(url: str, pool: str, stream: bool, more: Mapping[str, Any]) -> Seen:
    tools: Any = [{"name": "get_weather", "input_schema": SCHEMA}]
    asked: dict[str, Any] = {"model": pool, "max_tokens": 4000, "messages": _ASK, "tools": tools, **more}
    with anthropic_sdk(url) as sdk:
        if not stream:
            raw = sdk.messages.with_raw_response.create(**asked)
            return _tidy(essence.of_message(raw.parse())), raw.headers
        with sdk.messages.stream(**asked) as events:
            return _tidy(essence.of_message(events.get_final_message())), events.response.headers


def _tidy(seen: Essence) -> Essence:
    return replace(seen, reasoning=seen.reasoning.strip())


_ASKS: Mapping[str, Callable[[str, str, bool, Mapping[str, Any]], Seen]] = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "anthropic-messages": _messages,
}
