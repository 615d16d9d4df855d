"""Errors that Envoy makes by itself are JSON of the client's dialect with a stable code, never its text."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.simulators import Simulators
from support.waiting import wait_until
from support.wire import (
    BEARER,
    CHAT,
    MESSAGES,
    X_API_KEY,
    Answer,
    Wire,
    ask,
    chat,
    chunked,
    dialect_of,
    error_of,
    head,
)

LIMIT = 64 * 1024
CALLS = ((CHAT, BEARER), (MESSAGES, X_API_KEY))
BODY = json.dumps(chat("pool")).encode()


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("ant", "oai", "both") as simulators:
        yield simulators


def config(sims: Simulators, **limits: Any) -> dict[str, Any]:
    """`nobody` is behind a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = taken.getsockname()[1]
    both = ["openai-chat", "anthropic-messages"]
    pools = {"pool": ["ant", "oai"], "nobody": ["nobody", "nobody-else"], "two-tongues": ["both"]}
    quick = {"connect": "5s", "first_event": "1s", "reply": "1s"}
    return {
        "limits": {"request_bytes": LIMIT, **limits},
        "providers": [
            provider("ant", sims["ant"].port, "anthropic-messages"),
            provider("oai", sims["oai"].port, "openai-chat", "/v1"),
            provider("both", sims["both"].port, both),
            provider("nobody", dead, "openai-chat"),
            {**provider("nobody-else", dead, both), "auth": "bearer"},
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": name,
                "ejection": "off",
                "timeouts": timeouts,
                "members": [{"provider": member, "model": "m"} for member in members],
            }
            for suffix, timeouts in (("", {}), ("-quick", quick))
            for name, members in ((f"{pool}{suffix}", members) for pool, members in pools.items())
        ],
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


