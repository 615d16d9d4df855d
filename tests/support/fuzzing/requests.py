"""Requests: valid ones, valid ones with odd parts, and bytes that only began as one."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ..broker import KEY
from .jsons import VALID, fuzzed_body, tree_of, write
from .sockets import Case

PATHS = tuple(VALID)
WRONG_KEYS = ("mb-wrong", "", " ", "Bearer", "sk-x" * 500, "\x80\xff", 'a"b', "a,b", "mb-test-keY")
_METHODS = (
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "CONNECT",
    "post",
    "PRI",
    "A" * 300,
    "M-SEARCH",
)
_ODD_PATHS = (
    "/",
    "*",
    "//v1/messages",
    "/v1//chat/completions",
    "/v1/chat/completions/",
    "/v1/messages/",
    "/v1/messages/../chat/completions",
    "/v1/%6dessages",
    "/v1/messages%2fcount_tokens",
    "/v1/chat/completions%00",
    "/v1/chat/completions#x",
    "/v1/chat/completions;a=b",
    "/v1/messagesx",
    "/v1/messages/batches",
    "/V1/MESSAGES",
    "/v1/models",
    "/v1/models/fuzzed",
    "/healthz",
    "/healthz/../v1/messages",
    "/../../etc/passwd",
    "/status",
    "/%",
    "/%zz",
    "/\xff\xfe",
    "/" + "a" * 9_000,
    "/v1" + "/x" * 2_000,
    "http://other.example/v1/messages",
    "http://127.0.0.1/v1/chat/completions",
    "https://x:y@z/",
    "v1/messages",
    "?",
    "",
)
_QUERIES = (
    "",
    "?",
    "?beta=true",
    "?a=b&a=c",
    "?%00",
    "?" + "q=" * 3_000,
    "?x=\xff",
    "??",
    "?a#b",
    "?model=x&stream=true",
)
# Names that mean something to Envoy, to the broker or to HTTP, with values of every kind.
NAMES = tuple(
    re.findall(
        r"\S+",
        """
