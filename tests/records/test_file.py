"""Lines in the state folder: whole ones, in files of bounded size, whatever the disk says."""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from modelbroker.core.record import Attempt, Record
from modelbroker.journal.writing import CALLS, FILES
from modelbroker.records.file import RecordFile, written_since
from prometheus_client import REGISTRY


def record(number: int) -> Record:
    attempts = (Attempt("a/m", 200, 1.0),)
    return Record(f"r{number}", 0.0, 1.0, None, 200, "POST", "/v1/messages", pool="größe", attempts=attempts)


def ids(path: Path) -> list[str]:
    return [json.loads(line)["request_id"] for line in path.read_text().splitlines()]


def test_records_are_there_at_once_and_stay_over_a_restart(tmp_path: Path) -> None:
    for start in (0, 2):
        file = RecordFile(tmp_path)
        file.write([record(start), record(start + 1)])
        assert ids(tmp_path / CALLS) == [f"r{n}" for n in range(start + 2)]
        file.close()
    (first, *_) = (tmp_path / CALLS).read_text().splitlines()
    assert json.loads(first) == json.loads(json.dumps(dataclasses.asdict(record(0))))


def test_files_are_of_bounded_size_and_number(tmp_path: Path) -> None:
    file = RecordFile(tmp_path, file_bytes=3000)
    for number in range(0, 60, 2):
        file.write([record(number), record(number + 1)])
    file.close()
    older = [tmp_path / f"{CALLS}.{n}" for n in range(FILES, 0, -1)]
    files = [*older, tmp_path / CALLS]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(path.stat().st_size <= 3000 for path in files)
    kept = [request_id for path in files for request_id in ids(path)]
    assert kept == [f"r{n}" for n in range(60 - len(kept), 60)]


def test_more_than_a_file_takes_is_written_all_the_same(tmp_path: Path) -> None:
    file = RecordFile(tmp_path, file_bytes=100)
    file.write([record(0), record(1)])
    file.write([record(2)])
    file.close()
    assert ids(tmp_path / f"{CALLS}.1") == ["r0", "r1"]
    assert ids(tmp_path / CALLS) == ["r2"]


def test_a_full_disk_is_said_once_and_costs_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / CALLS).symlink_to("/dev/full")
    file = RecordFile(tmp_path)
    with caplog.at_level(logging.ERROR):
        for number in range(3):
            file.write([record(number)])
    assert [entry.levelname for entry in caplog.records] == ["ERROR"]
    assert "No space left" in caplog.text
    assert file.status(3) == {
        "state": "waiting",
        "error": "No space left on device",
        "waiting": 3,
        "unwritten": 0,
    }
    file.close()


def test_a_folder_that_comes_back_is_written_to_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    file = RecordFile(folder)
    file.write([record(0)])
    folder.mkdir()
    file.write([record(1)])
    file.close()
    assert ids(folder / CALLS) == ["r1"]
    assert [entry.levelname for entry in caplog.records] == ["ERROR", "WARNING"]
    assert "is written again" in caplog.text


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    """The limit on a file's size makes the kernel take a part of a write, as a disk does that fills up."""
    script = """
import resource, sys
from collections.abc import Sequence
from pathlib import Path
from test_file import record
from modelbroker.records.file import RecordFile
file = RecordFile(Path(sys.argv[1]))
file.write([record(0)])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
for number in range(1, 9):
    file.write([record(number)])
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
file.write([record(9)])
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parent, timeout=60)
    kept = ids(tmp_path / CALLS)
    assert kept[0] == "r0"
    assert kept[-1] == "r9"
    assert len(kept) < 10


def test_records_are_for_the_brokers_own_user(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.write([Record("r", 0.0, 1.0, None, 200, "POST", "/v1/messages")])
    file.close()
    assert (tmp_path / CALLS).stat().st_mode & 0o077 == 0


class Follower:
    """As the ledger's: it has read so many of the files, and so much of each."""

    def __init__(self, files: int, offset: int = 0) -> None:
        self.files, self.at = files, offset

    def done(self, inodes: Sequence[int]) -> int:
        return self.files

    def offset(self, inode: int) -> int:
        return self.at


def test_files_that_the_ledger_has_not_read_are_kept_up_to_a_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = not_taken()
    file = RecordFile(tmp_path, file_bytes=100, readers={"ledger": Follower(0)}, most_files=FILES + 2)
    for number in range(FILES + 3):
        file.write([record(number)])
    assert not caplog.text and not_taken() == before
    assert ids(tmp_path / f"{CALLS}.{FILES + 2}") == ["r0"]
    file.write([record(99)])
    file.close()
    assert "the ledger has not read 1 of its lines" in caplog.text and not_taken() == before + 1
    assert ids(tmp_path / f"{CALLS}.{FILES + 2}") == ["r1"]
    assert not (tmp_path / f"{CALLS}.{FILES + 3}").exists()


def test_files_that_are_needed_no_longer_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = Follower(0)
    file = RecordFile(tmp_path, file_bytes=100, readers={"ledger": reader})
    for number in range(2 * FILES):
        file.write([record(number)])
    reader.files = 2 * FILES
    file.write([record(99)])
    file.close()
    assert len(list(tmp_path.iterdir())) == FILES + 1 and not caplog.text


def test_only_what_was_not_read_is_counted_as_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = Follower(0)
    file = RecordFile(tmp_path, file_bytes=5_000, readers={"ledger": reader}, most_files=FILES)
    file.write([record(0), record(1)])
    reader.at = (tmp_path / CALLS).stat().st_size  # all of it but what comes now
    file.write([record(2)])
    for _ in range(FILES + 1):
        file.write([record(3)] * 5)
    file.close()
    assert "the ledger has not read 1 of its lines" in caplog.text


def not_taken() -> float:
    return REGISTRY.get_sample_value("modelbroker_records_unread_total", {"reader": "ledger"}) or 0


@pytest.mark.parametrize("torn", [b'{"request_id": "r9', b"x" * (3 << 20)])
@pytest.mark.parametrize("before", [0, 2])
def test_a_line_that_was_never_ended_is_cut(
    tmp_path: Path, before: int, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = RecordFile(tmp_path)
    file.write([record(number) for number in range(before)])
    file.close()
    with (tmp_path / CALLS).open("ab") as killed:
        killed.write(torn)
    file = RecordFile(tmp_path)
    file.write([record(10)])
    file.close()
    assert ids(tmp_path / CALLS) == [*(f"r{number}" for number in range(before)), "r10"]
    assert "was cut" in caplog.text


def test_what_is_kept_for_the_ledger_counts_as_written(tmp_path: Path) -> None:
    file = RecordFile(tmp_path, file_bytes=100, readers={"ledger": Follower(0)})
    for number in range(FILES + 8):
        file.write([record(number)])
    file.close()
    assert written_since(tmp_path, None) == {f"r{number}" for number in range(FILES + 8)}
