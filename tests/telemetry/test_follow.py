"""From the journal to a collector: each call once, or once more where nobody can know; never none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from modelbroker.core.record import Attempt, Record
from modelbroker.core.tracing import attempt_span
from modelbroker.journal.writing import CALLS
from modelbroker.records.file import RecordFile
from modelbroker.telemetry.follow import BATCH, POSITION_NAME, Exporter
from modelbroker.telemetry.reports import Settings
from modelbroker.telemetry.sending import Unsent
from support.collectors import Collector

AT_S = 1_796_000_000.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def settings(folder: Path, collector: Collector, **more: Any) -> Settings:
    told: dict[str, Any] = {
        "folder": str(folder),
        "endpoint": collector.grpc_url,
        "protocol": "grpc",
        "headers": {},
        "ca_file": "",
        "ca_digest": "",
        "compression": "gzip",
        "timeout_s": 10.0,
        "spans": True,
        "logs": True,
        "resource": {},
        "places": {},
    }
    return Settings(**(told | more))


def record(number: int, *, traced: bool = True) -> Record:
    request_id = f"0190a5d3c4b27cde8f{number:012x}5a"
    span_id = f"{request_id[16:30]}00" if traced else ""
    tried = Attempt("a/m", 200, 1.0, started_s=AT_S, span_id=attempt_span(span_id, 1) if traced else "")
    made = Record(request_id, AT_S, 1.0, 1.0, 200, "POST", "/v1/messages", outcome="ok", attempts=(tried,))
    made.trace_id, made.span_id, made.sampled = (request_id, span_id, True) if traced else ("", "", False)
    return made


def write(folder: Path, *numbers: int, traced: bool = True) -> None:
    file = RecordFile(folder)
    file.write([record(number, traced=traced) for number in numbers])
    file.close()


def to_the_end(exporter: Exporter) -> None:
    while exporter.step():
        pass


def spans(collector: Collector) -> list[int]:
    """The numbers of the calls whose spans came, in order."""
    return [int(one.trace_id[18:30], 16) for one in collector.spans if one.kind == 2]


def logs(collector: Collector) -> list[int]:
    return [int(one["modelbroker.request_id"][18:30], 16) for one in collector.logs]


def test_each_call_once_in_batches_over_restarts(tmp_path: Path, collector: Collector) -> None:
    count = 2 * BATCH + 7
    write(tmp_path, *range(count))
    exporter = Exporter(settings(tmp_path, collector))
    assert exporter.step()
    assert spans(collector) == logs(collector) == list(range(BATCH))
    report = exporter.report()
    size = (tmp_path / CALLS).stat().st_size
    assert (report.state, report.taken, report.offset + report.behind_bytes) == ("following", BATCH, size)
    exporter.close()  # killed, as far as anybody knows
    exporter = Exporter(settings(tmp_path, collector))
    to_the_end(exporter)
    assert spans(collector) == logs(collector) == list(range(count))
    assert (exporter.report().taken, exporter.report().behind_bytes) == (count - BATCH, 0)
    write(tmp_path, count)
    to_the_end(exporter)
    assert spans(collector) == list(range(count + 1))
    exporter.close()


def test_what_is_not_taken_is_sent_again_and_spans_that_are_there_are_not(
    tmp_path: Path, collector: Collector
) -> None:
    write(tmp_path, 1, 2)
    exporter = Exporter(settings(tmp_path, collector))
    collector.state = "away"
    with pytest.raises(Unsent) as away:
        exporter.step()
    assert exporter.why_to_wait(away.value) == "UNAVAILABLE: it is away"
    assert exporter.report("x").state == "waiting" and exporter.report().behind_bytes > 0
    exporter.disconnect()
    assert not (tmp_path / POSITION_NAME).exists()
    collector.state = "spans-only"
    with pytest.raises(Unsent):
        exporter.step()
    collector.state = "up"
    to_the_end(exporter)
    assert spans(collector) == logs(collector) == [1, 2]
    exporter.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_call_that_no_collector_takes_is_counted_and_left(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    write(tmp_path, *range(9))
    url = collector.grpc_url if protocol == "grpc" else collector.http_url
    collector.refuses = record(4).request_id.encode()
    exporter = Exporter(settings(tmp_path, collector, endpoint=url, protocol=protocol))
    to_the_end(exporter)
    assert sorted(spans(collector)) == sorted(logs(collector)) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert exporter.report().refused == 2
    exporter.close()


def test_a_batch_that_is_too_large_for_one_request_goes_in_several(
    tmp_path: Path, collector: Collector
) -> None:
    records = [record(number) for number in range(200)]
    for one in records:
        one.user = "u" * 40_000
    file = RecordFile(tmp_path)
    file.write(records)
    file.close()
    exporter = Exporter(settings(tmp_path, collector))
    to_the_end(exporter)
    assert sorted(spans(collector)) == sorted(logs(collector)) == list(range(200))
    assert exporter.report().refused == 0
    exporter.close()


def test_a_line_that_is_no_record_holds_up_nothing(tmp_path: Path, collector: Collector) -> None:
    write(tmp_path, 1)
    with (tmp_path / CALLS).open("ab") as file:
        file.write(b'{"request_id": 5}\nrubbish\n')
    write(tmp_path, 2)
    exporter = Exporter(settings(tmp_path, collector))
    to_the_end(exporter)
    assert (spans(collector), exporter.report().refused) == ([1, 2], 2)
    exporter.close()


def test_what_was_there_before_anybody_wanted_it_stays(tmp_path: Path, collector: Collector) -> None:
    write(tmp_path, 1, 2, traced=False)
    write(tmp_path, 3)
    exporter = Exporter(settings(tmp_path, collector, since_s=AT_S + 10))
    to_the_end(exporter)
    assert (spans(collector), logs(collector)) == ([3], [3])
    exporter.close()
    write(tmp_path, 4, traced=False)  # from now on it is known how far it is
    exporter = Exporter(settings(tmp_path, collector, since_s=AT_S + 20))
    to_the_end(exporter)
    assert (spans(collector), logs(collector)) == ([3], [3, 4])
    exporter.close()


@pytest.mark.parametrize(("has_spans", "has_logs"), [(True, False), (False, True)])
def test_one_of_the_two(tmp_path: Path, collector: Collector, has_spans: bool, has_logs: bool) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 3, traced=False)
    exporter = Exporter(settings(tmp_path, collector, spans=has_spans, logs=has_logs))
    to_the_end(exporter)
    assert (spans(collector), logs(collector)) == ([1, 2] if has_spans else [], [1, 2, 3] if has_logs else [])
    assert exporter.report().taken == (2 if has_spans else 3)
    exporter.close()


def test_a_position_that_is_rubbish_is_none(tmp_path: Path, collector: Collector) -> None:
    write(tmp_path, 1)
    (tmp_path / POSITION_NAME).write_text("{")
    exporter = Exporter(settings(tmp_path, collector))
    to_the_end(exporter)
    assert spans(collector) == [1]
    assert msgspec.json.decode((tmp_path / POSITION_NAME).read_bytes())["offset"] > 0
    exporter.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_is_said_of_a_collector_holds_no_key(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    write(tmp_path, 1)
    url = collector.grpc_url if protocol == "grpc" else collector.http_url
    collector.state = "refusing"
    collector.says = "no sk-canary-1 here"
    headers = {"api-key": "sk-canary-1"}
    exporter = Exporter(settings(tmp_path, collector, endpoint=url, protocol=protocol, headers=headers))
    with pytest.raises(Unsent) as refused:
        exporter.step()
    why = exporter.why_to_wait(refused.value) or ""
    assert "canary" not in why
    assert why in ("PERMISSION_DENIED: no … here", "the collector answered 403 Forbidden")
    exporter.close()


def test_a_collector_that_says_when_is_left_alone_until_then(tmp_path: Path, collector: Collector) -> None:
    write(tmp_path, 1)
    collector.state, collector.retry_after_s = "away", 3600
    exporter = Exporter(settings(tmp_path, collector, endpoint=collector.http_url, protocol="http"))
    for _ in range(3):
        with pytest.raises(Unsent) as away:
            exporter.step()
        assert exporter.why_to_wait(away.value)
    assert collector.asked == 1
    exporter.close()


def test_what_a_collector_takes_in_part_is_counted(tmp_path: Path, collector: Collector) -> None:
    write(tmp_path, 1, 2)
    collector.rejects = 3
    for protocol, url in (("grpc", collector.grpc_url), ("http", collector.http_url)):
        (tmp_path / POSITION_NAME).unlink(missing_ok=True)
        exporter = Exporter(settings(tmp_path, collector, endpoint=url, protocol=protocol, logs=False))
        to_the_end(exporter)
        assert exporter.report().refused == 3
        exporter.close()


def test_authorities_that_can_not_be_read(tmp_path: Path, collector: Collector) -> None:
    write(tmp_path, 1)
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    https = collector.http_url.replace("http:", "https:")
    for ca_file in (tmp_path / "none.pem", empty):
        told = {"endpoint": https, "protocol": "http", "ca_file": str(ca_file)}
        exporter = Exporter(settings(tmp_path, collector, **told))
        with pytest.raises(Unsent, match=ca_file.name):
            exporter.step()
        exporter.close()
