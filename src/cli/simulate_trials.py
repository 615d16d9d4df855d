"""What a simulation's report says of rollouts and shadows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..simulation.stages import AT, RECORDED

Section = tuple[str, Sequence[str], list[tuple[str, ...]], int]
Amount = Callable[[str, float | None], str]


def trial_sections(tree: Mapping[str, Any], amount: Amount) -> Iterator[Section]:
    """(title, head, rows, how many columns are text)"""
    if tree["rollouts"]:
        head = ("ROLLOUT", "OLD", "NEW", "ITS CALLS", "CANDIDATE'S", "ITS NEW CALLS", "CANDIDATE'S")
        rows: list[tuple[str, ...]] = [
            (
                one["rollout"],
                _standing(one["old"]),
                _standing(one["new"]),
                *_calls(one["old"]),
                *_calls(one["new"]),
            )
            for one in tree["rollouts"]
        ]
        yield "Rollouts", head, rows, 3
    if tree["shadows"]:
        head = ("SHADOW", "COPIES", "COST", "NEW COPIES", "BEYOND ITS BUDGET", "NEW COST", "95 %")
        yield "Shadows (in no figure but these)", head, [_shadow(one, amount) for one in tree["shadows"]], 1


def _standing(side: Mapping[str, Any] | None) -> str:
    if side is None:
        return "-"
    stages = " → ".join(side["stages"])
    if side["how"] == RECORDED:
        return f"as recorded: {stages}"
    return f"at {stages}" if side["how"] == AT else "off"


def _calls(side: Mapping[str, Any] | None) -> tuple[str, str]:
    return (f"{side['calls']:,}", f"{side['candidate']:,.0f}") if side is not None else ("-", "-")


def _shadow(one: Mapping[str, Any], amount: Amount) -> tuple[str, ...]:
    old, new = one["old"], one["new"]
    had = (f"{old['sent']:,}", _cost(old, amount)) if old is not None else ("?", "?")
    bounds = ""
    if new["low"] is not None and new["low"] != new["high"]:
        bounds = f"{amount('cost', new['low'])} to {amount('cost', new['high'])}"
    beyond = new["over"] + new["paused"]
    return (one["shadow"], *had, f"{new['sent']:,}", f"{beyond:,}", _cost(new, amount), bounds)


def _cost(side: Mapping[str, Any], amount: Amount) -> str:
    """Of what is known; where nothing is, nothing can be said."""
    if side["unknown"] and side["unknown"] == side["sent"]:
        return "?"
    return amount("cost", side["cost"])


def trial_notes(tree: Mapping[str, Any], amount: Amount) -> Iterator[str]:
    if share := max(tree["total"][metric]["from_copies"] or 0.0 for metric in ("latency", "first_event")):
        yield (
            f"{share:.0%} of the calls that the new times are of would go where none like them went: their "
            "times are reckoned from copies that shadows got, behind the calls and under another load, which "
            "is not in the interval"
        )
    for one in tree["rollouts"]:
        new = one["new"]
        if new is not None and new["how"] == AT:
            yield (
                f"the rollout {one['rollout']} is taken to be at {new['stages'][0]} all the time: say "
                "--rollout-stage for another stage"
            )
            if 0 < new["candidate"] < new["calls"]:
                yield (
                    "whose a call is there is a lot by session, and counted as a chance: "
                    f"{new['candidate']:,.0f} of {new['calls']:,} are expected to be the candidate's"
                )
    for one in tree["shadows"]:
        new = one["new"]
        if new["unknown"]:
            yield f"the cost of {new['unknown']} copies for {one['shadow']} is not known"
        if new["assumed"]:
            yield (
                f"of {amount('cost', new['assumed'])} of the copies for {one['shadow']} the tokens at their "
                "member are assumed, beyond the interval"
            )
        if one["old"] is None:
            yield f"with --where it is not known which recorded copies for {one['shadow']} are meant"
