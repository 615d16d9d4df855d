"""Texts of captured calls at a collector: those of the pools that are named, as they were captured, at their
calls' own spans; and of no other call a word."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli.main import main
from support import sdks
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import PATHS, Ask, Got, make
from support.collectors import Collector
from support.collectors import Got as Seen
from support.figures import enlarged, figure
from support.kills import child_of_control, kill
from support.load import load
from support.records import lines_of, record_of
from support.shown import fetch
from support.simulators import Simulators
from support.waiting import wait_until

EXPORTER = "modelbroker.telemetry.follow_content"
TRACE, AGENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{AGENT}-01"}
ENVIRON = {"TRAFFIC_KEY": "6b" * 32, "PAYROLL_KEY": "key-of-payroll"}
CANARY = "canary.bird@secret-mine.example and sk-ant-api03-CanaryCanary0123456789"
PIECES = (b"canary.bird", b"secret-mine", b"CanaryCanary")
DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages")


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b", "c") as simulators:
        yield simulators


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def config(sims: Simulators, endpoint: str, content: dict[str, Any] | None, **otlp: Any) -> dict[str, Any]:
    members = {
        "told": "a",
        "second": "a",
        "claude": "b",
        "responses": "c",
        "untold": "a",
        "handing": "b",
        "silent": "a",
        "half": "a",
    }
    said = {"content": content} if content is not None else {}
    return {
        "providers": [
            provider("a", sims["a"].port, "openai-chat", BASES["openai-chat"]),
            provider("b", sims["b"].port, "anthropic-messages"),
            provider("c", sims["c"].port, "openai-responses", BASES["openai-responses"]),
        ],
        "callers": [
            {"name": "tester", "key": {"sha256": KEY_SHA256}},
            {"name": "payroll", "key": {"env": "PAYROLL_KEY"}},
        ],
        "pools": [
            {"name": name, "members": [{"provider": member, "model": "m"}]}
            for name, member in members.items()
        ],
        "capture": {
            "rules": [
                {"match": {}, "pools": "half", "share": "50%"},
                {"match": {}, "pools": ["told", "second", "claude", "responses", "untold", "handing"]},
            ],
            "exempt": ["payroll"],
            "encryption": {"key": {"env": "TRAFFIC_KEY"}},
        },
        "telemetry": {"otlp": {"endpoint": endpoint, "timeout": "500ms", **otlp, **said}, "logs": True},
    }


def of(*pools: str, **more: Any) -> dict[str, Any]:
    return {"pools": list(pools), **more}


def id_of(got: Got) -> str:
    return got.headers["x-broker-request-id"]


def told(collector: Collector, got: Got) -> Seen:
    """The event of this call."""
    (event,) = wait_until(lambda: events_of(collector, id_of(got)), 60)
    return event


def events_of(collector: Collector, request_id: str) -> list[Seen]:
    return [one for one in collector.events if one["modelbroker.request_id"] == request_id]


def arrived(collector: Collector) -> set[str]:
    return {one["modelbroker.request_id"] for one in collector.events}


def ids(broker: Broker) -> set[str]:
    return {line["request_id"] for line in lines_of(broker)}


def said_in(messages: Any) -> str:
    """All texts of messages, or of what they answer."""
    return "".join(
        part.get("content", "") for message in messages for part in message["parts"] if part["type"] == "text"
    )


def made(broker: Broker, *pools: str, each: int = 3) -> list[Got]:
    got = make(broker.url, [Ask(pool) for pool in pools for _ in range(each)])
    assert all(one.is_whole for one in got), [str(one) for one in got]
    for one in got:
        record_of(broker, one)
    return got


def settled(broker: Broker, count: int) -> dict[str, Any]:
    """Once so many have been sent, and nothing is left."""
    status = broker.wait_for(lambda s: s["content"]["taken"] == count and s["content"]["behind_bytes"] == 0)
    return dict(status["content"])


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_sdks_ask_and_get_is_at_the_calls_span(
    sims: Simulators, collector: Collector, tmp_path: Path, protocol: str
) -> None:
    reply = {"x-mock-reply": json.dumps({"text": f"You are {CANARY}, I think."})}
    url = collector.grpc_url if protocol == "grpc" else collector.http_url
    pools = {"openai-chat": "told", "openai-responses": "responses", "anthropic-messages": "claude"}
    said = config(sims, url, of(*pools.values()), protocol=protocol)
    with Broker(tmp_path, said, environ=ENVIRON) as broker:
        seen = {}
        for dialect in DIALECTS:
            for pool in {pools[dialect], "claude"}:  # in the client's own dialect, and translated
                for stream in (False, True):
                    headers = {**reply, **PARENT}
                    answer, got = sdks.ask(dialect, broker.url, pool, stream, extra_headers=headers)
                    assert "canary.bird" in answer.text
                    seen[got["x-broker-request-id"]] = dialect, pool, stream
        # What a client sends is looked at as well.
        asks = [Ask(pool, dialect, question=f"Who is {CANARY}?") for dialect, pool in pools.items()]
        for got in make(broker.url, asks):
            event = told(collector, got)
            assert said_in(event["gen_ai.input.messages"]) == "Who is [email] and [keys]?"
        records = {line["request_id"]: line for line in lines_of(broker)}
        for request_id, (dialect, pool, stream) in seen.items():
            (event,) = wait_until(lambda request_id=request_id: events_of(collector, request_id), 60)
            record = records[request_id]
            assert (event.trace_id, event.span_id) == (TRACE, record["span_id"]), dialect
            assert event.event == "gen_ai.client.inference.operation.details"
            assert (event["gen_ai.request.model"], event["modelbroker.pool"]) == (pool, pool)
            assert (event["gen_ai.request.stream"], event["modelbroker.dialect"]) == (stream, dialect)
            assert said_in(event["gen_ai.input.messages"]) == sdks.QUESTION
            (answered,) = event["gen_ai.output.messages"]
            assert (answered["role"], answered["finish_reason"]) == ("assistant", "stop")
            assert said_in([answered]) == "You are [email] and [keys], I think."
            (tool,) = event["gen_ai.tool.definitions"]
            assert (tool["name"], tool["parameters"]) == ("get_weather", sdks.SCHEMA)
            assert event["modelbroker.content.redacted"] == ["email", "keys"]
            (span,) = [one for one in collector.spans if one.span_id == record["span_id"]]
            assert (span.trace_id, span["modelbroker.captured"]) == (TRACE, "both")
            assert not [name for name in span.attributes if "messages" in name]
        count = len(seen) + len(asks)
        status = settled(broker, count)
        assert (status["state"], status["place"], status["error"]) == ("following", url, None)
        assert (status["refused"], status["missing"], status["unread"]) == (0, 0, 0)
        assert broker.metrics("modelbroker_content_up", labels=False) == {"": 1.0}
        calls = "modelbroker_content_calls_total"
        assert broker.metrics(calls)['{result="sent"}'] == count
        assert [piece for piece in PIECES if piece in collector.raw] == []


def test_of_calls_that_nobody_asked_for_there_is_no_word(
    sims: Simulators, collector: Collector, tmp_path: Path
) -> None:
    said = config(sims, collector.grpc_url, of("told", "silent", "half"))
    # Copies of the calls of a pool that is not named are captured in one that is.
    named = {pool["name"]: pool for pool in said["pools"]}
    named["untold"]["shadow"] = {"to": "told", "share": "100%"}
    named["handing"]["on"] = {"server-error": "told"}
    with Broker(tmp_path, said, environ=ENVIRON) as broker:
        log = broker.log()
        assert 'nothing of the pool "silent" is captured, and no text of it is sent' in log
        payroll = {"authorization": "Bearer key-of-payroll"}
        quiet = [
            *(
                Ask("untold", dialect, stream)
                for dialect in ("openai-chat", "anthropic-messages")
                for stream in (0, 1)
            ),
            Ask("handing"),  # which is answered by a pool that is named
            Ask("silent"),
            Ask("told", headers=payroll),  # of whom nothing is captured
            Ask("no-such-pool"),
        ]
        quiet = [
            Ask(one.pool, one.dialect, bool(one.stream), f"quiet-canary {one.question}", headers=one.headers)
            for one in quiet
        ]
        sims["a"].script(replies=[{"text": "quiet-canary answers"}])
        sims["b"].script(faults=[{"status": 500}])
        answers = make(broker.url, quiet)
        assert [got.status for got in answers] == [200] * 7 + [404]
        handed = record_of(broker, answers[4])
        assert (handed["pool"], handed["captured"], handed["attempts_made"]) == ("told", "both", 2)
        copies = wait_until(lambda: [one for one in lines_of(broker) if one["purpose"] == "shadow"][3:])
        assert [(one["pool"], one["captured"]) for one in copies] == [("told", "both")]
        sims.reset()
        halves = make(broker.url, [Ask("half") for _ in range(30)])
        (last,) = made(broker, "told", each=1)
        told(collector, last)
        drawn = {id_of(one) for one in halves if record_of(broker, one)["captured"]}
        assert 3 < len(drawn) < 27
        settled(broker, len(drawn) + 1)
        assert arrived(collector) == drawn | {id_of(last)}
        wait_until(lambda: ids(broker) <= {one["modelbroker.request_id"] for one in list(collector.logs)})
        assert b"quiet-canary" not in collector.raw


def test_by_default_no_text_gets_anywhere(sims: Simulators, collector: Collector, tmp_path: Path) -> None:
    sims["a"].script(replies=[{"text": "quiet-canary answers"}])
    with Broker(tmp_path, config(sims, collector.grpc_url, None), environ=ENVIRON) as broker:
        asks = [
            Ask("told", dialect, stream, "quiet-canary asks") for dialect in PATHS for stream in (False, True)
        ]
        for got in make(broker.url, asks):
            assert got.is_whole and record_of(broker, got)["captured"] == "both"
        wait_until(lambda: ids(broker) == {one["modelbroker.request_id"] for one in list(collector.logs)})
        wait_until(lambda: ids(broker) == {one["modelbroker.request_id"] for one in list(collector.spans)})
        assert broker.status()["content"]["state"] == "off"
        assert not child_of_control(broker, EXPORTER)
        assert b"quiet-canary" not in collector.raw and not collector.events
        assert "quiet-canary" not in fetch(broker, "/metrics") + fetch(broker, "/status") + broker.log()
        assert broker.metrics("modelbroker_content_up", labels=False) == {}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_that_is_away_slow_or_unwilling_fails_no_call_and_gets_all_of_it_later(
    sims: Simulators, collector: Collector, tmp_path: Path, protocol: str
) -> None:
    url = collector.grpc_url if protocol == "grpc" else collector.http_url

    async def run(broker: Broker) -> Any:
        async with load(
            broker.url, [("told", "openai-chat"), ("claude", "anthropic-messages")], workers=4
        ) as under_way:
            for state in ("away", "hangs", "refusing", "up"):
                collector.state = state
                before, asked = under_way.calls, collector.asked
                await asyncio.to_thread(wait_until, lambda asked=asked: collector.asked > asked)
                if state != "up":  # it is this exporter that asked, too
                    await asyncio.to_thread(broker.wait_for, lambda s: bool(s["content"]["error"]))
                await under_way.reach(before + enlarged(20))
        return under_way

    with Broker(
        tmp_path, config(sims, url, of("told", "claude"), protocol=protocol), environ=ENVIRON
    ) as broker:
        done = asyncio.run(run(broker))
        assert not done.bad, done.told(0)
        wait_until(lambda: done.ids <= ids(broker))
        captured = {line["request_id"] for line in lines_of(broker) if line["captured"]}
        wait_until(lambda: arrived(collector) == captured, 90)
        # A client that left before its call was decided has nothing to tell.
        assert done.ids <= captured
        figure("texts exported", calls=len(captured), arrived=len(arrived(collector)))
        assert "the export of texts waits, records stay in the journal" in broker.log()
        broker.wait_for(lambda s: s["content"]["behind_bytes"] == 0 and s["content"]["error"] is None)


def test_nothing_is_lost_by_kills_and_restarts_while_the_collector_is_away(
    sims: Simulators, collector: Collector, tmp_path: Path
) -> None:
    with Broker(tmp_path, config(sims, collector.grpc_url, of("told")), environ=ENVIRON) as broker:
        first = made(broker, "told")
        wait_until(lambda: arrived(collector) == {id_of(one) for one in first})
        collector.state = "away"
        made(broker, "told")
        exporter = child_of_control(broker, EXPORTER)
        os.kill(exporter, signal.SIGKILL)
        wait_until(lambda: child_of_control(broker, EXPORTER) not in (0, exporter))
        made(broker, "told")
        broker.wait_for(lambda s: s["capture"]["queued_bytes"] == 0 and s["capture"]["written"] == 9)
        kill(broker, "serve")
        broker.wait_for(lambda s: bool(s["content"]["error"]))
        last = made(broker, "told")
        broker.wait_for(lambda s: s["capture"]["queued_bytes"] == 0 and s["capture"]["written"] == len(last))
        assert broker.stop() == 0
        assert len(arrived(collector)) == 3
        collector.state = "up"
        broker.start()
        wait_until(lambda: arrived(collector) == ids(broker), 60)
        assert len(ids(broker)) == 12
        broker.wait_for(lambda s: s["content"]["missing"] == 0 and s["content"]["behind_bytes"] == 0)


def test_what_was_said_while_nobody_asked_is_never_told(
    sims: Simulators, collector: Collector, tmp_path: Path
) -> None:
    """Neither of before it was turned on, nor of a pool before it was named, nor of while it was off."""

    def edited(broker: Broker, content: dict[str, Any] | None) -> None:
        broker.edit(config(sims, collector.grpc_url, content))
        state = "off" if content is None else "following"
        broker.wait_for(lambda s: s["content"]["state"] == state)

    with Broker(tmp_path, config(sims, collector.grpc_url, None), environ=ENVIRON) as broker:
        made(broker, "told", "second")
        edited(broker, of("told"))
        wanted = {id_of(one) for one in made(broker, "told", "second") if one.ask.pool == "told"}
        edited(broker, of("told", "second"))
        wanted |= {id_of(one) for one in made(broker, "told", "second")}
        wait_until(lambda: arrived(collector) == wanted)
        edited(broker, None)
        wait_until(lambda: not child_of_control(broker, EXPORTER))
        made(broker, "told", "second")
        edited(broker, of("told", most_chars=100))
        assert broker.stop() == 0
        broker.start()  # what it knows of that is in the state folder
        last = made(broker, "told")
        wanted |= {id_of(one) for one in last}
        wait_until(lambda: arrived(collector) == wanted)
        broker.wait_for(lambda s: s["content"]["behind_bytes"] == 0)
        assert arrived(collector) == wanted


def test_a_long_text_says_that_it_was_cut(sims: Simulators, collector: Collector, tmp_path: Path) -> None:
    sims["a"].script(replies=[{"text": "It rains. " * 100}])
    said = config(sims, collector.grpc_url, of("told", most_chars=100))
    with Broker(tmp_path, said, environ=ENVIRON) as broker:
        (got,) = make(broker.url, [Ask("told", stream=True, question="Why? " * 50)])
        event = told(collector, got)
        asked, answered = (said_in(event[f"gen_ai.{name}.messages"]) for name in ("input", "output"))
        assert asked.startswith("Why? Why?") and asked.endswith("… [250 characters, cut]")
        assert answered.startswith("It rains.") and answered.endswith(" characters, cut]")
        assert (len(asked), len(answered), event["modelbroker.content.cut"]) == (100, 100, 2)


def test_a_key_that_is_missing_is_told_and_mended(
    sims: Simulators, collector: Collector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file = tmp_path / "traffic.key"
    said = config(sims, collector.grpc_url, of("told"))
    said["capture"]["encryption"] = {"key": {"file": str(key_file)}}
    with Broker(tmp_path / "broker", said, environ=ENVIRON) as broker:
        status = broker.wait_for(lambda s: s["content"]["state"] == "waiting")["content"]
        assert status["error"].startswith("capture.encryption.key: "), status
        assert main(["status", "--admin", broker.admin_url]) == 0
        assert f"content    waiting: {status['error']}" in capsys.readouterr().out
        made(broker, "told")
        key_file.write_text(ENVIRON["TRAFFIC_KEY"])
        broker.wait_for(lambda s: s["content"]["state"] == "following" and s["capture"]["state"] == "writing")
        wanted = {id_of(one) for one in made(broker, "told")}
        wait_until(lambda: arrived(collector) == wanted)
