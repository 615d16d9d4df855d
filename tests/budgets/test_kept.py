"""What was spent survives every end of the process, at any byte of the records."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.budgets import Kept
from modelbroker.core.budgets import Charge
from modelbroker.core.record import Record
from modelbroker.journal.writing import CALLS
from modelbroker.records.file import RecordFile


def record(number: int, amount: int) -> Record:
    charge = Charge("b", "team=a", "nano_dollars", "month@UTC", amount, amount, time.time())
    return Record(f"{number:032x}", time.time(), 1.0, None, 200, "POST", "/", budgets=(charge,))


def spent(folder: Path) -> int:
    return sum(amount for _, _, amount in Kept(folder, folder / CALLS).read())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 1000), st.booleans(), st.booleans()), max_size=30), st.integers(0, 400)
)
def test_killed_at_any_moment(
    tmp_path_factory: object, calls: list[tuple[int, bool, bool]], torn: int
) -> None:
    """Records are (amount, is a snapshot taken behind it, does the process end there). Files are turned over
    now and then."""
    folder: Path = tmp_path_factory.mktemp("state")  # type: ignore[attr-defined]

    def begin() -> tuple[RecordFile, Kept]:
        kept = Kept(folder, folder / CALLS)
        assert sum(amount for _, _, amount in kept.read()) == total
        return RecordFile(folder, file_bytes=4_000), kept

    total = 0
    file, kept = begin()
    for number, (amount, is_kept, ends) in enumerate(calls):
        one = record(number, amount)
        mark = file.write([one])
        assert mark is not None
        kept.written([one], mark.inode, mark.size)
        total += amount
        if is_kept:
            kept.write()
        if ends:
            file.close()
            file, kept = begin()
    file.close()
    assert spent(folder) == total
    # Half a line of the record that was being written counts nothing.
    with (folder / CALLS).open("ab") as half:
        half.write(b'{"request_id":"x","budgets":[{"budget":"b","scope":"","unit":"nano_dollars"'[:torn])
    assert spent(folder) == total


def test_what_no_record_says_is_kept_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path, tmp_path / CALLS)
    kept.add(record(1, 7).budgets)
    kept.write()
    assert spent(tmp_path) == 7


def test_a_snapshot_that_cant_be_read_is_not_the_end(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.write([record(1, 7), record(2, 8)])
    file.close()
    (tmp_path / "budgets.json").write_text("{")
    assert spent(tmp_path) == 15


def test_a_time_zone_that_is_no_more_loses_its_own_account_alone(tmp_path: Path) -> None:
    kept = {"spent": {"old|calls|day@Mars/Olympus|": [[1, 5]], "b|calls|month@UTC|": [[4_000_000_000, 7]]}}
    (tmp_path / "budgets.json").write_text(json.dumps(kept))
    file = RecordFile(tmp_path)
    odd = record(1, 9)
    odd.budgets[0].window = "day@Mars/Olympus"
    file.write([odd, record(2, 8)])
    file.close()
    assert spent(tmp_path) == 15
