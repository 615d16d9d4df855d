"""Calls of mixed fate: faults, cancels at each phase, kills of every part. Each has one record, none has two,
and the ledger's sums are those of what providers said, to the nano-dollar.

MODELBROKER_CALLS says how many (10000 is the figure that is promised; fewer by default, for they take time).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from modelbroker.drill.scenarios import Ask
from modelbroker.drill.wire import number_in, number_of_feature, request_of
from modelbroker.ledger.database import Ledger
from sqlalchemy import text
from support.broker import BASES, KEY, KEY_SHA256, Broker, provider
from support.kills import follower_of, kill
from support.ledgers import ids_in
from support.records import lines_of
from support.servers import Postgres
from support.simulators import Simulators
from support.waiting import wait_until

CALLS = int(os.environ.get("MODELBROKER_CALLS", "1200"))
AT_A_TIME = 24
# $3, $0.30, $3.75 and $15 a million: 1,000 + 200 + 50 + 100 tokens.
USED = {"input": 1_000, "cache_read": 200, "cache_write": 50, "output": 100}
RATES = {"input": 3, "cache_read": 0.3, "cache_write_5m": 3.75, "output": 15}
TOTAL = 4_747_500
FAULTS = [
    {"rate": 0.04, "status": 529},
    {"rate": 0.02, "status": 429, "retry_after_s": 0.2},
    {"rate": 0.02, "reset": "before-headers"},
    {"rate": 0.02, "reset": "mid-stream", "match": {"stream": True}},
    {"rate": 0.02, "cut": "close", "match": {"stream": True}},
    {"rate": 0.02, "error_event": True, "match": {"stream": True}},
    {"rate": 0.02, "garbage": "body"},
    {"rate": 0.3, "token_delay_ms": 3, "delay_headers_ms": 10},
]
ASKS = [
    Ask(surface, path, stream, frozenset())
    for surface, path in (("openai-chat", "/v1/chat/completions"), ("anthropic-messages", "/v1/messages"))
    for stream in (False, True)
]
# How far a client gets: until it hangs up, or to the end.
FATES = ("headers", "half", "sent", "begun", "end")


@dataclass(slots=True)
class Seen:
    """What the clients saw. Calls are numbers; `cut`: those whose connection broke before any reply."""

    ended: dict[int, str] = field(default_factory=dict)  # call → its fate
    ids: dict[int, str] = field(default_factory=dict)  # call → x-broker-request-id
    good: set[int] = field(default_factory=set)
    cut: set[int] = field(default_factory=set)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, number: int, fate: str) -> None:
        self.ended[number] = fate
        self._more.set()

    async def reach(self, calls: int) -> None:
        while len(self.ended) < calls:
            self._more.clear()
            await self._more.wait()


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        for seed, simulator in enumerate(simulators):
            simulator.script(
                seed=seed,
                faults=FAULTS,
                replies=[{"text": "one two three four", "chunks": 4, "tokens": USED}],
            )
        yield simulators


def config(sims: Simulators) -> dict[str, Any]:
    members = [{"provider": "a", "model": "m", "weight": 2}, {"provider": "b", "model": "n"}]
    return {
        "providers": [
            provider("a", sims["a"].port, "openai-chat", BASES["openai-chat"]),
            provider("b", sims["b"].port, "anthropic-messages", BASES["anthropic-messages"]),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "trusted_for": ["feature"]}],
        "pools": [{"name": "chat", "ejection": "off", "members": members}],
        "prices": [
            {"provider": m["provider"], "model": m["model"], **RATES, "batch": RATES} for m in members
        ],
        "ledger": {"url": {"env": "LEDGER_URL"}},
    }


async def one_call(broker: Broker, number: int, fate: str, seen: Seen) -> None:
    """Where nobody listens yet it is no call: then it is tried again."""
    ask = ASKS[number % len(ASKS)]
    headers, body = request_of(ask, "chat", number, KEY)
    head = f"POST {ask.path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n"
    head += (
        "".join(f"{name}: {value}\r\n" for name, value in headers) + f"content-length: {len(body)}\r\n\r\n"
    )
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(broker.url.rpartition(":")[2]))
            break
        except OSError:
            await asyncio.sleep(0.01)
    seen.begin(number, fate)
    data = head.encode() + body
    parts = {"headers": len(head), "half": len(head) + len(body) // 2}
    try:
        writer.write(data[: parts.get(fate, len(data))])
        await writer.drain()
        if fate in parts:
            await asyncio.sleep(0.02)
        elif fate == "begun":
            await take_id(reader, number, seen)
        elif fate == "end":
            await take_id(reader, number, seen)
            rest = await asyncio.wait_for(reader.read(-1), 60)
            is_good = b"[DONE]" in rest or b"message_stop" in rest or (not ask.stream and b'"usage"' in rest)
            if is_good and b'"error"' not in rest:
                seen.good.add(number)
    except (OSError, asyncio.IncompleteReadError):
        if number not in seen.ids:
            seen.cut.add(number)
    finally:
        writer.transport.abort()


async def take_id(reader: asyncio.StreamReader, number: int, seen: Seen) -> None:
    while (line := await asyncio.wait_for(reader.readline(), 60)) != b"\r\n":
        if not line:
            raise asyncio.IncompleteReadError(line, None)
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "x-broker-request-id":
            seen.ids[number] = value.strip()


async def load(broker: Broker, seen: Seen, kills: list[Callable[[], Awaitable[None]]]) -> None:
    """All calls, with a kill now and then."""
    draw, numbers = random.Random(5), itertools.count()

    async def client() -> None:
        while (number := next(numbers)) < CALLS:
            await one_call(broker, number, draw.choices(FATES, (1, 1, 2, 3, 33))[0], seen)

    async def killer() -> None:
        for turn, strike in enumerate(kills, 1):
            await seen.reach(CALLS * turn // (len(kills) + 1))
            await strike()

    await asyncio.gather(killer(), *(client() for _ in range(AT_A_TIME)))


@pytest.mark.timeout(1200)
def test_every_call_is_paid_for_once(sims: Simulators, postgres: Postgres, tmp_path: Path) -> None:
    url, seen = postgres.new_database(), Seen()
    with Broker(tmp_path, config(sims), environ={"LEDGER_URL": url}) as broker:

        async def killed(name: str) -> None:
            await asyncio.to_thread(kill, broker, name)

        async def database() -> None:
            await asyncio.to_thread(postgres.kill)
            await asyncio.sleep(1)
            await asyncio.to_thread(postgres.start)

        async def follower() -> None:
            os.kill(await asyncio.to_thread(wait_until, lambda: follower_of(broker)), signal.SIGKILL)

        kills = [
            lambda: killed("serve"),
            database,
            lambda: killed("envoy"),
            follower,
            database,
            lambda: killed("serve"),
        ]
        asyncio.run(load(broker, seen, kills))
        broker.wait_for(lambda status: bool(status["in_effect"]), 60)
        wait_until(lambda: broker.metrics("modelbroker_open_entries", labels=False).get("") == 0, 90)
        wait_until(lambda: sorted(r["request_id"] for r in lines_of(broker)) == ids_in(url), 60)
        records = lines_of(broker)
    received = Counter(number_in(call["body"]) for sim in sims for call in sim.settled_calls())
    assert_one_each(seen, records, received)
    assert_sums(url, records)


def assert_one_each(seen: Seen, records: list[dict[str, Any]], received: Counter[int | None]) -> None:
    """A call without a record is one that Envoy was still reading when it was killed, so that no provider
    heard of it. One whose request was never whole, or came while nobody could decide, has a record that does
    not say which call it is: the header that tells is believed of a known caller alone."""
    assert len({record["request_id"] for record in records}) == len(records)
    by_call = Counter(number_of_feature(record["feature"]) for record in records if record["feature"])
    assert [number for number, count in by_call.items() if count != 1] == []
    by_id = {record["request_id"]: record for record in records}
    assert [number for number, ident in seen.ids.items() if ident not in by_id] == []
    assert [number for number in received if number is not None and not by_call[number]] == []
    nameless = sum(1 for record in records if not record["feature"])
    unnamed = seen.ended.keys() - by_call.keys()
    missing = CALLS - len(records)
    outcomes = Counter(record["outcome"] for record in records)
    print(f"{CALLS} calls, {len(records)} records {dict(outcomes)}, {nameless} nameless; {missing} were cut")
    assert len(unnamed) == nameless + missing
    assert 0 <= missing <= AT_A_TIME
    for number in seen.good:
        record = by_id[seen.ids[number]]
        assert record["outcome"] in ("ok", "lost"), record


def assert_sums(url: str, records: list[dict[str, Any]]) -> None:
    attempts = [attempt for record in records for attempt in record["attempts"]]
    for attempt in attempts:
        whole = attempt["usage_state"] == "exact"
        assert not whole or attempt["cost"]["total"] == TOTAL, attempt
        assert attempt["usage_state"] != "none" or attempt["cost"]["total"] == 0
    for record in records:
        totals = [attempt["cost"]["total"] for attempt in record["attempts"]]
        is_known = None not in totals and len(totals) == record["attempts_made"]
        assert record["cost"]["total"] == (sum(totals) if is_known else None), record
    with Ledger(url) as ledger, ledger.reading() as connection:
        query = "SELECT count(*), sum(cost_total), count(*) - count(cost_total), sum(input) FROM calls"
        calls, cost, unknown, read = connection.execute(text(query)).one()
    totals = [record["cost"]["total"] for record in records]
    assert (calls, unknown) == (len(records), totals.count(None))
    assert cost == sum(total for total in totals if total is not None)
    assert read == sum(attempt["usage"]["input"] for attempt in attempts if attempt["usage"])
    exact = sum(attempt["usage_state"] == "exact" for attempt in attempts)
    print(f"{exact} exact attempts, {cost} nano-dollars known, {unknown} calls of unknown cost")
