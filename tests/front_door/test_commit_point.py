"""The commit point: before the first real event all can still be saved, behind it nothing is touched."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import PATHS, Ask, asks, leave, make
from support.faults import SLOW
from support.simulators import SimulatorHandle, Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "anthropic-messages", "openai-responses")


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("first", "next", "direct") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    def members(dialect: str) -> list[dict[str, Any]]:
        names = enumerate(("first", "next"))
        return [{"provider": f"{n}-{dialect}", "model": "m", "priority": level} for level, n in names]

    config = {
        "providers": [
            provider(
                f"{name}-{dialect}",
                sims[name].port,
                dialect,
                "" if dialect == "anthropic-messages" else "/v1",
            )
            for name in ("first", "next")
            for dialect in DIALECTS
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        # Timeouts are the defaults: what they promise is what is looked at here.
        "pools": [{"name": d, "members": members(d), "ejection": "off"} for d in DIALECTS],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


# -- slow is not broken


def test_slow_but_good_is_neither_failed_over_nor_billed_twice(broker: Broker, sims: Simulators) -> None:
    calls = [Ask(dialect, dialect, stream=True) for dialect in DIALECTS for _ in SLOW]
    faults = [
        {**slow, "match": {"contains": ask.question}}
        for ask, slow in zip(calls, SLOW * len(DIALECTS), strict=True)
    ]
    sims["first"].script(faults=faults, replies=[{"text": "Patience."}])
    for g in make(broker.url, calls):
        assert g.is_whole, str(g)
        assert g.text == "Patience."
        assert g.attempts == 1, str(g)
    assert len(sims["first"].settled_calls()) == len(calls)
    assert sims["next"].calls() == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_slow_whole_reply_is_waited_for(broker: Broker, sims: Simulators, dialect: str) -> None:
    sims["first"].script(faults=[{"delay_headers_ms": 1000, "delay_first_event_ms": 1000}])
    (got,) = make(broker.url, [Ask(dialect, dialect)])
    assert got.is_whole
    assert got.attempts == 1
    assert len(sims["first"].settled_calls()) == 1


# -- a committed stream is the provider's own, byte for byte


def recorded(sim: SimulatorHandle, ask: Ask) -> bytes:
    """The bytes that the simulator itself sends for this call, asked without a broker."""
    url = f"http://127.0.0.1:{sim.port}{PATHS[ask.dialect]}"
    headers = {"authorization": "Bearer x", "x-api-key": "x", "anthropic-version": "2023-06-01"}
    return httpx.post(url, json={**ask.body, "model": "m"}, headers=headers, timeout=60).content


def write_recording(folder: Path, ask: Ask, sent: bytes) -> Path:
    """The answer as a recording: replayed, it is the same to the byte for every call."""
    body = sent.decode() if ask.stream else {"base64": base64.b64encode(sent).decode()}
    kind = "text/event-stream" if ask.stream else "application/json"
    response = {"status": 200, "headers": {"content-type": kind}, "body": body}
    row = {"id": "it", "kind": ask.dialect, "request": {"body": {}}, "response": response}
    path = folder / "recording.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


def unnamed(body: bytes) -> bytes:
    """Without what the broker itself puts in where a pool has several accounts: whose the reply's id is."""
    return body.replace(b"@first-openai-responses", b"")