@pytest.fixture(scope="module")
def tight(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker at its limits soon."""
    with Broker(tmp_path_factory.mktemp("tight"), config(sims, concurrency=2, idle="1s")) as running:
        yield running


@pytest.fixture(autouse=True)
def _afresh(sims: Simulators) -> None:
    sims.reset()


def failed(answer: Answer, path: str, status: int, code: str) -> str:
    """The message, after a look that the error is this one, in the dialect of `path`."""
    error = error_of(answer)
    assert (answer.status, error["code"]) == (status, code), answer
    assert answer.get("x-broker-code") == ("" if answer.get("x-broker-member") else code)
    assert dialect_of(answer) == ("anthropic" if path.startswith(MESSAGES) else "openai")
    assert not answer.broken and answer.get("server") == "modelbroker"
    message: str = error["message"]
    assert "%" not in message and "upstream connect error" not in message
    return message


# -- requests that Envoy refuses by itself: nothing is known of them, not even the path

NOT_HTTP: dict[str, tuple[bytes, int, str]] = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", 400, "invalid_http"),
    "words": (b"hello there, anyone?\r\n\r\n", 400, "invalid_http"),
    "no version": (b"POST /v1/chat/completions\r\n\r\n", 426, "http_version_not_supported"),
    "HTTP/0.9": (b"POST /v1/chat/completions HTTP/0.9\r\n\r\n", 426, "http_version_not_supported"),
    "no host": (head("POST", CHAT, BEARER), 400, "invalid_http"),
    "no colon": (b"POST / HTTP/1.1\r\nhost: x\r\nnonsense\r\n\r\n", 400, "invalid_http"),
    "NUL": (head("POST", CHAT, [("host", "x"), ("x-a", "a\0b")]), 400, "invalid_http"),
    "two lengths": (
        head("POST", CHAT, [("host", "x"), ("content-length", "3"), ("content-length", "4")]),
        400,
        "invalid_http",
    ),
    "bad length": (head("POST", CHAT, [("host", "x"), ("content-length", "-1")]), 400, "invalid_http"),
    "length and chunks": (
        head("POST", CHAT, [("host", "x"), ("content-length", "3"), ("transfer-encoding", "chunked")]),
        400,
        "invalid_http",
    ),
    "unknown coding": (
        head("POST", CHAT, [("host", "x"), ("transfer-encoding", "smoke")]),
        400,
        "invalid_http",
    ),
    "large header": (
        head("POST", CHAT, [("host", "x"), ("x-large", "a" * 100_000)]),
        431,
        "request_headers_too_large",
    ),
    "many headers": (
        head("POST", CHAT, [("host", "x"), *((f"x-{n}", "a") for n in range(300))]),
        431,
        "request_headers_too_large",
    ),
    "long path": (head("POST", "/" + "a" * 100_000, [("host", "x")]), 431, "request_headers_too_large"),
}


@pytest.mark.parametrize("case", NOT_HTTP)
def test_not_http(broker: Broker, case: str) -> None:
    raw, status, code = NOT_HTTP[case]
    with Wire(broker.url) as wire:
        wire.send(raw)
        failed(wire.receive(), "", status, code)
        assert wire.is_closed()


@pytest.mark.parametrize(("path", "keys"), CALLS)
def test_a_broken_chunk(broker: Broker, path: str, keys: Any) -> None:
    with Wire(broker.url) as wire:
        wire.send(head("POST", path, [("host", "x"), ("transfer-encoding", "chunked"), *keys]) + b"zzz\r\n")
        failed(wire.receive(), path, 400, "invalid_http")


@pytest.mark.parametrize(("path", "keys"), CALLS)
def test_what_envoy_refuses_of_a_known_path(broker: Broker, path: str, keys: Any) -> None:
    with Wire(broker.url) as wire:
        wire.send(head("POST", path, [("host", "x"), ("transfer-encoding", "chunked"), *keys]))
        wire.send(chunked([b" " * 16_000] * 300))
        failed(wire.receive(), path, 413, "request_too_large")
    upgrade = [("connection", "upgrade"), ("upgrade", "websocket")]
    failed(ask(broker.url, path, None, [*keys, *upgrade], method="GET"), path, 426, "upgrade_not_supported")
    failed(ask(broker.url, path, BODY, keys, host=None), path, 400, "invalid_http")
    bad = path.replace("/messages", "/messages/%2f") if path == MESSAGES else "/v1%5cchat"
    failed(ask(broker.url, bad, BODY, keys), path, 400, "invalid_path")


# -- providers that fail: what is left when every member was tried


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pool", ["pool", "two-tongues"])
@pytest.mark.parametrize(("path", "keys"), CALLS)
def test_providers_that_break_off(
    broker: Broker, sims: Simulators, path: str, keys: Any, pool: str, stream: bool
) -> None:
    for fault in ({"reset": "before-headers"}, {"reset": "on-accept"}, {"garbage": "not-http"}):
        for sim in sims:
            sim.script(faults=[fault])
        answer = ask(broker.url, path, chat(pool, stream=stream), keys)
        failed(answer, path, 503, "upstream_unavailable")
        assert answer.get("x-broker-member") and answer.get("x-broker-request-id")


@pytest.mark.parametrize(("path", "keys"), CALLS)
def test_providers_that_are_not_there(broker: Broker, path: str, keys: Any) -> None:
    answer = ask(broker.url, path, chat("nobody"), keys)
    message = failed(answer, path, 503, "upstream_unavailable")
    assert "127.0.0.1" not in message and "/tmp" not in message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "keys"), CALLS)
def test_providers_that_say_nothing(
    broker: Broker, sims: Simulators, path: str, keys: Any, stream: bool
) -> None:
    for sim in sims:
        sim.script(faults=[{"stall": "before-headers"}])
    answer = ask(broker.url, path, chat("pool-quick", stream=stream), keys)
    failed(answer, path, 504, "upstream_timeout")
    assert answer.get("x-broker-pool") == "pool-quick"


# -- limits


@pytest.mark.parametrize(("path", "keys"), CALLS)
def test_calls_that_stand_still(tight: Broker, sims: Simulators, path: str, keys: Any) -> None:
    """`limits.idle`: it is the provider's fault where the request is whole, else the client's."""
    for sim in sims:
        sim.script(faults=[{"stall": "before-headers"}])
    failed(ask(tight.url, path, BODY, keys), path, 504, "upstream_timeout")
    with Wire(tight.url) as wire:
        wire.send(head("POST", path, [("host", "x"), ("content-length", "1000"), *keys]) + b'{"model"')
        failed(wire.receive(), path, 408, "request_timeout")


@pytest.mark.parametrize(("path", "keys"), CALLS)
def test_more_calls_than_the_limit(tight: Broker, sims: Simulators, path: str, keys: Any) -> None:
    """Those above `limits.concurrency` are told at once; the others get their answer."""
    for sim in sims:
        sim.script(faults=[{"delay_headers_ms": 200}])
    answers = together(*[partial(ask, tight.url, path, BODY, keys)] * 12)
    refused = [answer for answer in answers if answer.status != 200]
    for answer in refused:
        if answer.status == 504:  # it waited for its turn for as long as `idle` allows
            failed(answer, path, 504, "upstream_timeout")
        else:
            failed(answer, path, 503, "broker_overloaded")
    assert 0 < len(refused) < 12


def test_a_request_that_never_ends(broker: Broker) -> None:
    with Wire(broker.url) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        failed(wire.receive(), "", 408, "request_timeout")


# -- a control plane that is away


@contextlib.contextmanager
def control_plane_away(broker: Broker, how: signal.Signals) -> Iterator[None]:
    """SIGSTOP: it hangs until the end of the block. SIGKILL: `up` starts another one."""
    (pid,) = broker.child_pids("serve")
    os.kill(pid, how)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        broker.wait_for(lambda status: bool(status["in_effect"]), 60)
        assert ask(broker.url, CHAT, BODY).status == 200


def together(*work: Callable[[], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(len(work)) as threads:
        return [future.result() for future in [threads.submit(each) for each in work]]


def test_a_control_plane_that_hangs(broker: Broker, sims: Simulators) -> None:
    """Calls end in a clear error, a stream that is under way too, or are served by the one that is started in
    its place; and all is well when it goes on."""
    for sim in sims:
        sim.script(faults=[{"stall": "before-headers"}])
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(ask, broker.url, CHAT, chat("pool-quick", stream=True))
        wait_until(lambda: any(sim.calls() for sim in sims))
        with control_plane_away(broker, signal.SIGSTOP):
            # Its member is late. Where another one is left, nobody says so.
            answer = under_way.result()
            late = (504, "upstream_timeout") if answer.status == 504 else (503, "broker_unavailable")
            failed(answer, CHAT, *late)
            sims.reset()
            answers = together(*(partial(ask, broker.url, path, BODY, keys) for path, keys in CALLS))
            for (path, _), answer in zip(CALLS, answers, strict=True):
                if answer.status != 200:
                    failed(answer, path, 503, "broker_unavailable")


def test_a_control_plane_that_died(broker: Broker) -> None:
    """Until the next one is up a call is refused clearly; it never waits for long, or gets through."""
    with control_plane_away(broker, signal.SIGKILL):
        for path, keys in CALLS:
            answer = ask(broker.url, path, BODY, keys)
            if answer.status != 200:  # the next one may be quick
                failed(answer, path, 503, "broker_unavailable")
