"""A client that goes away cancels the provider's call, whatever it is waiting for, and leaves one record that
says so. Run with `-rP` to see how long it took."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, one_pool_each, provider
from support.calls import PATHS, Ask, make
from support.envoy import stats
from support.leaving import WAYS, Client, Way
from support.records import lines_of
from support.simulators import SimulatorHandle, Simulators
from support.waiting import wait_until

OTHER = {
    "openai-chat": "anthropic-messages",
    "openai-responses": "anthropic-messages",
    "anthropic-messages": "openai-chat",
}


@dataclass(frozen=True, slots=True)
class Phase:
    """What the provider does, and so what the call waits for when its client goes."""

    fault: dict[str, Any]
    stream: bool
    reads: bool = False  # the client has read of the reply by then

    def has_come(self, call: dict[str, Any]) -> bool:
        """The provider has sent what it ever sends."""
        return call["status"] is not None or self.fault["stall"] == "before-headers"


PHASES = {
    "waiting-for-headers": Phase({"stall": "before-headers"}, stream=False),
    "waiting-for-a-stream": Phase({"stall": "before-headers"}, stream=True),
    "a-whole-reply-is-held": Phase({"stall": "after-headers"}, stream=False),
    "before-the-commit-point": Phase({"stall": "after-headers"}, stream=True),
    "in-mid-stream": Phase({"stall": "mid-stream", "after_events": 4}, stream=True, reads=True),
}


class Silent:
    """A provider's port that nobody answers: its queue is full, and what comes then is waited for."""

    def __enter__(self) -> Silent:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self._listening.getsockname()[1]
        self._full = [socket.socket() for _ in range(8)]
        for one in self._full:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", self.port))
        return self

    def __exit__(self, *_: object) -> None:
        for one in (*self._full, self._listening):
            one.close()


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*PATHS, "first", "second") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def silent() -> Iterator[Silent]:
    with Silent() as port:
        yield port


