"""Translated streams: slow is not broken, pieces go on as they come, and what breaks off has no clean end."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, leave, make, opened
from support.faults import SLOW
from support.records import record_of, told
from support.simulators import Simulators
from support.waiting import wait_until

CLIENTS = ("anthropic-messages", "openai-chat", "openai-responses")
PAIRS = [pair for pair in itertools.product(CLIENTS, BASES) if pair[0] != pair[1]]
LARGE = 2_000_000  # tokens
WORDS = "one two three four five six seven eight nine ten"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("first", "next") as simulators:
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
        # Timeouts are the defaults: what they promise is what is looked at here.
        "pools": [
            {
                "name": dialect,
                "ejection": "off",
                "members": [
                    {"provider": f"first-{dialect}", "model": "m"},
                    {"provider": f"next-{dialect}", "model": "m", "priority": 1},
                ],
            }
            for dialect in BASES
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(broker: Broker, sims: Simulators) -> None:
    sims.reset()
    broker.forget()  # who broke streams in one test


def streams() -> list[Ask]:
    return [Ask(dialect, client, stream=True) for client, dialect in PAIRS]


# -- slow is not broken


def test_slow_but_good_is_neither_failed_over_nor_billed_twice(broker: Broker, sims: Simulators) -> None:
    calls = [ask for ask in streams() for _ in SLOW]
    calls = [Ask(ask.pool, ask.dialect, stream=True) for ask in calls]
    faults = [
        {**slow, "match": {"contains": ask.question}}
        for ask, slow in zip(calls, SLOW * len(PAIRS), strict=True)
    ]
    sims["first"].script(faults=faults, replies=[{"text": "Patience."}])
    for got in make(broker.url, calls):
        assert got.is_whole, str(got)
        assert (got.text, got.attempts) == ("Patience.", 1), str(got)
    assert len(sims["first"].settled_calls()) == len(calls)
    assert sims["next"].calls() == []


# -- pieces go on as they come


def test_what_has_come_is_with_the_client_while_the_provider_pauses(broker: Broker, sims: Simulators) -> None:
    """The provider stands still in the middle: all that it said until then has arrived."""
    sims["first"].script(
        faults=[{"stall": "mid-stream", "after_events": 8}], replies=[{"text": WORDS, "chunks": 10}]
    )

    async def until_three(ask: Ask) -> str:
        body, text = b"", ""
        async with asyncio.timeout(30), opened(broker.url, ask) as reply:
            async for piece in reply.aiter_raw():
                body += piece
                whole_events = body[: body.rfind(b"\n\n") + 2]
                text = Got(ask, reply.status_code, dict(reply.headers), whole_events).text
                if "three" in text:
                    break
        return text

    async def every() -> list[str]:
        return await asyncio.gather(*(until_three(ask) for ask in streams()))

    for text in asyncio.run(every()):
        assert WORDS.startswith(text) and "three" in text
    assert sims["next"].calls() == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_large_replies_arrive_whole(broker: Broker, sims: Simulators, stream: bool) -> None:
    """More than any buffer on the way holds by default, read by clients that take their time."""
    text = "".join(f"{number:07d} " for number in range(200_000))  # 1.6 MB
    sims["first"].script(replies=[{"text": text, "chunks": 200}])
    asks = [Ask(dialect, client, stream, max_tokens=LARGE) for client, dialect in PAIRS]
    for got in make(broker.url, asks, parallel=3):
        assert got.is_whole, str(got)[:300]
        assert got.text == text and got.attempts == 1


# -- what breaks off


@pytest.mark.parametrize(
    "end", [{"cut": "end"}, {"error_event": True}, {"cut": "close"}, {"reset": "mid-stream"}], ids=str
)
def test_what_breaks_off_never_looks_whole(broker: Broker, sims: Simulators, end: dict[str, Any]) -> None:
    """What ends cleanly but early, or with an error, ends in the dialect's own error event; what the network
    breaks is a broken transfer."""
    fault = {**end, "after_events": 7, "token_delay_ms": 20}
    sims["first"].script(faults=[fault], replies=[{"text": WORDS, "chunks": 10}])
    gots = make(broker.url, streams())
    for got in gots:
        record_of(broker, got)  # members hear of it now, and not in the next test
    for got in gots:
        assert got.status == 200 and not got.is_whole, str(got)
        assert WORDS.startswith(got.text) and got.text != WORDS, str(got)
        assert got.attempts == 1
        if "reset" in end or end == {"cut": "close"}:
            assert got.broken or error_events(got), str(got)
        else:
            assert not got.broken and len(error_events(got)) == 1, str(got)
    assert sims["next"].calls() == []


def error_events(got: Got) -> list[Any]:
    """The error events of the client's dialect."""
    events = [json.loads(line[6:]) for line in got.body.split(b"\n") if line.startswith(b"data: {")]
    match got.ask.dialect:
        case "openai-chat":
            return [event for event in events if "error" in event]
        case "openai-responses":
            failed = [event["type"] for event in events if event["type"] in ("error", "response.failed")]
            assert failed in ([], ["error", "response.failed"])
    return [event for event in events if event["type"] == "error"]


