"""calls.jsonl read as the broker writes it, over its turns."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelbroker.core.record import Attempt, Record
from modelbroker.drill.rehearsal import Records
from modelbroker.journal.writing import CALLS
from modelbroker.records.file import RecordFile


def record(number: int, feature: str = "") -> Record:
    attempts = (Attempt("a/x", 503, 1.0), Attempt("b/x", 200, 1.0))
    return Record(
        f"id-{number}",
        1.0,
        2.0,
        None,
        200,
        "POST",
        "/v1/messages",
        feature=feature or f"call-{number}",
        member="b/x",
        attempts_made=2,
        attempts=attempts,
    )


@pytest.mark.parametrize("read_every", [1, 2, 3])
def test_no_line_is_missed_when_files_are_turned_over(tmp_path: Path, read_every: int) -> None:
    file = RecordFile(tmp_path, file_bytes=6_000)  # some four records each
    records = Records(tmp_path / CALLS)
    records.read()
    for number in range(50):
        file.write([record(number)])
        if number % read_every == 0:
            records.read()
    records.read()
    assert (tmp_path / f"{CALLS}.1").exists()
    assert sorted(records.kept) == list(range(50))
    assert all(len(kept) == 1 for kept in records.kept.values())
    assert (records.kept[7][0].request_id, records.kept[7][0].attempts_made) == ("id-7", 2)
    assert records.kept[7][0].attempts_listed == 2


def test_lines_of_others_are_left_out_and_half_a_line_is_waited_for(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.write([record(1), record(2, feature="checkout")])
    records = Records(tmp_path / CALLS)
    records.read()
    assert list(records.kept) == [1]
    with (tmp_path / CALLS).open("rb") as whole:
        line = whole.readline().replace(b"call-1", b"call-3").replace(b"id-1", b"id-3")
    with (tmp_path / CALLS).open("ab") as half:
        half.write(line[:40])
        half.flush()
        records.read()
        half.write(line[40:])
    records.read()
    assert list(records.kept) == [1, 3]
