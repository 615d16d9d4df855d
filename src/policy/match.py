"""Does a condition hold for the facts of a call?"""

from __future__ import annotations

from typing import Protocol

from ..core.call import Facts
from ..core.catalog import Condition, Op, Rule
from ..core.globs import glob_matches


class Known(Protocol):
    """Facts, by name."""

    def get(self, name: str, /) -> str | int | bool | None: ...


def rule_matches(rule: Rule, facts: Facts) -> bool:
    return all(holds(condition, facts) for condition in rule.conditions)


def holds(condition: Condition, facts: Known) -> bool:
    """An unknown fact compares false, so its negation holds: who has no team is not in team sales."""
    value = facts.get(condition.fact)
    answer = value is not None and _compares(condition, value)
    return answer != condition.negated


def _compares(condition: Condition, value: str | int | bool) -> bool:
    if condition.op is Op.IN:
        return value in condition.values
    if condition.op is Op.GLOB:
        return isinstance(value, str) and any(glob_matches(str(p), value) for p in condition.values)
    bound = condition.values[0]
    if isinstance(value, str) or isinstance(bound, str):
        return False
    match condition.op:
        case Op.GT:
            return value > bound
        case Op.GE:
            return value >= bound
        case Op.LT:
            return value < bound
    return value <= bound
