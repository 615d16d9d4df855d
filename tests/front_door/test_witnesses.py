"""Whatever is killed, every call that the broker answered leaves one record."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.kills import kill
from support.lasting import LONG, Stream
from support.load import Load, load
from support.pair import Pair
from support.records import lines_of, record_with
from support.simulators import Simulators
from support.waiting import wait_until

LOST_S = 60  # silence of three heartbeats, and some
MANY = "word " * 400  # 36 s, as they are told here


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        yield simulators


@pytest.fixture(autouse=True)
def _well_behaved(sims: Simulators) -> None:
    sims.reset()


def config(sims: Simulators) -> dict[str, Any]:
    return {
        "providers": [provider("a", sims["a"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "qa"}],
        "pools": [{"name": "chat", "members": [{"provider": "a", "model": "m"}]}],
        "prices": [{"provider": "a", "model": "m", "input": 1, "output": 2}],
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


def all_lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "state" / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_stream_that_outlives_its_control_plane_has_its_record(broker: Broker, sims: Simulators) -> None:
    """Which is told to the next one; with heartbeats in between, or it would be lost."""
    sims["a"].script(replies=[{"text": MANY}], faults=[{"token_delay_ms": 90}])
    stream = Stream(broker.url)
    kill(broker, "serve")
    stream.join(120)
    assert not stream.is_cut and b"[DONE]" in stream.body
    record = record_with(broker, stream.request_id)
    assert (record["outcome"], record["usage_state"], record["pool"]) == ("ok", "exact", "chat")
    assert record["cost"]["total"] == record["usage"]["input"] * 1000 + record["usage"]["output"] * 2000


def test_whatever_is_killed_no_record_is_missing_and_none_is_twice(broker: Broker, sims: Simulators) -> None:
    """Each call that the broker answered says its id: those have one record each. Of those that died with
    Envoy it is not known what they cost."""
    before, revision = len(lines_of(broker)), broker.status()["revision"]
    long = {"match": {"contains": LONG}, "text": MANY}
    sims["a"].script(replies=[long], faults=[{"match": {"contains": LONG}, "token_delay_ms": 90}])
    streams = [Stream(broker.url) for _ in range(3)]

    async def under_fire() -> Load:
        async with load(broker.url, [("chat", "openai-chat"), ("chat", "anthropic-messages")]) as seen:
            for name in ("serve", "envoy", "serve", "serve", "envoy"):
                await seen.reach(seen.calls + 150)
                await asyncio.to_thread(kill, broker, name)
            await seen.reach(seen.calls + 200)
        return seen

    seen = asyncio.run(under_fire())
    for stream in streams:
        stream.join(30)
        assert stream.is_cut
    told = {got.headers["x-broker-request-id"] for got in seen.bad if "x-broker-request-id" in got.headers}
    wait_until(lambda: broker.metrics("modelbroker_open_entries", labels=False).get("") == 0, LOST_S)
    lines = lines_of(broker)[before:]
    records = {record["request_id"]: record for record in lines}
    assert len(records) == len(lines)
    assert (seen.ids | told) - records.keys() == set()
    outcomes = Counter(record["outcome"] for record in lines)
    print(f"{seen.calls} calls, {len(seen.ids)} good: {outcomes}")
    assert broker.metrics("modelbroker_calls_lost_total", labels=False)[""] == outcomes["lost"]
    for record in lines:
        is_known = record["usage_state"] in ("exact", "none")
        assert (record["cost"]["total"] is not None) == is_known, record
    for stream in streams:
        record = records[stream.request_id]
        assert (record["outcome"], record["error_source"], record["status"]) == ("lost", "broker", 0)
        assert (record["caller"], record["team"]) == ("tester", "qa")
        assert (record["pool"], record["model"], record["revision"]) == ("chat", "chat", revision)
        assert (record["usage"], record["usage_state"]) == (None, "unknown")
        assert record["cost"] == {"total": None, "buckets": {}, "unknown": ["usage"]}
        assert record["stream"] and record["attempts_made"] == 1


def test_calls_that_nobody_could_decide_have_records_too(sims: Simulators) -> None:
    """Envoy answers them by itself while the control plane is away, and writes them down."""
    with tempfile.TemporaryDirectory(prefix="mb-") as name, Pair(Path(name), config(sims)) as pair:
        (good,) = make(pair.url, [Ask("chat")])
        wait_until(lambda: len(all_lines(pair.folder)) == 1)
        pair.kill_control()
        refused = make(pair.url, [Ask("chat"), Ask("chat", "anthropic-messages")])
        assert {got.status for got in refused} == {503}
        pair.start_control()
        wait_until(pair.is_ready)
        records = wait_until(lambda: (found := all_lines(pair.folder))[2:] and found, 30)
        assert records[0]["request_id"] == good.headers["x-broker-request-id"]
        assert len({record["request_id"] for record in records}) == len(records) == 3
        told = {(r["status"], r["code"], r["outcome"], r["error_source"], r["method"]) for r in records[1:]}
        assert told == {(503, "broker_unavailable", "error", "broker", "POST")}
        assert {record["path"] for record in records[1:]} == {"/v1/chat/completions", "/v1/messages"}
        assert {(r["attempts_made"], r["usage_state"], r["cost"]["total"]) for r in records[1:]} == {
            (0, "none", 0)
        }
        (later,) = make(pair.url, [Ask("chat")])
        wait_until(
            lambda: any(
                r["request_id"] == later.headers["x-broker-request-id"] for r in all_lines(pair.folder)
            )
        )
        assert len(all_lines(pair.folder)) == 4