@pytest.fixture(scope="module")
def broker(sims: Simulators, silent: Silent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = one_pool_each(sims, dict.fromkeys(PATHS, "m"))
    config["providers"] += [
        provider("silent", silent.port, list(PATHS)),
        *(provider(name, sims[name].port, "openai-chat", "/v1") for name in ("first", "second")),
    ]
    config["pools"] += [
        {
            "name": "unreachable",
            "ejection": "off",
            "failover": "none",
            "timeouts": {"connect": "60s"},
            "members": [{"provider": "silent", "model": "m"}],
        },
        {
            "name": "two",
            "ejection": "off",
            "members": [
                {"provider": "first", "model": "m"},
                {"provider": "second", "model": "m", "priority": 1},
            ],
        },
    ]
    assert config["callers"] == [{"name": "tester", "key": {"sha256": KEY_SHA256}}]
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def _well_behaved(sims: Simulators) -> None:
    sims.reset()


def records(broker: Broker) -> list[dict[str, Any]]:
    return lines_of(broker)


def settled_records(broker: Broker) -> list[dict[str, Any]]:
    """All records but those of calls that are made to see that the others are there; entries are in order."""
    (marker,) = make(broker.url, [Ask("pool-openai-chat")])
    request_id = marker.headers["x-broker-request-id"]
    wait_until(lambda: any(line["request_id"] == request_id for line in records(broker)))
    _markers.add(request_id)
    return [line for line in records(broker) if line["request_id"] not in _markers]


_markers: set[str] = set()


def new_records(broker: Broker, before: int, count: int) -> list[dict[str, Any]]:
    """Those behind the first `before`, when so many are there; more come to none."""
    wait_until(lambda: len(settled_records(broker)) >= before + count)
    found = settled_records(broker)[before:]
    assert len(found) == count, found
    return found


def is_of_one_that_left(record: dict[str, Any], attempts: int) -> bool:
    """It says so, and so does the attempt that nobody waited for any more; nothing looks like a failure."""
    last = [attempt["code"] for attempt in record["attempts"]][-1:]
    return (
        record["code"] == "client_gone"
        and record["status"] in (0, 200)
        and record["attempts_made"] == len(record["attempts"]) == attempts
        and last == ["cancelled"] * min(attempts, 1)
    )


def has_ended(sim: SimulatorHandle) -> dict[str, Any]:
    """The provider's newest call, when it has ended."""
    return wait_until(lambda: sim.calls()[-1] if sim.calls()[-1]["outcome"] is not None else None) or {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("translated", [False, True], ids=["same", "translated"])
@pytest.mark.parametrize("name", PHASES)
def test_whatever_a_call_waits_for_its_provider_sees_the_end(
    broker: Broker, sims: Simulators, name: str, translated: bool, way: Way
) -> None:
    phase = PHASES[name]
    before = len(settled_records(broker))
    sims.reset()
    took_ms = []
    for dialect in PATHS:
        member = OTHER[dialect] if translated else dialect
        sim = sims[member]
        sim.script(faults=[phase.fault])
        known = len(sim.calls())
        with Client(broker.url, Ask(f"pool-{member}", dialect, phase.stream), way) as client:
            client.send()
            wait_until(
                lambda sim=sim, known=known: len(sim.calls()) > known and phase.has_come(sim.calls()[-1])
            )
            if phase.reads:
                assert client.read()
            client.leave()
            end = has_ended(sim)
        assert end["outcome"] == "client-gone"
        assert len(sim.calls()) == known + 1  # nobody else was asked instead
        took_ms.append((end["end"] - client.left_s) * 1000)
        sim.script()
    print(f"{name} {translated=} {way}: the provider saw it after {max(took_ms):.0f} ms at most")
    found = new_records(broker, before, len(PATHS))
    assert {record["dialect"] for record in found} == {*PATHS}
    assert [record for record in found if not is_of_one_that_left(record, 1)] == []
    assert {record["status"] for record in found} == ({200} if phase.reads else {0})


@pytest.mark.parametrize("way", WAYS)
def test_while_its_body_is_being_sent(broker: Broker, sims: Simulators, way: Way) -> None:
    """Nothing was decided, not even who calls is looked at for good: no provider hears of it."""
    before = len(settled_records(broker))
    sims.reset()
    for dialect in PATHS:
        with Client(broker.url, Ask(f"pool-{dialect}", dialect), way) as client:
            client.send(0.5)
            wait_until(lambda: stats(broker, "^http.outer.downstream_rq_active$").popitem()[1] == 1)
            client.leave()
    found = new_records(broker, before, len(PATHS))
    assert [record for record in found if not is_of_one_that_left(record, 0)] == []
    assert [call for name in ("openai-responses", "anthropic-messages") for call in sims[name].calls()] == []


@pytest.mark.parametrize("way", WAYS)
def test_while_the_broker_decides(broker: Broker, sims: Simulators, way: Way) -> None:
    """The control plane is stopped meanwhile; it decides for nobody then, and nobody is called."""
    before = len(settled_records(broker))
    sims.reset()
    (pid,) = broker.child_pids("serve")
    waiting = [Client(broker.url, Ask(f"pool-{dialect}", dialect), way) for dialect in PATHS]
    os.kill(pid, signal.SIGSTOP)
    try:
        for client in waiting:
            client.send()
        wait_until(lambda: active(broker) == len(waiting))
        for client in waiting:
            client.leave()
        wait_until(lambda: active(broker) == 0)
    finally:
        os.kill(pid, signal.SIGCONT)
        for client in waiting:
            client.close()
    found = new_records(broker, before, len(PATHS))
    assert [record for record in found if not is_of_one_that_left(record, 0)] == []
    assert [call for name in ("openai-responses", "anthropic-messages") for call in sims[name].calls()] == []


def active(broker: Broker) -> int:
    """Calls under way, as Envoy counts them."""
    return stats(broker, "^http.outer.downstream_rq_active$")["http.outer.downstream_rq_active"]


@pytest.mark.parametrize("way", WAYS)
def test_while_the_provider_is_being_connected_to(broker: Broker, sims: Simulators, way: Way) -> None:
    """Calls that wait for a connection are counted as pending: none is left."""
    pending = "cluster.provider/silent.upstream_rq_pending_active"
    before = len(settled_records(broker))
    for dialect in PATHS:
        with Client(broker.url, Ask("unreachable", dialect, stream=True), way) as client:
            client.send()
            wait_until(lambda: stats(broker, pending).get(pending) == 1)
            client.leave()
            wait_until(lambda: stats(broker, pending).get(pending) == 0)
    found = new_records(broker, before, len(PATHS))
    assert [record for record in found if not is_of_one_that_left(record, 1)] == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_on_the_second_attempt(broker: Broker, sims: Simulators, way: Way, stream: bool) -> None:
    """The first one has failed and is none of the client's: what it sees is that nobody waited."""
    before = len(settled_records(broker))
    sims.reset()
    sims["first"].script(faults=[{"status": 529}])
    sims["second"].script(faults=[{"stall": "before-headers"}])
    with Client(broker.url, Ask("two", stream=stream), way) as client:
        client.send()
        wait_until(sims["second"].calls)
        client.leave()
        assert has_ended(sims["second"])["outcome"] == "client-gone"
    (record,) = new_records(broker, before, 1)
    assert is_of_one_that_left(record, 2)
    assert [attempt["status"] for attempt in record["attempts"]] == [529, 0]


@pytest.mark.parametrize("way", WAYS)
def test_between_two_attempts(broker: Broker, sims: Simulators, way: Way) -> None:
    """Clients go around the moment at which the first attempt fails: some before it, some behind it, and some
    just then. No provider is left with a call, and each call has one record."""
    before = len(settled_records(broker))
    sims.reset()
    sims["first"].script(faults=[{"delay_headers_ms": 100, "status": 529}])
    sims["second"].script(faults=[{"delay_headers_ms": 300_000}])
    waiting = [Client(broker.url, Ask("two"), way) for _ in range(30)]
    for client in waiting:
        client.send()
    wait_until(lambda: len(sims["first"].calls()) == len(waiting))
    wait_until(lambda: any(call["outcome"] is not None for call in sims["first"].calls()))
    for client in waiting:
        client.leave()
    for sim in (sims["first"], sims["second"]):
        wait_until(lambda sim=sim: all(call["outcome"] is not None for call in sim.calls()))
    for client in waiting:
        client.close()
    assert len(sims["first"].calls()) == len(waiting)
    assert {call["outcome"] for call in sims["second"].calls()} <= {"client-gone"}
    found = new_records(broker, before, len(waiting))
    assert Counter(record["code"] for record in found) == {"client_gone": len(waiting)}
    assert len({record["request_id"] for record in found}) == len(waiting)
    print(f"{way}: {dict(Counter(record['attempts_made'] for record in found))} (attempts: calls)")


def test_members_are_not_blamed(broker: Broker, sims: Simulators) -> None:
    """A client that loses its patience says nothing of the member that it waited for."""
    sims["openai-chat"].script(faults=[{"stall": "before-headers"}])
    for _ in range(10):
        known = len(sims["openai-chat"].calls())
        with Client(broker.url, Ask("pool-openai-chat"), "http/1.1") as client:
            client.send()
            wait_until(lambda known=known: len(sims["openai-chat"].calls()) > known)
            client.leave()
            has_ended(sims["openai-chat"])
    sims.reset()
    status = broker.status()
    assert [m for p in status["pools"] for m in p["members"] if m.get("state", "well") != "well"] == []
    assert make(broker.url, [Ask("pool-openai-chat")])[0].is_whole
