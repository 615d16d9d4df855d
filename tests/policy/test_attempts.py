"""Laws of the order of attempts: who is tried, how often, and which failures come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Member, Pool
from modelbroker.core.causes import ALWAYS_CLIENTS, Action, Cause
from modelbroker.core.record import Observed
from modelbroker.policy import Book
from modelbroker.policy.attempts import (
    UNSENT,
    Outlook,
    Tried,
    first_of_later,
    handed_back,
    later,
    sent,
    takers,
    tells,
    untried,
)

NOW_S = 1_800_000_000.0
CAUSES = st.sampled_from(list(Cause))
ACTIONS = st.one_of(st.sampled_from(list(Action)), st.just("other"))
ON = st.dictionaries(CAUSES, ACTIONS, max_size=6).map(lambda said: tuple(said.items()))


def members(*priorities: int, weight: int = 1) -> tuple[Member, ...]:
    return tuple(
        Member("p", f"m{place}", weight=weight, priority=priority)
        for place, priority in enumerate(priorities)
    )


MEMBERS = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(lambda given: members(*given))


def failure(member: Member, retry_after_s: int = 0) -> Observed:
    headers = {"retry-after": str(retry_after_s)} if retry_after_s else {}
    cause = Cause.RATE_LIMIT if retry_after_s else Cause.SERVER
    return Observed(member.id, 429 if retry_after_s else 500, cause, headers, NOW_S - 1, "id")


def outlook(everyone: Sequence[Member], shaky: Sequence[Member] = (), out: Sequence[Member] = ()) -> Outlook:
    book = Book()
    for member in shaky:
        book.observe(failure(member))
    for member in out:
        book.observe(failure(member, retry_after_s=31))
    return Outlook(book, Pool("p", tuple(everyone)), NOW_S)


def worth(
    on: tuple[tuple[Cause, Action | str], ...] = (), *, has_next: bool = True, **more: bool
) -> set[Cause]:
    said = {"has_later": True, "is_alone": False, "tells": False, **more}
    return set(handed_back(on, has_next, enters=frozenset({"other"}), **said))


@given(ON, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_a_bad_request_never_comes_back(
    on: tuple[tuple[Cause, Action | str], ...],
    has_next: bool,
    has_later: bool,
    is_alone: bool,
    said: bool,
    is_last: bool,
) -> None:
    causes = worth(on, has_next=has_next, has_later=has_later, is_alone=is_alone, tells=said, is_last=is_last)
    assert not causes & ALWAYS_CLIENTS
    if is_last:
        assert causes <= UNSENT


def test_what_a_pool_says_of_a_cause_is_done() -> None:
    assert Cause.SERVER in worth()
    assert Cause.SERVER not in worth(((Cause.SERVER, Action.CLIENT),))
    assert Cause.CONTEXT_OVERFLOW not in worth()
    assert Cause.CONTEXT_OVERFLOW in worth(((Cause.CONTEXT_OVERFLOW, Action.NEXT),))
    assert Cause.CONTEXT_OVERFLOW in worth(((Cause.CONTEXT_OVERFLOW, "other"),), has_next=False)
    assert Cause.CONTEXT_OVERFLOW not in worth(((Cause.CONTEXT_OVERFLOW, "nobody-there"),))
    later_only = ((Cause.SERVER, Action.NEXT_PRIORITY),)
    assert Cause.SERVER in worth(later_only)
    assert Cause.SERVER not in worth(later_only, has_later=False)


def test_who_is_alone_is_asked_again_where_that_can_help() -> None:
    alone = worth(has_next=False, is_alone=True)
    assert {Cause.RESET, Cause.CONNECT, Cause.SERVER} <= alone
    assert not alone & {Cause.TIMEOUT, Cause.RATE_LIMIT, Cause.CREDENTIAL, Cause.CAPACITY}


def test_who_is_alone_with_a_new_credential_is_asked_until_that_is_known_to_be_refused() -> None:
    assert Cause.CREDENTIAL in worth(has_next=False, is_keyed=True)
    assert Cause.CREDENTIAL not in worth(has_next=False, is_keyed=True, is_last=True)
    (one,) = members(0)
    tried = [Tried(one.id, Cause.CREDENTIAL)]
    assert untried((one,), tried) == ()
    assert untried((one,), tried, has_spare=True) == untried((one,), tried * 2, has_spare=True) == (one,)
    assert untried((one,), tried * 3, has_spare=True) == ()
    assert untried((one,), [*tried, Tried(one.id, Cause.SERVER)], has_spare=True) == ()


def test_what_nobody_can_carry_is_the_clients_to_change() -> None:
    one, two = members(0, 0)
    assert not tells(())
    assert not tells([Tried(one.id, Cause.NOT_CARRIED)])
    assert tells([Tried(one.id, Cause.SERVER), Tried(two.id, Cause.NOT_CARRIED)])


def test_no_cause_is_part_of_another() -> None:
    """Envoy looks for a cause in the list of those that come back."""
    names = ",".join(cause.value for cause in Cause)
    assert {cause.value: names.count(cause.value) for cause in Cause} == {cause.value: 1 for cause in Cause}


@given(MEMBERS, st.lists(CAUSES, min_size=12, max_size=12), ON, st.integers(0, 5), st.text(max_size=4))
def test_a_call_keeps_its_budget_and_meets_nobody_twice(
    everyone: tuple[Member, ...],
    causes: list[Cause],
    on: tuple[tuple[Cause, Action | str], ...],
    failover: int,
    key: str,
) -> None:
    on = tuple((cause, action) for cause, action in on if isinstance(action, Action))
    view = outlook(everyone)
    tried: list[Tried] = []
    for cause in causes:
        left = untried(everyone, tried)
        order = takers(left, view, key, 0).now
        if not order:
            break
        member, others = order[0], order[1:]
        tried.append(Tried(member.id, cause))
        alone = len(everyone) == 1 and len(tried) == 1
        comes_back = handed_back(
            on,
            bool(others),
            bool(later(others, member)),
            alone,
            frozenset(),
            tells(tried[:-1]),
            sent(tried[:-1]) >= failover,
        )
        if cause not in comes_back:
            break
    assert sent(tried) <= 1 + failover
    twice = [name for name, times in Counter(one.member for one in tried).items() if times > 1]
    assert not twice or len(everyone) == 1
    assert len(tried) <= max(2, len(everyone))


@given(MEMBERS, st.text(max_size=4))
def test_everybody_is_reached_within_a_budget_that_is_large_enough(
    everyone: tuple[Member, ...], key: str
) -> None:
    tried: list[Tried] = []
    while left := untried(everyone, tried):
        tried.append(Tried(takers(left, outlook(everyone), key, 0).now[0].id, Cause.TIMEOUT))
    assert {one.member for one in tried} == {member.id for member in everyone}
    assert len(tried) == len(everyone)


@given(MEMBERS, st.data(), st.text(max_size=4))
def test_the_order_is_by_trouble_then_priority(
    everyone: tuple[Member, ...], data: st.DataObject, key: str
) -> None:
    shaky = data.draw(st.lists(st.sampled_from(everyone), unique=True))
    order = takers(everyone, outlook(everyone, shaky), key, 0).now
    assert sorted(order, key=lambda member: member.id) == sorted(everyone, key=lambda member: member.id)
    ranks = [(member in shaky, member.priority) for member in order]
    assert ranks == sorted(ranks)


@given(MEMBERS, st.data(), st.floats(0, 60))
def test_who_is_out_is_waited_for_or_left_out(
    everyone: tuple[Member, ...], data: st.DataObject, patience_s: float
) -> None:
    out = data.draw(st.lists(st.sampled_from(everyone), unique=True))
    chosen = takers(everyone, outlook(everyone, out=out), "k", patience_s)
    assert set(chosen.now) == set(everyone) - set(out)
    assert set(chosen.soon) == (set(out) if patience_s >= 30 else set())
    assert chosen.wait_s == pytest.approx(0 if chosen.now else 30)


def test_who_is_out_for_a_guess_may_be_next_however_long_it_is_out() -> None:
    everyone = members(0, 0)
    book = Book()
    book.observe(Observed(everyone[1].id, 404, Cause.MODEL_NOT_FOUND, {}, NOW_S - 1, "id"))
    chosen = takers(everyone, Outlook(book, Pool("p", everyone), NOW_S), "k", 0)
    assert (chosen.now, chosen.soon) == (everyone[:1], everyone[1:])


def test_nobody_at_all() -> None:
    assert takers((), outlook(()), "k", 10).wait_s is None


def test_lots_follow_the_weights() -> None:
    everyone = (Member("p", "a", weight=70), Member("p", "b", weight=25), Member("p", "c", weight=5))
    view = outlook(everyone)
    first = Counter(takers(everyone, view, f"call {n}", 0).now[0].model for n in range(5_000))
    for member in everyone:
        assert abs(first[member.model] / 5_000 - member.weight / 100) < 0.03


@given(MEMBERS, st.data())
def test_the_last_attempt_prefers_a_later_priority_that_is_well(
    everyone: tuple[Member, ...], data: st.DataObject
) -> None:
    shaky = data.draw(st.lists(st.sampled_from(everyone), unique=True))
    than = data.draw(st.sampled_from(everyone))
    view = outlook(everyone, shaky)
    order = first_of_later(everyone, than, view)
    assert sorted(order, key=lambda member: member.id) == sorted(everyone, key=lambda member: member.id)
    if any(member.priority > than.priority and member not in shaky for member in everyone):
        assert order[0].priority > than.priority and order[0] not in shaky
