"""Spend over time is the same spend."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.ledger.course import course, with_gone
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.questions import FILTERS, Question
from modelbroker.ledger.spend import Sums, in_vain, spend
from support.ledgers import DAY_S, NOW_S
from support.spent import MEMBERS, TEAMS, of_all_kinds, taken

BEGAN_MS = int((NOW_S - 5 * DAY_S) * 1000)
questions = st.builds(
    lambda by, since, long, where: Question(
        tuple(by), BEGAN_MS + since * 3_600_000, BEGAN_MS + (since + long) * 3_600_000, where
    ),
    st.lists(st.sampled_from(FILTERS), min_size=0, max_size=2, unique=True),
    st.integers(0, 100),
    st.integers(1, 130),
    st.one_of(
        st.just({}),
        st.sampled_from(TEAMS).map(lambda team: {"team": (team,)}),
        st.sampled_from(MEMBERS).map(lambda member: {"member": (member,)}),
        st.just({"purpose": ("shadow",)}),
        st.just({"feature": ("", "chat"), "provider": ("openai",)}),
    ),
)


@pytest.fixture
def ledger(url: str) -> Ledger:
    taken(url, of_all_kinds(150))
    return Ledger(url)


def without_vain(sums: Sums) -> Sums:
    return replace(sums, vain=0, vain_cost=0, vain_unknown=0, hedges=0, hedge_cost=0, hedge_unknown=0)


def vain_alone(sums: Sums) -> Sums:
    names = ("vain", "vain_cost", "vain_unknown", "hedges", "hedge_cost", "hedge_unknown")
    return Sums(**{name: getattr(sums, name) for name in names})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(questions, st.sampled_from(["hour", "day", "month"]))
def test_it_is_what_spend_says(ledger: Ledger, question: Question, unit: str) -> None:
    """Of each group and of all, to the nano-dollar; what is no client's stands beside, as `spend` has it."""
    found = course(ledger, question, unit)
    clients = question.of_clients() if question.is_of_all else question
    plain = spend(ledger, clients)
    assert {key: without_vain(sums) for key, sums in found.spend.groups.items()} == plain.groups
    assert without_vain(found.spend.total) == plain.total
    assert {
        key: vain_alone(sums) for key, sums in found.spend.groups.items() if vain_alone(sums) != Sums()
    } == {
        key: vain_alone(sums)
        for key, sums in spend(ledger, clients, failovers=True).groups.items()
        if vain_alone(sums) != Sums()
    }
    over: dict[tuple[str, ...], Sums] = {}
    for groups in found.over.values():
        for key, sums in groups.items():
            over.setdefault(key, Sums()).add(sums)
    assert over == plain.groups
    apart = {}
    if question.is_of_all:
        apart = {
            key[0]: s for key, s in spend(ledger, replace(question, by=("purpose",))).groups.items() if key[0]
        }
    assert {name: (s.calls, s.known) for name, s in found.besides.items()} == {
        name: (s.calls, s.known) for name, s in apart.items()
    }


def test_what_was_in_vain_alone(ledger: Ledger) -> None:
    everything = Question(("team", "model"))
    alone = in_vain(ledger, everything).groups
    assert any(sums.vain_unknown and sums.hedges for sums in alone.values())
    assert all(sums == vain_alone(sums) for sums in alone.values())


def test_whoever_hears_may_end_it(ledger: Ledger) -> None:
    class Enough(Exception):
        pass

    def heard(done: int, of: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        course(ledger, Question(("team",)), "day", heard=heard)
    assert course(ledger, Question(("team",)), "day").spend.total.calls  # it is none the worse


def test_groups_that_there_were() -> None:
    assert with_gone({("a",): Sums(1)}, {("a",): Sums(2), ("b",): Sums(3)}) == {
        ("a",): Sums(1),
        ("b",): Sums(),
    }
