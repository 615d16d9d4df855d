"""Envoy's file of calls that nobody decided: each is told once, by whoever tells it first."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.record import Record
from modelbroker.records import undecided
from modelbroker.records.undecided import REMEMBER_S, WAIT_S, Undecided, UndecidedFile, undecided_record

LINE: dict[str, Any] = {
    "request_id": None,
    "asked_id": None,
    "stream_id": "3f1c",
    "started_s": "1795962892.033366",
    "duration_us": "1500",
    "first_byte_us": None,
    "status": 503,
    "details": "ext_proc_error",
    "flags": None,
    "method": "POST",
    "path": "/v1/messages",
    "code": "broker_unavailable",
    "request_bytes": 7,
    "response_bytes": 9,
    "facts": None,
}


def line(**said: Any) -> bytes:
    return json.dumps({**LINE, **said}).encode() + b"\n"


def record(request_id: str) -> Record:
    return Record(request_id, 0.0, 1.0, None, 503, "POST", "/")


def test_a_line_is_a_record() -> None:
    got = undecided_record(line())
    assert got is not None
    told = (got.request_id, got.started_s, got.duration_ms, got.first_byte_ms, got.status, got.code)
    assert told == ("3f1c", 1795962892.033366, 1.5, None, 503, "broker_unavailable")
    assert (got.method, got.path, got.request_bytes, got.response_bytes) == ("POST", "/v1/messages", 7, 9)
    assert (got.attempts_made, got.flags, got.caller) == (0, (), "")


def test_the_id_is_the_one_that_ext_proc_gave_and_facts_are_what_it_told() -> None:
    facts = {"request_id": "ours", "caller": "tester", "revision": "r", "attempt": "3", "first": 1.0}
    got = undecided_record(line(request_id="ours", asked_id="sent", facts=facts))
    assert got is not None
    assert (got.request_id, got.caller, got.revision, got.attempts_made) == ("ours", "tester", "r", 2)
    again = undecided_record(line(asked_id="sent"))
    assert again is not None and again.request_id == "sent"


@pytest.mark.parametrize(
    "said", [{"flags": "DownstreamConnectionTermination"}, {"status": 0}, {"status": None, "flags": "-"}]
)
def test_whose_client_left(said: dict[str, Any]) -> None:
    got = undecided_record(line(code=None, **said))
    assert got is not None and got.code == "client_gone"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"status": "x"}', b'{"started_s": "soon"}', b"\xff"])
def test_what_is_no_line_is_none(text: bytes) -> None:
    assert undecided_record(text) is None


# Calls 0 … 9: told by the access-log service, told by the file, seconds that pass.
events = st.lists(st.tuples(st.sampled_from(["service", "file", "wait"]), st.integers(0, 9)), max_size=60)


@given(events)
def test_a_call_that_the_service_told_in_time_is_not_told_again(happened: list[tuple[str, int]]) -> None:
    """Each call is told by the file at most once, whatever else happens."""
    waiting, now_s = Undecided(), 0.0
    told, in_file = set[str](), set[str]()
    for event, number in happened:
        name = str(number)
        if event == "wait":
            now_s += number
            given_out = [one.request_id for one in waiting.due(now_s)]
            assert not set(given_out) & told
            assert len(set(given_out)) == len(given_out)
            told.update(given_out)
        elif event == "file" and name not in in_file:
            in_file.add(name)
            waiting.take([record(name)], now_s)
        elif event == "service" and name not in told:
            told.add(name)
            waiting.told(name, now_s)
        if now_s > REMEMBER_S - WAIT_S:
            break  # it is remembered no longer than that
    last = {one.request_id for one in waiting.due(now_s + WAIT_S)}
    assert told | last >= in_file
    assert not told & last


def test_the_file_is_followed_and_emptied_when_all_was_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undecided, "_MOST_BYTES", 100)
    path = tmp_path / "undecided.jsonl"
    file = UndecidedFile(path)
    assert file.read() == []  # it is not there yet
    path.write_bytes(line(stream_id="1") + line(stream_id="2")[:-20])
    assert [one.request_id for one in file.read()] == ["1"]
    with path.open("ab") as rest:
        rest.write(line(stream_id="2")[-20:])
    file.empty()  # there is more to read
    assert [one.request_id for one in file.read()] == ["2"]
    file.empty()
    assert path.stat().st_size == 0
    path.write_bytes(line(stream_id="3"))
    assert [one.request_id for one in file.read()] == ["3"]
    os.truncate(path, 0)  # another Envoy, say
    path.write_bytes(b"")
    assert file.read() == []
