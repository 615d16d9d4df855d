"""The writer: nothing is written before it is clean, and what it is given gets into the store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from modelbroker.core.capture import PATTERNS
from modelbroker.core.traffic import Sample
from modelbroker.policy.redaction import cleaned
from modelbroker.traffic.reports import Report, Settings, packed
from modelbroker.traffic.stores import open_store
from modelbroker.traffic.write import Writer, redaction_of
from support.waiting import wait_until

KEY = "6b" * 32
SECRET = "alice@example.com"


def sample(number: int, text: str = SECRET, at_s: float = 0) -> Sample:
    body = b'{"a":"%s"}' % text.encode()
    return Sample(
        f"call-{number:05d}", at_s or time.time(), stream=False, status=200, request=body, reply=body
    )


def settings(url: str, **more: object) -> Settings:
    return Settings(url, (KEY,), PATTERNS, **more)  # type: ignore[arg-type]


@contextmanager
def writer(told: Settings) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "modelbroker.traffic.write", "DEBUG"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = subprocess.Popen(command, **pipes)  # type: ignore[call-overload]
    try:
        child.stdin.write(msgspec.json.encode(told) + b"\n")
        yield child
    finally:
        child.kill()
        child.communicate()


def ended(child: subprocess.Popen[bytes]) -> tuple[Report, str]:
    """Its last report, and its log, once its input has ended."""
    out, log = child.communicate(timeout=60)
    return msgspec.json.decode(out.splitlines()[-1], type=Report), log.decode()


def test_what_it_is_given_is_written_clean(url: str) -> None:
    with writer(settings(url)) as child:
        for number in range(700):
            child.stdin.write(packed(sample(number)))  # type: ignore[union-attr]
        report, log = ended(child)
    assert (report.state, report.taken, report.written, report.failed) == ("writing", 700, 700, 0)
    assert SECRET not in log
    with open_store(url, [bytes.fromhex(KEY)]) as store:
        found = list(store.read())
    assert len(found) == 700
    assert {(one.request, one.reply, one.redacted) for one in found} == {
        (b'{"a":"[email]"}', b'{"a":"[email]"}', ("email",))
    }


def test_a_sample_that_is_none_harms_no_other(url: str) -> None:
    with writer(settings(url)) as child:
        broken = b"\x00\x00\x00\x05hello"
        child.stdin.write(packed(sample(1)) + broken + packed(sample(2)))  # type: ignore[union-attr]
        report, log = ended(child)
    assert (report.taken, report.written, report.failed) == (3, 2, 1)
    assert "could not be redacted" in log and "hello" not in log


def test_an_expression_that_never_ends_harms_no_other(url: str) -> None:
    with writer(settings(url, custom=(("badge", "(a+)+b"),))) as child:
        child.stdin.write(packed(sample(1, "a" * 50)) + packed(sample(2, "b")))  # type: ignore[union-attr]
        report, log = ended(child)
    assert (report.taken, report.written, report.failed) == (2, 1, 1)
    assert "look at `redact.custom` (badge)" in log and "aaa" not in log


def test_a_writer_that_drops_one_after_the_other_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who hears nothing for a minute ends it, and all that it has."""
    told = settings(f"sqlite:///{tmp_path}/t.db", custom=(("badge", "(a+)+b"),))
    monkeypatch.setattr("modelbroker.traffic.write.REDACTED_WITHIN_S", 0.2)
    monkeypatch.setattr("modelbroker.traffic.write._REPORT_EVERY_S", 0.1)
    source, sink = os.pipe()
    os.write(sink, b"".join(packed(sample(number, "a" * 50)) for number in range(6)))
    os.close(sink)
    reports: list[Report] = []
    try:
        Writer(told, source, reports.append).run()
    finally:
        os.close(source)
    assert reports[-1].failed == 6
    assert {2, 3, 4} <= {report.failed for report in reports}


def test_a_store_that_is_away_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    folder.write_text("no folder")
    url = f"sqlite:///{folder}/traffic.db"
    with writer(settings(url)) as child:
        child.stdin.write(packed(sample(1)))  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
        assert b'"waiting"' in child.stdout.readline()  # type: ignore[union-attr]
        folder.unlink()
        folder.mkdir()

        def is_there() -> bool:
            with open_store(url, [bytes.fromhex(KEY)]) as store:
                return store.stats().samples == 1

        wait_until(is_there)
        report, _ = ended(child)
    assert (report.state, report.written) == ("writing", 1)


def test_what_is_too_old_goes_by_itself(url: str) -> None:
    with open_store(url) as store:
        store.put([sample(1, at_s=time.time() - 3 * 86_400), sample(2)])
    with writer(settings(url, keep_s=86_400)) as child:
        report, _ = ended(child)
    assert report.state == "writing"
    with open_store(url) as store:
        assert [one.request_id for one in store.read()] == ["call-00002"]


def test_the_file_is_nobody_elses_to_read(tmp_path: Path) -> None:
    with writer(settings(f"sqlite:///{tmp_path}/traffic.db")) as child:
        child.stdin.write(packed(sample(1)))  # type: ignore[union-attr]
        ended(child)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    assert not [path for path in tmp_path.iterdir() if SECRET.encode() in path.read_bytes()]


def test_a_broken_stream_is_told_by_its_form() -> None:
    redaction = redaction_of(settings(""))
    error = Sample("a", 1.0, stream=True, reply=b'{"error":"alice@example.com"}')
    assert cleaned(error, redaction).reply == b'{"error":"[email]"}'
    stream = Sample("a", 1.0, stream=True, reply=b'data: {"d":"alice@exa"}\n\ndata: {"d":"mple.com"}\n\n')
    assert cleaned(stream, redaction).reply == b'data: {"d":"[email]"}\n\ndata: {"d":""}\n\n'


@pytest.fixture(autouse=True)
def path_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
