"""A simulation's laws, each on few calls."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.ids import request_id_of
from modelbroker.core.prices import Price, Rates, Scale, book_of
from modelbroker.core.usage import EXACT, Usage
from modelbroker.policy.prices import cost_of
from modelbroker.simulation.learning import Learner
from modelbroker.simulation.policies import REFUSED
from modelbroker.simulation.reckoning import Prompts, Reckoner, Tariff
from modelbroker.simulation.recorded import Amount, Chance, Recorded, Tried
from modelbroker.simulation.sums import Weighed
from support.worlds import BEGUN_S

from .test_predicted import simulated, world

COUNTS = st.integers(0, 10**7)
RATES = st.none() | st.integers(0, 10**11)


@given(
    st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.none() | COUNTS),
    st.builds(Rates, RATES, RATES, RATES, RATES, RATES),
)
def test_plain_costs_are_those_that_calls_are_charged(usage: Usage, rates: Rates) -> None:
    price = Price(Scale(rates))
    plain, whole = Tariff(0, 1, price).plain_cost(usage, ""), cost_of(usage, price)
    if plain is None:
        assert whole.total is None
    else:
        assert whole.total == sum(plain)
        assert plain[1] == whole.buckets.get("output", 0)


@settings(max_examples=8, deadline=None)
@given(st.integers(200, 260))
def test_each_kind_of_call_once_is_each_call_by_itself(seed: int) -> None:
    where, old, new, calls = world(seed)
    records = where.run(old, calls[:120], luck=1)
    kept, anew = (simulated(new, records, keeps=keeps) for keeps in (True, False))
    assert kept.outcomes == anew.outcomes
    assert kept.both.new.cost == anew.both.new.cost


@settings(max_examples=8, deadline=None)
@given(st.integers(300, 360))
def test_the_same_configuration_changes_nothing(seed: int) -> None:
    where, old, _, calls = world(seed)
    told = simulated(copy.deepcopy(old), where.run(old, calls[:120], luck=1))
    both = told.both
    assert both.moved == 0 and not told.result.moves
    assert both.new_both == both.old_both
    assert (both.new.refused, both.new.degraded, both.new.hits) == (
        both.old.refused,
        both.old.degraded,
        both.old.hits,
    )
    assert both.new.members == both.old.members


def called(number: int, member: str, usage: Usage, **more: Any) -> Recorded:
    at_s = BEGUN_S + number
    tried = Tried(member, 200, 100.0, at_s, usage=usage, usage_state=EXACT)
    call = Recorded(
        request_id_of(int(at_s * 1000), number.to_bytes(10)),
        at_s,
        100.0,
        attempts=(tried,),
        member=member,
        attempts_made=1,
        context_tokens=1_000,
        outcome="ok",
        cost=Amount(1),
        dialect="openai-chat",
    )
    for name, value in more.items():
        setattr(call, name, value)
    return call


def test_tokens_are_learned_from_lots() -> None:
    """Calls of the one pool are long, those of the other short: only what a lot decided compares members."""
    learner, draw = Learner(), random.Random(1)
    both = (Chance("a/x", 0.5), Chance("b/y", 0.5))
    for number in range(400):
        member = draw.choice(["a/x", "b/y"])
        factor = 1.25 if member == "b/y" else 1.0
        prompt, written = 1_000 * factor * draw.uniform(0.95, 1.05), 200 * factor * draw.uniform(0.5, 1.5)
        usage = Usage(round(prompt), output=round(written))
        learner.take(called(number, member, usage, eligible=both))
        learner.take(called(1_000 + number, "a/x", Usage(90_000, output=9), eligible=(Chance("a/x", 1.0),)))
    learned = learner.learned()
    for ratio in learned.ratios("a/x", "b/y"):
        assert ratio.how == "lots"
        assert abs(ratio.value - 1.25) < 3 * ratio.error * 1.25 + 0.01
    assert learned.ratios("a/x", "c/x")[0].how == "same"
    assert learned.ratios("a/x", "c/z")[0].how == "unknown"


def test_a_shadow_makes_a_pair() -> None:
    learner = Learner()
    for number in range(30):
        first = called(number, "a/x", Usage(1_000 + number, output=100))
        shadow = called(500 + number, "b/y", Usage(2 * (1_000 + number), output=50))
        shadow.purpose, shadow.shadow_of = "shadow", first.request_id
        learner.take(first)
        learner.take(shadow)
    prompts, answers = learner.learned().ratios("a/x", "b/y")
    assert (prompts.how, answers.how) == ("pairs", "pairs")
    assert (round(prompts.value, 6), round(answers.value, 6)) == (2.0, 0.5)
    assert prompts.error < 1e-6


def test_a_conversation_that_moves_is_read_anew_once() -> None:
    rates = Rates(input=10**6, cache_read=10**5, output=0)
    reckoner = Reckoner(book_of({("b", "x"): (Price(Scale(rates)),)}), Learner().learned())
    call, prompts = called(1, "a/x", Usage(100, cache_read=900)), Prompts()
    used = call.usage
    assert used is not None
    found = []
    for at_s in (BEGUN_S, BEGUN_S + 60, BEGUN_S + 1_000):
        cold = prompts.cold("c", "b/x", at_s)
        reckoned = reckoner.at(call, used, "b/x", at_s, cold)
        assert reckoned is not None
        found.append(reckoned.total)
        prompts.sent("c", (("b/x", 1.0),), at_s)
    assert found == [1_000, 190, 1_000]  # warm the second time, forgotten by the third
    prompts.sent("d", (("b/x", 0.5),), BEGUN_S)
    assert prompts.cold("d", "b/x", BEGUN_S + 1) == 0.5


def test_a_shared_cache_needs_fingerprints() -> None:
    """Calls that come into a pool with a cache from one without: which of them are equal is not known."""
    where, old, _, calls = world(7)
    new = copy.deepcopy(old)
    new["rules"] = [{"name": "all", "match": {"team": "!nobody"}, "pool": "kept"}]
    records = where.run(old, calls[:100], luck=1)
    told = simulated(new, records)
    assert told.both.new.hits <= sum(1 for record in records if record.fingerprint)
    assert told.unfingerprinted > 0


def test_who_is_gone_is_refused() -> None:
    where, old, _, calls = world(8)
    new = copy.deepcopy(old)
    del new["callers"][0]
    told = simulated(new, where.run(old, calls[:60], luck=1))
    gone = [told.outcomes[call.at_s] for call in calls[:60] if call.caller == "anna"]
    assert gone and all((one.kind, one.code) == (REFUSED, "invalid_api_key") for one in gone)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_times_are_those_of_the_new_shares(share: float) -> None:
    """A member with 5 in 100 calls that shall have all: the weighed mean is its own, and worth what it is."""
    draw, weighed = random.Random(2), Weighed()
    for _ in range(4_000):
        if draw.random() < share:
            weighed.add(1.0 / share, draw.gauss(500, 50))
    told = weighed.again()
    assert told is not None
    assert told.interval.contains(500)
    assert abs(told.effective_n - 4_000 * share) < 4_000 * share * 0.3
