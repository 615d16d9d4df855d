"""Calls that were answered and have no record yet: whatever is killed when, none is forgotten, none is told
twice."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.opened import Opened, Shared
from modelbroker.journal.writing import Mark
from modelbroker.records.opens import LOST_AFTER_S, OpenCalls
from modelbroker.records.write_ahead import Segments

SEGMENT = 2_000  # some twenty lines
MARK = Mark(1, 2)


# What calls share, and what one has for itself.
PAIRS = (
    Shared((("pool", "größe"), ("team", "t"))),
    Shared((("pool", "größe"), ("team", "u"))),
    (("pool", "größe"), ("team", "t")),
)


def opened(number: int, attempt: int = 1) -> Opened:
    return Opened(f"r{number}", PAIRS[number % 3], (("attempt", str(attempt)),))


def plain(one: Opened) -> Opened:
    return one._replace(shared=tuple(one.shared))


def calls_in(folder: Path, written: frozenset[str] = frozenset()) -> OpenCalls:
    return OpenCalls(Segments(folder, SEGMENT), lambda mark: written)


def passing(calls: OpenCalls, seconds: float) -> list[str]:
    lost: list[str] = []
    while seconds > 0:
        lost += [one.request_id for one in calls.tick(1.0)]
        seconds -= 1
    return lost


# What happens to calls 0 … 40, in any order: opened (once more), closed; the process is killed.
events = st.lists(
    st.tuples(st.sampled_from(["open", "close", "kill", "tick"]), st.integers(0, 40)), max_size=300
)


@given(events)
@settings(deadline=None, max_examples=200)
def test_after_any_kill_what_was_open_is_open(happened: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calls, expected = calls_in(folder), dict[str, Opened]()
        for attempt, (event, number) in enumerate(happened):
            match event:
                case "open":
                    calls.open(opened(number, attempt))
                    expected[f"r{number}"] = plain(opened(number, attempt))
                case "close":
                    calls.closed([f"r{number}", "never-opened"], MARK)
                    expected.pop(f"r{number}", None)
                case "tick":
                    calls.tick(0.0)
                case "kill":
                    calls = calls_in(folder)  # the old one is not even closed
            assert len(calls) == len(expected)
        again = calls_in(folder)
        lost = {one.request_id: plain(one) for _ in range(int(LOST_AFTER_S)) for one in again.tick(1.0)}
        assert lost == expected


@given(st.integers(1, 60), st.integers(0, 200))
@settings(deadline=None)
def test_a_line_that_a_kill_cut_is_of_a_call_that_was_not_answered(count: int, cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calls = OpenCalls(Segments(folder), lambda mark: frozenset())
        for number in range(count):
            calls.open(opened(number))
        (path,) = folder.iterdir()
        whole = path.read_bytes().rstrip(b"\0")
        path.write_bytes(whole[: len(whole) - cut] + bytes(100))
        lines = sum(line.startswith(b'["o"') for line in whole[: len(whole) - cut].split(b"\n")[:-1])
        assert set(passing(calls_in(folder), LOST_AFTER_S)) == {f"r{n}" for n in range(lines)}


def test_what_has_its_record_is_not_open_whatever_there_was_time_to_close(tmp_path: Path) -> None:
    asked: list[Mark | None] = []

    def written(mark: Mark | None) -> frozenset[str]:
        asked.append(mark)
        return frozenset(["r1"])

    calls = calls_in(tmp_path)
    for number in range(3):
        calls.open(opened(number))
    calls.closed(["r0"], MARK)
    again = OpenCalls(Segments(tmp_path, SEGMENT), written)
    assert asked == [MARK]
    assert passing(again, LOST_AFTER_S) == ["r2"]
    assert len(again) == 1  # until its record is written
    again.closed(["r2"], MARK)
    assert len(calls_in(tmp_path)) == 0


def test_who_goes_on_is_not_lost_and_who_ended_is_waited_for(tmp_path: Path) -> None:
    calls = calls_in(tmp_path)
    for number in range(3):
        calls.open(opened(number))
    calls.ended("r0")
    assert passing(calls, LOST_AFTER_S - 1) == []
    calls.seen("r1")
    assert passing(calls, LOST_AFTER_S - 1) == ["r2"]
    assert passing(calls, LOST_AFTER_S) == ["r1"]
    assert passing(calls, 3 * LOST_AFTER_S) == []


def test_a_process_that_stood_still_has_lost_nothing(tmp_path: Path) -> None:
    calls = calls_in(tmp_path)
    calls.open(opened(1))
    assert calls.tick(10 * LOST_AFTER_S) == []


def test_old_segments_go_and_a_call_that_lasts_does_not_hold_them_for_ever(tmp_path: Path) -> None:
    calls = calls_in(tmp_path)
    calls.open(opened(0))
    for number in range(1, 2_000):
        calls.open(opened(number))
        calls.closed([f"r{number}"], MARK)
        calls.tick(0.0)
    assert len([*tmp_path.iterdir()]) < 12
    assert passing(calls_in(tmp_path), LOST_AFTER_S) == ["r0"]


def test_a_full_disk_costs_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "open"
    folder.write_text("a file is where the folder should be")
    calls = calls_in(folder)
    with caplog.at_level(logging.ERROR):
        for number in range(3):
            calls.open(opened(number))
    assert caplog.text.count("can't be written ahead") == 1
    folder.unlink()
    passing(calls, 10)
    calls.closed(["r0", "r1"], MARK)
    calls.open(opened(3))
    assert set(passing(calls_in(folder), LOST_AFTER_S)) == {"r3"}  # r2 came before there was room
    assert set(passing(calls, LOST_AFTER_S)) == {"r2", "r3"}


def test_what_is_written_ahead_is_for_the_brokers_own_user(tmp_path: Path) -> None:
    calls = calls_in(tmp_path / "open")
    calls.open(opened(1))
    assert all(
        path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "open", *(tmp_path / "open").iterdir())
    )


def test_a_line_longer_than_a_segment(tmp_path: Path) -> None:
    calls = calls_in(tmp_path)
    calls.open(Opened("long", (), (("model", "m" * 3 * SEGMENT),)))
    assert passing(calls_in(tmp_path), LOST_AFTER_S) == ["long"]
