"""One secret's value, whatever its store does."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.secrets import Secrets
from modelbroker.policy.holding import (
    UNASKED,
    Held,
    Value,
    at,
    changes_s,
    failed,
    fetched,
    is_due,
    renewed_s,
    under,
)

SECRETS = st.builds(
    Secrets,
    refresh_s=st.integers(1, 3_600),
    keep_s=st.integers(1, 1_000_000),
    overlap_s=st.integers(0, 100_000),
)
# What a store does at each look: gives a value that lives so long, says that there is none, or is away.
GIVES = st.tuples(st.just("gives"), st.sampled_from("abc"), st.just(math.inf) | st.floats(2, 10_000))
ELSE = st.tuples(st.sampled_from(["gone", "away"]), st.just(""), st.just(0.0))
STEPS = st.lists(st.tuples(st.floats(0.1, 50_000), GIVES | ELSE), max_size=30)


def life(secrets: Secrets, steps: list[tuple[float, tuple[str, str, float]]]) -> list[tuple[float, Held]]:
    held, now_s, seen = UNASKED, 1_790_000_000.0, []
    for wait_s, (what, text, lives_s) in steps:
        now_s += wait_s
        if what == "gives":
            held = fetched(held, Value(text, expires_s=now_s + lives_s), secrets, now_s)
        else:
            held = failed(held, what, secrets, now_s, 0.5, is_gone=what == "gone")
        seen.append((now_s, held))
    return seen


@given(SECRETS, STEPS)
def test_what_was_given_last_is_good_until_it_expires_or_was_kept_long_enough(
    secrets: Secrets, steps: list[tuple[float, tuple[str, str, float]]]
) -> None:
    last, given_s, gone_s = None, -math.inf, math.inf
    for (now_s, held), (_, (what, text, lives_s)) in zip(life(secrets, steps), steps, strict=True):
        if what == "gives":
            last, given_s, gone_s = Value(text, expires_s=now_s + lives_s), now_s, math.inf
        elif what == "gone":
            gone_s = min(gone_s, now_s)
        good = at(held, now_s)
        if last is None:
            assert good == ()
            continue
        until_s = min(last.expires_s, given_s + secrets.keep_s, gone_s + secrets.overlap_s)
        assert (good[:1] == (last,)) == (now_s < until_s)
        assert len({value.text for value in good}) == len(good) <= 2
        assert all(now_s < value.expires_s for value in good)


@given(SECRETS, STEPS)
def test_what_was_replaced_is_good_for_the_overlap_and_no_longer(
    secrets: Secrets, steps: list[tuple[float, tuple[str, str, float]]]
) -> None:
    for now_s, held in life(secrets, steps):
        if held.before is not None and held.value is not None:
            assert held.before_until_s <= held.since_s + secrets.overlap_s
            assert len(at(held, held.before_until_s)) < 2
            assert len({value.text for value in at(held, now_s)}) == len(at(held, now_s))


@given(SECRETS, STEPS)
def test_it_is_asked_again_in_time(
    secrets: Secrets, steps: list[tuple[float, tuple[str, str, float]]]
) -> None:
    for now_s, held in life(secrets, steps):
        assert now_s < held.next_s <= now_s + max(secrets.refresh_s, 1.0)
        if not held.failures and held.value is not None and held.value.expires_s - now_s > 2:
            assert held.next_s < held.value.expires_s
        until_s = changes_s(held, now_s)
        assert until_s > now_s
        if until_s < math.inf:
            just_before = math.nextafter(until_s, 0)
            assert at(held, just_before) == at(held, now_s) != at(held, until_s)


@given(st.floats(1, 1e6))
def test_what_expires_is_got_anew_while_it_is_good(lives_s: float) -> None:
    """When it was seen first: whoever keeps it does not forget when that was."""
    now_s = 1_790_000_000.0
    at_s = renewed_s(Value("t", expires_s=now_s + lives_s), now_s)
    assert now_s <= at_s < now_s + lives_s
    assert now_s + lives_s - at_s >= min(300, lives_s / 2) - 0.001
    assert renewed_s(Value("t"), now_s) == math.inf


def test_a_token_is_fetched_five_minutes_before_its_end() -> None:
    secrets = Secrets(refresh_s=86_400)
    held = fetched(UNASKED, Value("t", expires_s=3_600.0), secrets, 0.0)
    assert held.next_s == 3_600 * 0.8
    held = fetched(UNASKED, Value("t", expires_s=900.0), secrets, 0.0)
    assert held.next_s == 600
    assert held.until_s == 900


def test_what_was_good_no_longer_is_not_good_beside_its_successor() -> None:
    secrets = Secrets(keep_s=100, overlap_s=600)
    held = fetched(UNASKED, Value("a"), secrets, 0.0)
    assert at(fetched(held, Value("b"), secrets, 101.0), 101.0) == (Value("b"),)
    # One that was deleted ends when that said, whatever comes in its place.
    gone = failed(held, "gone", Secrets(overlap_s=10), 50.0, 0.5, is_gone=True)
    held = fetched(gone, Value("b"), secrets, 55.0)
    assert held.before_until_s == 60.0


def test_other_times_hold_at_once() -> None:
    long, short = Secrets(refresh_s=3_600), Secrets(refresh_s=10, keep_s=60, overlap_s=5)
    held = fetched(fetched(UNASKED, Value("a"), long, 0.0), Value("b"), long, 100.0)
    assert held.before_until_s == 700.0 and not is_due(held, long, 110.0)
    held = under(held, short, 110.0)
    assert (held.before_until_s, held.until_s) == (105.0, 170.0)
    assert is_due(held, short, 110.0)


def test_a_clock_that_is_set_back_puts_nothing_off() -> None:
    held = fetched(UNASKED, Value("a"), Secrets(), 100_000.0)
    assert not is_due(held, Secrets(), 100_000.0) and is_due(held, Secrets(), 90_000.0)


def test_a_value_does_not_tell_itself() -> None:
    held = fetched(UNASKED, Value("sk-canary", "3"), Secrets(), 1.0)
    assert "canary" not in repr(held) and "3" in repr(held)
