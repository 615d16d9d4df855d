"""Entries in any order give one record; what never comes is waited for a bounded time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.record import Attempt, Eligible, Record
from modelbroker.core.usage import EXACT, PARTIAL, Usage
from modelbroker.records.join import FORGET_S, MAX_WAITING, WAIT_S, Joiner, winner


def record(request_id: str, attempts: int) -> Record:
    return Record(request_id, 0.0, 1.0, None, 200, "POST", "/v1/messages", attempts_made=attempts)


def attempt(number: int) -> Attempt:
    return Attempt(f"m/{number}", 503, 1.0)


@given(counts=st.lists(st.integers(0, 4), max_size=6), data=st.data())
def test_any_order_gives_each_record_once(counts: list[int], data: st.DataObject) -> None:
    entries: list[tuple[str, Record | Attempt]] = []
    for number, count in enumerate(counts):
        entries.append((f"r{number}", record(f"r{number}", count)))
        entries += [(f"r{number}", attempt(index)) for index in range(count)]
    joiner = Joiner()
    done: list[Record] = []
    for request_id, entry in data.draw(st.permutations(entries)):
        given_out = (
            joiner.outer(entry, 0.0) if isinstance(entry, Record) else joiner.attempt(request_id, entry, 0.0)
        )
        if given_out is not None:
            done.append(given_out)
    assert sorted(r.request_id for r in done) == sorted(f"r{n}" for n in range(len(counts)))
    assert {r.request_id: len(r.attempts) for r in done} == {f"r{n}": c for n, c in enumerate(counts)}
    assert joiner.due(1e9) == []


def test_a_missing_attempt_is_waited_for_and_no_longer() -> None:
    joiner = Joiner()
    joiner.attempt("r", attempt(0), 0.0)
    assert joiner.outer(record("r", 2), 1.0) is None
    assert joiner.due(1.0 + WAIT_S - 0.1) == []
    (late,) = joiner.due(1.0 + WAIT_S)
    assert len(late.attempts) == 1
    assert joiner.due(1e9) == []


def test_attempts_without_a_call_are_let_go() -> None:
    joiner = Joiner()
    joiner.attempt("r", attempt(0), 0.0)
    assert joiner.due(FORGET_S) == []
    assert joiner.forgotten == 1


def test_memory_is_bounded() -> None:
    joiner = Joiner()
    for number in range(MAX_WAITING + 10):
        joiner.attempt(str(number), attempt(0), 0.0)
    assert joiner.forgotten == 10


def test_an_end_that_only_the_members_listener_was_told_is_the_calls() -> None:
    """An HTTP/2 client that resets a stream in the middle without an error leaves no flag at the call."""
    joiner = Joiner()
    call = record("r", 1)
    call.member = "m/0"
    joiner.outer(call, 0.0)
    done = joiner.attempt("r", Attempt("m/0", 200, 1.0, code="cancelled"), 0.0)
    assert done is not None and done.code == "client_gone"


@pytest.mark.parametrize(
    ("stream", "state", "code", "outcome"),
    [
        (True, EXACT, "", "ok"),  # SDKs hang up at a stream's last event
        (True, PARTIAL, "client_gone", "client_gone"),
        (False, EXACT, "client_gone", "client_gone"),
    ],
)
def test_who_leaves_behind_the_last_word_of_a_stream_had_it(
    stream: bool, state: str, code: str, outcome: str
) -> None:
    joiner = Joiner()
    call = record("r", 1)
    call.member, call.code, call.stream = "m/0", "client_gone", stream
    joiner.outer(call, 0.0)
    left = Attempt("m/0", 200, 1.0, usage=Usage(1), usage_state=state)
    done = joiner.attempt("r", left, 0.0)
    assert done is not None and (done.code, done.outcome) == (code, outcome)


def test_a_twin_that_was_too_slow_is_not_the_calls_end() -> None:
    joiner = Joiner()
    call = record("r", 2)
    call.member = "m/1"
    joiner.outer(call, 0.0)
    joiner.attempt("r", Attempt("m/0", 0, 1.0, code="cancelled"), 0.0)
    done = joiner.attempt("r", Attempt("m/1", 200, 1.0), 0.0)
    assert done is not None and done.code == ""


@given(st.permutations(["outer", "hedge", "m/0", "m/1"]))
def test_a_call_that_passed_a_hedge_has_the_attempts_of_there(order: list[str]) -> None:
    joiner = Joiner()
    done: list[Record] = []
    for what in order:
        if what == "outer":
            call = record("r", 1)
            call.hedged = True  # it may have been
            given_out = joiner.outer(call, 0.0)
        elif what == "hedge":
            given_out = joiner.hedge("r", 2, 0.0)
        else:
            started_s = 100.0 if what == "m/0" else 100.5
            given_out = joiner.attempt("r", Attempt(what, 200, 600.0, started_s=started_s), 0.0)
        done += [given_out] if given_out else []
    (whole,) = done
    assert (whole.attempts_made, len(whole.attempts), whole.hedged) == (2, 2, True)
    assert joiner.due(1e9) == [] and joiner.forgotten == 0


@given(st.permutations([0, 1, 2]))
def test_attempts_stand_in_the_order_in_which_they_began(order: list[int]) -> None:
    joiner = Joiner()
    joiner.outer(record("r", 3), 0.0)
    # The second fails beside the first, and the third begins while the first is still under way.
    tries = [
        Attempt("m/0", 0, 900.0, code="cancelled", started_s=100.0),
        Attempt("m/1", 500, 100.0, code="upstream_error", started_s=100.5),
        Attempt("m/2", 200, 300.0, started_s=100.601),
    ]
    (done,) = [r for number in order if (r := joiner.attempt("r", tries[number], 0.0)) is not None]
    assert [(a.member, a.hedge) for a in done.attempts] == [("m/0", False), ("m/1", True), ("m/2", True)]
    assert done.hedged and winner(done.attempts) == "later"


def test_what_follows_a_failure_is_no_hedge() -> None:
    joiner = Joiner()
    call = record("r", 1)
    call.hedged = True
    joiner.outer(call, 0.0)
    joiner.hedge("r", 2, 0.0)
    joiner.attempt("r", Attempt("m/0", 500, 400.0, cause="server-error", started_s=100.0), 0.0)
    done = joiner.attempt("r", Attempt("m/1", 200, 600.0, started_s=100.401), 0.0)
    assert done is not None and not done.hedged and done.attempts_made == 2


def test_a_hedge_whose_call_went_on_is_let_go() -> None:
    """The call's last pass was not hedged: it needs no word of the hedge, which may come behind its end."""
    joiner = Joiner()
    joiner.attempt("r", attempt(0), 0.0)
    assert joiner.outer(record("r", 1), 0.0) is not None
    assert joiner.hedge("r", 2, 0.0) is None
    assert joiner.due(1e9) == [] and joiner.forgotten == 0 and joiner._hedges == {}


