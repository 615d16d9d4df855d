"""Calls to the front door, many at a time, and what came back as a client sees it."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from .broker import KEY
from .simulators import SimulatorHandle
from .waiting import wait_until

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
}
PATIENCE_S = 60.0
_PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ask:
    """One call to be made; `question` is unlike any other's, so that every attempt can be told by it."""

    pool: str
    dialect: str = "openai-chat"
    stream: bool = False
    question: str = field(default_factory=lambda: f"question no. {next(_numbers)}.")
    max_tokens: int | None = None
    image: bool = False  # with a picture, where the dialect is openai-chat
    headers: Mapping[str, str] = field(default_factory=dict)  # further ones
    more: Mapping[str, Any] = field(default_factory=dict)  # further fields of the body

    @property
    def body(self) -> dict[str, Any]:
        parts = [
            {"type": "text", "text": self.question},
            {"type": "image_url", "image_url": {"url": _PICTURE}},
        ]
        messages = [{"role": "user", "content": parts if self.image else self.question}]
        asked: dict[str, Any] = {"model": self.pool, **self.more}
        if self.dialect == "openai-responses":
            asked["input"] = self.question
        else:
            asked["messages"] = messages
        if self.dialect == "anthropic-messages":
            asked["max_tokens"] = self.max_tokens or 1000  # it has to be said
        elif self.max_tokens:
            is_chat = self.dialect == "openai-chat"
            asked["max_completion_tokens" if is_chat else "max_output_tokens"] = self.max_tokens
        if self.stream:
            asked["stream"] = True
        return asked


@dataclass(frozen=True, slots=True)
class Got:
    """What a client got; `broken` is how the transfer failed, "" where it ended as HTTP wants it."""

    ask: Ask
    status: int
    headers: dict[str, str]
    body: bytes
    broken: str = ""
    took_s: float = 0.0

    @property
    def member(self) -> str:
        return self.headers.get("x-broker-member", "")

    @property
    def attempts(self) -> int:
        return int(self.headers["x-broker-attempts"])

    @property
    def is_whole(self) -> bool:
        """The reply is complete by its own dialect's rules."""
        return not self.broken and self.status == 200 and ended(self.ask, self.body)

    @property
    def text(self) -> str:
        return text_of(self.ask, self.body)

    def __str__(self) -> str:
        return f"{self.ask} -> {self.status} {self.broken} {self.headers} {self.body[:600]!r}"


_TLS = ssl.create_default_context()  # made once: it is most of what a client costs


def client(url: str, **options: Any) -> httpx.AsyncClient:
    """A client that holds the broker's key and never retries."""
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.AsyncClient(
        base_url=url, headers=headers, timeout=PATIENCE_S, verify=_TLS, trust_env=False, **options
    )


async def call(http: httpx.AsyncClient, ask: Ask, content: bytes | None = None) -> Got:
    """One call, read to its end. `content` is sent in place of the ask's own body."""
    status, headers, body = 0, {}, bytearray()
    sent = json.dumps(ask.body).encode() if content is None else content
    headers_sent = {"content-type": "application/json", **ask.headers}
    if ask.dialect == "anthropic-messages":
        headers_sent["anthropic-version"] = "2023-06-01"
    request = http.build_request("POST", PATHS[ask.dialect], content=sent, headers=headers_sent)
    began_s = time.monotonic()
    try:
        reply = await http.send(request, stream=True)
        try:
            status, headers = reply.status_code, dict(reply.headers)
            async for chunk in reply.aiter_raw():
                body += chunk
        finally:
            await reply.aclose()
    except httpx.HTTPError as error:
        broken = f"{type(error).__name__}: {error}"
        return Got(ask, status, headers, bytes(body), broken, time.monotonic() - began_s)
    return Got(ask, status, headers, bytes(body), took_s=time.monotonic() - began_s)


async def call_all(url: str, asks: Iterable[Ask], parallel: int = 50) -> list[Got]:
    """All of them, `parallel` at a time, in the order of the asks."""
    waiting = list(enumerate(asks))
    got: dict[int, Got] = {}
    todo = iter(waiting)

    async def lane() -> None:
        # A client each: httpx's pool of many connections is slow to search.
        async with client(url) as http:
            for number, ask in todo:
                got[number] = await call(http, ask)

    await asyncio.gather(*(lane() for _ in range(min(parallel, len(waiting)))))
    return [got[number] for number, _ in waiting]


def make(url: str, asks: Iterable[Ask], parallel: int = 50) -> list[Got]:
    """`call_all` for a test that is not async."""
    return asyncio.run(call_all(url, asks, parallel))


@asynccontextmanager
async def opened(url: str, ask: Ask) -> AsyncIterator[httpx.Response]:
    """The call's reply, to be read as it comes."""
    async with client(url) as http:
        request = {"json": ask.body, "headers": {"anthropic-version": "2023-06-01", **ask.headers}}
        async with http.stream("POST", PATHS[ask.dialect], **request) as reply:
            yield reply


async def leave(url: str, sim: SimulatorHandle, asks: list[Ask], reads: bool) -> None:
    """Make the calls, and go: with the first bytes read, or once the provider has all of them."""

    async def one(ask: Ask) -> None:
        async with opened(url, ask) as reply:
            async for _ in reply.aiter_raw():
                return

    tasks = [asyncio.create_task(one(ask)) for ask in asks]
    if reads:
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        return
    await asyncio.to_thread(wait_until, lambda: len(sim.calls()) == len(asks), 10)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def asks(n: int, pool: str, dialect: str = "openai-chat", stream: bool = False) -> list[Ask]:
    return [Ask(pool, dialect, stream) for _ in range(n)]


def ended(ask: Ask, body: bytes) -> bool:
    if not ask.stream:
        try:
            return isinstance(json.loads(body), dict)
        except ValueError:
            return False
    last = body.rstrip().split(b"\n\n")[-1]
    return {
        "openai-chat": b"data: [DONE]",
        "openai-responses": b"event: response.completed",
        "anthropic-messages": b"event: message_stop",
    }[ask.dialect] in last


def text_of(ask: Ask, body: bytes) -> str:
    """The answer's text."""
    if not ask.stream:
        return _WHOLE_TEXT[ask.dialect](json.loads(body))
    lines = [line for line in body.split(b"\n") if line.startswith(b"data: {")]
    return "".join(_DELTA_TEXT[ask.dialect](json.loads(line[6:])) for line in lines)


_WHOLE_TEXT: dict[str, Callable[[Any], str]] = {
    "openai-chat": lambda reply: reply["choices"][0]["message"]["content"],
    "openai-responses": lambda reply: "".join(
        part["text"] for item in reply["output"] for part in item.get("content", ())
    ),
    "anthropic-messages": lambda reply: "".join(part["text"] for part in reply["content"]),
}
_DELTA_TEXT: dict[str, Callable[[Any], str]] = {
    "openai-chat": lambda event: "".join(
        choice["delta"].get("content") or "" for choice in event.get("choices", ())
    ),
    "openai-responses": lambda event: (
        event["delta"] if event.get("type") == "response.output_text.delta" else ""
    ),
    "anthropic-messages": lambda event: event.get("delta", {}).get("text", ""),
}