# -- clients that go


@pytest.mark.parametrize("at", ["committed", "held", "whole"])
def test_a_client_that_goes_is_seen_by_the_provider(broker: Broker, sims: Simulators, at: str) -> None:
    where = {"committed": "mid-stream", "held": "after-headers", "whole": "before-headers"}[at]
    more = {"after_events": 6} if at == "committed" else {}
    sims["first"].script(faults=[{"stall": where, **more}], replies=[{"text": WORDS, "chunks": 10}])
    calls = [Ask(dialect, client, stream=at != "whole") for client, dialect in PAIRS]
    asyncio.run(leave(broker.url, sims["first"], calls, reads=at == "committed"))
    wait_until(lambda: [c["outcome"] for c in sims["first"].calls()] == ["client-gone"] * len(calls), 60)
    assert sims["next"].calls() == []


# -- and in their records


CUT, OVERLOADED = {"cut": "end"}, {"error_event": True, "error": {"message": "Overloaded"}}


@pytest.mark.parametrize(
    ("fault", "code", "causes"),
    [
        (CUT, "upstream_truncated", {"cut"}),
        (OVERLOADED, "upstream_error", {"overloaded", "server-error"}),
        ({"reset": "mid-stream"}, "upstream_reset", {"reset"}),
    ],
    ids=["cut", "error", "reset"],
)
def test_what_breaks_off_is_in_its_record(
    broker: Broker, sims: Simulators, fault: dict[str, Any], code: str, causes: set[str]
) -> None:
    """Its member hears of it, too."""
    struck = {**fault, "after_events": 7, "token_delay_ms": 20}
    sims["first"].script(faults=[struck], replies=[{"text": WORDS, "chunks": 10}])
    for got in make(broker.url, streams()):
        assert got.status == 200 and not got.is_whole, str(got)
        status, said, ((attempts_code, cause),) = told(record_of(broker, got))
        assert (status, said, attempts_code) == (200, code, code) and cause in causes
        heard = broker.status()["members"][f"first-{got.ask.pool}/m"]["last_error"]
        assert (heard["cause"] in causes, heard["status"]) == (True, 200)


def test_what_is_no_stream_any_more_is_in_its_record(broker: Broker, sims: Simulators) -> None:
    """Bytes of nobody's: Bedrock's frames show it; to readers of text it is an event that never ends."""
    fault = {"garbage": "body", "after_events": 7}
    sims["first"].script(faults=[fault], replies=[{"text": WORDS, "chunks": 10}])
    for got in make(broker.url, streams()):
        assert got.status == 200 and not got.broken and len(error_events(got)) == 1, str(got)
        is_framed = got.ask.pool == "bedrock-converse"
        expected = ("upstream_garbage", "garbage") if is_framed else ("upstream_truncated", "cut")
        assert told(record_of(broker, got)) == (200, expected[0], [expected]), str(got)


def test_what_is_whole_has_nothing_of_it(broker: Broker, sims: Simulators) -> None:
    for got in make(broker.url, streams()):
        assert got.is_whole and told(record_of(broker, got)) == (200, "", [("", "")]), str(got)
    assert all(not member["last_error"] for member in broker.status()["members"].values())
