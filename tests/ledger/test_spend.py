"""What calls cost, by hand and by the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.core.prices import Cost, Price, Rates, Scale, book_of
from modelbroker.core.record import Record
from modelbroker.core.usage import Usage
from modelbroker.journal.reading import Position
from modelbroker.ledger import tables
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.elsewhere import elsewhere
from modelbroker.ledger.questions import DIMENSIONS, OF_ATTEMPTS, Question, has_calls
from modelbroker.ledger.rows import rows_of
from modelbroker.ledger.spend import Sums, spend
from sqlalchemy import func, select
from support.ledgers import DAY_S, NOW_S, attempt, lost, record, trees

NewLedger = Callable[[], str]
OPUS, MINI = "anthropic/opus", "openai/mini"


def used(member: str, nano: int | None, tokens: int = 10, **fields: Any) -> Any:
    """An attempt that read `tokens` and cost so much; None: unknown, but for 5 of it."""
    cost = Cost(nano, {"input": nano}) if nano is not None else Cost(None, {"input": 5}, ("output",))
    return attempt(member, usage=Usage(tokens, cache_read=1, output=2), cost=cost, **fields)


def failed(member: str) -> Any:
    return attempt(member, status=503, code="upstream_error", usage=None, usage_state="none", cost=Cost(0))


def call(seed: int, *attempts: Any, days: int = 0, **fields: Any) -> Record:
    costs = [one.cost for one in attempts]
    total = sum(c.total for c in costs) if all(c.total is not None for c in costs) else None
    buckets = {"input": sum(sum(c.buckets.values()) for c in costs)}
    at_s = NOW_S - days * DAY_S
    for one in attempts:
        one.started_s = at_s
    return record(seed, at_s, attempts, cost=Cost(total, buckets), hedged=False, **fields)


# team, customer: what was tried, and what that cost.
CALLS = [
    call(1, used(OPUS, 100), team="search", customer="a", feature="x"),
    call(2, used(OPUS, 30), days=1, team="search", customer="b", feature="x"),
    call(3, failed(OPUS), used(MINI, 7), team="search", customer="a", feature="y"),
    call(4, used(OPUS, 40, code="upstream_cut", status=502), used(MINI, 2), team="ads", customer="a"),
    call(5, used(OPUS, None), team="ads", customer="b"),
    call(6, used(OPUS, None, code="cancelled", status=0), used(MINI, 3, hedge=True), team="ads"),
    record(7, NOW_S, [], team="ads", outcome="refused", status=403, cost=Cost(0), usage_state="none"),
    lost(record(8, NOW_S)),
    record(9, NOW_S, [], team="search", cost=Cost(0), usage_state="none", customer="a"),
]


@pytest.fixture
def filled(url: str) -> str:
    with Ledger(url) as ledger:
        written = trees(CALLS)
        saved = {"usage": None, "service_tier": "", "cost": {"total": 55, "buckets": {}, "unknown": []}}
        written[-1] |= {"cache": "hit", "saved": saved}
        written[-3] |= {"cache": "joined", "saved": None}
        written[0] |= {"cache": "stored", "saved": None}
        ledger.take(rows_of(written, "s"), "s", "here", Position("f", 1), 0)
    return url


def asked(url: str, *by: str, failovers: bool = False, **more: Any) -> dict[tuple[str, ...], Sums]:
    with Ledger(url) as ledger:
        found = spend(ledger, Question(by, **more), failovers=failovers)
    added = Sums()
    for sums in found.groups.values():
        added.add(sums)
    assert added == found.total
    return found.groups


def test_by_team(filled: str) -> None:
    """By hand: search 100 + 30 + 7, and a hit of the cache; ads 42 known, two unknown (5, and 5 + 3)."""
    assert asked(filled, "team") == {
        ("search",): Sums(4, 30, 3, 0, 6, 137, cache_hits=1, saved=55),
        ("ads",): Sums(4, 50, 5, 0, 10, 42, unknown=2, at_least=13, cache_hits=1, saved_unknown=1),
        ("",): Sums(1, unknown=1),
    }


def test_by_member_each_attempt_is_at_its_own(filled: str) -> None:
    assert asked(filled, "member") == {
        (OPUS,): Sums(3, 50, 5, 0, 10, 170, unknown=2, at_least=10),
        (MINI,): Sums(3, 30, 3, 0, 6, 12),
        ("",): Sums(3, unknown=1, cache_hits=2, saved=55, saved_unknown=1),
    }


def test_a_reply_of_the_cache_is_at_the_member_that_gave_it(url: str) -> None:
    """Also where a model's name has a slash; a call that reached nobody stays at nobody."""
    deep = "openrouter/meta/llama-4"
    calls = [call(1, used(OPUS, 100), member=OPUS)]
    calls += [
        record(n, NOW_S, [], cost=Cost(0), usage_state="none", member=member, cache=how)
        for n, member, how in ((2, OPUS, "hit"), (3, deep, "joined"), (4, OPUS, None), (5, "", "hit"))
    ]
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees(calls), "s"), "s", "here", Position("f", 1), 0)
    found = {key[0]: (s.calls, s.cost, s.cache_hits) for key, s in asked(url, "member").items()}
    assert found == {OPUS: (2, 100, 1), deep: (1, 0, 1), "": (2, 0, 1)}
    assert set(asked(url, "provider", "model")) == {
        ("anthropic", "opus"),
        ("openrouter", "meta/llama-4"),
        ("", ""),
    }
    assert asked(url, where={"provider": ("openrouter",)})[()].cache_hits == 1
    with Ledger(url) as ledger, ledger.reading() as connection:
        for where, count in (({"model": ("opus",)}, 2), ({"member": (deep,)}, 1)):
            query = select(func.count()).select_from(tables.CALLS).where(*Question(where=where).of_calls())
            assert connection.execute(query).scalar() == count


