"""What a simulation says, as a tree of plain values: reports, JSON and gates are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.prices import dollars
from ..stats import Interval
from .learning import Learned
from .run import BY, Result
from .sums import LEAST_EFFECTIVE, MOST_UNTRIED, Both, Side, Weighed, rolled_up

MOST_MOVES = 30
MOST_GROUPS = 50
# What figures are told of, by the words of `--fail-if`, and in what: money, ms or calls.
METRICS: Mapping[str, str] = {
    "cost": "money",
    "first_event": "ms",
    "latency": "ms",
    "refusals": "calls",
    "degradations": "calls",
    "cache_hits": "calls",
    "moved": "calls",
}
Tree = dict[str, Any]
# Only streams have a first event. Whether calls overlap is then beside the point.
NO_STREAMS = "no streams here"


def figures(result: Result, learned: Learned) -> Tree:
    """All of it. Money is whole nano-dollars; `low` to `high` holds what is met if the same calls come again
    under the new policy, in 95 of 100 cases; null: not known, and `why` says it."""
    total = rolled_up(result.groups, None).get("", Both())
    by: Tree = {}
    for place, name in enumerate(BY):
        groups = rolled_up(result.groups, place)
        ranked = sorted(groups.items(), key=lambda one: (-one[1].calls, one[0]))
        if len(groups) > 1 or (groups and "" not in groups):
            by[name] = {key: of_group(both, learned) for key, both in ranked[:MOST_GROUPS]}
            if len(ranked) > MOST_GROUPS:
                rest = Both()
                for _, both in ranked[MOST_GROUPS:]:
                    rest.merge(both)
                by[name]["(others)"] = of_group(rest, learned)
    return {
        "calls": result.calls,
        "since_ms": result.first_ms,
        "until_ms": result.last_ms,
        "total": of_group(total, learned),
        "by": by,
        "moves": _moves(result),
        "members": _members(total),
        "refusals": [
            {"old": old or None, "new": new or None, "calls": calls}
            for (old, new), calls in sorted(result.codes.items(), key=lambda one: -one[1])[:MOST_MOVES]
        ],
        "tokens": _tokens(total.new, learned),
    }


def of_group(both: Both, learned: Learned) -> Tree:
    old, new = both.old, both.new
    return {
        "calls": both.calls,
        "moved": {
            **_count(0, both.moved),
            "rule": both.moved_rule,
            "pool": both.moved_pool,
            "member": round(both.moved_member, 1),
        },
        "cost": _cost(both, learned),
        "first_event": _latency(old, new, old.first, new.first)
        | ({} if both.streams else {"why": NO_STREAMS}),
        "latency": _latency(old, new, old.whole, new.whole),
        "refusals": _count(old.refused, new.refused),
        "degradations": _count(old.degraded, new.degraded),
        "cache_hits": _count(old.hits, new.hits),
    }


def _count(old: int, new: int) -> Tree:
    """Replayed, and so without an interval."""
    return {"old": old, "new": new, "low": new, "high": new, "change": new - old, **_relative(old, new)}


def _relative(old: float, new: float, low: float | None = None, high: float | None = None) -> Tree:
    if not old:
        same = 0.0 if not new else None
        return {"change_ppm": same, "change_low_ppm": same, "change_high_ppm": same}
    low, high = new if low is None else low, new if high is None else high
    told = {"change_ppm": new, "change_low_ppm": low, "change_high_ppm": high}
    return {name: round((value / old - 1) * 1_000_000) for name, value in told.items()}


def _cost(both: Both, learned: Learned) -> Tree:
    """Of calls of which both costs are known. `unknown` counts the others; `assumed` is the part of the new
    cost in which a member's tokens are not known, and as many are taken as were recorded; `by_mean`: where
    nothing was recorded, and a mean stands for it. Neither is in the interval's width."""
    old, new = both.old_both, both.new_both
    whole = both.new.cost_interval(learned)
    half = (whole.high - whole.low) / 2
    low, high = max(0.0, new - half), new + half
    assumed = both.new.assumed(learned)
    return {
        "old": round(old),
        "new": round(new),
        "low": round(low),
        "high": round(high),
        "change": round(new - old),
        **_relative(old, new, low, high),
        "old_usd": _usd(old),
        "new_usd": _usd(new),
        "unknown": max(both.old.unknown, both.new.unknown),
        "assumed": round(assumed),
        "by_mean": round(both.new.by_mean),
    }


