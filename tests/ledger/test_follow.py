"""From the journal into the ledger: nothing is lost and nothing doubled, whatever is killed or renamed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.core.record import Record
from modelbroker.journal.following import follow
from modelbroker.journal.reading import Journal, Position
from modelbroker.journal.reports import Report
from modelbroker.journal.writing import CALLS
from modelbroker.ledger.follow import WHAT, Follower, log
from modelbroker.ledger.reports import Settings
from modelbroker.records.file import RecordFile
from support.ledgers import DAY_S, NOW_S, contents, follow_to_the_end, ids_in, lines, lost, record
from support.servers import Postgres
from support.waiting import wait_until

NewLedger = Callable[[], str]


START = Position()


class Slow:
    """A reader that is done with no file."""

    def done(self, inodes: Sequence[int]) -> int:
        return 0

    def offset(self, inode: int) -> int:
        return 0


def read_all(folder: Path, position: Position = START) -> tuple[list[str], Position]:
    journal, found = Journal(folder, position), []
    while (piece := journal.read()) is not None:
        found += [msgspec.json.decode(line)["request_id"] for line in piece.lines]
        position = piece.position
    journal.close()
    return found, position


# -- the journal


def test_files_are_read_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    assert read_all(tmp_path) == ([], Position())
    written = [record(n) for n in range(12)]
    file = RecordFile(tmp_path, file_bytes=5000)
    for one in written[:6]:
        file.write([one])
    found, position = read_all(tmp_path)
    for one in written[6:]:
        file.write([one])
    file.close()
    assert len(list(tmp_path.iterdir())) > 2
    more, _ = read_all(tmp_path, position)
    assert found + more == [one.request_id for one in written]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["write", "many", "read", "restart"]), min_size=5, max_size=40))
def test_each_line_once_whoever_is_faster(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("journal")
    file = RecordFile(folder, file_bytes=4000, readers={"slow": Slow()}, most_files=100)
    journal, position = Journal(folder, START), START
    written: list[str] = []
    found: list[str] = []

    def read() -> None:
        nonlocal position
        if (piece := journal.read()) is not None:
            found.extend(msgspec.json.decode(line)["request_id"] for line in piece.lines)
            position = piece.position

    for number, step in enumerate(steps):
        if step == "read":
            read()
        elif step == "restart":
            journal.close()
            journal = Journal(folder, position)
        else:
            batch = [record(number * 10 + n) for n in range(3 if step == "many" else 1)]
            file.write(batch)
            written += [one.request_id for one in batch]
    for _ in range(len(steps) + 1):
        read()
    assert found == written
    file.close()
    journal.close()


def test_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    data = lines([record(1), record(2)])
    path = tmp_path / CALLS
    path.write_bytes(data[:-10])
    journal = Journal(tmp_path, Position())
    first, nothing = journal.read(), journal.read()
    assert first is not None and len(first.lines) == 1 and nothing is None
    assert journal.behind() == len(data[:-10]) - first.position.offset
    with path.open("ab") as file:
        file.write(data[-10:])
    second = journal.read()
    assert second is not None and len(second.lines) == 1 and journal.behind() == 0


def test_a_torn_line_in_an_older_file_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / f"{CALLS}.1").write_bytes(lines([record(1)]) + b'{"request_id": "torn')
    (tmp_path / CALLS).write_bytes(lines([record(2)]))
    journal = Journal(tmp_path, Position())
    read = [journal.read(), journal.read(), journal.read()]
    assert [len(piece.lines) if piece else 0 for piece in read] == [1, 1, 0]
    assert journal.torn == 1


def test_a_file_that_is_shorter_than_it_was_is_read_again(tmp_path: Path) -> None:
    data = lines([record(n) for n in range(3)])
    (tmp_path / CALLS).write_bytes(data)
    _, position = read_all(tmp_path)
    os.truncate(tmp_path / CALLS, len(data) // 3)  # as a machine that lost its power leaves it
    assert len(read_all(tmp_path, position)[0]) == 1
    (tmp_path / CALLS).write_bytes(lines([record(0), record(3), record(4), record(5), record(6)]))
    assert len(read_all(tmp_path, Position(position.file, position.offset + 7))[0]) == 5


def test_a_write_that_is_undone_hides_nothing(tmp_path: Path) -> None:
    """The disk had no room for all of it; what comes later is longer than what was read."""
    path, journal = tmp_path / CALLS, Journal(tmp_path, START)
    kept, undone = lines([record(0)]), lines([record(1)])
    path.write_bytes(kept + undone)
    assert journal.read() is not None
    os.truncate(path, len(kept))
    with path.open("ab") as file:
        file.write(lines([record(n, pool="longer" * n) for n in range(2, 9)]))
    piece = journal.read()
    assert piece is not None and len(piece.lines) == 8


# -- the follower


def test_lines_that_are_no_records_cost_no_other(new_ledger: NewLedger, tmp_path: Path) -> None:
    good = [record(n) for n in range(6)]
    huge = record(7, request_bytes=2**70)
    nul = record(8, path="/v1/\0")
    parts = [lines(good[:3]), b"no json\n{}\n[]\n", lines([huge, nul]), lines(good[3:])]
    odd = lines([record(9)]).replace(b'"team":""', b'"team":{"a":1}')
    (tmp_path / CALLS).write_bytes(b"".join([*parts, odd]))
    url = new_ledger()
    follower = follow_to_the_end(tmp_path, url)
    assert ids_in(url) == sorted(one.request_id for one in [*good, nul])
    assert follower.refused == 5
    follow_to_the_end(tmp_path, url)
    assert len(ids_in(url)) == 7


def test_a_real_record_takes_the_place_of_a_lost_one(new_ledger: NewLedger, tmp_path: Path) -> None:
    url, whole = new_ledger(), record(1, team="search")
    file = RecordFile(tmp_path)
    for written in (lost(whole), whole, lost(whole)):
        file.write([written])
        follow_to_the_end(tmp_path, url)
    expected = new_ledger()
    other = tmp_path / "other"
    other.mkdir()
    (other / "ledger.id").write_text((tmp_path / "ledger.id").read_text())
    (other / CALLS).write_bytes(lines([whole]))
    follow_to_the_end(other, expected)
    assert contents(url) == contents(expected)
    file.close()


def test_what_is_too_old_is_not_taken(new_ledger: NewLedger, tmp_path: Path) -> None:
    (tmp_path / CALLS).write_bytes(lines([record(1, NOW_S - 3 * DAY_S), record(2)]))
    url = new_ledger()
    follow_to_the_end(tmp_path, url, retention_s=2 * DAY_S)
    assert ids_in(url) == [record(2).request_id]


def test_a_database_that_is_away_is_waited_for(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    written = [record(n) for n in range(50)]
    file = RecordFile(tmp_path)
    file.write(written[:10])
    ending, reports = threading.Event(), list[Report]()
    thread = threading.Thread(
        target=follow, args=(Follower(Settings(str(tmp_path), url)), ending, reports.append, WHAT, log)
    )
    postgres.kill()
    thread.start()
    try:
        wait_until(lambda: reports and reports[-1].state == "waiting")
        assert reports[-1].error and reports[-1].behind_bytes == (tmp_path / CALLS).stat().st_size
        postgres.start()
        wait_until(lambda: reports[-1].state == "following" and reports[-1].taken == 10)
        postgres.kill()
        file.write(written[10:])
        wait_until(lambda: reports[-1].state == "waiting" and reports[-1].taken == 10)
    finally:
        if postgres.is_down:
            postgres.start()
        wait_until(lambda: reports[-1].state == "following" and reports[-1].behind_bytes == 0)
        ending.set()
        thread.join()
        file.close()
    assert ids_in(url) == sorted(one.request_id for one in written)


# -- its process


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(url: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "modelbroker.ledger.follow", "INFO", str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(Settings(str(tmp_path), url)) + b"\n")
        process.stdin.flush()
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_killed_again_and_again_while_records_come(
    new_ledger: NewLedger, tmp_path: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    url = new_ledger()
    written: list[Record] = []
    file = RecordFile(tmp_path, file_bytes=200_000, readers={"slow": Slow()})
    for kill in range(4):
        process = start(url)
        for batch in range(20):
            made = [record(kill * 10_000 + batch * 100 + n) for n in range(25)]
            file.write(made)
            written += made
            if batch == 10 + kill:
                wait_until(lambda: len(ids_in(url)) > 0)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
    process = start(url)
    assert process.stdin is not None
    process.stdin.close()  # it catches up, and ends
    assert process.wait(30) == 0
    follow_to_the_end(tmp_path, url)  # on a slow machine, what its bounded time did not reach
    assert ids_in(url) == sorted(one.request_id for one in written)
    assert len(contents(url)["attempts"]) == len(written)
    file.close()


def test_it_ends_with_its_parent_also_where_the_database_is_away(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    process = start("postgresql://nobody@127.0.0.1:1/none")
    assert process.stdin is not None and process.stdout is not None
    report = msgspec.json.decode(process.stdout.readline(), type=Report)
    assert report.state == "waiting" and report.error
    process.stdin.close()
    assert process.wait(30) == 0


def test_two_followers_of_one_journal_take_turns(
    new_ledger: NewLedger, tmp_path: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    url = new_ledger()
    (tmp_path / CALLS).write_bytes(lines([record(1)]))
    first = start(url)
    wait_until(lambda: len(ids_in(url)) == 1)
    second = start(url)
    assert first.stdin is not None and second.stdin is not None and second.stdout is not None
    first.stdin.close()
    assert first.wait(30) == 0
    report = msgspec.json.decode(second.stdout.readline(), type=Report)
    assert (report.state, report.taken) == ("following", 0)
    second.stdin.close()
    assert second.wait(30) == 0


def test_a_database_that_lost_its_last_rows_gets_them_again(tmp_path: Path) -> None:
    """As a replica that takes the place of one that is gone: it says how far it is."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    file = RecordFile(tmp_path)
    follower = Follower(Settings(str(tmp_path), url))
    written = [record(n) for n in range(6)]
    for one in written[:3]:
        file.write([one])
    while follower.step():
        pass
    follower.disconnect()
    copy = tmp_path / "replica.db"
    shutil.copy(tmp_path / "ledger.db", copy)
    for one in written[3:]:
        file.write([one])
    while follower.step():
        pass
    follower.disconnect()
    copy.replace(tmp_path / "ledger.db")
    while follower.step():
        pass
    follower.close()
    assert ids_in(url) == sorted(one.request_id for one in written)
    file.close()


def test_retention_waits_for_who_reads_what_is_to_go(postgres: Postgres, tmp_path: Path) -> None:
    url, old = postgres.new_database(), record(1, NOW_S - 40 * DAY_S)
    file = RecordFile(tmp_path)
    file.write([old])
    follow_to_the_end(tmp_path, url)
    now = NOW_S
    follower = Follower(Settings(str(tmp_path), url, retention_s=10 * DAY_S), clock=lambda: now)
    with psycopg.connect(url) as reader:
        reader.execute("SELECT count(*) FROM calls")  # in a transaction that goes on
        file.write([record(2)])
        while follower.step():
            pass
        assert len(ids_in(url)) == 2
    now += DAY_S
    while follower.step():
        pass
    follower.close()
    file.close()
    assert ids_in(url) == [record(2).request_id]
