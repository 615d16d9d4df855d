"""HTTP/1.1 by hand, for what no client library would send."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import h11

from .broker import KEY

PATIENCE_S = 60.0
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
BEARER = (("Authorization", f"Bearer {KEY}"),)
X_API_KEY = (("x-api-key", KEY), ("anthropic-version", "2023-06-01"))
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` have lower-case names, in order; `broken`: the transfer did not end as HTTP wants it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    broken: bool = False

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str:
        """The header's one value, "" where there is none."""
        values = self.all(name)
        assert len(values) < 2, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of an error, from where its dialect has it."""
        code: str = error_of(self)["code"]
        return code


def error_of(answer: Answer) -> dict[str, Any]:
    """The error object; AssertionError where the answer is none, in OpenAI's or Anthropic's shape."""
    assert answer.get("content-type") == "application/json", answer
    body = answer.json
    error: dict[str, Any] = body["error"]
    assert error["message"] and error["type"] and error["code"], body
    if dialect_of(answer) == "anthropic":
        assert set(body) == {"type", "error", "request_id"}, body
    else:
        assert set(body) == {"error"} and set(error) == {"message", "type", "param", "code"}, body
    return error


def dialect_of(answer: Answer) -> str:
    return "anthropic" if answer.json.get("type") == "error" else "openai"


def head(method: str, target: str, headers: Iterable[tuple[str, str]], version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class Wire:
    """One connection to the front door."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S)
        self._ahead = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """As much of it as the other side takes."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return  # it has answered already

    def receive(self, method: str = "POST") -> Answer:
        """The next answer, read to its end."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        answer = Answer(0, [], b"", broken=True)
        data, self._ahead = self._ahead, b""
        if data:
            parser.receive_data(data)
        while True:
            try:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    parser.receive_data(self._read())
                    continue
            except (h11.RemoteProtocolError, ConnectionResetError):
                return answer
            if isinstance(event, h11.Response):
                headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
                answer = Answer(event.status_code, headers, b"", broken=True)
            elif isinstance(event, h11.Data):
                answer = Answer(answer.status, answer.headers, answer.body + bytes(event.data), True)
            elif isinstance(event, h11.EndOfMessage):
                self._ahead = parser.trailing_data[0]
                return Answer(answer.status, answer.headers, answer.body)
            elif isinstance(event, h11.ConnectionClosed):
                return answer

    def _read(self) -> bytes:
        return self._socket.recv(65536)

    def until(self, expected: bytes) -> bytes:
        """What comes up to and with `expected`."""
        seen = b""
        deadline = time.monotonic() + PATIENCE_S
        while expected not in seen:
            assert time.monotonic() < deadline
            data = self._read()
            assert data, seen
            seen += data
        return seen

    def is_closed(self) -> bool:
        """The other side ends the connection, and says nothing more."""
        try:
            return self._read() == b""
        except ConnectionResetError:
            return True

    def ask(
        self,
        target: str = CHAT,
        body: bytes | Any = None,
        headers: Pairs = BEARER,
        *,
        method: str = "POST",
        host: str | None = "broker.test",
        version: str = "HTTP/1.1",
    ) -> Answer:
        """A request and its answer. `body` is sent as JSON unless it is bytes; None: no body at all."""
        pairs = [("Host", host)] if host is not None else []
        pairs += headers
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            pairs.append(("Content-Length", str(len(body))))
        self.send(head(method, target, pairs, version) + (body or b""))
        return self.receive(method)


def ask(
    url: str, target: str = CHAT, body: bytes | Any = None, headers: Pairs = BEARER, **how: Any
) -> Answer:
    """`Wire.ask` on a connection of its own."""
    with Wire(url) as wire:
        return wire.ask(target, body, headers, **how)


def chat(pool: str, **fields: Any) -> dict[str, Any]:
    """The body of a small call that OpenAI's and Anthropic's chat dialects both take."""
    return {"model": pool, "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}], **fields}


def chunked(pieces: Iterable[bytes]) -> bytes:
    """Pieces as the chunks of a whole body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
