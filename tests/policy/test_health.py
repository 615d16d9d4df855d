"""The health book: what members said and did, and the shares that follow."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Member, Pool
from modelbroker.core.causes import BLAMELESS, Cause
from modelbroker.core.record import Observed
from modelbroker.policy.attempts import Outlook
from modelbroker.policy.health import (
    BROKEN_FAILURES,
    FLOOR,
    PROBE_FIRST_S,
    PROBE_MOST_S,
    PROBED,
    RAMP,
    RAMP_S,
    RELAPSE_FIRST_S,
    Book,
)
from modelbroker.policy.limits import MOST_WAIT_S

T = 1_796_000_000.0
A, B, C = "one/a", "two/b", "three/c"


def failed(
    at_s: float, cause: Cause = Cause.RATE_LIMIT, wait_s: float | None = None, member: str = A
) -> Observed:
    headers = {} if wait_s is None else {"retry-after": str(wait_s)}
    return Observed(member, 429, cause, headers, at_s, "request")


def well(
    at_s: float, left: int | None = None, reset_s: float = 20, member: str = A, is_stream: bool = True
) -> Observed:
    headers = {}
    if left is not None:
        headers = {
            "x-ratelimit-limit-requests": "100",
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": f"{reset_s}s",
        }
    return Observed(member, 200, None, headers, at_s, is_stream=is_stream)


def book_of(*seen: Observed) -> Book:
    book = Book()
    for one in seen:
        book.observe(one)
    return book


def test_nothing_is_known_of_a_member_and_it_has_its_whole_share() -> None:
    book = book_of(well(T, member=B))
    assert (book.share(A, T), book.is_out(A, T), book.ready_at_s(A, T)) == (1.0, False, T)
    assert book.share(B, T) == 1.0
    assert book.next_change_s(T) is None


def test_a_member_is_out_as_long_as_it_said() -> None:
    book = book_of(failed(T, wait_s=30))
    assert book.is_out(A, T)
    assert book.is_out(A, T + 29.9)
    assert not book.is_out(A, T + 30)
    assert book.ready_at_s(A, T + 5) == T + 30
    effect = book.effect(A, T + 5)
    assert (effect.state, effect.until_s, effect.cause) == ("out", T + 30, "rate-limit")


@pytest.mark.parametrize("cause", [c for c in Cause if c not in BLAMELESS])
def test_a_word_about_waiting_counts_whatever_went_wrong(cause: Cause) -> None:
    assert book_of(failed(T, cause, wait_s=30)).ready_at_s(A, T) == T + 30


@pytest.mark.parametrize("cause", sorted(BLAMELESS, key=str))
def test_what_is_about_the_call_is_no_failure_of_the_member(cause: Cause) -> None:
    book = book_of(failed(T, cause, wait_s=30))
    assert not book.is_out(A, T)
    assert book.standings.get(A) is None or book.standings[A].failures == 0


def test_a_shorter_word_ends_no_longer_one() -> None:
    book = book_of(failed(T, wait_s=30), failed(T + 1, wait_s=2), well(T + 2))
    assert book.ready_at_s(A, T + 2) == T + 30


def test_it_comes_back_in_steps() -> None:
    book = book_of(failed(T, wait_s=30))
    back_s, step_s = T + 30, RAMP_S / len(RAMP)
    seen = [book.share(A, back_s + step_s * (step + 0.5)) for step in range(len(RAMP) + 1)]
    assert seen == [*RAMP, 1.0]
    assert book.effect(A, back_s).state == "ramping"
    assert book.share(A, back_s + 0.5, ramp_s=1.0) > book.share(A, back_s + 0.5, ramp_s=100.0)
    assert book.share(A, back_s, ramp_s=0.0) == 1.0


def test_who_watches_the_time_sees_every_step() -> None:
    book = book_of(failed(T, wait_s=30), well(T, left=2, reset_s=7, member=B))
    book.eject("chat", C, T, T + 5)
    pool_of = {A: "", B: "", C: "chat"}
    now_s, shares = T, []
    while (change_s := book.next_change_s(now_s)) is not None:
        before = [book.share(m, change_s - 1e-3, pool_of[m]) for m in pool_of]
        assert before == [book.share(m, now_s, pool_of[m]) for m in pool_of]
        now_s = change_s
        shares.append(book.share(A, now_s + 1e-3))
    assert list(dict.fromkeys(shares)) == [*RAMP, 1.0]
    assert all(book.share(m, now_s, pool_of[m]) == 1.0 for m in pool_of)


@pytest.mark.parametrize("cause", sorted(PROBED, key=str))
def test_what_takes_longer_is_tried_again_at_growing_distances(cause: Cause) -> None:
    book, now_s, waits = Book(), T, []
    for _ in range(8):
        book.observe(failed(now_s, cause))
        book.observe(failed(now_s + 0.01, cause))  # was under way: no strike
        waits.append(round(book.ready_at_s(A, now_s) - now_s))
        now_s = book.ready_at_s(A, now_s)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert (waits[0], waits[-1]) == (PROBE_FIRST_S, PROBE_MOST_S)


def test_a_key_that_was_mended_is_well_with_the_first_call_that_shows_it() -> None:
    book = book_of(failed(T, Cause.CREDENTIAL), well(T + 3))
    assert not book.is_out(A, T + 3)
    assert book.effect(A, T + 3).state == "ramping"
    book.observe(failed(T + 60, Cause.CREDENTIAL))
    assert book.ready_at_s(A, T + 60) == T + 60 + PROBE_FIRST_S


def test_a_reply_from_before_says_nothing_of_a_key_that_is_refused() -> None:
    assert book_of(failed(T, Cause.CREDENTIAL), well(T - 1)).is_out(A, T + 1)
    assert not book_of(well(T + 1), failed(T, Cause.CREDENTIAL)).is_out(A, T + 1)


def test_another_credential_is_tried_at_once() -> None:
    book = book_of(failed(T, Cause.CREDENTIAL), failed(T, Cause.CREDENTIAL, member="one-more/a"))
    book.forgive("one")
    assert (book.is_out(A, T), book.is_out("one-more/a", T)) == (False, True)


def test_a_failure_on_the_way_back_ends_it() -> None:
    book = book_of(failed(T, wait_s=30), well(T + 31), failed(T + 32, Cause.SERVER))
    assert not book.is_out(A, T + 32)  # one may be chance
    book.observe(failed(T + 33, Cause.SERVER))
    assert book.ready_at_s(A, T + 33) == T + 33 + RELAPSE_FIRST_S
    book.observe(failed(T + 35, Cause.SERVER))
    assert book.ready_at_s(A, T + 35) == T + 35 + 2 * RELAPSE_FIRST_S
    book.observe(well(T + 38))
    book.observe(failed(T + 39, Cause.RATE_LIMIT))
    assert book.ready_at_s(A, T + 39) == T + 39 + RELAPSE_FIRST_S
    later = failed(T + 200, Cause.SERVER)
    book.observe(later)
    assert not book.is_out(A, T + 200)


def broken(at_s: float, cause: Cause = Cause.CUT, member: str = A) -> Observed:
    """A stream that broke when its client had the good status already."""
    return Observed(member, 200, cause, {}, at_s, "request", is_broken=True, is_stream=True)


@pytest.mark.parametrize("cause", [Cause.CUT, Cause.RESET, Cause.STALL, Cause.SERVER, Cause.OVERLOADED])
def test_who_breaks_stream_after_stream_is_out(cause: Cause) -> None:
    """Envoy has seen good statuses alone, and ejects nobody."""
    book = book_of(*(broken(T + n, cause) for n in range(BROKEN_FAILURES - 1)))
    assert not book.is_out(A, T + 2)
    book.observe(broken(T + 2, cause))
    effect = book.effect(A, T + 2)
    assert (effect.state, effect.until_s, effect.cause) == ("out", T + 2 + PROBE_FIRST_S, cause.value)
    book.observe(broken(T + 2.1, cause))  # was under way
    assert book.ready_at_s(A, T + 2) == T + 2 + PROBE_FIRST_S
    back_s = T + 2 + PROBE_FIRST_S
    book.observe(broken(back_s, cause))
    assert book.ready_at_s(A, back_s) == back_s + 2 * PROBE_FIRST_S


def test_a_stream_that_goes_well_ends_it() -> None:
    book = book_of(*(broken(T + n) for n in range(BROKEN_FAILURES)))
    book.observe(well(T + 1.5))  # of before
    assert book.is_out(A, T + 5)
    book.observe(well(T + 5))
    assert book.effect(A, T + 5).state == "ramping"
    book.observe(broken(T + 30))
    assert not book.is_out(A, T + 30)
    between = book_of(broken(T), broken(T + 1), well(T + 2), broken(T + 3), broken(T + 4))
    assert not between.is_out(A, T + 4)


def test_whole_replies_that_go_well_say_nothing_of_streams() -> None:
    """Where half of a member's calls are whole replies, its broken streams hardly ever come in a row."""
    book = Book()
    for n in range(BROKEN_FAILURES):
        assert not book.is_out(A, T + n)
        book.observe(broken(T + n))
        book.observe(well(T + n + 0.5, is_stream=False))
    assert book.effect(A, T + 3).state == "out"
    assert book.ready_at_s(A, T + 3) == T + 2 + PROBE_FIRST_S
    back_s = T + 2 + PROBE_FIRST_S
    book.observe(well(back_s, is_stream=False))
    book.observe(broken(back_s + 1))  # still so: at the first one
    assert book.is_out(A, back_s + 1)
    book.observe(well(back_s + 2))
    assert book.effect(A, back_s + 2).state == "ramping"