def test_a_hedge_that_is_never_told_is_waited_for_and_no_longer() -> None:
    joiner = Joiner()
    call = record("r", 1)
    call.hedged = True
    joiner.attempt("r", attempt(0), 0.0)
    joiner.attempt("r", attempt(1), 0.0)
    assert joiner.outer(call, 0.0) is None
    (late,) = joiner.due(WAIT_S)
    assert late.attempts_made == 2


def test_who_won() -> None:
    def tried(code: str = "") -> Attempt:
        return Attempt("m", 200, 1.0, code=code)

    assert winner([tried("cancelled"), tried()]) == "second"
    assert winner([tried(), tried("cancelled")]) == "first"
    assert winner([tried("upstream_reset"), tried("upstream_reset"), tried()]) == "later"
    assert winner([tried("cancelled"), tried("upstream_reset")]) == "none"


def test_what_the_broker_added_is_what_was_no_members_time() -> None:
    """By hand: 10 ms of upload, 40 of waiting, two failed attempts of which a hedge overlaps, an answer."""
    whole = Record("r", 100.0, 500.0, 480.0, 200, "POST", "/", member="m/3", attempts_made=3)
    whole.upload_ms, whole.queue_ms = 10.0, 40.0
    joiner = Joiner()
    joiner.attempt("r", Attempt("m/1", 503, 100.0, started_s=100.060), 0.0)
    joiner.attempt("r", Attempt("m/2", 503, 100.0, started_s=100.110), 0.0)
    joiner.attempt("r", Attempt("m/3", 200, 280.0, started_s=100.215), 0.0)
    done = joiner.outer(whole, 0.0)
    assert done is not None
    # 500 - 10 - 40 - (60..160 and 110..210: 150) - (215..495: 280)
    assert done.added_ms == pytest.approx(20.0)


def test_of_a_stream_it_ends_with_the_first_event() -> None:
    stream = Record("r", 100.0, 9_000.0, 130.0, 200, "POST", "/", member="m/1", attempts_made=1, stream=True)
    stream.upload_ms = 2.0
    joiner = Joiner()
    joiner.attempt("r", Attempt("m/1", 200, 8_990.0, 50.0, 120.0, started_s=100.005), 0.0)
    done = joiner.outer(stream, 0.0)
    assert done is not None
    assert done.added_ms == pytest.approx(130 - 2 - 120)


def test_where_no_member_answered_nothing_was_added_to_it() -> None:
    done = Joiner().outer(Record("r", 0.0, 1.0, 1.0, 401, "POST", "/"), 0.0)
    assert done is not None and done.added_ms is None


def test_who_was_eligible_at_the_first_attempt_is_told_by_the_first_entry() -> None:
    first, last = record("r", 2), record("r", 2)
    first.eligible = (Eligible("m/0", 1.0),)
    joiner = Joiner()
    joiner.handed_back(first, 0.0)
    joiner.attempt("r", attempt(0), 0.0)
    joiner.attempt("r", attempt(1), 0.0)
    done = joiner.outer(last, 0.0)
    assert done is not None and done.eligible == first.eligible
