"""Who is the cheapest, and what a call is estimated to cost: laws, and hand-made tables."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Member, Pool, Routing
from modelbroker.core.prices import DAY_S, MILLION, Price, PriceBook, Rates, Scale, book_of
from modelbroker.policy import State, decide
from modelbroker.policy.cheapest import Costs, by_cost, cheapest, first_group
from modelbroker.policy.estimates import Estimates, usual_tokens, with_estimate
from modelbroker.policy.prices import estimate
from support.catalogs import catalog, facts

NOW_S = 1_800_000_000
D = 1_000_000_000

MEMBERS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 2), st.none() | st.integers(0, 12)), min_size=1, max_size=7
).map(
    lambda drawn: (
        tuple(Member("p", f"m{n}", weight, level) for n, (weight, level, _) in enumerate(drawn)),
        {f"p/m{n}": cost for n, (_, _, cost) in enumerate(drawn)},
    )
)
KEYS = st.text(min_size=1, max_size=8)
PPM = st.sampled_from([0, 100_000, 500_000, MILLION])


def nobody(member: Member) -> bool:
    return False


@given(MEMBERS, KEYS, PPM)
def test_the_order_is_by_priority_then_by_cost_and_the_unknown_are_last(
    drawn: tuple[tuple[Member, ...], Costs], key: str, ppm: int
) -> None:
    members, costs = drawn
    order = by_cost(key, members, costs, ppm)
    assert Counter(order) == Counter(members)
    assert [m.priority for m in order] == sorted(m.priority for m in members)
    for place, member in enumerate(order):
        for later in order[place + 1 :]:
            cost, other = costs[member.id], costs[later.id]
            if later.priority == member.priority and cost is None:
                assert other is None
            elif later.priority == member.priority and other is not None:
                # Nobody stands behind one that costs more than the tolerance allows.
                assert cost is not None
                assert cost * MILLION <= other * (MILLION + ppm)


@given(MEMBERS, KEYS, PPM, st.booleans())
def test_the_first_is_the_cheapest_within_the_tolerance(
    drawn: tuple[tuple[Member, ...], Costs], key: str, ppm: int, draws: bool
) -> None:
    members, costs = drawn
    level = [m for m in members if m.priority == min(m.priority for m in members)]
    group = first_group(level, costs, ppm)
    known = [cost for m in level if (cost := costs[m.id]) is not None]
    if known:
        near = {cost for cost in known if cost * MILLION <= min(known) * (MILLION + ppm)}
        assert [m.id for m in group] == [m.id for m in level if costs[m.id] in near]
    else:
        assert group == tuple(level)
    first = cheapest(key, members, costs, ppm, nobody, draws=draws)
    if first is None:
        assert not draws
        assert group == tuple(level)
        assert len(group) > 1
    else:
        assert first in group
        assert first == by_cost(key, members, costs, ppm)[0]


@given(MEMBERS, KEYS, PPM, st.sets(st.integers(0, 6)))
def test_who_is_away_is_passed_over(
    drawn: tuple[tuple[Member, ...], Costs], key: str, ppm: int, away: set[int]
) -> None:
    members, costs = drawn
    gone = {f"p/m{n}" for n in away}
    first = cheapest(key, members, costs, ppm, lambda m: m.id in gone, draws=False)
    here = [m for m in members if m.id not in gone]
    if here and len(here) < len(members):
        assert first is not None, "Envoy may not know whom to leave out"
        assert first == by_cost(key, here, costs, ppm)[0]
    else:
        assert first == cheapest(key, members, costs, ppm, nobody, draws=False)


def test_within_the_tolerance_weights_decide() -> None:
    members = (Member("p", "a", 3), Member("p", "b", 1), Member("p", "dear", 96))
    costs = {"p/a": 100, "p/b": 110, "p/dear": 111}
    counts: Counter[str] = Counter()
    for n in range(2_000):
        first = cheapest(f"id-{n}", members, costs, 100_000, nobody, draws=False)
        assert first is not None
        counts[first.model] += 1
    assert set(counts) == {"a", "b"}
    assert abs(counts["a"] - 1_500) < 3 * (2_000 * 0.75 * 0.25) ** 0.5


RATES = st.none() | st.integers(0, 100 * D)
STEPS = st.lists(st.tuples(st.integers(0, 3_000), RATES, RATES), max_size=3, unique_by=lambda step: step[0])


@st.composite
def prices(draw: st.DrawFn) -> Price:
    rates = st.builds(Rates, input=RATES, output=RATES, reasoning=RATES, request=RATES)
    above = tuple((tokens, draw(rates)) for tokens, _, _ in sorted(draw(STEPS), key=lambda step: step[0]))
    from_s = draw(st.integers(NOW_S - 3 * DAY_S, NOW_S + 3 * DAY_S))
    return Price(
        Scale(draw(rates), above),
        from_s=draw(st.sampled_from([0, from_s])),
        until_s=draw(st.none() | st.integers(from_s, NOW_S + 4 * DAY_S)),
        daily=draw(st.none() | st.tuples(st.integers(0, DAY_S - 1), st.integers(1, DAY_S))),
        commitment=draw(st.booleans()) and draw(st.booleans()),
    )


MEMBER = Member("p", "m")


@given(
    st.lists(prices(), max_size=4),
    st.lists(
        st.tuples(
            st.integers(NOW_S - 3 * DAY_S, NOW_S + 3 * DAY_S), st.integers(0, 4_000), st.integers(0, 4_000)
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_a_kept_estimate_is_the_one_that_the_book_gives(
    known: list[Price], asked: list[tuple[int, int, int]]
) -> None:
    """At any time, in any order: what was kept for another time does not count."""
    book = book_of({("p", "m"): tuple(known)})
    estimates = Estimates(book)
    for at_s, tokens, output in asked:
        expected = estimate(book.find("p", "m", at_s), tokens, output)
        assert estimates.nano(MEMBER, at_s + 0.5, tokens, output) == expected
        from_s, until_s = book.span("p", "m", at_s)
        assert from_s <= at_s < until_s
        assert book.find("p", "m", from_s) == book.find("p", "m", until_s - 1) == book.find("p", "m", at_s)


@pytest.mark.parametrize(
    ("fields", "routing", "tokens"),
    [
        ({"context_tokens": 7}, Routing(), (7, 1_000)),
        ({"context_tokens": 7, "max_output_tokens": 50}, Routing(), (7, 50)),
        ({"max_output_tokens": 64_000, "choices": 2}, Routing(), (0, 128_000)),
        ({}, Routing(output_tokens=300), (0, 300)),
        ({"max_output_tokens": 50}, Routing(output_tokens=300), (0, 50)),
        ({"max_output_tokens": 64_000}, Routing(output_tokens=300), (0, 300)),
        ({"context_tokens": 7, "dialect": "openai-embeddings"}, Routing(output_tokens=300), (7, 0)),
        ({"context_tokens": 7, "dialect": "anthropic-count-tokens"}, Routing(), (0, 0)),
    ],
)
def test_how_long_a_call_is_taken_to_be(
    fields: dict[str, Any], routing: Routing, tokens: tuple[int, int]
) -> None:
    assert usual_tokens(facts("m", **fields), Pool("p", (MEMBER,), routing=routing)) == tokens


def rates(**by_model: tuple[int, int]) -> PriceBook:
    """Nano-dollars per million tokens: model → (input, output), all at the providers b and c."""
    return book_of(
        {
            (provider, model): (Price(Scale(Rates(input=way_in, output=way_out))),)
            for provider in "bc"
            for model, (way_in, way_out) in by_model.items()
        }
    )


def pool(name: str, *models: str, **more: Any) -> dict[str, Any]:
    """`model` or `model+priority`, all at b."""
    members = [
        {"provider": "b", "model": name, "priority": int(level or 0)}
        for name, _, level in (model.partition("+") for model in models)
    ]
    return {"name": name, "members": members, **more}


CHEAP_10 = {"routing": {"by": "cheapest", "tolerance": "10%"}}


@pytest.mark.parametrize(
    ("asked", "nano"),
    [
        (pool("p", "one", "two"), 2_000_000),  # the dearest of those that may be first
        (pool("p", "one", "nobody-knows"), None),
        (pool("p", "one", "two+1"), 1_000_000),
        (pool("p", "one", "two", "nobody-knows", routing="cheapest"), 1_000_000),
        (pool("p", "two", "near", "nobody-knows", **CHEAP_10), 2_100_000),
        (pool("p", "nobody-knows", routing="cheapest"), None),
        (pool("q", "one", aliases="p"), 1_000_000),
        (pool("q", "one"), None),  # the call asks for what is not there
    ],
)
def test_the_fact(asked: dict[str, Any], nano: int | None) -> None:
    """1,000 tokens each way, at half of the rates a million each."""
    book = rates(one=(D // 2, D // 2), two=(D, D), near=(D, 11 * D // 10))
    loaded = catalog(pools=[asked])
    found = with_estimate(
        facts("p", context_tokens=1_000), loaded, State(), Estimates(book), NOW_S
    ).cost_estimate
    assert found == nano


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ("> $0.001", True),
        (">$0.002", False),
        ("<= 0.002", True),
        ({"all": ["> $0", "< $1"]}, True),
        ("$0.002", True),
        (0.002, True),
        ({"not": "> $0.001"}, False),
    ],
)
def test_a_rule_by_cost(match: Any, matches: bool) -> None:
    rule = {"match": {"cost.estimate": match}, "pool": "small"}
    loaded = catalog(pools=[pool("p", "two"), pool("small", "one")], rules=[rule])
    estimates = Estimates(rates(two=(D, D)))
    known = with_estimate(facts("p", context_tokens=1_000), loaded, State(), estimates, NOW_S)
    assert decide(known, loaded, State()).pool == ("small" if matches else "p")


def test_an_unknown_cost_compares_never_true() -> None:
    rules = [
        {"match": {"cost.estimate": word}, "deny": True} for word in ("> $0", "<= $1000000", "$0", ">=0")
    ]
    loaded = catalog(pools=[pool("p", "nobody-knows")], rules=rules)
    known = with_estimate(facts("p"), loaded, State(), Estimates(), NOW_S)
    assert decide(known, loaded, State()).pool == "p"
