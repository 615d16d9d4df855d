"""From both journals into the chain: each record and each act once, whatever is killed and when."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.audit.acts import ACTS, ActWriter, new_act, os_user, tell, user_named
from modelbroker.audit.chain import Verifier, read
from modelbroker.audit.events import ACT, Event
from modelbroker.audit.follow import Follower
from modelbroker.audit.keys import is_signed
from modelbroker.audit.reports import AuditReport, Settings
from modelbroker.audit.store import segments
from modelbroker.cli.audit_commands import verified
from modelbroker.core import acts
from modelbroker.core.record import Record
from modelbroker.records.file import RecordFile
from support.ledgers import NOW_S, id_at, lost, record
from support.waiting import wait_until


def follower_of(folder: Path, **more: Any) -> Follower:
    return Follower(Settings(folder=str(folder), key="6b" * 32, version="0.1.0", **more))


def follow_all(folder: Path) -> AuditReport:
    with contextlib.closing(follower_of(folder)) as follower:
        while follower.step():
            pass
        return follower.report()


def events_in(folder: Path) -> list[Event]:
    """But those that the chain tells of itself."""
    files = (path for _, path in segments(folder / "audit"))
    lines = [read(raw) for path in files for raw in path.read_bytes().splitlines()]
    return [line.event for line in lines if not line.event.act.startswith("audit.")]


def assert_sound(folder: Path) -> None:
    verifier = Verifier(is_signed)
    assert not verified(folder / "audit", verifier) and verifier.wrong == []


class Slow:
    """A reader that is done with no file: all of them stay."""

    def done(self, inodes: Sequence[int]) -> int:
        return 0

    def offset(self, inode: int) -> int:
        return 0


def write(folder: Path, records: list[Record], **more: Any) -> None:
    file = RecordFile(folder, readers={"audit": Slow()}, **more)
    for one in records:
        file.write([one])
    file.close()


def test_records_and_acts_become_events(tmp_path: Path) -> None:
    calls = [record(number, agent="bot") for number in range(3)]
    write(tmp_path, calls)
    assert tell(tmp_path, acts.LEDGER_REPRICED, {"calls": 7})
    report = follow_all(tmp_path)
    found = events_in(tmp_path)
    assert (report.taken, report.refused, report.behind_bytes) == (4, 0, 0)
    assert [one.kind for one in found] == [ACT, "call", "call", "call"]
    assert [one.id for one in found[1:]] == [one.request_id for one in calls]
    assert (found[0].act, found[0].actor, found[0].details) == ("ledger.repriced", "command", {"calls": 7})
    assert {one.agent for one in found[1:]} == {"bot"} and found[1].cost_nano == calls[0].cost.total
    assert_sound(tmp_path)


def test_what_is_no_record_is_counted_and_passed_over(tmp_path: Path) -> None:
    write(tmp_path, [record(0)])
    with (tmp_path / "calls.jsonl").open("ab") as file:
        file.write(b'no record\r\n{"request_id": 5}\n\n' + msgspec.json.encode(record(1)) + b"\n")
    report = follow_all(tmp_path)
    assert (report.taken, report.refused) == (2, 3)
    follow_all(tmp_path)
    write(tmp_path, [record(2)])
    follow_all(tmp_path)
    assert [one.id for one in events_in(tmp_path)] == [record(number).request_id for number in range(3)]
    assert_sound(tmp_path)


def test_a_lost_call_and_its_end_are_two_events(tmp_path: Path) -> None:
    write(tmp_path, [lost(record(0)), record(0)])
    follow_all(tmp_path)
    first, second = events_in(tmp_path)
    assert (first.id, second.id) == (f"{second.id}-lost", record(0).request_id)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_each_once_over_kills_and_files_that_turn(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A kill leaves a beginning of what the follower was to write; so does what is cut off here."""
    folder = tmp_path_factory.mktemp("killed")
    written: list[str] = []
    for turn in range(data.draw(st.integers(1, 6), "turns")):
        calls = [record(turn * 100 + number) for number in range(data.draw(st.integers(0, 6), "calls"))]
        write(folder, calls, file_bytes=data.draw(st.sampled_from([3_000, 1 << 26]), "file_bytes"))
        written += [one.request_id for one in calls]
        if data.draw(st.booleans(), "acts"):
            assert tell(folder, acts.TRAFFIC_EXPORTED, {"turn": turn})
            written.append(f"turn {turn}")
        follower = follower_of(folder)
        for _ in range(data.draw(st.integers(0, 4), "steps")):
            follower.step()
        follower.disconnect()
        if (there := segments(folder / "audit")) and data.draw(st.booleans(), "is cut"):
            path = there[-1][1]
            # A share: how long it is hangs on the time of day, and an example has to be the same each time.
            left = data.draw(st.integers(0, 1_000), "left, in thousandths")
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size * left // 1_000)
    follow_all(folder)
    found = events_in(folder)
    names = [f"turn {one.details['turn']}" if one.kind == ACT else one.id for one in found]
    assert Counter(names) == Counter(written)
    assert_sound(folder)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts followers as the control plane does; whoever is left is ended."""
    begun: list[subprocess.Popen[bytes]] = []
    yield begun
    for one in begun:
        one.kill()
        one.wait()


def start(folder: Path, begun: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "modelbroker.audit.follow", "WARNING", str(folder)]
    made = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert made.stdin is not None
    made.stdin.write(msgspec.json.encode(Settings(folder=str(folder), key="6b" * 32)) + b"\n")
    made.stdin.flush()
    begun.append(made)
    return made


def test_each_once_while_the_process_is_killed_again_and_again(
    tmp_path: Path, child: list[subprocess.Popen[bytes]]
) -> None:
    over = threading.Event()
    count = 0

    def keep_writing() -> None:
        nonlocal count
        file = RecordFile(tmp_path, 200_000, {"audit": Slow()}, most_files=10_000)
        while not over.is_set():
            file.write([record(count * 10 + one) for one in range(10)])
            count += 1
            over.wait(0.01)
        file.close()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for number in range(6):
            before = sum(path.stat().st_size for _, path in segments(tmp_path / "audit"))
            one = start(tmp_path, child)
            tell(tmp_path, acts.TRAFFIC_EXPORTED, {"turn": number})
            wait_until(
                lambda before=before: (
                    sum(p.stat().st_size for _, p in segments(tmp_path / "audit")) > before + 5_000
                )
            )
            one.send_signal(signal.SIGKILL)
            one.wait()
    finally:
        over.set()
        writer.join()
    follow_all(tmp_path)
    found = events_in(tmp_path)
    calls = Counter(one.id for one in found if one.kind != ACT)
    assert calls == Counter(record(number).request_id for number in range(count * 10))
    assert Counter(one.details["turn"] for one in found if one.kind == ACT) == Counter(range(6))
    assert_sound(tmp_path)


def test_only_one_keeps_a_chain(tmp_path: Path, child: list[subprocess.Popen[bytes]]) -> None:
    write(tmp_path, [record(0)])
    first = start(tmp_path, child)
    wait_until(lambda: len(events_in(tmp_path)) == 1)
    second = start(tmp_path, child)
    write(tmp_path, [record(1)])
    wait_until(lambda: len(events_in(tmp_path)) == 2)
    first.kill()
    first.wait()
    write(tmp_path, [record(2)])
    wait_until(lambda: len(events_in(tmp_path)) == 3)
    assert second.poll() is None
    assert second.stdin is not None
    second.stdin.close()
    assert second.wait(30) == 0
    assert_sound(tmp_path)
    assert read(segments(tmp_path / "audit")[-1][1].read_bytes().splitlines()[-1]).checkpoint is not None


def test_old_segments_go_in_time(tmp_path: Path) -> None:
    now_s = [NOW_S]
    settings_of = Settings(folder=str(tmp_path), key="6b" * 32, keep_s=86_400)
    follower = Follower(settings_of, clock=lambda: now_s[0])
    for number in range(4):
        now_s[0] += 2 * 86_400
        write(tmp_path, [record(number, path="/" + "x" * (17 << 20))])
        while follower.step():
            pass
    assert follower.report().expired
    follower.close()
    assert [one.id for one in events_in(tmp_path)][-1] == record(3).request_id
    assert len(events_in(tmp_path)) < 4
    assert_sound(tmp_path)


# -- the journal of acts


def test_processes_write_acts_side_by_side(tmp_path: Path) -> None:
    """The control plane turns the file over; commands never cut what another one has written."""
    writer = ActWriter(tmp_path, {})
    code = (
        "import sys, pathlib; from modelbroker.audit.acts import tell\n"
        "for n in range(100):\n"
        "    assert tell(pathlib.Path(sys.argv[1]), 'ledger.repriced', {'n': n, 'by': sys.argv[2]})"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    for number in range(100):
        writer.put(new_act(acts.STARTED, actor=acts.BROKER, details={"n": number, "by": "broker"}))
    assert [one.wait(60) for one in others] == [0, 0]
    writer.close(30)
    told = [msgspec.json.decode(line) for line in (tmp_path / ACTS).read_bytes().splitlines()]
    by = {(one["details"]["by"], one["details"]["n"]) for one in told}
    assert len(told) == 300 and by == {(name, n) for name in ("a", "b", "broker") for n in range(100)}
    assert len({one["id"] for one in told}) == 300
    assert (tmp_path / ACTS).stat().st_mode & 0o077 == 0


def test_a_command_without_a_state_folder_tells_nobody(tmp_path: Path) -> None:
    assert not tell(tmp_path / "none", acts.LEDGER_REPRICED, {})
    assert not (tmp_path / "none").exists()


def test_users_are_named_by_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "somebody-else")
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert os_user() == user_named(os.getuid()) != "somebody-else"
    assert user_named(2_000_000_001) == "2000000001"


def test_an_id_begins_with_the_time() -> None:
    act = new_act(acts.STARTED, actor=acts.BROKER)
    assert act.id[:12] == f"{act.at_ms:012x}" and len(id_at(NOW_S, 1)) == len(act.id)
