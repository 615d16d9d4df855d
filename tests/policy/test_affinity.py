"""The member of a conversation: laws of the pick."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Member
from modelbroker.policy import away, preference, preferred

NAMES = st.text(st.sampled_from("abcxyz-"), min_size=1, max_size=4)
MEMBERS = st.lists(
    st.builds(
        Member,
        provider=NAMES,
        model=NAMES,
        weight=st.integers(1, 1_000_000),
        priority=st.integers(0, 2),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda member: member.id,
)
KEYS = st.text(max_size=40)
PICKED = list("baaaaabbabaabaaaaaaa")
ORDER = ["b", "a", "c"]
THREE = (
    Member(provider="a", model="m", weight=70),
    Member(provider="b", model="m", weight=25),
    Member(provider="c", model="m", weight=5),
)


def nobody(member: Member) -> bool:
    return False


def picks(members: tuple[Member, ...], count: int = 20_000) -> list[Member]:
    return [preferred(f"key {n}", members, nobody) for n in range(count)]


def test_it_is_the_same_in_every_version() -> None:
    """Replicas of two versions run side by side during an upgrade: these picks must never change."""
    assert [preferred(f"key {n}", THREE, nobody).provider for n in range(20)] == PICKED
    assert [m.provider for m in preference("schlüssel", THREE)] == ORDER


@given(KEYS, MEMBERS, st.randoms(use_true_random=False))
def test_the_order_of_members_means_nothing(key: str, members: list[Member], random: object) -> None:
    shuffled = list(members)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert preference(key, shuffled) == preference(key, members)
    assert sorted(preference(key, members), key=lambda m: m.id) == sorted(members, key=lambda m: m.id)


@given(KEYS, MEMBERS, st.sets(st.integers(0, 7)))
def test_the_first_priority_with_a_member_that_is_not_out(
    key: str, members: list[Member], places: set[int]
) -> None:
    out = {member.id for place, member in enumerate(members) if place in places}
    picked = preferred(key, members, lambda member: member.id in out)
    able = [member for member in members if member.id not in out]
    if able:
        assert picked in able
        assert picked.priority == min(member.priority for member in able)
    else:
        assert picked == preferred(key, members, nobody)


@given(KEYS, MEMBERS, st.integers(0, 7))
def test_a_member_that_is_out_moves_its_own_keys_alone(key: str, members: list[Member], place: int) -> None:
    """And they are back when it is: nothing is remembered."""
    gone = members[place % len(members)]
    before = preferred(key, members, nobody)
    during = preferred(key, members, lambda member: member == gone)
    assert (during == before) == (before != gone or len(members) == 1)
    assert preferred(key, members, nobody) == before


@given(KEYS, MEMBERS, st.integers(0, 7))
def test_a_member_taken_away_moves_its_own_keys_alone(key: str, members: list[Member], place: int) -> None:
    gone = members[place % len(members)]
    left = [member for member in members if member != gone]
    before = preferred(key, members, nobody)
    if left and before != gone:
        assert preferred(key, left, nobody) == before
    assert preference(key, left) == tuple(m for m in preference(key, members) if m != gone)


@given(KEYS, MEMBERS, st.integers(0, 7), st.integers(1, 1_000_000))
def test_another_weight_moves_keys_from_or_to_that_member(
    key: str, members: list[Member], place: int, weight: int
) -> None:
    old = members[place % len(members)]
    new = replace(old, weight=weight)
    before = preferred(key, members, nobody)
    after = preferred(key, [new if member is old else member for member in members], nobody)
    if weight >= old.weight:
        assert after.id in (before.id, old.id)
    else:
        assert after.id == before.id or before.id == old.id


@given(KEYS, MEMBERS, st.integers(2, 1000))
def test_only_shares_count(key: str, members: list[Member], factor: int) -> None:
    larger = [replace(member, weight=member.weight * factor) for member in members]
    assert preferred(key, larger, nobody).id == preferred(key, members, nobody).id


@pytest.mark.parametrize(
    "weights", [(70, 25, 5), (1, 1, 1), (1, 999), (1,) * 12], ids=lambda weights: "-".join(map(str, weights))
)
def test_shares_follow_the_weights(weights: tuple[int, ...]) -> None:
    """Within four standard deviations of independent draws (the keys are always the same)."""
    members = tuple(Member(provider=f"p{n}", model="m", weight=weight) for n, weight in enumerate(weights))
    picked = picks(members)
    counts = Counter(member.provider for member in picked)
    for member in members:
        share = member.weight / sum(weights)
        deviation = math.sqrt(len(picked) * share * (1 - share))
        assert abs(counts[member.provider] - len(picked) * share) <= 4 * deviation, counts


def test_what_moves_when_one_is_out_is_shared_by_weight() -> None:
    moved = [
        preferred(f"key {n}", THREE, lambda member: member.provider == "a").provider
        for n, member in enumerate(picks(THREE))
        if member.provider == "a"
    ]
    share = 25 / 30
    deviation = math.sqrt(len(moved) * share * (1 - share))
    assert abs(Counter(moved)["b"] - len(moved) * share) <= 4 * deviation


def test_weight_zero_gets_no_key_while_there_is_another() -> None:
    zero = tuple(replace(member, weight=0) if member.provider == "a" else member for member in THREE)
    assert {member.provider for member in picks(zero, 500)} == {"b", "c"}
    # Not even when the others are out: they are then those who will be tried.
    later = replace(THREE[1], priority=1)
    assert preferred("k", (zero[0], later), nobody) == later


def test_weights_of_the_moment_can_be_given() -> None:
    def weight_of(member: Member) -> float:
        return 0.0 if member.provider != "c" else 0.5

    assert {preferred(f"key {n}", THREE, nobody, weight_of).provider for n in range(100)} == {"c"}


@given(KEYS, MEMBERS, st.integers(0, 7), st.floats(0, 1), st.floats(0, 1))
def test_who_comes_back_gets_more_of_its_own_with_each_step(
    key: str, members: list[Member], place: int, one: float, two: float
) -> None:
    back = members[place % len(members)]

    def picked(share: float) -> Member:
        return preferred(key, members, away(key, lambda member: share if member == back else 1.0))

    well = preferred(key, members, nobody)
    during = preferred(key, members, lambda member: member == back)
    assert (picked(0.0), picked(1.0)) == (during, well)
    fewer, more = picked(min(one, two)), picked(max(one, two))
    assert fewer in (during, well)
    assert fewer != back or more == back or len(members) == 1


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_steps_are_parts_of_a_members_own_conversations(share: float) -> None:
    own = [f"key {n}" for n, member in enumerate(picks(THREE)) if member.provider == "b"]
    returned = sum(
        preferred(key, THREE, away(key, lambda m: share if m.provider == "b" else 1.0)).provider == "b"
        for key in own
    )
    assert abs(returned - len(own) * share) <= 4 * math.sqrt(len(own) * share * (1 - share))
