"""What is wrong with scorers, whoever names them: a suite of evaluations, or a rollout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..core.jsonschema import mistake_in
from .merge import Merged
from .problems import listing, show, suggestion
from .scorer_schema import SLICES, ScorerIn
from .yamltext import Path

_BOUNDS = ("at_most", "at_least")
_CHECKS = ("says", "says_not", *_BOUNDS)
_OWN = {
    "exact": {"case"},
    "json": {"schema_", "fields"},
    "tools": {"arguments"},
    "similarity": {"pool"},
    "regex": {"pattern"},
    "rubric": {"rubric"},
    "judge": {"pool", "criteria", "grade", "allow_candidates"},
    "python": {"function"},
}
_NEEDS = {"regex": "pattern", "rubric": "rubric", "judge": "pool", "python": "function"}
_COMMON = {"kind", "name", "weight", "match"}


def name_of(scorer: ScorerIn) -> str:
    return scorer.name or scorer.kind


def check_scorers(
    merged: Merged, path: Path, scorers: Sequence[ScorerIn], pools: Iterable[str] | None
) -> None:
    """Notes it. `pools`: the names that there are; None: they are not looked up."""
    names: set[str] = set()
    known = list(pools) if pools is not None else None
    for i, one in enumerate(scorers):
        here: Path = (*path, i)
        name = name_of(one)
        if name in names:
            merged.wrong((*here, "name"), f"a scorer {show(name)} is there already", "give each its own name")
        names.add(name)
        for slice_name in one.match:
            check_slice(merged, (*here, "match", slice_name), slice_name)
        _check_own(merged, here, one)
        if one.schema_ is not None and (mistake := mistake_in(one.schema_)):
            merged.wrong((*here, "schema"), f"is no JSON schema: {mistake}", "mend it")
        if one.pool and known is not None and one.pool not in known:
            right = suggestion(one.pool, known, f"the pools are {listing(known)}")
            merged.wrong((*here, "pool"), f"there is no pool {show(one.pool)}", right)
    if all(one.weight == 0 for one in scorers):
        merged.wrong(path, "all weights are 0: there would be no quality", "give one of them a weight")


def check_slice(merged: Merged, path: Path, name: str) -> None:
    if name not in SLICES:
        merged.wrong(
            path,
            f"nothing can be told apart by {show(name)}",
            suggestion(name, SLICES, f"give {listing(SLICES)}"),
        )


def _check_own(merged: Merged, path: Path, one: ScorerIn) -> None:
    for name in one.model_fields_set - _COMMON - _OWN[one.kind]:
        shown = name.rstrip("_")
        merged.wrong(
            (*path, shown), f"{one.kind} has no {show(shown)}", f"it has {listing(sorted(_OWN[one.kind]))}"
        )
    needed = _NEEDS.get(one.kind)
    if needed and not getattr(one, needed):
        merged.wrong(path, f"{one.kind} needs {needed}", f"add `{needed}`")
    _check_pattern(merged, (*path, "pattern"), one.pattern)
    for i, check in enumerate(one.rubric):
        here = (*path, "rubric", i)
        ways = check.keys() - {"weight"}
        if len(ways) != 1 or not ways <= set(_CHECKS):
            merged.wrong(
                here, "is no check", f"give one of {listing(_CHECKS)}, with a `weight` where you like"
            )
            continue
        way = next(iter(ways))
        value, weight = check[way], check.get("weight", 1)
        if way in _BOUNDS and (not isinstance(value, int) or isinstance(value, bool)):
            merged.wrong((*here, way), f"{show(value)} is no number of characters", "give e.g. 600")
        elif way not in _BOUNDS and not isinstance(value, str):
            merged.wrong((*here, way), f"{show(value)} is not text", "give a regular expression")
        elif way not in _BOUNDS:
            _check_pattern(merged, (*here, way), value)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
            merged.wrong((*here, "weight"), f"{show(weight)} is no weight", "give a number from 0 on")


def _check_pattern(merged: Merged, path: Path, pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        merged.wrong(path, f"is no regular expression: {error}", "see Python's `re`")
