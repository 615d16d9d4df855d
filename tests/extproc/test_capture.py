"""Captured calls between their request and their reply: what is held is bounded, each leaves one sample at
most."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from modelbroker.core.record import Record
from modelbroker.core.traffic import Sample
from modelbroker.core.trials import STABLE, Scores, ToScore
from modelbroker.exchange.capturing import ToCapture
from modelbroker.extproc import capture
from modelbroker.extproc.capture import CaptureDesk


def to_capture(name: str, size: int = 10, most_bytes: int = 1_000) -> ToCapture:
    return ToCapture(Sample(name, 1.0, request=b"x" * size), True, most_bytes)


def record(name: str) -> Record:
    return Record(name, 1.0, 1.0, None, 200, "POST", "/v1/messages")


def with_desk(work: Callable[[CaptureDesk, list[Sample]], Any]) -> list[Sample]:
    found: list[Sample] = []

    async def run() -> None:
        desk = CaptureDesk(lambda sample: found.append(sample) or True)  # type: ignore[func-returns-value]
        result = work(desk, found)
        if result is not None:
            await result

    asyncio.run(run())
    return found


def test_a_reply_meets_its_request() -> None:
    def work(desk: CaptureDesk, _: list[Sample]) -> None:
        desk.begin(to_capture("a"))
        call = desk.seen("a")
        assert call is not None and desk.seen("b") is None
        assert desk.take(call, b"one ") and desk.take(call, b"two")
        desk.end(call, is_whole=True)
        desk.end(call, is_whole=False)  # its stream is let go of

    (sample,) = with_desk(work)
    assert (sample.request, sample.reply, sample.cut) == (b"x" * 10, b"one two", "")


def test_one_that_is_handed_back_begins_again() -> None:
    def work(desk: CaptureDesk, _: list[Sample]) -> None:
        desk.begin(to_capture("a"))
        desk.begin(to_capture("a", 20))
        call = desk.seen("a")
        assert call is not None
        desk.end(call, is_whole=False)

    (sample,) = with_desk(work)
    assert (sample.request, sample.reply, sample.cut) == (b"x" * 20, b"", "ended")


def test_a_request_alone_is_kept_once() -> None:
    def work(desk: CaptureDesk, _: list[Sample]) -> None:
        alone = to_capture("a")._replace(wants_reply=False)
        desk.begin(alone)
        desk.begin(alone, again=True)

    assert len(with_desk(work)) == 1


def test_one_that_the_broker_answers_in_the_end_is_kept_once() -> None:
    def work(desk: CaptureDesk, _: list[Sample]) -> None:
        desk.begin(to_capture("a"))
        call = desk.seen("a")
        desk.put(Sample("a", 1.0, status=503, reply=b"nobody is left"))
        assert call is not None and desk._held == 0
        desk.end(call, is_whole=False)

    (sample,) = with_desk(work)
    assert (sample.status, sample.reply) == (503, b"nobody is left")


def test_what_is_held_is_bounded() -> None:
    def work(desk: CaptureDesk, found: list[Sample]) -> None:
        desk.most_bytes = 10_000
        for number in range(100):
            desk.begin(to_capture(str(number), 1_000, 8_000))
        calls = [call for number in range(100) if (call := desk.seen(str(number))) is not None]
        assert 1 <= len(calls) <= 5
        assert not all(desk.take(call, b"y" * 4_000) for call in calls)
        for call in calls:
            desk.end(call, is_whole=True)
        assert desk._held == 0
        desk.begin(to_capture("again"))
        desk.close()

    assert with_desk(work)[-1].request_id == "again"


def test_a_body_over_its_bound_is_left_out() -> None:
    def work(desk: CaptureDesk, _: list[Sample]) -> None:
        desk.begin(to_capture("a", most_bytes=5))
        call = desk.seen("a")
        assert call is not None and desk.take(call, b"12345") and not desk.take(call, b"6")
        desk.end(call, is_whole=True)

    (sample,) = with_desk(work)
    assert (sample.reply, sample.cut) == (None, "size")


def test_one_without_a_reply_is_known_by_its_record(monkeypatch: Any) -> None:
    monkeypatch.setattr(capture, "_LATE_S", 0.0)

    async def work(desk: CaptureDesk, found: list[Sample]) -> None:
        for name in ("seen", "unseen", "open"):
            desk.begin(to_capture(name))
        call = desk.seen("seen")
        desk.records([record("seen"), record("unseen"), record("of another one")])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [one.request_id for one in found] == ["unseen"]
        assert call is not None
        desk.end(call, is_whole=True)

    unseen, seen = with_desk(work)  # type: ignore[arg-type]
    assert (unseen.status, unseen.reply, unseen.cut, seen.cut) == (None, None, "ended", "")


def test_a_store_that_fails_fails_no_call() -> None:
    def broken(sample: Sample) -> bool:
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")

    desk = CaptureDesk(broken)
    desk.put(Sample("a", 1.0))


SCORES = ToScore(Scores("r", "p", (), 1_000_000), "r", STABLE, "a", False)


@pytest.mark.parametrize(
    ("word", "request_", "reply"),
    [("both", b"ask", b"said"), ("request", b"ask", None), ("reply", None, b"said")],
)
def test_what_is_scored_is_seen_whole_and_kept_as_rules_say(
    word: str, request_: bytes | None, reply: bytes | None
) -> None:
    kept: list[Sample] = []
    scored: list[tuple[ToScore, Sample | None]] = []

    def keep(sample: Sample) -> bool:
        kept.append(sample)
        return True

    async def run() -> None:
        desk = CaptureDesk(keep, lambda to, sample: scored.append((to, sample)))
        for name, its in (("a", word), ("b", "")):
            desk.begin(ToCapture(Sample(name, 1.0, request=b"ask"), True, 100, its, SCORES))
            call = desk.seen(name)
            assert call is not None and desk.take(call, b"said")
            desk.end(call, is_whole=True)

    asyncio.run(run())
    # Of the second nothing is for the store: it never gets there.
    assert [(one.request_id, one.request, one.reply) for one in kept] == [("a", request_, reply)]
    assert [(to, one and (one.request, one.reply)) for to, one in scored] == [(SCORES, (b"ask", b"said"))] * 2


def test_what_has_no_room_is_no_score_and_no_sample() -> None:
    """And a scorer that fails fails no call."""
    kept: list[Sample] = []
    scored: list[Sample | None] = []

    def score(to: ToScore, sample: Sample | None) -> None:
        scored.append(sample)
        raise RuntimeError("the call's own words")

    async def run() -> None:
        desk = CaptureDesk(lambda sample: not kept.append(sample), score)  # type: ignore[func-returns-value]
        desk.most_bytes = 3_000
        desk.begin(ToCapture(Sample("a", 1.0, request=b"x" * 2_000), True, 9_000, "", SCORES))
        desk.begin(ToCapture(Sample("b", 1.0, request=b"x"), True, 9_000, "", SCORES))
        call = desk.seen("b")
        assert call is not None and not desk.take(call, b"y" * 2_000)

    asyncio.run(run())
    assert (kept, scored) == ([], [None, None])


def test_one_that_goes_on_unseen_leaves_nothing() -> None:
    """What others answer in a candidate's place is not the candidate's."""
    scored: list[Sample | None] = []

    async def run() -> None:
        desk = CaptureDesk(lambda sample: True, lambda to, sample: scored.append(sample))
        desk.begin(ToCapture(Sample("a", 1.0, request=b"ask"), True, 100, "", SCORES))
        desk.leave("a")
        assert desk.seen("a") is None
        desk.close()

    asyncio.run(run())
    assert scored == []


def test_the_brokers_own_last_word_is_told_to_who_scores() -> None:
    kept: list[Sample] = []
    scored: list[Sample | None] = []

    async def run() -> None:
        desk = CaptureDesk(
            lambda sample: not kept.append(sample),  # type: ignore[func-returns-value]
            lambda to, sample: scored.append(sample),
        )
        desk.begin(ToCapture(Sample("a", 1.0, request=b"ask"), True, 100, "reply", SCORES))
        desk.put(Sample("a", 1.0, status=503, reply=b"nobody is left"))

    asyncio.run(run())
    (sample,), (told,) = kept, scored
    assert sample.request is None and sample.status == 503
    assert told is not None and (told.request, told.status) == (b"ask", 503)


def test_one_that_was_to_be_scored_and_goes_on_keeps_its_request() -> None:
    """It was held for its reply, which nobody wants any more."""

    def work(desk: CaptureDesk, _: list[Sample]) -> None:
        first = Sample("a", 1.0, request=b"ask")
        desk.begin(ToCapture(first, True, 100, "request", SCORES))
        desk.begin(ToCapture(first, False, 100, "request"), again=True)

    (sample,) = with_desk(work)
    assert sample.request == b"ask"
