"""Scores of a rollout → the catalog's: who can score where, and what that may cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core.budgets import NANO_DOLLARS, Budget
from ..core.catalog import Condition, Op, Pool
from ..core.trials import SCORE, Scorer, Scores, Stage
from .merge import Merged
from .scorer_schema import ScorerIn
from .scorers import check_scorers, name_of
from .trial_schema import ScoresIn
from .yamltext import Path

_RIGHT_STAGE = "give stages with shadow `scores` of their own for it"
_RIGHT_ALONE = (
    "for stages with share give json by a schema, regex, rubric, python, or a judge with grade: true"
)


def scores_of(said: ScoresIn, name: str, pool: str) -> tuple[Scores, Budget | None]:
    """(the scores, what they may cost: None where nothing is said)"""
    by = tuple(Scorer(name_of(one), one.kind, one.pool or "", _text(one)) for one in said.by)
    scores = Scores(name, pool, by, said.share)
    if said.budget is None or not scores.asks:
        return scores, None
    conditions = (Condition("caller", Op.IN, (scores.caller,)), Condition("agent", Op.IN, (name,)))
    limit, window = said.budget
    return scores, Budget(f"{SCORE}:{name}", limit, NANO_DOLLARS, window, conditions=conditions)


def _text(one: ScorerIn) -> str:
    tree = one.model_dump(by_alias=True, exclude_unset=True)
    return json.dumps(_with_names(tree), sort_keys=True, ensure_ascii=False)


def _with_names(value: Any) -> Any:
    """With keys that are text: YAML has others, and they know no order."""
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(name): _with_names(one) for name, one in value.items()}
    return [_with_names(one) for one in value] if isinstance(value, list) else value


def check_scores(
    merged: Merged,
    path: Path,
    said: ScoresIn,
    pools: Mapping[str, Pool],
    arms: Sequence[str],
    stages: Sequence[Stage],
    numbers: Sequence[int],
) -> None:
    """`arms`: the pools whose answers are compared; `stages`: those that these scores are for, and their
    `numbers`. What is wrong is noted."""
    check_scorers(merged, (*path, "by"), said.by, [name for name, pool in pools.items() if not pool.is_made])
    looked_at = [(n, s) for n, s in zip(numbers, stages, strict=True) if s.gates.quality_ppm is not None]
    if not looked_at:
        wrong = "no gate looks at scores"
        merged.wrong(path, wrong, "add e.g. gates: {quality: 5%}, or leave them out")
    asks = any(one.pool for one in said.by)
    if asks and said.budget is None:
        merged.warn(path, "nothing bounds what judges cost", "add e.g. budget: $10/day")
    elif not asks and said.budget is not None:
        merged.wrong((*path, "budget"), "these scorers ask nobody, and cost nothing", "leave it out")
    shares = [number for number, stage in looked_at if stage.shadow is None]
    for index, one in enumerate(said.by):
        here: Path = (*path, "by", index)
        if one.weight == 0 and any(other.weight for other in said.by):
            wrong = "a weight of 0 is only told, and a rollout tells nobody"
            merged.wrong((*here, "weight"), wrong, "give it a weight, or leave it out")
        if shares and (needs := _needs(one)):
            wrong = f"{needs}, and in stages with share (stages[{shares[0]}] is one) each call has one answer"
            merged.wrong(here, wrong, f"{_RIGHT_ALONE}; {_RIGHT_STAGE}")
        if one.kind == "judge" and one.pool and not one.allow_candidates:
            _check_judge(merged, here, one.pool, pools, arms)


def _needs(one: ScorerIn) -> str:
    """What it can't do without; "" where one answer is enough."""
    if one.kind in ("exact", "similarity", "tools"):
        return f"{one.kind} holds an answer against another one"
    if one.kind == "json" and one.fields:
        return "json with fields holds them against another answer's"
    if one.kind == "judge" and not one.grade:
        return "judge compares two answers unless it gives grades"
    return ""


def _check_judge(
    merged: Merged, path: Path, judge: str, pools: Mapping[str, Pool], arms: Sequence[str]
) -> None:
    judges = set(_members(judge, pools))
    for arm in arms:
        if both := judges & set(_members(arm, pools)):
            wrong = f"{sorted(both)[0]} would judge itself: it answers in {arm}, too"
            merged.wrong((*path, "pool"), wrong, "give another pool, or say `allow_candidates: true`")
            return


def _members(name: str, pools: Mapping[str, Pool]) -> Iterator[str]:
    """All that may answer in its place, too."""
    todo, seen = [name], set[str]()
    while todo:
        at = todo.pop()
        if at in seen or (pool := pools.get(at)) is None:
            continue
        seen.add(at)
        yield from (member.id for member in pool.members)
        todo += [action for _, action in pool.on if isinstance(action, str) and action in pools]