x-broker-cluster x-broker-dialect x-broker-levels x-broker-model-span x-broker-pool
x-broker-request-id x-broker-revision x-broker-stream x-broker-suffix x-broker-member
x-broker-attempts x-broker-feature x_broker_pool X-Broker-Pool x-envoy-max-retries x-envoy-retry-on
x-envoy-retry-grpc-on x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-per-try-timeout-ms
x-envoy-upstream-alt-stat-name x-envoy-original-path x-envoy-original-host x-envoy-internal
x-envoy-force-trace x-envoy-decorator-operation x-envoy-hedge-on-per-try-timeout
x-envoy-expected-rq-timeout-ms x-envoy-is-timeout-retry x-envoy-external-address
x-envoy-downstream-service-cluster x-envoy-retriable-status-codes
x-envoy-upstream-stream-duration-ms x-envoy-ip-tags x_envoy_internal x-forwarded-for
x-forwarded-proto x-forwarded-host x-forwarded-port x-forwarded-client-cert forwarded x-real-ip
x-request-id x-client-trace-id traceparent tracestate b3 via host connection keep-alive
proxy-connection te trailer upgrade http2-settings expect content-length transfer-encoding
content-encoding content-type accept accept-encoding range if-none-match cookie proxy-authorization
api-key x-goog-api-key x-amz-date x-amz-security-token openai-organization openai-beta
anthropic-version anthropic-beta idempotency-key grpc-timeout grpc-encoding grpc-status
sec-websocket-key origin access-control-request-method user-agent date x-method-override
x-http-method-override max-forwards x-a a 0 ! x-%
""",
    )
)
VALUES = (
    "",
    "0",
    "1",
    "-1",
    "999999999999999999999",
    "5, 5",
    "+5",
    "0x5",
    "true",
    "close",
    "keep-alive",
    "close, authorization, x-api-key",
    "upgrade",
    "x-broker-levels, x-broker-cluster",
    "websocket",
    "h2c",
    "100-continue",
    "chunked",
    "gzip",
    "gzip, chunked",
    "chunked, chunked",
    "identity",
    "trailers",
    "application/grpc",
    "application/grpc-web+proto",
    "application/json",
    "application/json; charset=utf-16",
    "text/event-stream",
    "multipart/form-data; boundary=x",
    "127.0.0.1",
    "https",
    "evil.example:99",
    "pool/other/000000000000",
    "provider/a/1",
    "0-1",
    "1-99999999",
    "99-1",
    "anthropic-messages",
    "openai-chat",
    "no such dialect",
    "5xx,reset",
    "\xff\x80",
    "%00%0d%0a",
    "\t x \t",
    "v" * 3_000,
    "é",
    '(comment) "quoted\\',
    "2023-06-01",
    "AAMAAABkAARAAAAAAAIAAAAA",
)
Header = tuple[str, str]


def _keys(r: random.Random) -> list[Header]:
    """The right key most of the time; else a wrong one, none, or several."""
    kind = r.random()
    if kind < 0.4:
        return [("authorization", f"Bearer {KEY}")]
    if kind < 0.6:
        return [("x-api-key", KEY)]
    if kind < 0.65:
        return [("Authorization", f"bearer   {KEY} "), ("X-API-KEY", "other")]
    if kind < 0.7:
        return [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer other"), ("x_api_key", KEY)]
    if kind < 0.9:
        wrong = r.choice(WRONG_KEYS)
        return [
            r.choice((("authorization", f"Bearer {wrong}"), ("authorization", wrong), ("x-api-key", wrong)))
        ]
    return []


def _headers(r: random.Random, path: str) -> list[Header]:
    headers = [("host", "broker"), ("content-type", "application/json"), *_keys(r)]
    if path.startswith("/v1/messages"):
        headers.append(("anthropic-version", "2023-06-01"))
    for _ in range(r.choice((0, 1, 1, 2, 3, 5, 12, 150 if r.random() < 0.1 else 1))):
        headers.insert(r.randrange(len(headers) + 1), (r.choice(NAMES), r.choice(VALUES)))
    if r.random() < 0.15:
        headers.append(r.choice(headers))
    if r.random() < 0.1:
        del headers[r.randrange(len(headers))]
    return headers


def render(method: str, target: str, headers: Sequence[Header], body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def framed(r: random.Random, headers: list[Header], body: bytes) -> tuple[list[Header], bytes]:
    """The body with its length, or in chunks."""
    if r.random() < 0.8:
        return [*headers, ("content-length", str(len(body)))], body
    chunks = []
    at = 0
    while at < len(body):
        size = r.choice((1, 7, 100, 5_000, len(body)))
        piece = body[at : at + size]
        chunks.append(b"%x%b\r\n%b\r\n" % (len(piece), r.choice((b"", b"", b";a=b", b';x="y"')), piece))
        at += size
    end = b"0\r\n" + r.choice((b"", b"", b"x-trailer: 1\r\n", b"authorization: x\r\n")) + b"\r\n"
    return [*headers, ("transfer-encoding", "chunked")], b"".join(chunks) + end


def split(r: random.Random, sent: bytes) -> tuple[bytes, ...]:
    if r.random() < 0.75 or len(sent) < 2:
        return (sent,)
    cuts = sorted(r.randrange(1, len(sent)) for _ in range(r.randrange(1, 5)))
    return tuple(sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True) if a < b)


def fuzzed_request(r: random.Random, name: str) -> Case:
    """HTTP/1.1 whose every part may be odd, but whose frame is meant well."""
    path = r.choice(PATHS)
    method = "POST" if r.random() < 0.85 else r.choice(_METHODS)
    target = path if r.random() < 0.75 else r.choice(_ODD_PATHS)
    if r.random() < 0.15:
        target += r.choice(_QUERIES)
    body = write(tree_of(r.choice(VALID[path]))) if r.random() < 0.6 else fuzzed_body(r, path)
    headers, body = framed(r, _headers(r, path), body)
    return Case(name, split(r, render(method, target, headers, body)), ends=r.random() < 0.03)


def body_request(r: random.Random, name: str) -> Case:
    """A plain request with an odd body."""
    path = r.choice(PATHS)
    keys = [("authorization", f"Bearer {KEY}")] if r.random() < 0.9 else _keys(r)
    headers, body = framed(
        r, [("host", "broker"), ("content-type", "application/json"), *keys], fuzzed_body(r, path)
    )
    return Case(name, split(r, render("POST", path, headers, body)))


def valid_request(r: random.Random, path: str = "") -> bytes:
    path = path or r.choice(PATHS)
    headers = [("host", "broker"), ("content-type", "application/json"), ("authorization", f"Bearer {KEY}")]
    headers, body = framed(r, headers, write(tree_of(r.choice(VALID[path]))))
    return render("POST", path, headers, body)


_TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"\r\n\r\n",
    b"\r\n ",
    b"\r\n\t folded",
    b": ",
    b" : ",
    b" ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/9.9",
    b"http/1.1",
    b"\r\ntransfer-encoding: chunked",
    b"\r\ncontent-length: 10",
    b"\r\ncontent-length: 0",
    b"\r\nTransfer-Encoding : chunked",
    b"\r\ntransfer-encoding:\x0bchunked",
    b"\r\nconnection: close",
    b"\r\nexpect: 100-continue",
    b"ffffffffffffffffff\r\n",
    b"-1\r\n",
    b"0\r\n\r\n",
    b"5\r\nabc\r\n",
    b"\xff" * 9,
    b"A" * 70_000,
    b"x: y\r\n" * 300,
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


def _mutated(r: random.Random, sent: bytes, other: bytes) -> bytes:
    # Half of the changes hit the head: the body is long, and what happens there is JSON's affair.
    end = sent.find(b"\r\n\r\n") + 4 if r.random() < 0.7 else len(sent)
    at = r.randrange(max(1, end))
    match r.randrange(9):
        case 0:
            return (
                sent[:at] + bytes([sent[at] ^ (1 << r.randrange(8))]) + sent[at + 1 :]
                if at < len(sent)
                else sent
            )
        case 1:
            return sent[:at] + bytes([r.randrange(256)]) + sent[at + 1 :]
        case 2:
            return sent[:at]
        case 3:
            return sent[:at] + sent[at + r.randrange(1, 30) :]
        case 4:
            return sent[:at] + other[r.randrange(len(other)) :]
        case 5 | 6:
            return sent[:at] + r.choice(_TOKENS) + sent[at:]
        case 7:
            span = sent[at : at + r.randrange(1, 60)]
            return sent[:at] + span * r.randrange(2, 5) + sent[at:]
    return sent.replace(b"\r\n", b"\n", r.randrange(1, 9))


def mutated_bytes(r: random.Random, name: str) -> Case:
    """A valid request that was damaged on the way, alone or in a row of others."""
    sent = valid_request(r)
    for _ in range(r.choice((1, 1, 1, 2, 3, 8))):
        sent = _mutated(r, sent, valid_request(r)) if sent else sent
    if r.random() < 0.15:
        sent = b"".join(valid_request(r) for _ in range(r.randrange(1, 4))) + sent
    if r.random() < 0.1:
        sent += valid_request(r)
    return Case(name, split(r, sent), ends=r.random() < 0.1)
