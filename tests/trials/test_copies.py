"""The queue of copies: bounded whatever comes, and each that it took has an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.trials import Shadow
from modelbroker.trials import copies as copies_module
from modelbroker.trials.copies import LATE_S, MOST_BYTES, MOST_WAITING, Address, Copies, Waiting
from modelbroker.trials.frames import Report

AT = Address("127.0.0.1", 8080, False)
SHADOWS = [Shadow(f"s{number}", "chat", "t", "t", 1, concurrency=number + 1) for number in range(3)]


def copy(shadow: Shadow, size: int = 10, since_s: float = 0.0) -> Waiting:
    return Waiting(since_s, shadow, "/v1/messages", (), b"x" * size)


moves = st.one_of(
    st.tuples(st.just("offer"), st.integers(0, 2), st.sampled_from([0, 100, MOST_BYTES // 3])),
    st.tuples(st.just("due"), st.just(0), st.just(0)),
    st.tuples(st.just("over"), st.integers(0, 50), st.sampled_from([0, 200, 500])),
    st.tuples(st.just("lost"), st.just(0), st.just(0)),
)


@given(st.lists(moves, max_size=80))
def test_no_shadow_has_more_under_way_than_it_may_and_all_that_was_taken_is_counted(
    played: list[tuple[str, int, int]],
) -> None:
    copies, now_s, taken, size_of = Copies(), 0.0, 0, {}
    for what, number, value in played:
        now_s += 0.1
        if what == "offer":
            body = b"x" * 10 if value < MOST_BYTES // 3 else _LARGE
            one = Waiting(now_s, SHADOWS[number], "/", (), body)
            taken += copies.offer(one)
        elif what == "due":
            for head, sent in copies.due(now_s, AT):
                size_of[head.number] = len(sent)
        elif what == "over":
            copies.over(Report(number, value), now_s)
        else:
            copies.lost()
        shown = copies.shown()
        for shadow in SHADOWS:
            told = shown.get(shadow.name, {"under_way": 0, "waiting": 0})
            assert 0 <= told["under_way"] <= shadow.concurrency
            assert 0 <= told["waiting"] <= MOST_WAITING
    ended = ("answered", "failed", "broken", "timeout", "refused", "lost", "late")
    shown = copies.shown()
    assert taken == sum(
        one["waiting"] + one["under_way"] + sum(one.get(end, 0) for end in ended) for one in shown.values()
    )


_LARGE = b"x" * (MOST_BYTES // 3)


def test_what_does_not_fit_is_dropped() -> None:
    copies = Copies()
    for _ in range(MOST_WAITING + 5):
        copies.offer(copy(SHADOWS[0]))
    assert copies.shown()["s0"] == {"dropped": 5, "waiting": MOST_WAITING, "under_way": 0}
    # Another shadow has places of its own, but for the bytes, which are counted together.
    assert copies.offer(copy(SHADOWS[1]))
    assert not copies.offer(copy(SHADOWS[1], MOST_BYTES))


def test_one_that_waited_too_long_is_not_sent() -> None:
    copies = Copies()
    copies.offer(copy(SHADOWS[0], since_s=0.0))
    assert copies.due(LATE_S + 1, AT) == []
    assert copies.shown()["s0"] == {"late": 1, "waiting": 0, "under_way": 0}


def test_where_its_budget_is_used_up_it_pauses() -> None:
    copies = Copies()
    copies.offer(copy(SHADOWS[0]))
    ((head, _),) = copies.due(0.0, AT)
    copies.over(Report(head.number, 429, by_broker=True, retry_after_s=3_000), 0.0)
    assert not copies.offer(copy(SHADOWS[0], since_s=1.0))
    assert copies.offer(copy(SHADOWS[1], since_s=1.0))
    assert copies.offer(copy(SHADOWS[0], since_s=copies_module._MOST_PAUSE_S + 1))
    assert copies.shown()["s0"] == {"refused": 1, "paused": 1, "waiting": 1, "under_way": 0}
    copies.forget(lambda name: name == "s1")
    assert list(copies.shown()) == ["s1"]
