"""Sinks get every event of the chain, at their own pace, whatever becomes of them meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from modelbroker.audit import sending
from modelbroker.audit.keys import signer_of
from modelbroker.audit.sending import Sender
from modelbroker.audit.sink import Refused, Sent, Sink, SinkAway, SinkSettings
from modelbroker.audit.store import Chain
from support.siem import ecs_problems, ocsf_problems
from support.waiting import wait_until

from .test_chain import call


class Taker:
    """A sink of the test's own. `fails` says what becomes of a batch: an exception, or None."""

    def __init__(self) -> None:
        self.most_events, self.most_bytes, self.again_s = 7, 20_000, 0.0
        self.fails: Callable[[Sequence[Sent]], Exception | None] = lambda events: None
        self.taken: list[Sent] = []
        self.batches = self.opened = self.closed = 0
        self.tries = threading.Semaphore(0)

    def __call__(self, settings: SinkSettings) -> Sink:
        self.opened += 1
        return self

    def send(self, events: Sequence[Sent]) -> None:
        self.batches += 1
        assert 0 < len(events) <= self.most_events
        assert len(events) == 1 or sum(len(one.line) for one in events) <= self.most_bytes
        error = self.fails(events)
        self.tries.release()
        if isinstance(error, Refused):
            self.taken += [one for at, one in enumerate(events) if at not in error.indexes]
        if error is not None:
            raise error
        self.taken += events

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = Chain(tmp_path, signer_of(b"k" * 32), segment_bytes=3_000, every=10)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(sending, "_BACKOFF_MOST_S", 0.01)


def put(chain: Chain, numbers: range) -> None:
    chain.append([(call(number), ("calls", "1:f", number)) for number in numbers])


def sender_of(folder: Path, chain: Chain, sink: Taker, name: str = "siem", form: str = "ocsf") -> Sender:
    settings = SinkSettings(name=name, kind="test", form=form)
    return Sender(folder, settings, "0.1.0", sink, lambda: chain.seq)


def finish(sender: Sender) -> None:
    sender.end()
    sender.join(30)


def seqs(sink: Taker) -> list[int]:
    return [one.seq for one in sink.taken]


def test_all_events_in_their_order(tmp_path: Path, chain: Chain) -> None:
    for form, problems in (("ocsf", ocsf_problems), ("ecs", ecs_problems)):
        sink = Taker()
        sender = sender_of(tmp_path, chain, sink, form, form)
        sender.start()
        put(chain, range(20))
        chain.checkpoint()
        sender.wake()
        wait_until(lambda sink=sink: len(sink.taken) == chain.seq)
        put(chain, range(20, 40))
        finish(sender)
        assert seqs(sink) == list(range(1, chain.seq + 1))
        assert [problem for one in sink.taken for problem in problems(one.line)] == []
        assert b"\n" not in b"".join(one.line for one in sink.taken)
        assert sender.report().behind == 0 and sink.closed == 1


def test_a_checkpoint_goes_along_as_it_was_signed(tmp_path: Path, chain: Chain) -> None:
    put(chain, range(3))
    chain.checkpoint()
    for form in ("ocsf", "ecs"):
        sink = Taker()
        sender = sender_of(tmp_path, chain, sink, form, form)
        sender.start()
        finish(sender)
        told = json.loads(sink.taken[-1].line)
        line = told["raw_data"] if form == "ocsf" else told["event"]["original"]
        assert line.encode() == chain.checkpoint_line
        assert b'"sig"' not in sink.taken[1].line


def test_while_it_is_away_events_wait_and_others_go_on(tmp_path: Path, chain: Chain) -> None:
    away, well = Taker(), Taker()
    away.fails = lambda events: SinkAway("connection refused")
    senders = [sender_of(tmp_path, chain, away, "away"), sender_of(tmp_path, chain, well, "well")]
    for one in senders:
        one.start()
    put(chain, range(30))
    for _ in range(5):
        assert away.tries.acquire(timeout=30)
    wait_until(lambda: len(well.taken) == chain.seq)
    report = senders[0].report()
    assert (report.state, report.error, report.seq) == ("away", "connection refused", 0)
    assert report.behind == chain.seq
    away.fails = lambda events: None
    wait_until(lambda: len(away.taken) == chain.seq)
    wait_until(lambda: senders[0].report().state == "sending")
    for one in senders:
        finish(one)
    assert seqs(away) == seqs(well) == list(range(1, chain.seq + 1))
    assert (away.opened, away.closed) == (1, 1)


def test_a_bug_in_a_sink_is_an_outage_and_tells_no_secret(tmp_path: Path, chain: Chain) -> None:
    sink = Taker()
    sink.fails = lambda events: RuntimeError("token=hunter2") if sink.batches < 3 else None
    sender = sender_of(tmp_path, chain, sink)
    sender.start()
    put(chain, range(3))
    assert sink.tries.acquire(timeout=30) and sink.tries.acquire(timeout=30)
    assert "hunter2" not in sender.report().error
    wait_until(lambda: len(sink.taken) == chain.seq)
    finish(sender)


