"""Decisions about recorded calls, each kind of call once: what a decision depends on is its key.

Of numbers a decision knows only on which side of a bound they are, and the bounds stand in the catalog.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.call import Caller, Decision, Facts
from ..core.catalog import Catalog
from ..core.errors import CallError
from ..exchange import View
from ..policy import decide
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


class Kind(NamedTuple):
    """Calls that are decided alike. `caller` None: the configuration has none of that name. `facts` are those
    of one of them: `facts_of` has a call's own."""

    caller: Caller | None
    facts: Facts | None
    decision: Decision | Denied

    def facts_of(self, call: Recorded) -> Facts:
        if self.facts is None:
            raise ValueError(f"nothing is known of calls by {call.caller}")
        return self.facts.sized(call.context_tokens or 0, call.max_output_tokens, call.choices)


_UNKNOWN = Kind(None, None, Denied(UNKNOWN_CALLER))


@dataclass(slots=True)
class _Bounds:
    """Of a fact that is a number: where a decision may change."""

    at: list[int]

    def side(self, value: int | None) -> int:
        return -1 if value is None else bisect.bisect_right(self.at, value)


class Deciding:
    """`decision` of a call by one configuration. `keeps` False: each call is decided by itself."""

    def __init__(self, view: View, *, keeps: bool = True) -> None:
        self._view = view
        self._catalog = view.catalog
        self._keeps = keeps
        self._kept: dict[tuple[Any, ...], Kind] = {}
        self._callers: dict[tuple[str, ...], tuple[int, Caller | None]] = {}
        self._number = 0
        self._context = _Bounds(_bounds(view.catalog, "context.tokens", "context_tokens"))
        self._output = _Bounds(_bounds(view.catalog, "max_output.tokens", "max_output_tokens"))
        self._cost = _Bounds(_bounds(view.catalog, COST_FACT, ""))
        self._asks_cost = view.asks_cost
        self._headers = frozenset(view.catalog.fact_headers)

    def _caller(self, call: Recorded) -> tuple[int, Caller | None]:
        """Whose number nobody else has; None: the configuration has no such caller."""
        key = (call.caller, call.agent, call.user, call.team, call.customer, call.feature, call.tier)
        try:
            return self._callers[key]
        except KeyError:
            pass
        if len(self._callers) >= MOST_KEPT:
            self._callers.clear()
        try:
            found: Caller | None = caller_of(call, self._catalog)
        except KeyError:
            found = None
        self._number += 1
        self._callers[key] = self._number, found
        return self._number, found

    def kind(self, call: Recorded, at_s: float) -> Kind:
        """What is decided of calls like this one."""
        number, caller = self._caller(call)
        if caller is None:
            return _UNKNOWN
        estimate = self._estimate(call, caller, at_s) if self._asks_cost else None
        headers = call.headers
        key = (
            number,
            call.path,
            call.dialect,
            call.model,
            call.stream,
            call.holds,
            self._context.side(call.context_tokens),
            self._output.side(call.max_output_tokens),
            call.choices > 1,
            call.same_dialect,
            call.owners,
            call.unowned_ids,
            tuple(sorted(headers.items())) if headers else (),
            self._cost.side(estimate),
        )
        found = self._kept.get(key) if self._keeps else None
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            facts = facts_of(call, self._catalog, caller)._replace(cost_estimate=estimate)
            found = self._kept[key] = Kind(caller, facts, self._decide(facts))
        return found

    def _decide(self, facts: Facts) -> Decision | Denied:
        try:
            return decide(facts, self._catalog, self._view.state)
        except CallError as error:
            return Denied(error.code, error.rule, error.pool)

    def _estimate(self, call: Recorded, caller: Caller, at_s: float) -> int | None:
        facts = facts_of(call, self._catalog, caller)._replace(cost_estimate=None)
        view = self._view
        return with_estimate(facts, view.catalog, view.state, view.estimates, at_s).cost_estimate


def _bounds(catalog: Catalog, fact: str, capability: str) -> list[int]:
    """Both sides of every number that conditions compare with, or members have as a limit."""
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
