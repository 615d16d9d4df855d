"""Choosing the rule for a request: the first whose match holds and whose turn it is."""

import fnmatch
import random
from collections.abc import Sequence
from typing import Generic, TypeVar

from .requests import Call
from .script import Match, Rule

RuleT = TypeVar("RuleT", bound=Rule)


def matches(match: Match, call: Call) -> bool:
    """Whether every condition given holds for `call`."""
    if match.surface is not None and match.surface != call.surface:
        return False
    if match.path is not None and not fnmatch.fnmatchcase(call.path, match.path):
        return False
    if match.model is not None and not fnmatch.fnmatchcase(call.model or "", match.model):
        return False
    if match.stream is not None and match.stream != call.stream:
        return False
    if any(call.headers.get(name.lower()) != value for name, value in match.headers.items()):
        return False
    return match.contains is None or match.contains.encode() in call.body


class Chooser(Generic[RuleT]):
    """Rules with their counters; a rule counts the requests that reach it and match."""

    def __init__(self, rules: Sequence[RuleT], seed: int) -> None:
        self._rules = tuple(rules)
        self._seen = [0] * len(self._rules)
        # A generator a rule: how often one rule is asked must not change what another draws.
        self._draws = [random.Random(f"{seed}:{n}") for n in range(len(self._rules))]

    def choose(self, call: Call | None) -> RuleT | None:
        """The rule that takes `call`, None when none does; without a call, match is not looked at."""
        for index, rule in enumerate(self._rules):
            if (call is None or matches(rule.match, call)) and self._due(index, rule):
                return rule
        return None

    def _due(self, index: int, rule: Rule) -> bool:
        self._seen[index] += 1
        if rule.rate is not None:
            return self._draws[index].random() < rule.rate
        if rule.calls is not None:
            return self._seen[index] in rule.calls
        return rule.first is None or self._seen[index] <= rule.first
