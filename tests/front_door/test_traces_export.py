"""The way to the collector: whatever it does, no call fails, and nothing is lost that the journal keeps."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, asks, make
from support.collectors import Collector
from support.figures import enlarged, figure
from support.kills import child_of_control, kill
from support.load import load
from support.records import lines_of, record_of
from support.simulators import Simulators
from support.waiting import wait_until

EXPORTER = "modelbroker.telemetry.follow"
TRACE, AGENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{AGENT}-01", "tracestate": "vendor=opaque"}
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        yield simulators


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def config(sims: Simulators, telemetry: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "providers": [provider("a", sims["a"].port, "openai-chat", BASES["openai-chat"])],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": "a", "model": "m"}]}],
        **({"telemetry": telemetry} if telemetry is not None else {}),
    }


def to(endpoint: str, **more: Any) -> dict[str, Any]:
    return {"otlp": {"endpoint": endpoint, "timeout": "500ms", **more}, "logs": True}


def ids(broker: Broker) -> set[str]:
    return {line["request_id"] for line in lines_of(broker)}


def arrived(collector: Collector) -> set[str]:
    """Calls whose span and log record are there, and the spans of all their attempts."""
    spans = {span["modelbroker.request_id"] for span in list(collector.spans) if span.kind == 2}
    tried = {span["modelbroker.request_id"] for span in list(collector.spans) if span.kind == 3}
    return spans & tried & {line["modelbroker.request_id"] for line in list(collector.logs)}


def made(broker: Broker, count: int = 5) -> list[Got]:
    got = make(broker.url, asks(count, "chat"))
    assert all(one.is_whole for one in got), [str(one) for one in got]
    for one in got:
        record_of(broker, one)
    return got


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_both_protocols_over_tls(sims: Simulators, tmp_path: Path, protocol: str, compression: str) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with Collector(authority.issue_cert("127.0.0.1")) as collector:
        url = collector.grpc_url if protocol == "grpc" else collector.http_url
        more = {"protocol": protocol, "compression": compression, "ca_file": str(ca_file), "timeout": "10s"}
        with Broker(tmp_path, config(sims, to(url, **more))) as broker:
            made(broker)
            wait_until(lambda: arrived(collector) == ids(broker))
            status = broker.wait_for(lambda s: s["telemetry"]["taken"] == 5)["telemetry"]
            assert (status["state"], status["place"], status["error"]) == ("following", url, None)
            assert broker.metrics("modelbroker_telemetry_up", labels=False) == {"": 1.0}
            exported = "modelbroker_telemetry_exported_total"
            wait_until(lambda: broker.metrics(exported, labels=False) == {"": 5.0})


def test_of_a_collector_that_is_not_trusted_the_log_has_one_line(sims: Simulators, tmp_path: Path) -> None:
    with Collector(trustme.CA().issue_cert("127.0.0.1")) as stranger:
        with Broker(tmp_path, config(sims, to(stranger.grpc_url))) as broker:
            made(broker)
            said = "its certificate is not trusted: unable to get local issuer certificate"
            broker.wait_for(lambda s: said in (s["telemetry"]["error"] or ""))
        lines = [line for line in broker.log().splitlines() if "certificate" in line]
        assert len(lines) == 1 and "ERROR   modelbroker.telemetry" in lines[0], lines


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_that_is_away_slow_or_unwilling_fails_no_call_and_gets_all_of_it_later(
    sims: Simulators, collector: Collector, tmp_path: Path, protocol: str
) -> None:
    url = collector.grpc_url if protocol == "grpc" else collector.http_url

    async def run(broker: Broker) -> Any:
        async with load(broker.url, [("chat", "openai-chat")], workers=4) as under_way:
            for state in ("away", "hangs", "refusing", "up"):
                collector.state = state
                before, asked = under_way.calls, collector.asked
                await asyncio.to_thread(wait_until, lambda asked=asked: collector.asked > asked)
                await under_way.reach(before + enlarged(20))
        return under_way

    with Broker(tmp_path, config(sims, to(url, protocol=protocol))) as broker:
        done = asyncio.run(run(broker))
        assert not done.bad, done.told(0)
        wait_until(lambda: done.ids <= ids(broker))
        wait_until(lambda: arrived(collector) == ids(broker), 60)
        figure("exported", calls=len(ids(broker)), arrived=len(arrived(collector)))
        assert "the telemetry waits, records stay in the journal" in broker.log()
        broker.wait_for(lambda s: s["telemetry"]["behind_bytes"] == 0 and s["telemetry"]["error"] is None)


def test_nothing_is_lost_by_a_kill_while_the_collector_is_away(
    sims: Simulators, collector: Collector, tmp_path: Path
) -> None:
    with Broker(tmp_path, config(sims, to(collector.grpc_url))) as broker:
        made(broker)
        wait_until(lambda: arrived(collector) == ids(broker))
        collector.state = "away"
        made(broker)
        exporter = child_of_control(broker, EXPORTER)
        os.kill(exporter, signal.SIGKILL)
        wait_until(lambda: child_of_control(broker, EXPORTER) not in (0, exporter))
        made(broker)
        kill(broker, "serve")
        broker.wait_for(lambda s: bool(s["telemetry"]["error"]))
        made(broker)
        assert len(arrived(collector)) == 5
        collector.state = "up"
        wait_until(lambda: arrived(collector) == ids(broker), 60)
        assert len({(span.trace_id, span.span_id) for span in collector.spans}) == 2 * len(ids(broker)) == 40


def test_what_a_broker_left_when_it_ended_is_sent_by_the_next(
    sims: Simulators, collector: Collector, tmp_path: Path
) -> None:
    with Broker(tmp_path, config(sims, to(collector.http_url, protocol="http"))) as broker:
        collector.state = "away"
        made(broker)
        assert broker.stop() == 0
        assert not arrived(collector)
        collector.state = "up"
        broker.start()
        wait_until(lambda: arrived(collector) == ids(broker))


def test_what_no_collector_takes_holds_up_nothing(
    sims: Simulators, collector: Collector, tmp_path: Path
) -> None:
    collector.state = "away"
    with Broker(tmp_path, config(sims, to(collector.grpc_url))) as broker:
        bad, *good = made(broker, 9)
        collector.refuses = bad.headers["x-broker-request-id"].encode()
        collector.state = "up"
        wanted = {one.headers["x-broker-request-id"] for one in good}
        wait_until(lambda: arrived(collector) == wanted)
        broker.wait_for(lambda s: s["telemetry"]["refused"] == 2)  # its spans and its log record
        assert arrived(collector) == wanted


def test_it_is_turned_on_mended_and_off_while_calls_go_on(
    sims: Simulators, collector: Collector, tmp_path: Path
) -> None:
    with Broker(tmp_path, config(sims, None)) as broker:
        assert broker.status()["telemetry"]["state"] == "off"
        (silent,) = make(broker.url, [Ask("chat", headers=PARENT)])
        record = record_of(broker, silent)
        assert "traceresponse" not in silent.headers
        assert (record["trace_id"], record["span_id"], record["attempts"][0]["span_id"]) == ("", "", "")
        (entry,) = sims["a"].settled_calls()
        assert not {"traceparent", "tracestate"} & {name for name, _ in entry["headers"]}
        broker.edit(config(sims, to(NOWHERE)))
        made(broker, 3)
        broker.wait_for(lambda s: "UNAVAILABLE" in (s["telemetry"]["error"] or ""))
        broker.edit(config(sims, to(collector.grpc_url)))
        wait_until(lambda: arrived(collector) == ids(broker) - {record["request_id"]})
        broker.edit(config(sims, None))
        broker.wait_for(lambda s: s["telemetry"]["state"] == "off")
        made(broker, 1)
        wait_until(lambda: not child_of_control(broker, EXPORTER))
        assert len(arrived(collector)) == len({one["modelbroker.request_id"] for one in collector.logs}) == 3


def test_neither_agents_nor_providers_need_to_be_part_of_it(
    sims: Simulators, collector: Collector, tmp_path: Path
) -> None:
    alone = {"from_agents": False, "to_providers": False}
    with Broker(tmp_path, config(sims, {**to(collector.grpc_url), "traces": alone})) as broker:
        (got,) = make(broker.url, [Ask("chat", headers=PARENT)])
        record = record_of(broker, got)
        assert (record["trace_id"], record["parent_span_id"]) == (record["request_id"], "")
        assert record["attempts"][0]["span_id"] == record["span_id"][:14] + "01"
        assert got.headers["traceresponse"] == f"00-{record['trace_id']}-{record['span_id']}-03"
        wait_until(lambda: len(collector.spans_of(record["trace_id"])) == 2)
        (entry,) = sims["a"].settled_calls()
        assert not {"traceparent", "tracestate"} & {name for name, _ in entry["headers"]}


def test_a_share_of_traces_is_sampled(sims: Simulators, collector: Collector, tmp_path: Path) -> None:
    telemetry = {"otlp": {"endpoint": collector.grpc_url}, "traces": {"share": "50%"}}
    with Broker(tmp_path, config(sims, telemetry)) as broker:
        made(broker, 60)
        records = {line["request_id"]: line["sampled"] for line in lines_of(broker)}
        sampled = {request_id for request_id, is_sampled in records.items() if is_sampled}
        assert all(is_sampled == (request_id[-14] >= "8") for request_id, is_sampled in records.items())
        broker.wait_for(
            lambda s: s["telemetry"]["behind_bytes"] == 0 and s["telemetry"]["taken"] == len(sampled)
        )
        assert {span.trace_id for span in collector.spans} == sampled
        assert not collector.logs