def _usd(nano: float) -> str:
    return dollars(round(nano))


def _latency(old: Side, new: Side, had: Weighed, has: Weighed) -> Tree:
    """Means, in ms, of calls that members answered well."""
    was, now = old.latency(had), new.latency(has)
    before = was.interval if was is not None else None
    told: Tree = {
        "old": _ms(before),
        "new": None,
        "low": None,
        "high": None,
        "change": None,
        "change_ppm": None,
        "change_low_ppm": None,
        "change_high_ppm": None,
        "effective": None,
        "from_copies": None,
        "why": _why(new, has),
    }
    if now is None:
        return told
    after = now.interval
    told |= {"new": _ms(after), "low": round(after.low, 1), "high": round(after.high, 1), "why": None}
    told["effective"] = round(now.effective_n, 1)
    told["from_copies"] = round(has.foretold_share, 4)
    if before is not None:
        told["change"] = round(after.value - before.value, 1)
        told |= _relative(before.value, after.value, after.low, after.high)
    return told


def _ms(interval: Interval | None) -> float | None:
    return round(interval.value, 1) if interval is not None else None


def _why(side: Side, weighed: Weighed) -> str | None:
    """Why there is no figure."""
    if not side.sent:
        return "no call goes to a member"
    if side.untried_share > MOST_UNTRIED:
        return (
            f"not enough overlap: {side.untried_share:.0%} of these calls would go where none like them went"
        )
    found = weighed.again()
    if found is None:
        return "no call to learn it from"
    if found.effective_n < LEAST_EFFECTIVE:
        return (
            f"not enough overlap: {weighed.n} calls are worth {found.effective_n:.0f}, "
            f"and fewer than {LEAST_EFFECTIVE:.0f} tell nothing"
        )
    return None


def _moves(result: Result) -> list[Tree]:
    ranked = sorted(result.moves.items(), key=lambda one: (-one[1], one[0]))
    return [
        {
            "old": {"rule": move.old_rule, "pool": move.old_pool},
            "new": {"rule": move.new_rule, "pool": move.new_pool},
            "calls": calls,
        }
        for move, calls in ranked[:MOST_MOVES]
    ]


def _members(both: Both) -> list[Tree]:
    """Calls at each member's first attempt: as they were, and as they are expected."""
    old, new = both.old.members, both.new.members
    names = sorted({*old, *new}, key=lambda name: (-max(old.get(name, 0), new.get(name, 0)), name))
    return [
        {"member": name, "old": round(old.get(name, 0.0), 1), "new": round(new.get(name, 0.0), 1)}
        for name in names
    ]


def _tokens(side: Side, learned: Learned) -> list[Tree]:
    """Of moved calls: how many tokens the new member is taken to count and write, to those of the old one."""
    ranked = sorted(side.tokens.items(), key=lambda one: (-sum(one[1]), one[0]))
    told = []
    for (source, member), (prompt, answer) in ranked[:MOST_MOVES]:
        prompts, answers = learned.ratios(source, member)
        one: Tree = {"from": source, "to": member, "cost": round(prompt + answer), "how": answers.how}
        for name, ratio in (("prompt", prompts), ("answer", answers)):
            one[name] = {
                "ratio": round(ratio.value, 4),
                "low": round(ratio.value * (1 - 1.96 * ratio.error), 4),
                "high": round(ratio.value * (1 + 1.96 * ratio.error), 4),
                "calls": ratio.calls,
            }
        told.append(one)
    return told
