"""Replies of providers, damaged in every way that bytes can be."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

from ..broker import KEY
from .jsons import Raw, change, tree_of, write
from .requests import render
from .sockets import Case
from .upstream import Script

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
}
POOLS = {"openai-chat": "o", "openai-responses": "o", "anthropic-messages": "a"}
_USAGE = {"input_tokens": 5, "output_tokens": 3}
_WHOLE: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "größe 漢"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    },
    "openai-responses": {
        "id": "r",
        "object": "response",
        "model": "m",
        "status": "completed",
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
        ],
        "usage": _USAGE,
    },
    "anthropic-messages": {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "größe 漢"}],
        "stop_reason": "end_turn",
        "usage": _USAGE,
    },
}
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
_EVENTS: dict[str, list[Any]] = {
    "openai-chat": [
        {**_CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {**_CHUNK, "choices": [{"index": 0, "delta": {"content": "größe"}}]},
        {**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        Raw(b"[DONE]"),
    ],
    "openai-responses": [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
        {"type": "response.output_text.delta", "delta": "größe", "item_id": "i", "output_index": 0},
        {"type": "response.completed", "response": _WHOLE["openai-responses"]},
    ],
    "anthropic-messages": [
        {"type": "message_start", "message": {**_WHOLE["anthropic-messages"], "content": []}},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "größe"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": _USAGE},
        {"type": "message_stop"},
    ],
}
_ERRORS: tuple[Any, ...] = (
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    {"type": "error", "error": None},
    {"error": {"message": "m", "type": "server_error", "code": "rate_limit_exceeded"}},
    {"error": "text"},
    {"error": {"code": 429, "message": ["no", "text"]}},
    {"type": "response.failed", "response": {"error": {"code": "server_error", "message": None}}},
)
_LINES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 201 Created",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 206 Partial Content",
    b"HTTP/1.1 301 Moved Permanently",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 400 Bad Request",
    b"HTTP/1.1 401 Unauthorized",
    b"HTTP/1.1 413 Too Large",
    b"HTTP/1.1 429 Too Many",
    b"HTTP/1.1 500 Oops",
    b"HTTP/1.1 503 ",
    b"HTTP/1.1 529 Overloaded",
    b"HTTP/1.1 599",
    b"HTTP/1.1 999 What",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.1 103 Early Hints",
    b"HTTP/1.1 000 None",
    b"HTTP/1.1 20 Short",
    b"HTTP/1.1 2000 Long",
    b"HTTP/1.1 abc OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/2 200 OK",
    b"HTTP/0.9 200 OK",
    b"ICY 200 OK",
    b"",
    b"\x16\x03\x03\x00\x02\x02\x28",
    b"HTTP/1.1 200 " + b"O" * 9_000,
    b"HTTP/1.1 200 \xff\x00",
)
_ODD_HEADERS = (
    b"x-broker-member: evil/model",
    b"x-broker-attempts: 99",
    b"x-broker-request-id: evil",
    b"x-envoy-ratelimited: true",
    b"x-envoy-immediate-health-check-fail: true",
    b"x-envoy-overloaded: true",
    b"x-envoy-degraded: 1",
    b"x-envoy-upstream-service-time: evil",
    b"set-cookie: a=b",
    b"connection: close",
    b"connection: upgrade\r\nupgrade: websocket",
    b"content-length: 5",
    b"content-length: 99999",
    b"content-length: -1",
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"content-encoding: gzip",
    b"content-encoding: br",
    b"content-encoding: zstd",
    b"content-encoding: gzip, gzip",
    b"content-encoding: nonsense",
    b"content-type: text/event-stream",
    b"content-type: TEXT/Event-Stream; charset=utf-8",
    b"content-type: text/html",
    b"content-type: application/grpc",
    b"content-type: \xff",
    b"grpc-status: 14",
    b"retry-after: yesterday",
    b"trailer: x-t",
    b"x: " + b"y" * 30_000,
    b"x: " + b"y" * 90_000,
    b"\r\n".join(b"x%d: y" % number for number in range(150)),
    b" folded: x",
    b"no colon",
    b": no name",
    b"na\x00me: x",
    b"x: a\x00b",
    b"x: \xc3\xa4",
    b":status: 500",
    b"location: https://evil.example/",
    b'alt-svc: h3=":443"',
    b"te: trailers",
)


def _stream_body(r: random.Random, dialect: str) -> bytes:
    trees = [tree_of(event) for event in _EVENTS[dialect]]
    for _ in range(r.choice((0, 1, 1, 2, 4))):
        at = r.randrange(len(trees))
        kind = r.randrange(6)
        if kind == 0:
            del trees[at]
        elif kind == 1:
            trees.insert(at, tree_of(r.choice(_ERRORS)))
        elif kind == 2:
            trees[at] = Raw(r.choice((b"", b"null", b"[]", b"{", b"\xff\xfe", b"1", b"[DONE]", b"text")))
        else:
            change(trees[at], r)
        trees = trees or [Raw(b"x")]
    end = r.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r"))
    lines = []
    for event, tree in zip([*_EVENTS[dialect]] * 3, trees, strict=False):
        if dialect != "openai-chat" and isinstance(event, dict):
            lines.append(b"event: " + event["type"].encode())
        lines += [b"data: " + write(tree), b""]
        if r.random() < 0.1:
            lines.append(
                r.choice((b": comment", b"id: 1", b"retry: x", b"data", b"", b"event: \xff", b"\x00"))
            )
    return end.join([*lines, b""])


def _damage(r: random.Random, body: bytes) -> bytes:
    at = r.randrange(len(body) + 1)
    match r.randrange(6):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + r.randbytes(r.randrange(1, 50)) + body[at:]
        case 2:
            return b"\xef\xbb\xbf" + body
        case 3:
            return body[:at] + b"A" * r.choice((1_000, 300_000)) + body[at:]
        case 4:
            return gzip.compress(body)
    return r.choice(
        (b"", b"<html>503</html>", b"upstream says no", body * 3, b"\x1f\x8b\x08garbage", body[at:])
    )


def _chunked(r: random.Random, body: bytes) -> bytes:
    out, at = [], 0
    while at < len(body):
        size = r.choice((1, 10, 100, 5_000)) if len(body) < 20_000 else 20_000
        piece = body[at : at + size]
        out.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += size
    if out and r.random() < 0.15:
        odd = (b"zz\r\nx\r\n", b"5\r\nabc", b"-1\r\n", b"ffffffffffffffff1\r\n", b"\r\n", b"3\nabc\n", b"")
        out[r.randrange(len(out))] = r.choice(odd)
    trailers = b"x-t: 1\r\n" if r.random() < 0.1 else b""
    return b"".join(out) + (b"0\r\n" + trailers + b"\r\n" if r.random() < 0.85 else b"")


def scripted(r: random.Random, dialect: str, stream: bool) -> Script:
    body = _stream_body(r, dialect) if stream else write(tree_of(_WHOLE[dialect]))
    if not stream and r.random() < 0.3:
        tree = tree_of(_WHOLE[dialect] if r.random() < 0.5 else r.choice(_ERRORS))
        change(tree, r)
        body = write(tree)
    if r.random() < 0.3:
        body = _damage(r, body)
    headers = [b"content-type: text/event-stream" if stream else b"content-type: application/json"]
    if r.random() < 0.5:
        headers += [r.choice(_ODD_HEADERS) for _ in range(r.choice((1, 1, 2, 5)))]
    framing = r.random()
    if framing < 0.45:
        headers.append(b"transfer-encoding: chunked")
        body = _chunked(r, body)
    elif framing < 0.85:
        wrong = r.choice((-3, 5, 1_000)) if r.random() < 0.15 else 0
        headers.append(b"content-length: %d" % max(0, len(body) + wrong))
    line = _LINES[0] if r.random() < 0.6 else r.choice(_LINES)
    before = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" if r.random() < 0.05 else b""
    sent = before + b"\r\n".join([line, *headers]) + b"\r\n\r\n" + body
    if r.random() < 0.1:
        sent = sent[: r.randrange(len(sent) + 1)]
    cuts = sorted({r.randrange(len(sent) + 1) for _ in range(r.choice((0, 1, 3, 8)))})
    pieces = tuple(sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True) if a < b)
    return Script(pieces, r.choices(("keep", "close", "reset", "stall"), (4, 4, 1, 1))[0])


def calling(number: int, dialect: str, stream: bool, name: str, patience_s: float) -> Case:
    """The client's request that `scripted` is the answer to."""
    text = f"case-{number}."
    body: dict[str, Any] = {"model": POOLS[dialect], "stream": stream}
    if dialect == "openai-responses":
        body["input"] = text
    else:
        body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 9}
    sent = json.dumps(body).encode()
    headers = [("host", "broker"), ("content-type", "application/json"), ("authorization", f"Bearer {KEY}")]
    return Case(
        name,
        (render("POST", PATHS[dialect], [*headers, ("content-length", str(len(sent)))], sent),),
        patience_s=patience_s,
    )


def good(dialect: str) -> Script:
    body = json.dumps(_WHOLE[dialect]).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return Script((head + body,), "keep")
