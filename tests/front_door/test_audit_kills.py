"""Each call that a client had an answer for is in the chain of audit events, once, whatever is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from modelbroker.audit.events import Event
from modelbroker.audit.store import segments
from modelbroker.core.outcomes import LOST
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, call_all
from support.chains import audit, chain_ids, journal_ids, lines, verified, words
from support.figures import enlarged, figure
from support.kills import child_of_control
from support.lasting import LONG, Stream
from support.load import Load, load
from support.simulators import Simulators
from support.waiting import wait_until

LOADED = [("chat", "openai-chat"), ("messages", "anthropic-messages")]
FOLLOWER = "modelbroker.audit.follow"
KILLED = ("serve", FOLLOWER, "envoy") * min(enlarged(1), 2)
LOST_S = 90  # silence of three heartbeats, and some
MANY = "word " * 4_000  # as a stream longer than all else here


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        slow = {"match": {"contains": LONG}}
        simulators["a"].script(
            replies=[{**slow, "text": MANY}, {"text": "one two three", "chunks": 3}],
            faults=[{**slow, "token_delay_ms": 90}],
        )
        yield simulators


def config(sims: Simulators, **more: Any) -> dict[str, Any]:
    return {
        "providers": [
            provider("a", sims["a"].port, "openai-chat", BASES["openai-chat"]),
            provider("b", sims["b"].port, "anthropic-messages"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "search"}],
        "pools": [
            {"name": "chat", "ejection": "off", "members": [{"provider": "a", "model": "m"}]},
            {"name": "messages", "ejection": "off", "members": [{"provider": "b", "model": "n"}]},
        ],
        "audit": {},
        **more,
    }


def kill(broker: Broker, name: str) -> None:
    """And wait until all is well again."""

    def parts() -> list[int]:
        serving = broker.child_pids("serve")
        follower = child_of_control(broker, FOLLOWER) if serving else 0
        return [*serving, *broker.child_pids("envoy"), *([follower] if follower else [])]

    pid = child_of_control(broker, FOLLOWER) if name == FOLLOWER else broker.child_pids(name)[0]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(found := parts()) == 3 and pid not in found, 60)
    broker.wait_for(lambda s: s["in_effect"], timeout_s=60)


async def kill_under_load(broker: Broker, sims: Simulators) -> Load:
    """The control plane, the follower and Envoy, while calls and edits go on."""
    async with load(broker.url, LOADED) as under_way:
        for turn, name in enumerate(KILLED):
            await under_way.reach(under_way.calls + enlarged(60))
            await asyncio.to_thread(kill, broker, name)
            await asyncio.to_thread(broker.edit, config(sims, limits={"idle": f"{10 + turn}m"}))
        await under_way.reach(under_way.calls + enlarged(60))
    later = await call_all(broker.url, [Ask("chat") for _ in range(20)], 10)
    assert all(got.is_whole for got in later)
    return under_way


def test_once_each_whatever_is_killed(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(sims)) as broker:
        streams = [Stream(broker.url) for _ in range(3)]
        seen = asyncio.run(kill_under_load(broker, sims))
        for stream in streams:
            stream.join(30)
            assert stream.is_cut
        # What a kill cut, or told nobody, is lost after a while.
        wait_until(lambda: broker.metrics("modelbroker_open_entries", labels=False).get("") == 0, LOST_S)
        wait_until(lambda: chain_ids(broker) == journal_ids(broker))
        checkpoint = audit(broker, "checkpoint").stdout
    assert words(broker).count("broker.started") == 1 + KILLED.count("serve")
    assert words(broker).count("config.loaded") >= len(KILLED)
    calls = [line.event for line in lines(broker) if line.event.kind == "call"]
    count(seen, calls, {stream.request_id for stream in streams})
    in_chain, in_journals = chain_ids(broker), journal_ids(broker)
    assert in_chain == in_journals and set(in_chain.values()) == {1}
    for stream in streams:
        (event,) = [one for one in calls if one.request_id == stream.request_id]
        assert (event.outcome, event.team, event.pool, event.cost_nano) == ("lost", "search", "chat", None)
    kept = tmp_path / "kept.jsonl"
    kept.write_text(checkpoint)
    verified(broker, "--since-checkpoint", str(kept))
    tampering_shows(broker, kept)


def count(seen: Load, calls: Sequence[Event], cut: set[str]) -> None:
    """Each call that was answered has one event. Whom Envoy answered by itself, while nobody was there to
    decide, knows no id; those calls are counted."""
    told = {got.headers.get("x-broker-request-id", "") for got in seen.bad if got.headers} - {""}
    nameless = sum(got.headers != {} and "x-broker-request-id" not in got.headers for got in seen.bad)
    answered = seen.ids | told | cut
    times = Counter(one.request_id for one in calls)
    lost = {one.request_id for one in calls if one.outcome == LOST}
    undecided = [one for one in calls if one.code == "broker_unavailable" and one.request_id not in answered]
    figure(
        "chain",
        answered=len(answered) + nameless,
        events_of_calls=len(calls),
        missing=len(answered - times.keys()) + max(0, nameless - len(undecided)),
        twice=sum(more > 1 for more in times.values()),
        lost=len(lost),
        lost_and_whole=len(lost & seen.ids),
    )
    assert answered - times.keys() == set()
    assert set(times.values()) == {1}
    assert nameless <= len(undecided)


def tampering_shows(broker: Broker, kept: Path) -> None:
    """A word of an event, and the end of the chain."""
    _, path = segments(broker.folder / "state" / "audit")[-1]
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"team":"search"', b'"team":"others"', 1))
    done = audit(broker, "verify")
    assert done.returncode == 1 and f"WRONG {path.name}:" in done.stdout
    path.write_bytes(text)
    kept.write_text(audit(broker, "checkpoint").stdout)
    path.write_bytes(text[: len(text) // 2])
    assert "was cut" in audit(broker, "verify", "--since-checkpoint", str(kept)).stdout
