"""From the journal and the store of captured calls to a collector: each text once, or once more where nobody
can know; never one that nobody asked for."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from modelbroker.core.errors import Misconfigured
from modelbroker.core.record import Record
from modelbroker.core.traffic import Sample
from modelbroker.journal.following import follow
from modelbroker.records.file import RecordFile
from modelbroker.telemetry import follow_content
from modelbroker.telemetry.content import event_of
from modelbroker.telemetry.delivery import Delivery
from modelbroker.telemetry.follow_content import BATCH, POSITION_NAME, ContentExporter
from modelbroker.telemetry.reports import ContentSettings
from modelbroker.telemetry.sending import Unsent
from modelbroker.telemetry.wire import events_request
from modelbroker.traffic.store import StoreError
from modelbroker.traffic.stores import open_store
from support.collectors import Collector
from support.servers import Postgres
from support.waiting import wait_until

AT_S = 1_700_000_000.0  # long ago, by any clock
KEYS = ("6b" * 32,)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks as often as it is asked to."""
    monkeypatch.setattr(follow_content, "_LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(follow_content, "_LOOK_EVERY_S3_S", 0.0)


def settings(folder: Path, url: str, collector: Collector, **more: Any) -> ContentSettings:
    told: dict[str, Any] = {
        "folder": str(folder),
        "endpoint": collector.grpc_url,
        "protocol": "grpc",
        "headers": {},
        "ca_file": "",
        "ca_digest": "",
        "compression": "gzip",
        "timeout_s": 10.0,
        "resource": {"team": "red"},
        "places": {},
        "pools": {"support": 0.0},
        "strangers": {},
        "most_chars": 200_000,
        "url": url,
        "keys": KEYS,
    }
    return ContentSettings(**(told | more))


def id_of(number: int) -> str:
    return f"0190a5d3c4b27cde8f{number:012x}5a"


def record(number: int, **more: Any) -> Record:
    told: dict[str, Any] = {
        "pool": "support",
        "captured": "both",
        "outcome": "ok",
        "trace_id": id_of(number),
        "span_id": f"{id_of(number)[16:30]}00",
        "sampled": True,
    }
    path = "/v1/chat/completions"
    return Record(id_of(number), AT_S + number, 1.0, 1.0, 200, "POST", path, **(told | more))


def sample(number: int, text: str = "Rain?", **more: Any) -> Sample:
    asked = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    said = {"message": {"role": "assistant", "content": f"answer {number}"}, "finish_reason": "stop"}
    told: dict[str, Any] = {
        "dialect": "openai-chat",
        "path": "/v1/chat/completions",
        "pool": "support",
        "status": 200,
        "request": asked,
        "reply": json.dumps({"choices": [said]}).encode(),
    }
    return Sample(id_of(number), AT_S + number, **(told | more))


def journal(folder: Path, *records: Record) -> None:
    file = RecordFile(folder)
    file.write(records)
    file.close()


def put(url: str, *samples: Sample, keys: Sequence[str] = KEYS) -> None:
    with open_store(url, [bytes.fromhex(key) for key in keys]) as store:
        store.put(samples)


def to_the_end(exporter: ContentExporter) -> None:
    while exporter.step():
        pass


def got(collector: Collector) -> list[int]:
    """The numbers of the calls whose texts came."""
    return [int(one.span_id[2:14], 16) for one in collector.events]


def test_each_call_once_over_restarts(tmp_path: Path, url: str, collector: Collector) -> None:
    count = BATCH + 40
    put(url, *(sample(number) for number in range(count)))
    journal(tmp_path, *(record(number) for number in range(count)))
    exporter = ContentExporter(settings(tmp_path, url, collector))
    assert exporter.step()
    assert sorted(got(collector)) == list(range(BATCH))
    report = exporter.report()
    assert (report.state, report.taken, report.behind_bytes > 0) == ("following", BATCH, True)
    exporter.close()  # killed, as far as anybody knows
    exporter = ContentExporter(settings(tmp_path, url, collector))
    to_the_end(exporter)
    assert sorted(got(collector)) == list(range(count))
    report = exporter.report()
    assert (report.taken, report.behind_bytes, report.missing, report.unread) == (40, 0, 0, 0)
    one = next(one for one in collector.events if one.span_id == record(7).span_id)
    assert (one.trace_id, one.event) == (id_of(7), "gen_ai.client.inference.operation.details")
    assert one["gen_ai.output.messages"][0]["parts"] == [{"type": "text", "content": "answer 7"}]
    assert (one.resource["team"], one.resource["service.name"]) == ("red", "modelbroker")
    exporter.close()


def test_texts_of_other_pools_and_of_no_capture_are_not_looked_for(
    tmp_path: Path, url: str, collector: Collector
) -> None:
    others = [
        record(1, pool="other"),
        record(2, captured=""),
        record(3, degraded_from="other"),
        record(4, dialect="openai-embeddings"),
    ]
    put(url, *(sample(number) for number in range(1, 6)), sample(6, pool="other"), sample(7))
    journal(tmp_path, *others, record(5), record(6), record(7))
    exporter = ContentExporter(settings(tmp_path, url, collector, pools={"support": AT_S + 6}))
    to_the_end(exporter)
    # 5 began before the pool was named, and 6 was handed on to another.
    assert got(collector) == [7]
    report = exporter.report()
    assert (report.taken, report.missing, report.unread) == (1, 0, 0)
    exporter.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_that_was_away_gets_all_of_it(
    tmp_path: Path, url: str, collector: Collector, protocol: str, hurried: None
) -> None:
    put(url, *(sample(number) for number in range(100)))
    journal(tmp_path, *(record(number) for number in range(100)))
    endpoint = collector.grpc_url if protocol == "grpc" else collector.http_url
    exporter = ContentExporter(settings(tmp_path, url, collector, endpoint=endpoint, protocol=protocol))
    for state in ("away", "refusing"):
        collector.state = state
        with pytest.raises(Unsent) as away:
            exporter.step()
        assert exporter.why_to_wait(away.value)
        exporter.disconnect()
    assert (exporter.report("x").state, exporter.report().taken) == ("waiting", 0)
    assert not (tmp_path / POSITION_NAME).exists()
    collector.state = "up"
    to_the_end(exporter)
    assert sorted(got(collector)) == list(range(100))
    exporter.close()


def test_a_sample_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, url: str, collector: Collector, hurried: None
) -> None:
    put(url, sample(1))
    journal(tmp_path, record(1), record(2), record(3))
    exporter = ContentExporter(settings(tmp_path, url, collector))
    assert not exporter.step() and not exporter.step()
    assert got(collector) == [1]  # nobody waits for another's
    assert exporter.report().behind_bytes > 0 and not (tmp_path / POSITION_NAME).exists()
    put(url, sample(2), sample(3))
    to_the_end(exporter)
    assert got(collector) == [1, 2, 3]
    assert (exporter.report().behind_bytes, exporter.report().missing) == (0, 0)
    exporter.close()