def test_what_envoy_sees_itself_is_envoys_to_judge() -> None:
    book = book_of(*(failed(T + n, Cause.SERVER) for n in range(10)))
    assert not book.is_out(A, T + 10)
    # Before its client had anything: it was handed back, though the provider's status was good.
    book.observe(Observed(A, 200, Cause.CUT, {}, T + 10.5))
    assert not book.is_out(A, T + 10.5)
    book.observe(broken(T + 11, Cause.CONTENT_POLICY))  # about the call
    assert not book.is_out(A, T + 11)


def test_its_own_word_is_no_guess_of_ours() -> None:
    pool = Pool("chat", (Member("one", "a"),))
    book = book_of(*(broken(T + n) for n in range(BROKEN_FAILURES)))
    assert Outlook(book, pool, T + 3).is_guessed(pool.members[0])
    book.observe(failed(T + 4, wait_s=60))
    assert book.ready_at_s(A, T + 4) == T + 64
    assert not Outlook(book, pool, T + 4).is_guessed(pool.members[0])
    book.observe(well(T + 5))
    assert book.is_out(A, T + 5)


def test_a_member_close_to_its_limit_is_eased_off() -> None:
    shares = [book_of(well(T, left=left)).share(A, T + 1) for left in (100, 10, 9, 6, 2, 1, 0)]
    assert shares == [1.0, 1.0, 1.0, 0.6, 0.2, 0.2, FLOOR]
    book = book_of(well(T, left=2))
    assert book.effect(A, T + 1).state == "eased"
    assert book.share(A, T + 20) == 1.0  # by then its word is stale
    assert book_of(well(T, left=2), well(T + 1, left=90)).share(A, T + 1) == 1.0


