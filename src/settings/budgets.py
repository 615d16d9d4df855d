"""The budgets and rate limits of a configuration → the catalog's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..core.budgets import (
    CALLS,
    CONCURRENCY,
    DEGRADE,
    DENY,
    NANO_DOLLARS,
    SCOPES,
    TOKENS,
    WARN,
    Budget,
    Fleet,
    Window,
)
from ..core.catalog import Condition, Op
from ..core.globs import glob_matches
from . import amounts, match
from .budgeting import BudgetIn, RateLimitIn, RedisIn
from .explain import read_list, read_one
from .merge import Merged
from .problems import listing, show, suggestion
from .yamltext import Path

_WORDS = {NANO_DOLLARS: "dollars"}  # what people write
_TEXTS = dict.fromkeys(SCOPES, "")  # for `match`: facts that are text


def budgets_of(merged: Merged, more: tuple[Budget, ...] = ()) -> tuple[tuple[Budget, ...], Fleet | None]:
    """All budgets and rate limits, and where a fleet keeps them. What is wrong is noted. `more` are those
    that other sections say."""
    budgets = read_list(merged, "budgets", BudgetIn)
    found = read_budgets(merged, budgets, read_list(merged, "rate_limits", RateLimitIn))
    redis = merged.mappings["redis"]
    entry = read_one(merged, ("redis",), RedisIn, redis) if redis else None
    return (*found, *more), read_fleet(merged, entry)


def read_budgets(
    merged: Merged, budgets: list[BudgetIn | None], rate_limits: list[RateLimitIn | None]
) -> tuple[Budget, ...]:
    """All of them, sorted by name, but who borrows before its lender. What is wrong is noted."""
    found: dict[str, Budget] = {}
    taken: dict[str, Path] = {}
    for index, entry in enumerate(budgets):
        path: Path = ("budgets", index)
        _check_steps(merged, path, merged.lists["budgets"][index])
        if entry is not None:
            _take_name(merged, (*path, "name"), entry.name, taken)
            found.setdefault(entry.name, _budget(merged, index, entry))
    for index, limit in enumerate(rate_limits):
        if limit is not None:
            path = ("rate_limits", index)
            _take_name(merged, (*path, "name"), limit.name, taken)
            for one in _rate_limits(merged, path, limit):
                found[f"{one.name} {one.unit}"] = one
    _check_lenders(merged, budgets, found)
    return _in_order(found)


def _take_name(merged: Merged, path: Path, name: str, taken: dict[str, Path]) -> None:
    if name in taken:
        wrong = f"the name {show(name)} is taken already at {{also}}"
        merged.wrong(path, wrong, "give each budget and rate limit its own name", also=taken[name])
    taken.setdefault(name, path)


def _budget(merged: Merged, index: int, entry: BudgetIn) -> Budget:
    path: Path = ("budgets", index)
    limit, unit = entry.amount
    window = entry.per
    raw: Any = merged.lists["budgets"][index]
    if window.unit:
        window = replace(window, time_zone=entry.time_zone)
    elif "time_zone" in raw:
        wrong = "a window that rolls on begins nowhere"
        merged.wrong((*path, "time_zone"), wrong, "leave it out, or say `per: day`")
    if unit != NANO_DOLLARS and "on_unknown_cost" in raw:
        merged.wrong((*path, "on_unknown_cost"), "the amount is not in dollars", "leave it out")
    if unit == CALLS and "reserve_output" in raw:
        merged.wrong((*path, "reserve_output"), "calls are counted, not what they answer", "leave it out")
    conditions = _conditions(merged, path, entry.match)
    _check_degrades(merged, path, entry, conditions)
    return Budget(
        name=f"{entry.purpose}:{entry.name}" if entry.purpose else entry.name,
        limit=limit,
        unit=unit,
        window=window,
        by=_by(merged, path, entry.by),
        conditions=conditions,
        steps=tuple(sorted(entry.at, key=lambda step: (step.ppm, step.action != WARN))),
        lender=entry.borrows_from,
        unknown_cost=entry.on_unknown_cost,
        output_tokens=entry.reserve_output or 0,
    )


def _check_steps(merged: Merged, path: Path, raw: Any) -> None:
    """Of those that can be read, whatever else is wrong with the entry."""
    said = raw.get("at") if isinstance(raw, dict) else None
    steps = [
        (index, amounts.readable_step(one))
        for index, one in enumerate(said if isinstance(said, list) else ())
    ]
    known = [(index, step) for index, step in steps if step is not None]
    pools = merged.names("pools")
    denies = sorted((step.ppm, index) for index, step in known if step.action == DENY)
    for index, step in known:
        here: Path = (*path, "at", index)
        before = [one for place, one in known if place < index]
        if step in before:
            merged.wrong(here, "says the same twice", "keep one of the two")
            continue
        if step.action == DEGRADE and step.pool not in pools:
            right = suggestion(step.pool, pools, f"the pools are {listing(pools) or 'none so far'}")
            merged.wrong(here, f"there is no pool {show(step.pool)}", right)
        if step.action == DEGRADE and any((one.ppm, one.action) == (step.ppm, DEGRADE) for one in before):
            merged.wrong(here, "calls go to two pools from the same part on", "keep one of the two")
        if not denies:
            continue
        ppm, place = denies[0]
        if step.action == DENY and index != place:
            merged.wrong(here, "denies from two parts of the limit on", "keep the lower one")
        elif step.action == DEGRADE and step.ppm >= ppm:
            wrong = f"calls are denied before they go to {step.pool}"
            merged.wrong(here, wrong, "let deny come behind degrade")
        elif step.action == WARN and step.ppm >= ppm:
            wrong = f"calls are denied from {_percent(ppm)} on, so that it hardly ever comes to this warning"
            merged.warn(here, wrong, "let deny come behind warn")


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:g}%"


def _check_degrades(merged: Merged, path: Path, entry: BudgetIn, conditions: tuple[Condition, ...]) -> None:
    """Warns where all calls of the budget are in the pool already to which they would be degraded."""
    # The empty name stands for those that a client makes up (provider/model).
    concerned = {pool for pool in ("", *merged.names("pools")) if may_hold(conditions, "pool", pool)}
    for index, step in enumerate(entry.at):
        if step.action == DEGRADE and concerned == {step.pool}:
            wrong = f"the budget is of calls that are in {step.pool} already, so none goes there"
            merged.warn((*path, "at", index), wrong, "name another pool, or leave it out")


def may_hold(conditions: Iterable[Condition], fact: str, value: str) -> bool:
    """False where what they say of this fact does not hold for the value."""
    return all(
        (
            value in one.values
            if one.op is Op.IN
            else one.op is Op.GLOB and any(glob_matches(str(pattern), value) for pattern in one.values)
        )
        != one.negated
        for one in conditions
        if one.fact == fact
    )


def _rate_limits(merged: Merged, path: Path, entry: RateLimitIn) -> list[Budget]:
    by, conditions = _by(merged, path, entry.by), _conditions(merged, path, entry.match)
    rates = [(CALLS, entry.calls), (TOKENS, entry.tokens)]
    found = [
        Budget(entry.name, rate[0], unit, rate[1], by, conditions, kind="rate_limit")
        for unit, rate in rates
        if rate is not None
    ]
    if entry.concurrency is not None:
        found.append(
            Budget(entry.name, entry.concurrency, CONCURRENCY, Window(), by, conditions, kind="rate_limit")
        )
    if not found:
        merged.wrong(path, "limits nothing", "give calls, tokens or concurrency, e.g. calls: 60/m")
    return found


def _by(merged: Merged, path: Path, facts: list[str]) -> tuple[str, ...]:
    for i, fact in enumerate(facts):
        if fact not in SCOPES:
            right = suggestion(fact, SCOPES, f"give {listing(SCOPES)}")
            merged.wrong((*path, "by", i), f"nothing can be counted by {show(fact)}", right)
        elif fact in facts[:i]:
            merged.wrong((*path, "by", i), f"{show(fact)} stands twice", "keep one")
    return tuple(fact for fact in SCOPES if fact in facts)


def _conditions(merged: Merged, path: Path, said: dict[str, Any]) -> tuple[Condition, ...]:
    known = {fact: value for fact, value in said.items() if fact in SCOPES}
    for fact in said.keys() - known.keys():
        right = suggestion(fact, SCOPES, f"give {listing(SCOPES)}")
        merged.wrong((*path, "match", fact), f"a budget can't match on {show(fact)}", right)
    conditions, problems = match.conditions(known, _TEXTS)
    for problem in problems:
        merged.wrong((*path, "match", *problem.path), problem.wrong, problem.right)
    return conditions


def _check_lenders(merged: Merged, entries: list[BudgetIn | None], found: dict[str, Budget]) -> None:
    names = merged.names("budgets")
    told: set[str] = set()  # those of whose circle it is said already
    for index, entry in enumerate(entries):
        if entry is None or not entry.borrows_from:
            continue
        path: Path = ("budgets", index, "borrows_from")
        if entry.borrows_from not in names:
            right = suggestion(entry.borrows_from, names, f"the budgets are {listing(sorted(names))}")
            merged.wrong(path, f"there is no budget {show(entry.borrows_from)}", right)
            continue
        lender = found.get(entry.borrows_from)
        if lender is None:  # it is wrong itself
            continue
        if lender.purpose or entry.purpose:
            wrong = f"{entry.borrows_from} and this one are not both of clients' calls"
            merged.wrong(("budgets", index, "borrows_from"), wrong, "leave it out")
        if lender.unit != entry.amount[1]:
            wrong = f"{lender.name} is in {_WORDS.get(lender.unit, lender.unit)}, and this one is not"
            merged.wrong(path, wrong, "borrow from a budget in the same unit")
        if "provider" in lender.by or any(one.fact == "provider" for one in lender.conditions):
            wrong = f"{lender.name} is a provider's"
            merged.wrong(path, wrong, "borrow from a budget that does not depend on the provider")
        chain = _lenders_of(entry.name, found)
        last = found.get(chain[-1])
        is_first = names[entry.name] == index and entry.name not in told
        if is_first and last is not None and last.lender == entry.name:
            told.update(chain)
            wrong = f"it would borrow from itself: {' → '.join((*chain, entry.name))}"
            right = (
                "let one of them borrow from nobody"
                if len(chain) > 1
                else "name another budget, or leave it out"
            )
            merged.wrong(path, wrong, right)


def _lenders_of(name: str, found: dict[str, Budget]) -> list[str]:
    chain: list[str] = []
    while name and name not in chain:
        chain.append(name)
        name = found[name].lender if name in found else ""
    return chain


def _in_order(found: dict[str, Budget]) -> tuple[Budget, ...]:
    """Who borrows stands before whom it borrows from: the longest chains first."""
    return tuple(
        found[key]
        for key in sorted(found, key=lambda key: (-len(_lenders_of(found[key].lender, found)), key))
    )


def read_fleet(merged: Merged, entry: RedisIn | None) -> Fleet | None:
    if entry is None:
        return None
    if entry.beyond not in ("deny", "allow"):
        merged.wrong(
            ("redis", "beyond"), f"{show(entry.beyond)} is neither deny nor allow", "give one of the two"
        )
    return Fleet(
        entry.url, entry.credential, entry.prefix, entry.timeout, entry.share, entry.beyond == "allow"
    )
