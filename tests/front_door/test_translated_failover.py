"""A member that fails in any way before the commit point is stood in for by a member of another dialect."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, call, client, make
from support.faults import FAULTS, Fault
from support.simulators import Simulators

PAIRS = list(itertools.permutations(BASES, 2))
CLIENTS = ("anthropic-messages", "openai-chat", "openai-responses")
TIMEOUTS: dict[str, dict[str, str]] = {"patient": {}, "quick": {"first_event": "2s", "reply": "2s"}}
LIMIT = 30_000_000
SIZES = {"10KB": 10_000, "1.1MB": 1_100_000, "30MB": LIMIT}
# What is noticed of replies that are read, and what every status that says "not here, not now" comes to.
MORE_FAULTS = [
    *(Fault({"status": status}) for status in (401, 403, 502, 503, 504)),
    *(Fault({"trouble": name}) for name in ("overloaded", "rate_limit", "server_error", "invalid_key")),
    Fault({"garbage": "body"}, stream=False),  # a whole reply in the client's own dialect is not read
    Fault({"status": 503, "compress": "gzip"}),
]
# With the largest bodies only those ways of failing that differ in what becomes of the body.
LARGE_FAULTS: dict[str, dict[str, Any]] = {
    "status": {"status": 503},
    "reset": {"reset": "before-headers"},
    "first-event": {"error_event": True},
}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("bad", "good") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [
            provider(f"{sim.name}-{dialect}", sim.port, dialect, path)
            for sim in sims
            for dialect, path in BASES.items()
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "limits": {"request_bytes": LIMIT + 1_000_000},
        "pools": [
            {
                "name": f"{first}.{second}.{timeouts}",
                "ejection": "off",
                "timeouts": limits,
                "members": [
                    {"provider": f"bad-{first}", "model": "bad-model"},
                    {"provider": f"good-{second}", "model": "good-model", "priority": 1},
                ],
            }
            for first, second in PAIRS
            for timeouts, limits in TIMEOUTS.items()
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()
    sims["good"].script(strict=True)


def assert_answered_by_the_second(got: Got, is_spared: bool = False) -> None:
    """`is_spared`: the first one may have said by then that it wants no call."""
    assert got.is_whole, str(got)
    assert got.text == f"good answering as good-model: {got.ask.question}", str(got)
    second = got.ask.pool.split(".")[1]
    assert got.member == f"good-{second}/good-model", str(got)
    assert got.attempts == 2 or (is_spared and got.attempts == 1), str(got)


@pytest.mark.parametrize("fault", [*FAULTS, *MORE_FAULTS], ids=lambda fault: fault.name)
def test_the_other_dialect_answers(broker: Broker, sims: Simulators, fault: Fault) -> None:
    sims["bad"].script(
        refuse=True
    )  # ends idle connections: those that are there would not be accepted any more
    sims["bad"].script(faults=[fault.script])
    kinds = [stream for stream in (False, True) if (fault.stream if stream else fault.whole)]
    calls = [
        Ask(f"{first}.{second}.{fault.timeouts}", dialect, stream)
        for first, second in PAIRS
        for dialect in CLIENTS
        for stream in kinds
        if stream or fault.script != {"garbage": "body"} or first != dialect
    ]
    for got in make(broker.url, calls, parallel=20):
        assert_answered_by_the_second(got, fault.says_when)
    assert len(sims["good"].settled_calls()) == len(calls)


def test_nobody_listens_at_the_first(broker: Broker, sims: Simulators) -> None:
    sims["bad"].script(refuse=True)
    calls = [
        Ask(f"{first}.{second}.patient", dialect, stream)
        for first, second in PAIRS
        for dialect in CLIENTS
        for stream in (False, True)
    ]
    for got in make(broker.url, calls, parallel=20):
        assert_answered_by_the_second(got)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", LARGE_FAULTS)
def test_large_bodies_are_translated_once_and_whole(
    broker: Broker, sims: Simulators, fault: str, size: str
) -> None:
    sims["bad"].script(faults=[LARGE_FAULTS[fault]])
    filling = "".join(f"{number:08x}" for number in range(SIZES[size] // 8))
    calls = []
    # Of the largest each client's dialect has one: it is the size that may be too much for somebody.
    pairs = PAIRS[:: 7 if size == "30MB" else 3]
    for dialect, (first, second) in zip(itertools.cycle(CLIENTS), pairs, strict=False):
        ask = Ask(f"{first}.{second}.patient", dialect, stream=fault == "first-event")
        said = [{"role": "user", "content": filling}, {"role": "assistant", "content": "Go on."}]
        field = "input" if dialect == "openai-responses" else "messages"
        question = {"role": "user", "content": ask.question}
        calls.append((ask, json.dumps({**ask.body, field: [*said, question]}).encode()))

    async def every() -> list[Got]:
        async with client(broker.url) as http:
            return [await call(http, ask, body) for ask, body in calls]

    for got in asyncio.run(every()):
        assert_answered_by_the_second(got)
    received = [entry for entry in sims["good"].settled_calls() if entry["body_bytes"]]
    assert len(received) == len(calls)
    for entry in received:
        assert SIZES[size] <= entry["body_bytes"] < SIZES[size] + 2_000
        if entry.get("body") and len(entry["body"]) == entry["body_bytes"]:
            assert entry["body"].count(filling) == 1