def test_by_customer_and_feature(filled: str) -> None:
    groups = asked(filled, "customer", "feature", where={"team": ("search",)})
    assert {key: (sums.calls, sums.cost) for key, sums in groups.items()} == {
        ("a", "x"): (1, 100),
        ("b", "x"): (1, 30),
        ("a", "y"): (1, 7),
        ("a", ""): (1, 0),
    }


def test_by_time(filled: str) -> None:
    assert {key: sums.calls for key, sums in asked(filled, "day").items()} == {
        ("2026-11-29",): 8,
        ("2026-11-28",): 1,
    }
    assert set(asked(filled, "hour")) == {("2026-11-29T20:00Z",), ("2026-11-28T20:00Z",)}
    assert set(asked(filled, "month")) == {("2026-11",)}


def test_only_some(filled: str) -> None:
    today_ms = int((NOW_S - 3600) * 1000)
    assert asked(filled, since_ms=today_ms)[()].cost == 149
    assert asked(filled, until_ms=today_ms)[()].cost == 30
    assert asked(filled, where={"member": (MINI,), "customer": ("a", "b")})[()].cost == 9
    assert asked(filled, where={"team": ("nobody",)}) == {}


def test_a_pools_calls_are_also_those_of_its_candidates(url: str) -> None:
    """`~`, which no pool's own name has, stands in the names of the pools that are made for them."""
    names = ("a", "a~openai/gpt-5-mini", "A~x/y", "ab", "ab~x/y", "b~a/a", "")
    with Ledger(url) as ledger:
        calls = [call(number, used(MINI, 10**number), pool=name) for number, name in enumerate(names)]
        ledger.take(rows_of(trees(calls), "s"), "s", "here", Position("f", 1), 0)

    def cost(*pools: str, **more: tuple[str, ...]) -> int | None:
        found = asked(url, where={"pool": pools, **more})
        # What rows are chosen by, where no sums are asked for, means the same.
        with Ledger(url) as ledger:
            assert has_calls(ledger, Question(where={"pool": pools, **more})) == bool(found)
        return found[()].cost if found else None

    assert cost("a") == cost("a", member=(MINI,)) == 11
    assert cost("a", "ab") == 11 + 11_000
    assert cost("a~openai/gpt-5-mini") == 10
    assert cost("b") == 100_000 and cost("") == 1_000_000
    assert cost("b", member=(OPUS,)) is None and cost("a%") is None and cost("_") is None


def test_failovers_and_hedges(filled: str) -> None:
    groups = asked(filled, "team", failovers=True)
    vain = {key: (s.vain, s.vain_cost, s.vain_unknown, s.hedges, s.cost) for key, s in groups.items()}
    assert vain == {("search",): (1, 0, 0, 0, 137), ("ads",): (2, 40, 1, 0, 45), ("",): (0, 0, 0, 0, 0)}