def replay(sims: Simulators, folder: Path, ask: Ask, reply: dict[str, Any], **fault: Any) -> bytes:
    """Make the first provider answer like this for every call; the bytes that it sends."""
    sims["direct"].script(replies=[reply])
    sent = recorded(sims["direct"], ask)
    path = write_recording(folder, ask, sent)
    faults = [fault] if fault else []
    sims["first"].script(recordings=[str(path)], replies=[{"recording": "it"}], faults=faults)
    return sent


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ["short", "long", "spaced", "in-bytes"])
def test_the_client_gets_the_providers_bytes(
    broker: Broker, sims: Simulators, tmp_path: Path, dialect: str, stream: bool, kind: str
) -> None:
    ask = Ask(dialect, dialect, stream)
    reply: dict[str, Any] = {
        "short": {"text": "Short."},
        "long": {"text": "word " * 2000, "chunks": 2000},
        "spaced": {"text": "one two three four five six seven eight"},
        "in-bytes": {"text": "caf\u00e9 \u4f60\u597d \U0001f30d " * 20, "chunk_bytes": 1},
    }[kind]
    sent = replay(sims, tmp_path, ask, reply, **({"token_delay_ms": 25} if kind == "spaced" else {}))
    got = make(broker.url, asks(6 if kind == "long" else 30, dialect, dialect, stream))
    assert {(g.status, g.broken, g.attempts) for g in got} == {(200, "", 1)}
    assert {unnamed(g.body) == sent for g in got} == {True}
    assert {g.body == sent for g in got} == {dialect != "openai-responses"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_compressed_reply_that_nobody_asked_for(
    broker: Broker, sims: Simulators, tmp_path: Path, dialect: str, encoding: str
) -> None:
    """Gzip arrives plain; what Envoy can't undo arrives as it is, but where the broker has to read it."""
    for stream in (False, True):
        ask = Ask(dialect, dialect, stream)
        sent = replay(sims, tmp_path, ask, {"text": "squeezed " * 300}, compress=encoding)
        for got in make(broker.url, asks(10, dialect, dialect, stream)):
            assert (got.status, got.broken, got.attempts) == (200, "", 1), str(got)
            if encoding == "gzip" or dialect == "openai-responses":
                assert "content-encoding" not in got.headers
                assert unnamed(got.body) == sent
            else:
                assert got.headers["content-encoding"] == encoding
                assert zlib.decompress(got.body) == sent


@pytest.mark.parametrize(
    "fault",
    [
        {"error_event": True},
        {"error_event": True, "after_events": 1},
        {"cut": "end", "after_events": 1},
        {"reset": "mid-stream", "after_events": 1},
    ],
    ids=str,
)
def test_the_commit_point_sees_through_compression(
    broker: Broker, sims: Simulators, fault: dict[str, Any]
) -> None:
    sims["first"].script(faults=[{**fault, "compress": "gzip"}])
    for got in make(broker.url, [a for d in DIALECTS for a in asks(10, d, d, stream=True)]):
        assert got.is_whole, str(got)
        assert got.text == f"next answering as m: {got.ask.question}"
        assert got.attempts == 2


# -- behind the commit point


@pytest.mark.parametrize("token_delay_ms", [0, 30])
@pytest.mark.parametrize("end", [{"reset": "mid-stream"}, {"cut": "close"}], ids=str)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_broken_stream_is_never_a_clean_end(
    broker: Broker, sims: Simulators, tmp_path: Path, dialect: str, end: dict[str, Any], token_delay_ms: int
) -> None:
    """What came is the beginning of what the provider sent, and the client is told that it is not all."""
    ask = Ask(dialect, dialect, stream=True)
    fault = {**end, "after_events": 8, "token_delay_ms": token_delay_ms}
    sent = replay(sims, tmp_path, ask, {"text": "one two three four five six seven eight nine ten"}, **fault)
    got = make(broker.url, asks(30, dialect, dialect, stream=True))
    for g in got:
        if g.attempts == 1 and g.member.startswith("next"):
            assert g.is_whole, str(g)  # three broken streams in a row leave a member out
        elif g.attempts == 1:
            assert g.broken, str(g)
            assert 0 < len(g.body) < len(sent)
            assert sent.startswith(unnamed(g.body))
        else:  # it broke before anything was let through: that can only be when it came all at once
            assert token_delay_ms == 0
            assert g.is_whole, str(g)
            assert g.text == f"next answering as m: {g.ask.question}"
    to_first = [g for g in got if g.attempts == 2 or g.member.startswith("first")]
    assert len(sims["first"].settled_calls()) == len(to_first) >= 3


@pytest.mark.parametrize("at", ["committed", "held", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_that_goes_is_seen_by_the_provider(
    broker: Broker, sims: Simulators, dialect: str, at: str
) -> None:
    """Mid-stream, before the commit point, and while a whole reply is awaited; and nobody else is asked."""
    where = {"committed": "mid-stream", "held": "after-headers", "whole": "before-headers"}[at]
    more = {"after_events": 6} if at == "committed" else {}
    sims["first"].script(faults=[{"stall": where, **more}])
    calls = asks(10, dialect, dialect, stream=at != "whole")
    asyncio.run(leave(broker.url, sims["first"], calls, reads=at == "committed"))
    wait_until(lambda: [c["outcome"] for c in sims["first"].calls()] == ["client-gone"] * len(calls), 60)
    assert sims["next"].calls() == []