def test_what_never_comes_is_given_up(
    tmp_path: Path,
    url: str,
    collector: Collector,
    hurried: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(follow_content, "WAIT_S", -1.0)
    put(url, sample(1), sample(4))
    journal(tmp_path, *(record(number) for number in range(1, 5)))
    exporter = ContentExporter(settings(tmp_path, url, collector))
    to_the_end(exporter)
    assert (got(collector), exporter.report().missing, exporter.report().behind_bytes) == ([1, 4], 2, 0)
    (said,) = [one.getMessage() for one in caplog.records if one.name == "modelbroker.telemetry"]
    assert said == (
        f"nothing of call {id_of(2)} is in the store of captured calls; "
        "so far 1 are missing, and 0 can't be read"
    )
    exporter.close()


def test_a_call_from_a_time_that_is_to_come_holds_up_nothing(
    tmp_path: Path, collector: Collector, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock was wrong, and has been set."""
    monkeypatch.setattr(follow_content, "WAIT_S", 0.2)
    url = f"sqlite:///{tmp_path}/traffic.db"
    put(url, sample(2))
    late = replace(record(1), started_s=time.time() + 6 * 3600)
    journal(tmp_path, late, record(2))
    exporter = ContentExporter(settings(tmp_path, url, collector))
    wait_until(exporter.step)
    assert (got(collector), exporter.report().missing, exporter.report().behind_bytes) == ([2], 1, 0)
    exporter.close()


def test_what_can_not_be_read_holds_up_nothing(
    tmp_path: Path, url: str, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    put(url, sample(1), sample(3), sample(5, request=b"rain", reply=None))
    put(url, sample(2, "canary-text"), sample(4), keys=("5a" * 32,))  # by a key that nobody has any more
    journal(tmp_path, *(record(number) for number in range(1, 6)))
    exporter = ContentExporter(settings(tmp_path, url, collector))
    to_the_end(exporter)
    assert sorted(got(collector)) == [1, 3]
    report = exporter.report()
    assert (report.taken, report.unread, report.missing, report.behind_bytes) == (2, 3, 0, 0)
    assert "encrypted with the key" in caplog.text and "canary" not in caplog.text
    exporter.close()


def test_what_can_not_be_spelled_is_refused_alone(
    tmp_path: Path, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be met again after each restart."""
    told = settings(tmp_path, "", collector)
    delivery = Delivery(told, tmp_path, quotes=False)
    events = [event_of(record(number), sample(number), {}, 1000) for number in range(1, 6)]

    def request_of(some: Sequence[Any]) -> bytes:
        if any(one is events[2] for one in some):
            raise DecodeError("canary-text")
        return events_request(delivery.resource, some)

    assert (delivery.send("logs", events, request_of), delivery.refused) == (4, 1)
    assert got(collector) == [1, 2, 4, 5]
    assert "nobody can tell the logs of a call: DecodeError" in caplog.text and "canary" not in caplog.text
    delivery.close()


def test_a_store_that_is_not_there_is_waited_for(
    tmp_path: Path, collector: Collector, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/later/traffic.db"
    journal(tmp_path, record(1, captured=""))
    exporter = ContentExporter(settings(tmp_path, url, collector))
    to_the_end(exporter)  # nobody needs it yet
    journal(tmp_path, record(2))
    assert not exporter.step()  # its writer is about to make it
    monkeypatch.setattr(follow_content, "_UNMADE_S", 0.0)
    with pytest.raises(Misconfigured) as away:
        exporter.step()
    assert exporter.why_to_wait(away.value) == (
        f"there is no store of traffic at {tmp_path}/later/traffic.db yet: a broker with `capture` makes it"
    )
    exporter.disconnect()
    (tmp_path / "later").mkdir()
    put(url, sample(2))
    to_the_end(exporter)
    assert got(collector) == [2]
    exporter.close()


def test_a_store_that_is_away_is_waited_for(
    tmp_path: Path, postgres: Postgres, collector: Collector, hurried: None
) -> None:
    url = postgres.new_schema()
    put(url, sample(1), sample(2))
    journal(tmp_path, record(1), record(2), record(3))
    exporter = ContentExporter(settings(tmp_path, url, collector))
    assert not exporter.step()
    postgres.kill()
    with pytest.raises(StoreError) as error:
        exporter.step()
    assert (exporter.why_to_wait(error.value) or "").startswith("the store of captured calls: ")
    exporter.disconnect()
    postgres.start()
    put(url, sample(3))
    to_the_end(exporter)
    assert (got(collector), exporter.report().missing) == ([1, 2, 3], 0)
    exporter.close()


def test_one_that_ends_leaves_the_rest_to_the_next(tmp_path: Path, url: str, collector: Collector) -> None:
    """Which may have been told of more pools: what this one passed over would be lost to it."""
    put(url, sample(1), sample(2, pool="new"))
    journal(tmp_path, record(1), record(2, pool="new"))
    ending = threading.Event()
    ending.set()
    exporter = ContentExporter(settings(tmp_path, url, collector))
    follow(exporter, ending, lambda report: None, "it", logging.getLogger("test"), catches_up=False)
    exporter.close()
    assert got(collector) == [] and not (tmp_path / POSITION_NAME).exists()
    exporter = ContentExporter(settings(tmp_path, url, collector, pools={"support": 0.0, "new": 0.0}))
    follow(exporter, ending, lambda report: None, "it", logging.getLogger("test"))
    exporter.close()
    assert got(collector) == [1, 2]


def test_requests_are_of_a_bounded_size(tmp_path: Path, url: str, collector: Collector) -> None:
    """Each of these has half a megabyte, and a request of gRPC at most four."""
    put(url, *(sample(number, "x" * 500_000) for number in range(20)))
    journal(tmp_path, *(record(number) for number in range(20)))
    exporter = ContentExporter(settings(tmp_path, url, collector, most_chars=200_000))
    to_the_end(exporter)
    assert sorted(got(collector)) == list(range(20))
    assert collector.asked >= 2 and collector.largest <= (2 << 20) + 100_000
    assert {one["modelbroker.content.cut"] for one in collector.events} == {1}
    exporter.close()


def test_a_call_that_no_collector_takes_is_counted_and_left(
    tmp_path: Path, url: str, collector: Collector
) -> None:
    put(url, *(sample(number) for number in range(9)))
    journal(tmp_path, *(record(number) for number in range(9)))
    collector.refuses = id_of(4).encode()
    exporter = ContentExporter(settings(tmp_path, url, collector))
    to_the_end(exporter)
    assert sorted(got(collector)) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert (exporter.report().taken, exporter.report().refused) == (8, 1)
    exporter.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_that_repeats_what_it_was_sent_is_not_quoted(
    tmp_path: Path, collector: Collector, protocol: str, hurried: None, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/traffic.db"
    put(url, *(sample(number, "canary-text") for number in range(3)))
    journal(tmp_path, *(record(number) for number in range(3)))
    endpoint = collector.grpc_url if protocol == "grpc" else collector.http_url
    collector.state, collector.says = "refusing", "what does canary-text mean?"
    exporter = ContentExporter(settings(tmp_path, url, collector, endpoint=endpoint, protocol=protocol))
    with pytest.raises(Unsent) as refused:
        exporter.step()
    why = exporter.why_to_wait(refused.value)
    assert why in ("PERMISSION_DENIED", "the collector answered 403 Forbidden")
    exporter.disconnect()
    collector.state, collector.rejects, collector.refuses = "up", 1, id_of(1).encode()
    to_the_end(exporter)
    assert exporter.report().refused == 3  # two in part, and one that it calls bad
    assert "did not take 1 of the logs" in caplog.text and "refuses the logs of a call: " in caplog.text
    assert "canary" not in caplog.text
    exporter.close()


def test_a_bug_of_ours_is_one_calls(
    tmp_path: Path,
    url: str,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What nobody has foreseen: here the second call is of a place whose name can't be read."""
    put(url, sample(1), sample(2, "canary-text"), sample(3))
    journal(tmp_path, record(1), record(2, member="broken/m"), record(3))

    class Broken(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            raise RuntimeError("canary-text") if name == "broken" else KeyError

    caplog.set_level(logging.INFO)
    exporter = ContentExporter(settings(tmp_path, url, collector, places=Broken()))
    to_the_end(exporter)
    assert sorted(got(collector)) == [1, 3] and exporter.report().unread == 1
    assert "it can't be told (RuntimeError)" in caplog.text and "canary" not in caplog.text
    exporter.close()
