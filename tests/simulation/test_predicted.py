"""Predicted is real: traffic under an old policy, a new one simulated on its records, and the same traffic
under the new one."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from modelbroker.budgets.calendars import spans
from modelbroker.core.record import HIT, JOINED, Record
from modelbroker.policy.ceilings import Ceilings
from modelbroker.policy.estimates import Estimates
from modelbroker.policy.seats import Plan
from modelbroker.simulation.deciding import view_of
from modelbroker.simulation.learning import Learned, Learner
from modelbroker.simulation.policies import CACHE, MEMBER, REFUSED, Outcome, Replay
from modelbroker.simulation.reckoning import Reckoner
from modelbroker.simulation.recorded import Recorded, decode
from modelbroker.simulation.run import NO_STAGES, History, Policy, Result, Run
from modelbroker.simulation.sums import Both, rolled_up
from modelbroker.stats import Weighted
from support.worlds import BEGUN_S, Asked, Member, World, key_of, loaded

NAMES = ("a/ant", "b/big", "b/small", "c/other", "r/resp")
CALLERS = ("anna", "ben", "carl", "dora")
WORLDS, CALLS = int(os.environ.get("MODELBROKER_WORLDS", "36")), 300
NEEDED = 0.9  # of the intervals that are stated


def policy(draw: random.Random) -> dict[str, Any]:
    """An old policy."""

    def member(name: str) -> dict[str, Any]:
        provider, model = name.split("/")
        return {"provider": provider, "model": model, "weight": draw.choice([10, 30, 60])}

    def pool(name: str, least: int) -> dict[str, Any]:
        chosen = draw.sample(NAMES, draw.randint(least, 3))
        return {"name": name, "members": [member(one) for one in chosen], "ejection": "off"}

    pools = [pool("everyday", 2), pool("premium", 1), pool("long", 1), {**pool("kept", 1), "cache": True}]
    pools[3]["cache"] = {"scope": draw.choice(["team", "all"]), "ttl": "30m"}
    if draw.random() < 0.3:
        pools[0]["routing"] = "cheapest"
    if draw.random() < 0.3:
        pools[1]["affinity"] = {"by": "user"}
    return {
        "facts": {"headers": {"task": "x-task"}},
        "callers": [
            {
                "name": name,
                "key": {"sha256": key_of(name)},
                "team": "red" if place < 2 else "blue",
                "tier": draw.choice(["premium", "standard"]),
                "trusted_for": ["feature"],
            }
            for place, name in enumerate(CALLERS)
        ],
        "pools": pools,
        "rules": draw.sample(
            [
                {"name": "long", "match": {"context.tokens": ">600"}, "pool": "long"},
                {"name": "premium", "match": {"tier": "premium", "model": "everyday"}, "pool": "premium"},
                {"name": "coding", "match": {"task": "code-*"}, "pool": "long"},
                {"name": "streams", "match": {"stream": True, "team": "blue"}, "pool": "premium"},
                {"name": "tools", "match": {"tools": True}, "deny": "no tools"},
            ],
            3,
        ),
        "prices": [
            {
                "provider": name.split("/")[0],
                "model": name.split("/")[1],
                "input": draw.choice([1, 2, 3]),
                "cache_read": 0.25,
                "output": draw.choice([4, 8, 15]),
            }
            for name in NAMES
        ],
        "rate_limits": [{"name": "calls", "by": "caller", "calls": f"{draw.choice([20, 40, 400])}/h"}],
    }


def changed(old: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """A new one."""
    new = copy.deepcopy(old)
    pools, rules = new["pools"], new["rules"]
    for _ in range(draw.randint(1, 3)):
        match draw.randrange(8):
            case 0:
                draw.choice([rule for rule in rules if "pool" in rule])["pool"] = draw.choice(pools[:3])[
                    "name"
                ]
            case 1:
                draw.choice(draw.choice(pools)["members"])["weight"] = draw.choice([10, 30, 60])
            case 2:
                members = draw.choice(pools)["members"]
                if len(members) > 1:
                    members.pop()
            case 3:
                rules.pop()
                rules.append(
                    {"name": "new", "match": {"team": "red"}, "pool": draw.choice(pools[:3])["name"]}
                )
            case 4:
                new["rate_limits"][0]["calls"] = f"{draw.choice([10, 60])}/h"
            case 5:
                pools[3]["cache"]["scope"] = "all"
            case 6:
                pools[1].pop("affinity", None)
                pools[0].pop("routing", None)
            case _:
                step = [{"60%": {"degrade": "long"}}, {"100%": "deny"}]
                new["budgets"] = [
                    {"name": "b", "by": "team", "amount": "300 calls", "per": "rolling 24h", "at": step}
                ]
    return new


def without_kept(config: dict[str, Any]) -> dict[str, Any]:
    """Calls for the pool with a cache are told by no rule: of those that come from another pool it is not
    known which are equal (test_run.py)."""
    for rule in config["rules"]:
        rule["match"] = {"model": "!kept", **rule["match"]}
    return config


def traffic(draw: random.Random) -> list[Asked]:
    at_s, calls = BEGUN_S, []
    for number in range(CALLS):
        at_s += draw.expovariate(1 / 30)
        dialect = draw.choice(["openai-chat", "openai-chat", "openai-responses", "anthropic-messages"])
        model = draw.choice(["everyday", "everyday", "premium", "kept"])
        text = f"{draw.randrange(12)} " + "word " * draw.choice([5, 50, 400, 700])
        body: dict[str, Any] = {"model": model}
        if model == "kept":
            dialect, body["temperature"] = "openai-chat", 0
            text = f"{draw.randrange(12)} same"
        elif draw.random() < 0.4:
            body["stream"] = True
        if dialect == "openai-responses":
            body["input"] = text
            body["store"] = False
        else:
            body["messages"] = [{"role": "user", "content": text}]
        if dialect == "anthropic-messages" or draw.random() < 0.2:
            body["max_output_tokens" if dialect == "openai-responses" else "max_tokens"] = 4_000
        if model == "premium" and dialect != "anthropic-messages":
            body["user"] = f"user{draw.randrange(6)}"
        headers = (("x-task", "code-review"),) if draw.random() < 0.1 else ()
        calls.append(Asked(number, at_s, draw.choice(CALLERS), dialect, body, headers))
    return calls


class Told(NamedTuple):
    result: Result
    learned: Learned
    outcomes: dict[float, Outcome]
    unfingerprinted: int

    @property
    def both(self) -> Both:
        return rolled_up(self.result.groups, None)[""]


def lines_of(records: list[Record]) -> list[Recorded]:
    """As the journal has them, in the order of time."""
    return sorted((decode(msgspec.json.encode(record)) for record in records), key=lambda call: call.at_ms)


def simulated(
    config: dict[str, Any],
    records: list[Record],
    *,
    keeps: bool = True,
    stages: Mapping[str, str] = NO_STAGES,
) -> Told:
    found = loaded(config)
    catalog, book = found.catalog, found.prices
    view = view_of(
        catalog,
        estimates=Estimates(book),
        ceilings=Ceilings(book),
        plan=Plan(catalog.budgets) if catalog.budgets else None,
    )
    calls = lines_of(records)
    learner = Learner()
    for call in calls:
        learner.take(call)
    learned = learner.learned()
    reckoner = Reckoner(book, learned)
    replay = Replay(view, spans, keeps=keeps)
    run = Run(History(reckoner), Policy(replay, reckoner, learned, stages))
    outcomes = {}
    for call in calls:
        judged = run.take(call)
        assert (judged is None) == bool(call.purpose)
        if judged is None:
            continue
        outcomes[call.started_s] = judged[1].outcome
    return Told(run.result, learned, outcomes, replay.unfingerprinted)


def routed(record: Record) -> tuple[Any, ...]:
    if record.cache in (HIT, JOINED):
        return CACHE, record.rule, record.pool, "", "", None
    if record.outcome == "refused":
        return REFUSED, record.rule, record.pool, record.code, record.degraded_from, None
    members = frozenset(one.member for one in record.eligible if one.chance > 0)
    return MEMBER, record.rule, record.pool, "", record.degraded_from, members


def predicted(outcome: Outcome) -> tuple[Any, ...]:
    members = frozenset(member for member, _ in outcome.shares) if outcome.kind == MEMBER else None
    return outcome.kind, outcome.rule, outcome.pool, outcome.code, outcome.degraded_from, members


class Held(NamedTuple):
    """What a world said: whether each figure was in its interval; None: no interval was stated."""

    cost: bool | None
    whole: bool | None
    first: bool | None
    width: float
    cost_off: float
    assumed: float
    by_mean: float


def within(told: Weighted | None, values: list[float]) -> bool | None:
    if told is None or not values:
        return None
    return told.interval.contains(sum(values) / len(values))


def world(seed: int) -> tuple[World, dict[str, Any], dict[str, Any], list[Asked]]:
    draw = random.Random(seed)
    members = {
        name: Member(
            draw.uniform(0.8, 1.3),
            draw.uniform(0.6, 1.5),
            draw.uniform(100, 900),
            draw.uniform(1, 20),
            draw.random() < 0.5,
        )
        for name in NAMES
    }
    old = policy(draw)
    new = changed(old, draw)
    return World(seed, members), without_kept(old), without_kept(new), traffic(draw)


def meet(seed: int) -> Held:
    """Routing is held call by call here."""
    where, old, new, calls = world(seed)
    told = simulated(new, where.run(old, calls, luck=1))
    real = where.run(new, calls, luck=2)
    assert len(real) == len(calls)
    for record in real:
        assert predicted(told.outcomes[record.started_s]) == routed(record), record
        outcome = told.outcomes[record.started_s]
        if outcome.kind == MEMBER and len(outcome.shares) == 1:
            assert record.member == outcome.shares[0][0]
    side = told.both.new
    cost = side.cost_interval(told.learned)
    spent = sum(record.cost.total or 0 for record in real if record.cost is not None)
    answered = [record for record in real if record.attempts]
    return Held(
        cost.contains(spent) if side.assumed(told.learned) < cost.value / 100 else None,
        within(side.latency(side.whole), [record.duration_ms for record in answered]),
        within(
            side.latency(side.first), [record.first_byte_ms or 0.0 for record in answered if record.stream]
        ),
        (cost.high - cost.low) / 2 / cost.value if cost.value else 0.0,
        cost.value / spent - 1 if spent else 0.0,
        side.assumed(told.learned) / cost.value if cost.value else 0.0,
        side.by_mean / cost.value,
    )


def test_predicted_is_real() -> None:
    met = [meet(seed) for seed in range(WORLDS)]
    for name, least in (("cost", 0.5), ("whole", 0.4), ("first", 0.4)):
        stated = [value for one in met if (value := getattr(one, name)) is not None]
        assert len(stated) >= WORLDS * least, name
        assert sum(stated) >= len(stated) * NEEDED, name
    # An interval that holds everything would say nothing.
    widths = sorted(one.width for one in met)
    assert widths[len(widths) // 2] < 0.1
