"""The thread between the event loop and a disk that makes one wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from modelbroker.core.record import Record
from modelbroker.journal.writing import Mark
from modelbroker.records.writer import Writer
from support.waiting import wait_until


def record(number: int) -> Record:
    return Record(f"r{number}", 0.0, 1.0, None, 200, "POST", "/v1/messages")


def test_a_disk_that_hangs_makes_nobody_wait_and_what_is_too_much_is_dropped() -> None:
    there_is_room, hangs = threading.Event(), threading.Event()
    written: list[str] = []
    dropped: list[str] = []

    def write(records: Sequence[Record]) -> Mark:
        hangs.set()
        assert there_is_room.wait(30)
        written.extend(r.request_id for r in records)
        return Mark(1, 2)

    writer = Writer(write, lambda records: dropped.extend(r.request_id for r in records), most_waiting=2)
    writer.put([record(0)])
    assert hangs.wait(30)  # it has taken the first
    for number in range(1, 5):
        writer.put([record(number)])
    assert dropped == ["r3", "r4"]
    there_is_room.set()
    wait_until(lambda: len(written) == 3)
    writer.put([record(5)])
    writer.close(30)
    assert written == ["r0", "r1", "r2", "r5"]


def test_a_defect_ends_no_thread() -> None:
    written: list[str] = []

    def write(records: Sequence[Record]) -> Mark:
        if not written:
            written.append("a defect")
            raise RuntimeError("a defect")
        written.extend(r.request_id for r in records)
        return Mark(1, 2)

    writer = Writer(write, lambda records: None)
    writer.put([record(0)])
    writer.put([record(1)])
    writer.close(30)
    assert written == ["a defect", "r1"]


def test_what_the_disk_has_no_room_for_waits_and_what_is_too_much_is_dropped() -> None:
    has_room = threading.Event()
    tried, written, dropped = list[str](), list[str](), list[str]()

    def write(records: Sequence[Record]) -> Mark | None:
        tried.extend(r.request_id for r in records)
        return Mark(1, len(written)) if has_room.is_set() else None

    writer = Writer(
        write,
        lambda records: dropped.extend(r.request_id for r in records),
        lambda records, mark: written.extend(r.request_id for r in records),
        most_kept=2,
    )
    for number in range(4):
        writer.put([record(number)])
    wait_until(lambda: dropped == ["r0", "r1"])
    assert written == []
    has_room.set()  # it is tried again by itself
    wait_until(lambda: written == ["r2", "r3"])
    has_room.clear()
    writer.put([record(4)])
    writer.close(30)
    assert (written, dropped) == (["r2", "r3"], ["r0", "r1", "r4"])
