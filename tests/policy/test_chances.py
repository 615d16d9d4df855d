"""Chances of the first attempt: who could have had it, and how likely."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Member
from modelbroker.core.record import Eligible
from modelbroker.policy.chances import chances

members = st.lists(
    st.builds(Member, st.just("p"), st.text("abcdef", min_size=1), st.integers(0, 1000), st.integers(0, 3)),
    min_size=1,
    max_size=8,
    unique_by=lambda member: member.id,
)


@given(members, st.data())
def test_chances_add_up_to_one_and_only_who_is_there_has_one(pool: list[Member], data: st.DataObject) -> None:
    shares = {m: data.draw(st.sampled_from([0.0, 0.01, 0.25, 0.5, 1.0]), m.id) for m in pool}
    able = data.draw(st.lists(st.sampled_from(pool), min_size=1, unique=True))
    made = chances(pool, able, shares.__getitem__)
    assert [one.member for one in made] == [member.id for member in pool]
    assert sum(one.chance for one in made) == pytest.approx(1, abs=1e-5)
    there = [m for m in able if shares[m]] or able
    first = min(m.priority for m in there)
    for member, one in zip(pool, made, strict=True):
        if one.chance:
            assert member in there and member.priority == first


@given(members)
def test_among_those_who_are_well_weights_decide(pool: list[Member]) -> None:
    level = [m for m in pool if m.priority == min(m.priority for m in pool)]
    total = sum(m.weight for m in level)
    if not total:
        return
    told = {one.member: one.chance for one in chances(pool, pool)}
    assert all(told[m.id] == pytest.approx(m.weight / total, abs=1e-6) for m in level)


def test_by_hand() -> None:
    a, b, c = Member("p", "a", 70), Member("p", "b", 30), Member("p", "c", 1, priority=1)
    assert chances((a, b, c), (a, b, c)) == (Eligible("p/a", 0.7), Eligible("p/b", 0.3), Eligible("p/c", 0.0))
    half = {a: 0.25, b: 1.0, c: 1.0}
    assert [one.chance for one in chances((a, b, c), (a, b, c), half.__getitem__)] == [
        0.368421,
        0.631579,
        0.0,
    ]
    assert [one.chance for one in chances((a, b, c), (c,))] == [0.0, 0.0, 1.0]
