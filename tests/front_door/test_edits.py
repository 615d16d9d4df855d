"""Edits under constant load: none fails a call, each is in effect and says so.

MODELBROKER_EDITS says how many of each kind.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from support.broker import Broker
from support.calls import Ask, Got, call, client
from support.edits import Edit, Edits, Probe
from support.load import Load, load
from support.simulators import Simulators

EACH_KIND = int(os.environ.get("MODELBROKER_EDITS", "6"))
# Streams go on over so many edits, at the pace of those before; over half as many they have to.
SHORTER, LONGER, LANES = 20, 40, 4
TOKEN_S = 0.06
TOKENS = tuple(int(30 * 1.4**step) for step in range(14))  # to 2,380
LOADED = [
    ("chat", "openai-chat"),
    ("messages", "anthropic-messages"),
    ("only", "openai-chat"),
    ("retrying", "openai-chat"),
    ("rotating", "openai-chat"),
    ("relocating", "openai-chat"),
]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b", "c", "d", "slow", "failing", "rotated") as simulators:
        simulators["failing"].script(faults=[{"status": 503, "delay_headers_ms": 150}])
        simulators["slow"].script(
            replies=[{"match": {"contains": f"in {count} words"}, "chunks": count} for count in TOKENS],
            faults=[{"token_delay_ms": TOKEN_S * 1000}],
        )
        yield simulators


@pytest.fixture(scope="module")
def edits(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Edits:
    return Edits(sims, tmp_path_factory.mktemp("edits"), seed=20261121)


@pytest.fixture(scope="module")
def broker(edits: Edits, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), edits.config, environ=edits.environ) as running:
        yield running


@pytest.mark.timeout(600)
def test_no_edit_fails_a_call(broker: Broker, edits: Edits, sims: Simulators) -> None:
    kinds = [kind for kind in edits.kinds for _ in range(EACH_KIND)]
    edits.random.shuffle(kinds)
    revisions = [broker.status()["revision"]]
    streams: list[tuple[int, Got]] = []  # (edits while it went on, what came)
    began_s: list[float] = []  # edits

    async def stream(http: httpx.AsyncClient, edits_long: int) -> None:
        before = len(revisions)
        pace_s = statistics.median(later - one for one, later in itertools.pairwise(began_s[-10:]))
        count = next((count for count in TOKENS if count * TOKEN_S >= edits_long * pace_s), TOKENS[-1])
        got = await call(http, Ask("long", stream=True, question=f"No. {before}: all, in {count} words."))
        streams.append((len(revisions) - before, got))

    async def run() -> Load:
        under_way: dict[int, asyncio.Task[None]] = {}
        async with client(broker.url) as http, load(broker.url, LOADED) as loaded:
            for number, kind in enumerate(kinds):
                began_s.append(time.monotonic())
                for lane in range(LANES) if 8 <= number < len(kinds) - SHORTER // 2 else ():
                    if lane not in under_way or under_way[lane].done():
                        edits_long = SHORTER if lane or lane in under_way else LONGER
                        under_way[lane] = asyncio.create_task(stream(http, edits_long))
                edit = edits.next(kind)
                revisions.append(await asyncio.to_thread(carry_out, broker, edit))
                for probe in edit.probes:
                    await check(http, edit, probe, revisions[-1], sims)
            await asyncio.gather(*under_way.values())
        return loaded

    started = time.monotonic()
    done = asyncio.run(run())
    spans = sorted(span for span, _ in streams)
    print(
        f"{len(kinds)} edits, {done.calls} calls under load in {time.monotonic() - started:.0f} s; "
        f"streams spanned {spans} edits; attempts {dict(done.attempts)}; slowest edits {slowest(kinds)}"
    )
    assert not done.bad, f"{len(done.bad)} of {done.calls} failed: " + "\n".join(map(str, done.bad[:5]))
    assert all(got.is_whole for _, got in streams), [str(got) for _, got in streams if not got.is_whole]
    assert sum(span >= SHORTER // 2 for span in spans) >= 5
    assert spans[-1] >= LONGER // 2
    assert all(done.good[pool, dialect, stream] for pool, dialect in LOADED for stream in (True, False))
    assert done.revisions <= set(revisions)
    assert Counter(kinds) == dict.fromkeys(edits.kinds, EACH_KIND)


TOOK: list[float] = []


def slowest(kinds: list[str]) -> list[tuple[str, str]]:
    return [(kind, f"{took:.2f} s") for took, kind in sorted(zip(TOOK, kinds, strict=True))[-5:]]


def carry_out(broker: Broker, edit: Edit) -> str:
    """Until it is in effect; the revision."""
    started = time.monotonic()
    before = broker.status()["loaded_at"]
    edit.before()
    if edit.config is not None:
        revision = broker.edit(edit.config, timeout_s=30)
    else:  # a secret's file alone: the revision stays
        status = broker.wait_for(lambda s: s["loaded_at"] != before and s["in_effect"], timeout_s=30)
        revision = status["revision"]
    TOOK.append(time.monotonic() - started)
    return revision


async def check(http: httpx.AsyncClient, edit: Edit, probe: Probe, revision: str, sims: Simulators) -> None:
    until_s = time.monotonic() + 30
    times = 0
    while times < probe.times:
        ask = Ask(probe.pool, "anthropic-messages" if probe.pool == "messages" else "openai-chat")
        body = ask.body
        if probe.size:
            body["messages"][0]["content"] += "x" * probe.size
        headers = {"authorization": f"Bearer {probe.caller_key}", **probe.headers}
        path = "/v1/messages" if "max_tokens" in body else "/v1/chat/completions"
        reply = await http.post(path, json=body, headers=headers)
        said = f"after {edit.kind}: {probe} got {reply.status_code} {dict(reply.headers)} {reply.text[:300]}"
        assert reply.status_code == probe.status, said
        assert reply.headers["x-broker-revision"] == revision, said
        shown = {name: reply.headers[name] for name in probe.shows}
        if probe.is_soon and shown != probe.shows and time.monotonic() < until_s:
            continue
        assert shown == probe.shows, said
        if probe.arrives_at:
            received = await asyncio.to_thread(sims[probe.arrives_at].calls)
            assert any(ask.question in str(entry) for entry in received), said
        if probe.provider_key:
            name, key = probe.provider_key
            received = await asyncio.to_thread(sims[name].calls)
            mine = next(entry for entry in reversed(received) if ask.question in str(entry))
            assert dict(mine["headers"])["authorization"] == f"Bearer {key}", said
        times += 1
