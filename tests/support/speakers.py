"""The official SDKs at the front door, with an ear at the wire: what they read, and the bytes that came."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

from . import heard
from .broker import KEY
from .heard import Heard

CLIENTS = ("openai-chat", "openai-responses", "anthropic-messages")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "notes": {"type": "object", "additionalProperties": True}},
}


@dataclass(frozen=True)
class Ask:
    """One call. `prompt` names the scripted reply. `more` are the SDK's own arguments."""

    pool: str
    prompt: str
    tools: bool = False
    thinking: bool = False
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    usage: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)


class Ear(httpx2.HTTPTransport):
    """Keeps the body of the last reply as it came."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = bytearray()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = super().handle_request(request)
        self.heard = bytearray()
        inner = reply.stream
        assert isinstance(inner, httpx2.SyncByteStream)
        reply.stream = _Overheard(inner, self.heard)
        return reply


class _Overheard(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, kept: bytearray) -> None:
        self._inner = inner
        self._kept = kept

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            self._kept += chunk
            yield chunk

    def close(self) -> None:
        self._inner.close()


class Speakers:
    """One SDK client of each kind; `with Speakers(url) as speakers`."""

    def __init__(self, url: str) -> None:
        self.ear = Ear()
        http = httpx2.Client(transport=self.ear, timeout=60)
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, http_client=http)
        self.anthropic = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, http_client=http)
        self._http = http

    def __enter__(self) -> Speakers:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def raw(self) -> bytes:
        """The last reply's body."""
        return bytes(self.ear.heard)

    def ask(self, client: str, ask: Ask, stream: bool) -> Heard:
        if client == "openai-chat":
            return self._chat(ask, stream)
        if client == "openai-responses":
            return self._responses(ask, stream)
        return self._messages(ask, stream)

    def _chat(self, ask: Ask, stream: bool) -> Heard:
        asked = {**chat_request(ask), **ask.more}
        if not stream:
            return heard.of_completion(self.openai.chat.completions.create(**asked))
        if ask.usage:
            asked["stream_options"] = {"include_usage": True}
        try:
            with self.openai.chat.completions.stream(**asked) as events:
                return heard.of_completion(events.get_final_completion())
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            return self._cut_chat(asked)

    def _cut_chat(self, asked: Mapping[str, Any]) -> Heard:
        """The SDK's helper raises where an answer was cut, even if nothing is to be parsed."""
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        for chunk in self.openai.chat.completions.create(**asked, stream=True):
            with contextlib.suppress(openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
                state.handle_chunk(chunk)
        return heard.of_completion(state.current_completion_snapshot)

    def _responses(self, ask: Ask, stream: bool) -> Heard:
        asked = {**responses_request(ask), **ask.more}
        if not stream:
            return heard.of_response(self.openai.responses.create(**asked))
        with self.openai.responses.stream(**asked) as events:
            # `get_final_response` knows no answers that end early.
            ends = [e for e in events if e.type in ("response.completed", "response.incomplete")]
            return heard.of_response(ends[-1].response)

    def _messages(self, ask: Ask, stream: bool) -> Heard:
        asked = {**messages_request(ask), **ask.more}
        if not stream:
            return heard.of_message(self.anthropic.messages.create(**asked))
        with self.anthropic.messages.stream(**asked) as events:
            return heard.of_message(events.get_final_message())


class AsyncSpeakers:
    """The same with the async clients, many calls at a time."""

    def __init__(self, url: str) -> None:
        self.openai = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        self.anthropic = anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0)

    async def __aenter__(self) -> AsyncSpeakers:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.openai.close()
        await self.anthropic.close()

    async def ask(self, client: str, ask: Ask, stream: bool) -> Heard:
        if client == "openai-chat":
            chat, asked = self.openai.chat.completions, {**chat_request(ask), **ask.more}
            if not stream:
                return heard.of_completion(await chat.create(**asked))
            async with chat.stream(**asked, stream_options={"include_usage": True}) as events:
                return heard.of_completion(await events.get_final_completion())
        if client == "openai-responses":
            responses, asked = self.openai.responses, {**responses_request(ask), **ask.more}
            if not stream:
                return heard.of_response(await responses.create(**asked))
            async with responses.stream(**asked) as told:
                return heard.of_response(await told.get_final_response())
        messages, asked = self.anthropic.messages, {**messages_request(ask), **ask.more}
        if not stream:
            return heard.of_message(await messages.create(**asked))
        async with messages.stream(**asked) as said:
            return heard.of_message(await said.get_final_message())


def chat_request(ask: Ask) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": ask.pool, "messages": [{"role": "user", "content": ask.prompt}]}
    if ask.tools:
        asked["tools"] = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in TOOLS]
    if ask.thinking:
        asked["reasoning_effort"] = "medium"
    if ask.stop:
        asked["stop"] = list(ask.stop)
    if ask.n > 1:
        asked["n"] = ask.n
    if ask.logprobs is not None:
        asked |= {"logprobs": True, "top_logprobs": ask.logprobs}
    return asked


def responses_request(ask: Ask) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": ask.pool, "input": ask.prompt, "store": False}
    if ask.tools:
        tool = {"type": "function", "parameters": SCHEMA, "strict": False}
        asked["tools"] = [{**tool, "name": name} for name in TOOLS]
    if ask.thinking:
        asked |= {
            "reasoning": {"effort": "medium", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        }
    if ask.logprobs is not None:
        asked |= {"include": ["message.output_text.logprobs"], "top_logprobs": ask.logprobs}
    return asked


def messages_request(ask: Ask) -> dict[str, Any]:
    messages = [{"role": "user", "content": ask.prompt}]
    asked: dict[str, Any] = {"model": ask.pool, "max_tokens": 30_000, "messages": messages, "timeout": 60}
    if ask.tools:
        asked["tools"] = [{"name": name, "input_schema": SCHEMA} for name in TOOLS]
    if ask.thinking:
        asked["thinking"] = {"type": "enabled", "budget_tokens": 2000}
    if ask.stop:
        asked["stop_sequences"] = list(ask.stop)
    return asked


TOOLS = ("get_weather", "look_up", "note_down")
