"""Sinks on the machine itself: a rotated file, and standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.audit.sink import Sent, Sink, SinkAway
from modelbroker.audit.sinks import stdout
from support.sinks import UNICODE, event, events, ids, sink
from support.waiting import wait_until


def _file(path: Path, **options: str) -> Sink:
    return sink("file", {"path": str(path), **options})


def _ids(path: Path) -> list[str]:
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line)["id"] for line in data.splitlines()]


def _all(path: Path) -> list[str]:
    """Of all files, the oldest first."""
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: -int(one.suffix[1:]))
    return [key for one in (*older, path) if one.exists() for key in _ids(one)]


# -- files


def test_lines_of_json_that_only_the_broker_may_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    made = _file(path)
    made.send([event(1, UNICODE), *events(2, 2)])
    assert path.read_bytes().split(b"\n") == [event(1, UNICODE).line, *(e.line for e in events(2, 2)), b""]
    assert path.stat().st_mode & 0o777 == 0o600
    made.close()
    again = _file(path)  # as after a restart
    again.send(events(4, 1))
    assert _ids(path) == ids(events(1, 4))
    again.close()


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30), files=st.integers(2, 4))
def test_rotation_loses_none_but_the_oldest_files(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], files: int
) -> None:
    path = tmp_path_factory.mktemp("rotated") / "audit.jsonl"
    made = _file(path, most_bytes="1000", files=str(files))
    first = 1
    for size in sizes:
        made.send(events(first, size))
        first += size
    made.close()
    found = _all(path)
    assert found == ids(events(first - len(found), len(found)))
    names = {one.name for one in path.parent.iterdir()}
    assert names <= {path.name, *(f"{path.name}.{number}" for number in range(1, files))}
    assert all(one.stat().st_size <= 1000 for one in path.parent.iterdir())
    if len(names) < files:
        assert found == ids(events(1, first - 1))


def test_a_file_that_was_moved_away_or_deleted_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    made = _file(path)
    made.send(events(1, 2))
    path.rename(tmp_path / "audit.old")
    made.send(events(3, 2))
    path.unlink()
    made.send(events(5, 2))
    assert _ids(tmp_path / "audit.old") == ids(events(1, 2))
    assert _ids(path) == ids(events(5, 2))
    path.write_bytes(b"")  # logrotate's copytruncate
    made.send(events(7, 2))
    assert _ids(path) == ids(events(7, 2))
    made.close()


@pytest.mark.parametrize("left", [b"", event(1).line + b"\n"])
@pytest.mark.parametrize("half", [b"{", event(2, "x" * 200_000).line])
def test_half_a_line_of_a_crash_is_gone(tmp_path: Path, left: bytes, half: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(left + half)
    made = _file(path)
    made.send(events(2, 2))
    assert _ids(path) == ids(events(1, 3))[0 if left else 1 :]
    made.close()


_WRITER = """
import sys
sys.path[:0] = sys.argv[2:]
from support.sinks import events, sink
made = sink("file", {"path": sys.argv[1], "most_bytes": "300000", "files": "100"})
print("begun", flush=True)
first = 1
while True:
    made.send(events(first, 50, "x" * 500))
    first += 50
    print(first, flush=True)
"""


def test_a_crash_leaves_whole_lines_and_nothing_that_was_taken_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    command = [sys.executable, "-c", _WRITER, str(path), *sys.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        taken = 0
        for _ in range(20):
            taken = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        taken = max([taken, *(int(line) for line in child.stdout.read().splitlines() if line)])
    made = _file(path, most_bytes="300000", files="100")
    made.send(events(taken, 50))
    made.close()
    assert set(ids(events(1, taken + 49))) <= set(_all(path))


_FULL = """
import os, resource, signal, sys
sys.path[:0] = sys.argv[2:]
from support.sinks import events, sink
from modelbroker.audit.sink import SinkAway
made = sink("file", {"path": sys.argv[1]})
made.send(events(1, 2))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(sys.argv[1]).st_size + 100, hard))
try:
    made.send(events(3, 5))
except SinkAway as away:
    print(away, os.stat(sys.argv[1]).st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
made.send(events(3, 5))
"""


def test_a_batch_that_the_disk_has_no_room_for_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    command = [sys.executable, "-c", _FULL, str(path), *sys.path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    size = sum(len(one.line) + 1 for one in events(1, 2))
    assert said == f"{path} can't be written: File too large {size}\n"
    assert _ids(path) == ids(events(1, 7))


def test_a_path_that_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SinkAway, match=r"can't be written: No such file or directory"):
        _file(tmp_path / "missing" / "audit.jsonl").send(events(1, 1))
    with pytest.raises(SinkAway, match="can't be written: Is a directory"):
        _file(tmp_path).send(events(1, 1))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SinkAway, match="can't be written: it is no file"):
        _file(tmp_path / "fifo").send(events(1, 1))


# -- standard output


def test_lines_on_standard_output() -> None:
    reader, writer = os.pipe()
    made = sink("stdout", {"fd": str(writer)})
    batch = [event(1, UNICODE), event(2, "x" * 100_000), *events(3, 3)]
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.extend(os.fdopen(reader, "rb")))
    reading.start()
    made.send(batch)
    made.close()
    os.close(writer)
    reading.join(60)
    assert found == [one.line + b"\n" for one in batch]


def test_a_reader_that_sleeps_makes_it_wait_and_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "_WAIT_S", 0.2)
    reader, writer = os.pipe()
    made = sink("stdout", {"fd": str(writer)})
    batch = events(1, 3, "x" * 50_000)
    with pytest.raises(SinkAway, match="nobody reads it"):
        made.send(batch)
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.extend(os.fdopen(reader, "rb")))
    reading.start()
    wait_until(lambda: _is_sent(made, batch))
    os.close(writer)
    reading.join(60)
    whole = [line for line in found if line in {one.line + b"\n" for one in batch}]
    assert whole[-3:] == [one.line + b"\n" for one in batch]
    assert all(line.startswith(b'{"id": ') for line in found if line != b"\n")  # none begins within another


def test_nobody_at_the_other_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(SinkAway, match="can't be written: Broken pipe"):
        sink("stdout", {"fd": str(writer)}).send(events(1, 1))
    os.close(writer)


def _is_sent(made: Sink, batch: list[Sent]) -> bool:
    try:
        made.send(batch)
    except SinkAway:
        return False
    return True
