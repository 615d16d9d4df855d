"""Decisions about recorded calls, each kind of call once: what a decision depends on is its key.

Of numbers a decision knows only on which side of a bound they are, and the bounds stand in the catalog.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.call import Caller, Decision, Facts
from ..core.catalog import Catalog
from ..core.errors import CallError
from ..exchange import View
from ..policy import decide
from ..policy.budgets import Seat
from ..policy.eligible import State
from ..policy.estimates import COST_FACT, with_estimate
from .facts import caller_of, facts_of
from .recorded import Recorded

# Kinds of calls that are kept; traffic has far fewer.
MOST_KEPT = 200_000
UNKNOWN_CALLER = "invalid_api_key"


class Denied(NamedTuple):
    """The broker would refuse the call: docs/errors.md has the code."""

    code: str
    rule: str = ""
    pool: str = ""
    budget: str = ""


@dataclass(eq=False, slots=True)
class Who:
    """A call's caller by a configuration; None: it has none of that name. Rules can't tell callers of one
    number apart. `seats`: by pool, as far as they are known; None: they depend on who answers."""

    number: int
    caller: Caller | None
    seats: dict[str, tuple[Seat, ...] | None] = field(default_factory=dict)


class Kind(NamedTuple):
    """Calls that are decided alike. `facts` are those of one of them: `facts_of` has a call's own."""

    facts: Facts
    decision: Decision | Denied

    def facts_of(self, call: Recorded, caller: Caller) -> Facts:
        return self.facts.again(caller, call.context_tokens or 0, call.max_output_tokens, call.choices)


class Deciding:
    """What one configuration decides of calls. `keeps` False: each call is decided by itself."""

    def __init__(self, view: View, *, keeps: bool = True) -> None:
        self._view = view
        self._catalog = view.catalog
        self._keeps = keeps
        self._kept: dict[tuple[Any, ...], Kind] = {}
        self._callers: dict[tuple[str, ...], Who] = {}
        self._numbers: dict[tuple[str, ...], int] = {}
        self._told_apart_by = _callers_facts(view.catalog)
        self._context = _bounds(view.catalog, "context.tokens", "context_tokens")
        self._output = _bounds(view.catalog, "max_output.tokens", "max_output_tokens")
        self._cost = _bounds(view.catalog, COST_FACT, "")
        self._asks_cost = view.asks_cost

    def who(self, call: Recorded) -> Who:
        key = (call.caller, call.agent, call.user, call.team, call.customer, call.feature, call.tier)
        found = self._callers.get(key)
        if found is None:
            if len(self._callers) >= MOST_KEPT:
                self._callers.clear()
            found = self._callers[key] = self._who(call)
        return found

    def _who(self, call: Recorded) -> Who:
        try:
            caller = caller_of(call, self._catalog)
        except KeyError:
            return Who(-1, None)
        key = (caller.name, *[getattr(caller, fact) for fact in self._told_apart_by])
        return Who(self._numbers.setdefault(key, len(self._numbers)), caller)

    def decision(self, call: Recorded, at_s: float) -> Decision | Denied:
        who = self.who(call)
        return Denied(UNKNOWN_CALLER) if who.caller is None else self.kind(call, who, at_s).decision

    def kind(self, call: Recorded, who: Who, at_s: float) -> Kind:
        """What is decided of calls like this one. `who` calls is known."""
        context, output = call.context_tokens, call.max_output_tokens
        estimate = self._estimate(call, who, at_s) if self._asks_cost else None
        headers = call.headers
        key = (
            who.number,
            call.path,
            call.dialect,
            call.model,
            call.stream,
            call.holds,
            -1 if context is None else bisect.bisect_right(self._context, context),
            -1 if output is None else bisect.bisect_right(self._output, output),
            call.choices > 1,
            call.same_dialect,
            call.owners,
            call.unowned_ids,
            tuple(sorted(headers.items())) if headers else (),
            -1 if estimate is None else bisect.bisect_right(self._cost, estimate),
        )
        found = self._kept.get(key) if self._keeps else None
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            facts = facts_of(call, self._catalog, who.caller)._replace(cost_estimate=estimate)
            found = self._kept[key] = Kind(facts, self._decide(facts))
        return found

    def _decide(self, facts: Facts) -> Decision | Denied:
        try:
            return decide(facts, self._catalog, self._view.state)
        except CallError as error:
            return Denied(error.code, error.rule, error.pool)

    def _estimate(self, call: Recorded, who: Who, at_s: float) -> int | None:
        facts = facts_of(call, self._catalog, who.caller)._replace(cost_estimate=None)
        view = self._view
        return with_estimate(facts, view.catalog, view.state, view.estimates, at_s).cost_estimate


def _callers_facts(catalog: Catalog) -> tuple[str, ...]:
    """The facts of callers that rules look at."""
    asked = {condition.fact for rule in catalog.rules for condition in rule.conditions}
    return tuple([fact for fact in ("agent", "user", "team", "customer", "feature", "tier") if fact in asked])


def _bounds(catalog: Catalog, fact: str, capability: str) -> list[int]:
    """Of a fact that is a number: where a decision may change. Both sides of every number that conditions
    compare with, or members have as a limit."""
    values: set[int] = set()
    for rule in catalog.rules:
        for condition in rule.conditions:
            if condition.fact == fact:
                values.update(value for value in condition.values if isinstance(value, int))
    if capability:
        values.update(_limits(catalog, capability))
    return sorted(values | {value + 1 for value in values})


def _limits(catalog: Catalog, capability: str) -> Iterable[int]:
    for pool in catalog.pools.values():
        for member in pool.members:
            limit = getattr(member.capabilities, capability)
            if limit is not None:
                yield limit


def view_of(catalog: Catalog, state: State | None = None, **more: Any) -> View:
    """A configuration as calls see it where every provider can be used: whether keys are there is not the
    traffic's to say."""
    callers: Mapping[str, Caller] = {}
    return View("", catalog, state or State(), callers, **more)