def test_envoys_ejection_is_of_one_pool() -> None:
    book = Book()
    book.eject("chat", A, T, T + 10, "consecutive errors")
    assert book.is_out(A, T + 1, "chat")
    assert not book.is_out(A, T + 1, "other")
    assert book.share(A, T + 1, "chat") == FLOOR
    book.uneject("chat", A, T + 9)
    assert book.effect(A, T + 9, "chat").state == "ramping"
    assert book.share(A, T + 9 + RAMP_S, "chat") == 1.0


def test_an_ejection_whose_end_is_never_told_ends_all_the_same() -> None:
    book = Book()
    book.eject("chat", A, T, T + 10)
    assert not book.is_out(A, T + 15, "chat")
    book.uneject("chat", B, T)  # of one that nobody told of
    assert book.effect(B, T, "chat").state == "well"
    book.forget_ejections()
    assert book.share(A, T, "chat") == 1.0


def test_who_is_not_out_is_tried_first_then_who_is_ready_soonest() -> None:
    book = book_of(failed(T, wait_s=30, member=A), failed(T, wait_s=5, member=C))
    assert book.order([A, B, C], T + 1) == [B, C, A]
    assert book.order([C, B], T + 6) == [C, B]


def test_failures_in_a_row_and_the_last_error() -> None:
    book = book_of(failed(T, Cause.SERVER), failed(T + 1, Cause.OVERLOADED))
    standing = book.standings[A]
    assert standing.failures == 2
    assert standing.last is not None
    assert (standing.last.cause, standing.last.at_s, standing.last.request_id) == (
        "overloaded",
        T + 1,
        "request",
    )
    book.observe(well(T + 0.5))  # of before the last failure
    assert book.standings[A].failures == 2
    book.observe(well(T + 2))
    assert book.standings[A].failures == 0
    assert book.standings[A].last is not None


def test_words_from_before_the_clock_was_set_back_count_nothing() -> None:
    book = book_of(failed(T, wait_s=3000), well(T, left=1))
    book.eject("chat", B, T, T + 10)
    early_s = T - 5000
    assert not book.is_out(A, early_s)
    assert book.share(A, early_s) == 1.0
    assert not book.is_out(B, early_s, "chat")


def test_members_that_are_gone_are_forgotten_when_their_words_have_run_out() -> None:
    book = book_of(failed(T, wait_s=30), failed(T, wait_s=30, member=B), failed(T, Cause.SERVER, member=C))
    book.eject("chat", A, T, T + 10)
    book.forget([B], T + 1)
    assert set(book.standings) == {A, B}
    book.forget([B], T + 100)
    assert set(book.standings) == {B}
    book.forget([B], T + 10_000)
    assert book.ejections == {}