def test_what_was_tried_in_vain_costs_also_where_no_call_was_answered(filled: str) -> None:
    """Call 4 alone: it cost 40 there, and was answered elsewhere."""
    sums = asked(filled, where={"member": (OPUS,), "team": ("ads",), "customer": ("a",)})[()]
    assert (sums.calls, sums.cost, sums.input) == (0, 40, 10)


def test_an_attempt_of_which_nobody_told_is_unknown_in_every_view(url: str) -> None:
    one = call(1, used(OPUS, 9), team="search")
    one.attempts_made, one.cost = 2, Cost(None, {"input": 9}, ("usage",))
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees([one]), "s"), "s", "here", Position("f", 1), 0)
    (by_team,) = asked(url, "team").values()
    by_member = asked(url, "member", failovers=True)
    assert (by_team.calls, by_team.cost, by_team.unknown, by_team.at_least) == (1, 0, 1, 9)
    assert (by_member[(OPUS,)].calls, by_member[(OPUS,)].cost, by_member[(OPUS,)].unknown) == (1, 9, 0)
    assert (by_member[("",)].calls, by_member[("",)].unknown, by_member[("",)].vain) == (0, 1, 0)


def test_a_hedge_in_vain_is_one(url: str) -> None:
    slow = used(OPUS, 9, status=200)
    hedge = used(MINI, 4, hedge=True, code="cancelled", status=0)
    with Ledger(url) as ledger:
        hedged = call(1, slow, hedge, member=OPUS)
        ledger.take(rows_of(trees([hedged]), "s"), "s", "here", Position("f", 1), 0)
    sums = asked(url, failovers=True)[()]
    assert (sums.hedges, sums.hedge_cost, sums.vain, sums.cost, sums.calls) == (1, 4, 0, 13, 1)


@pytest.mark.parametrize("name", DIMENSIONS)
def test_each_dimension_alone_and_beside_a_member(filled: str, name: str) -> None:
    """The sums of all groups are the sums of all calls, however they are cut."""
    whole = asked(filled)[()]
    groups = asked(filled, name, "pool").values()
    assert sum(sums.calls for sums in groups) == whole.calls == 9
    assert sum(sums.input for sums in groups) == whole.input
    if name not in OF_ATTEMPTS:
        assert sum(sums.cost for sums in groups) == whole.cost
    assert sum(sums.calls for sums in asked(filled, name, "model").values()) == 9


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 300)), max_size=30))
def test_sums_are_exact_over_any_time(new_ledger: NewLedger, calls: list[tuple[int, int]]) -> None:
    url = new_ledger()
    written = [call(n, used(OPUS, nano), days=days) for n, (nano, days) in enumerate(calls)]
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees(written), "s"), "s", "here", Position("f", 1), 0)
        steps: list[tuple[int, int]] = []
        found = spend(ledger, Question(("team",)), heard=lambda done, of: steps.append((done, of)))
    assert found.total.cost == sum(nano for nano, _ in calls)
    assert found.total.calls == len(calls)
    assert not steps or steps[-1][0] == steps[-1][1]


# -- elsewhere


def test_what_it_would_have_cost_there(filled: str) -> None:
    """$1 a token read and $2 a token written since yesterday, unknown before; cached ones cost nothing."""
    million = 1_000_000
    rates = Rates(input=million, output=2 * million, cache_read=0)
    book = book_of({("x", "y"): (Price(Scale(rates), from_s=int(NOW_S - DAY_S / 2)),)})
    with Ledger(filled) as ledger:
        found = elsewhere(ledger, Question(("team",)), "x/y", book)
    search, ads, nobody = (found.groups[(team,)] for team in ("search", "ads", ""))
    # Calls 1 and 3 (14 each), 9 (nothing); 2 is from before the price.
    assert (search.calls, search.cost, search.unknown) == (4, 28, 1)
    assert (search.both, search.here, search.there) == (3, 107, 28)
    # Calls 4, 5 and 6 by what answered them; the cost of 5 and 6 here is not known. 7 cost nothing.
    assert (ads.calls, ads.cost, ads.unknown, ads.both, ads.here, ads.there) == (4, 42, 0, 2, 42, 14)
    assert (nobody.calls, nobody.unknown) == (1, 1)
    assert (found.total.calls, found.total.cost) == (9, 70)