def test_what_is_refused_is_counted_and_the_others_go_on(
    tmp_path: Path, chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Taker()

    def refuses(events: Sequence[Sent]) -> Exception | None:
        bad = tuple(at for at, one in enumerate(events) if one.seq % 5 == 0)
        return Refused("mapper_parsing_exception", bad) if bad else None

    sink.fails = refuses
    sender = sender_of(tmp_path, chain, sink)
    sender.start()
    put(chain, range(22))
    finish(sender)
    assert seqs(sink) == [seq for seq in range(1, chain.seq + 1) if seq % 5]
    report = sender.report()
    assert (report.refused, report.sent) == (chain.seq // 5, chain.seq - chain.seq // 5)
    assert report.state == "sending" and "mapper_parsing_exception" in caplog.text


def test_it_goes_on_where_it_was_after_a_restart(tmp_path: Path, chain: Chain) -> None:
    put(chain, range(10))
    first, second = Taker(), Taker()
    sender = sender_of(tmp_path, chain, first)
    sender.start()
    finish(sender)
    put(chain, range(10, 20))
    sender = sender_of(tmp_path, chain, second)
    assert sender.report().seq == seqs(first)[-1]
    sender.start()
    finish(sender)
    assert seqs(first) + seqs(second) == list(range(1, chain.seq + 1))


@pytest.mark.parametrize("again_s", [1e9, 1e-9])
def test_what_may_yet_be_lost_is_sent_again_after_a_restart(
    tmp_path: Path, chain: Chain, again_s: float
) -> None:
    put(chain, range(20))
    before, after = Taker(), Taker()
    before.again_s = after.again_s = again_s
    sender = sender_of(tmp_path, chain, before)
    sender.start()
    finish(sender)
    sent = chain.seq
    assert seqs(before) == list(range(1, sent + 1))
    put(chain, range(20, 30))
    again = sender_of(tmp_path, chain, after)
    again.start()
    finish(again)
    first = seqs(after)[0]
    assert first == 1 if again_s > 1 else 1 < first <= sent  # the last batch is never old enough
    assert seqs(after) == list(range(first, chain.seq + 1))


def test_what_a_sink_can_t_judge_alone_it_gets_with_later_events(tmp_path: Path, chain: Chain) -> None:
    put(chain, range(2))
    bad = set(range(1, chain.seq + 1))

    def judged(events: Sequence[Sent]) -> Exception | None:
        found = tuple(at for at, one in enumerate(events) if one.seq in bad)
        if len(found) == len(events):
            return SinkAway("it refuses every event")
        return Refused("no", found) if found else None

    sink = Taker()
    sink.fails = judged
    sender = sender_of(tmp_path, chain, sink)
    sender.start()
    assert sink.tries.acquire(timeout=30) and sink.tries.acquire(timeout=30)
    put(chain, range(2, 6))
    wait_until(lambda: sender.report().seq == chain.seq)
    finish(sender)
    assert seqs(sink) == [seq for seq in range(1, chain.seq + 1) if seq not in bad]
    assert sender.report().refused == len(bad)


def test_a_kill_in_a_batch_sends_it_again(tmp_path: Path, chain: Chain) -> None:
    """At least once: whoever is killed between `send` and its position says the same again."""
    put(chain, range(5))
    sink = Taker()
    sender = sender_of(tmp_path, chain, sink)
    sender.start()
    finish(sender)
    (tmp_path / "sinks" / "siem.position").write_text("2\n")
    again = Taker()
    sender = sender_of(tmp_path, chain, again)
    sender.start()
    finish(sender)
    assert [one.id for one in again.taken] == [one.id for one in sink.taken[2:]]


def test_what_left_the_chain_unsent_is_told(
    tmp_path: Path, chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    put(chain, range(60))
    chain.expire(0, 6_000)
    sink = Taker()
    sender = sender_of(tmp_path, chain, sink)
    sender.start()
    finish(sender)
    report = sender.report()
    assert report.missed == seqs(sink)[0] - 1 > 0
    assert f"{report.missed} events left the chain before siem had them" in caplog.text


def test_a_chain_that_lost_its_end_is_sent_from_there(tmp_path: Path, chain: Chain) -> None:
    """A machine that lost its power may have lost what a sink has got already."""
    put(chain, range(5))
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / "siem.position").write_text("500\n")
    sink: Any = Taker()
    sender = sender_of(tmp_path, chain, sink)
    sender.start()
    put(chain, range(5, 7))
    finish(sender)
    assert seqs(sink) == [chain.seq - 1, chain.seq]


def test_a_sink_whose_secret_is_not_there_is_away_and_says_why(tmp_path: Path, chain: Chain) -> None:
    put(chain, range(3))
    sink = Taker()
    settings = SinkSettings(name="siem", kind="test", form="ocsf", lacks="token: it is not set")
    sender = Sender(tmp_path, settings, "0.1.0", sink, lambda: chain.seq)
    sender.start()
    finish(sender)
    report = sender.report()
    assert (report.state, report.error) == ("away", "token: it is not set")
    assert report.behind == chain.seq > 0 and sink.taken == []
