"""Who can't be asked, for want of a credential: known before any money is spent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .overlay import Stage, pool_of
from .suite import Suite


class Lacks(NamedTuple):
    """`wrong`: of candidates, and judges, that nobody can answer for. `notes`: of those that lack a part."""

    wrong: tuple[str, ...]
    notes: tuple[str, ...]


def lacks(status: Mapping[str, Any], stage: Stage, suite: Suite) -> Lacks:
    """By the status of the stage's broker."""
    out = {pool["name"]: _out(pool) for pool in status.get("pools") or ()}
    wrong, notes = [], []
    for who, pools in _asked(stage, suite, tuple(out)):
        members = [one for pool in pools for one in out.get(pool, {}).items()]
        without = {name: why for name, why in members if why is not None}
        told = "; ".join(f"{name}: {why}" for name, why in without.items())
        if without and len(without) == len(dict(members)):
            wrong.append(f"{who} can't be asked: {told}")
        elif without:
            notes.append(f"{who} is asked without some of its members: {told}")
    return Lacks(tuple(wrong), tuple(notes))


def may_come(status: Mapping[str, Any]) -> bool:
    """Whether a secret is missing that its store or file may have yet."""
    return any(one["state"] == "missing" for one in status.get("secrets") or ())


def _out(pool: Mapping[str, Any]) -> dict[str, str | None]:
    return {member["id"]: member["out"] for member in pool["members"]}


def _asked(stage: Stage, suite: Suite, every: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(who, pools that may answer). Of a whole configuration any may: its rules say which."""
    for one in stage.candidates:
        yield f"candidate {one.name}", every if stage.config else (one.pool or pool_of(one),)
    for scorer in suite.scorers:
        if scorer.pool and not stage.config:
            yield f"scorer {scorer.kind}", (scorer.pool,)