def test_who_is_acquitted_has_its_whole_share() -> None:
    book = book_of(failed(T, wait_s=3000), well(T, member=B), failed(T, Cause.BILLING, member=C))
    assert book.acquit([A, B, "nobody/x"], T + 1) == [A]
    assert [book.share(name, T + 1) for name in (A, B)] == [1.0, 1.0]
    assert book.is_out(C, T + 1)


def test_what_is_kept_of_a_credential_ends_with_a_restart() -> None:
    book = book_of(failed(T, Cause.CREDENTIAL), failed(T, Cause.BILLING, member=B))
    again = Book.from_json(book.to_json())
    assert (again.is_out(A, T), again.is_out(B, T)) == (False, True)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"standings": {"a": 1}}', b'{"standings": {}, "version": 2}']
)
def test_what_is_no_book_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        Book.from_json(text)


# -- laws

MEMBERS = st.sampled_from([A, B])
MOMENTS = st.integers(0, 400).map(lambda tenths: T + tenths / 10)
WELL = st.builds(well, MOMENTS, st.none() | st.integers(0, 100), st.integers(1, 60), MEMBERS)
FAILED = st.builds(
    failed,
    MOMENTS,
    st.sampled_from(Cause),
    st.none() | st.floats(0, 10_000).map(lambda s: round(s, 1)),
    MEMBERS,
)
BROKEN = st.builds(broken, MOMENTS, st.sampled_from(Cause), MEMBERS)
SEEN = st.lists(WELL | FAILED | BROKEN, max_size=12)


@given(SEEN, MOMENTS, st.floats(0, 100))
def test_shares_are_above_zero_and_at_most_one(seen: list[Observed], now_s: float, ramp_s: float) -> None:
    book = book_of(*seen)
    for member in (A, B):
        assert FLOOR <= book.share(member, now_s, ramp_s=ramp_s) <= 1.0
        assert now_s <= book.ready_at_s(member, now_s) <= now_s + 40 + MOST_WAIT_S
        assert book.is_out(member, now_s) == (book.ready_at_s(member, now_s) > now_s)


@given(SEEN)
def test_a_book_is_the_same_after_a_restart(seen: list[Observed]) -> None:
    book = book_of(*(one for one in seen if one.cause is not Cause.CREDENTIAL))
    assert Book.from_json(book.to_json()) == book


@given(SEEN, FAILED)
def test_a_failure_never_lets_a_member_in_sooner(seen: list[Observed], one: Observed) -> None:
    book = book_of(*seen)
    before = {member: book.standings[member].out_until_s for member in book.standings}
    book.observe(one)
    assert all(book.standings[member].out_until_s >= until_s for member, until_s in before.items())


WORDS = st.lists(
    WELL | st.builds(failed, MOMENTS, st.just(Cause.RATE_LIMIT), st.floats(60, 10_000).map(round), MEMBERS),
    max_size=4,
)


@given(WORDS)
def test_words_count_the_same_in_any_order(seen: list[Observed]) -> None:
    def known(book: Book) -> object:
        kept = (
            (m, s.out_until_s, s.out_cause, s.limits, s.last, s.well_s, s.failed_s)
            for m, s in book.standings.items()
        )
        return sorted((one for one in kept if one[1] or one[3]), key=lambda one: one[0])

    first = known(book_of(*seen))
    assert all(known(book_of(*order)) == first for order in itertools.permutations(seen))


@given(SEEN, MOMENTS)
def test_an_observation_that_changes_nothing_says_so(seen: list[Observed], now_s: float) -> None:
    """Who is told of no change need not look again."""
    book = Book()
    for one in seen:
        before = [book.effect(member, now_s) for member in (A, B)]
        if not book.observe(one):
            after = [book.effect(member, now_s) for member in (A, B)]
            assert [e.share for e in after] == [e.share for e in before]


@given(SEEN, MOMENTS, st.floats(0.1, 100))
def test_only_notable_members_have_less_than_their_share(
    seen: list[Observed], now_s: float, ramp_s: float
) -> None:
    book = book_of(*seen)
    book.eject("chat", C, T, T + 10)
    less = {m for m in (A, B) if book.share(m, now_s, ramp_s=ramp_s) < 1.0}
    less |= {C} if book.share(C, now_s, "chat", ramp_s) < 1.0 else set()
    assert less <= book.notable(now_s, ramp_s)
    assert book.notable(now_s + 100_000, ramp_s) == frozenset()
