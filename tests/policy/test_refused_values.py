"""A new value that providers refuse: calls go with the one before, and it is tried again."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.secrets import Secrets
from modelbroker.policy.holding import (
    UNASKED,
    Held,
    Turn,
    Value,
    at,
    changes_s,
    fetched,
    in_effect,
    is_back,
    refused,
)

SECRETS = Secrets(overlap_s=600)
START_S = 1_790_000_000.0
A, B = "p/a", "p/b"
# (member, text, seconds since the new one came) → is the call's credential taken?
Takes = Callable[[str, str, float], bool]


def replaced() -> Held:
    """Calls have gone with `old`, and just now `new` is there, and in effect."""
    held = in_effect(fetched(UNASKED, Value("old"), SECRETS, START_S - 60), "old", START_S - 60)
    return in_effect(fetched(held, Value("new"), SECRETS, START_S), "new", START_S)


def lived(held: Held, takes: Takes, members: tuple[str, ...] = (A, B), seconds: int = 900) -> list[str]:
    """Each member is called once a second, with what is in effect; what goes on is in effect at once. The
    texts that were in effect, second by second."""
    seen = []
    for second in range(seconds):
        now_s = START_S + second
        held = in_effect(held, at(held, now_s)[0].text, now_s)
        used = held.turn.effect
        assert used is not None
        seen.append(used.text)
        for member in members:
            if not takes(member, used.text, second):
                held = refused(held, member, now_s + 0.9, now_s + 0.95)
    return seen


def changes(seen: list[str]) -> int:
    return sum(1 for one, other in itertools.pairwise(seen) if one != other)


def test_one_that_is_taken_stays() -> None:
    assert set(lived(replaced(), lambda *_: True)) == {"new"}


def test_one_that_is_taken_later_is_tried_at_growing_distances() -> None:
    seen = lived(replaced(), lambda member, text, s: text == "old" or s >= 100)
    assert [second for second, text in enumerate(seen[:200]) if text == "new"][:3] == [0, 16, 47]
    assert set(seen[108:]) == {"new"}
    assert changes(seen) == 6


def test_one_that_is_never_taken_is_all_there_is_behind_the_overlap() -> None:
    seen = lived(replaced(), lambda member, text, s: text == "old")
    assert seen[:600].count("new") == 8  # 0, 16, 47, 108, and then every two minutes
    assert set(seen[600:]) == {"new"}


def test_where_both_are_refused_nothing_goes_back_and_forth() -> None:
    seen = lived(replaced(), lambda *_: False)
    assert seen.count("old") == 1 and changes(seen) == 2
    # An account that may not use a model is no reason either.
    seen = lived(replaced(), lambda member, *_: member != A)
    assert seen.count("old") == 1 and changes(seen) == 2


def test_a_model_that_no_value_opens_hides_no_value_that_is_refused() -> None:
    seen = lived(replaced(), lambda member, text, s: member != A and (text == "old" or s >= 100))
    assert seen[:100].count("new") <= 5
    assert set(seen[125:]) == {"new"}


def test_what_was_under_way_with_another_value_is_no_sign() -> None:
    held = replaced()
    assert refused(held, A, START_S - 1, START_S + 1) == held  # went with the old one, as that was revoked
    assert refused(held, A, START_S + 0.1, START_S + 1) == held  # nobody knows with which
    back = refused(held, A, START_S + 2, START_S + 3)
    assert is_back(back, START_S + 3)
    # More calls with the new one come back before Envoy has the old one again, and after.
    assert is_back(refused(back, B, START_S + 2.5, START_S + 3.1), START_S + 3.1)
    told = in_effect(back, "old", START_S + 4)
    assert refused(told, A, START_S + 3.9, START_S + 6) == told


def test_one_that_came_in_the_place_of_a_refused_one_has_the_good_one_behind_it() -> None:
    back = refused(replaced(), A, START_S + 2, START_S + 3)
    held = fetched(back, Value("newest"), SECRETS, START_S + 10)
    assert [value.text for value in at(held, START_S + 10)] == ["newest", "old"]
    assert held.before_until_s == back.before_until_s


@pytest.mark.parametrize("overlap_s", [0, 600])
def test_without_one_before_it_there_is_nothing_to_go_back_to(overlap_s: int) -> None:
    held = in_effect(fetched(UNASKED, Value("new"), SECRETS, START_S), "new", START_S)
    assert refused(held, A, START_S + 2, START_S + 3) == held
    late_s = START_S + 700
    assert refused(replaced(), A, late_s, late_s) == replaced()


OPENS = st.fixed_dictionaries(
    {(member, text): st.integers(0, 900) for member in (A, B) for text in ("old", "new")}
)
CLOSES = st.fixed_dictionaries({member: st.integers(0, 2_000) for member in (A, B)})


@given(OPENS, CLOSES)
def test_whatever_providers_do_values_change_seldom(
    opens: dict[tuple[str, str], int], closes: dict[str, int]
) -> None:
    """The new one is taken from a moment on, the old one from a moment on and up to another."""

    def takes(member: str, text: str, second: float) -> bool:
        return second >= opens[member, text] and (text == "new" or second < closes[member])

    seen = lived(replaced(), takes)
    # Ten tries fit into the overlap, and each member may hold one up besides.
    assert changes(seen) <= 2 * (10 + 2)
    assert set(seen[600:]) == {"new"}


@given(st.floats(0, 1_000), st.floats(0, 1_000))
def test_what_is_said_to_change_changes_then(refused_s: float, later_s: float) -> None:
    held = refused(replaced(), A, START_S + 1, START_S + refused_s)
    now_s = START_S + refused_s + later_s
    until_s = changes_s(held, now_s)
    assert until_s > now_s
    assert at(held, now_s) == at(held, (now_s + min(until_s, now_s + 1)) / 2) or until_s - now_s < 1e-3
    if until_s < now_s + 1_000:
        assert at(held, until_s) != at(held, now_s)


def test_a_turn_does_not_tell_its_value() -> None:
    assert "canary" not in repr(Turn(Value("sk-canary")))
