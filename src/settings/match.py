"""The language of `match`: what a rule's author writes → conditions that all have to hold.

| written | means |
| `premium`, `true`, `100k` | equal |
| `claude-*` | a pattern, for facts that are text: `*` any text, `?` one character |
| `[a, b-*]` | any of these |
| `">100k"`, `">="`, `"<"`, `"<="` | compared, for facts that are numbers; k, M, G are thousands |
| `"> $0.05"`, `$0.05` | the same for facts that are amounts of money |
| `"!a"`, `{not: a}`, `{not: [a, b]}` | not |
| `{all: [">10k", "<=100k"]}` | all of these |
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from operator import itemgetter
from typing import Any, NoReturn

from ..core.call import FACT_KINDS, Money
from ..core.catalog import Condition, Op
from .problems import kind as yaml_kind
from .problems import listing, show, suggestion

_NUMBER = re.compile(r"([0-9][0-9_]*)(?:\.([0-9]+))?\s*([kKMG]?)")
_DOLLARS = re.compile(r"\$?\s*([0-9]{1,12})(?:\.([0-9]{1,9}))?")
_SCALE = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_COMPARE = re.compile(r"(>=|<=|>|<)\s*(.*)", re.DOTALL)
_OPS = {op.value: op for op in (Op.GT, Op.GE, Op.LT, Op.LE)}
_MOST = 2**62


class MatchProblem(Exception):
    """A match that means nothing: `path` is where inside it, from the fact's name on."""

    def __init__(self, path: tuple[str | int, ...], wrong: str, right: str) -> None:
        super().__init__(wrong)
        self.path, self.wrong, self.right = path, wrong, right


def conditions(
    match: Mapping[str, Any], declared: Mapping[str, str]
) -> tuple[tuple[Condition, ...], list[MatchProblem]]:
    """What all has to hold, and what is wrong. `declared` are the facts that headers set; they are text."""
    found: list[Condition] = []
    problems: list[MatchProblem] = []
    for fact, value in sorted(match.items(), key=itemgetter(0)):  # one order for one meaning
        kind = FACT_KINDS.get(fact) or (str if fact in declared else None)
        try:
            if kind is None:
                _unknown(fact, declared)
            found += _Fact(fact, kind).read(value, (fact,))
        except MatchProblem as problem:
            problems.append(problem)
    return tuple(found), problems


def _unknown(fact: str, declared: Mapping[str, str]) -> NoReturn:
    known = [*FACT_KINDS, *declared]
    right = suggestion(fact, known, f"the facts are {listing(known)}, and headers declared in facts.headers")
    raise MatchProblem((fact,), f"there is no fact {show(fact)}", right)


class _Fact:
    """Reads the values that one fact is matched with."""

    def __init__(self, name: str, kind: type) -> None:
        self.name, self.kind = name, kind
        self.is_compared = issubclass(kind, int) and kind is not bool

    def read(self, value: Any, path: tuple[str | int, ...], *, inside: str = "") -> list[Condition]:
        """Conditions that all have to hold. `inside` is the word that stands around: "not" or "all"."""
        if isinstance(value, dict):
            return self._words(value, path, inside)
        if isinstance(value, list):
            return [self._any_of(value, path)]
        if isinstance(value, str) and value.startswith("!"):
            if inside == "not":
                raise MatchProblem(path, f"{show(value)} stands inside a `not`", "drop one of the two")
            return [_negated(c) for c in self._one(value[1:].strip(), path)]
        return self._one(value, path)

    def _words(self, value: dict[str, Any], path: tuple[str | int, ...], inside: str) -> list[Condition]:
        right = 'give {not: …} or {all: [">10k", "<=100k"]}'
        if len(value) != 1 or next(iter(value)) not in ("not", "all"):
            raise MatchProblem(path, "a mapping here has exactly one of `not` and `all`", right)
        ((word, inner),) = value.items()
        path = (*path, word)
        if word == "not":
            if inside == "not" or (isinstance(inner, dict) and "all" in inner):
                raise MatchProblem(path, f"`not` and `{inside or 'all'}` don't go together so", right)
            return [_negated(condition) for condition in self.read(inner, path, inside="not")]
        if inside or not isinstance(inner, list) or not inner:
            raise MatchProblem(path, "`all` takes a list, and stands by itself", right)
        return [c for i, part in enumerate(inner) for c in self.read(part, (*path, i), inside="all")]

    def _any_of(self, values: list[Any], path: tuple[str | int, ...]) -> Condition:
        if not values:
            raise MatchProblem(path, "an empty list never matches", "list at least one value")
        plain: list[str | int | bool] = []
        for i, value in enumerate(values):
            if isinstance(value, str) and (self.is_compared and _COMPARE.match(value)):
                right = f"to have all of them hold, write {{all: [{', '.join(map(show, values))[:80]}]}}"
                raise MatchProblem((*path, i), "a list means any of these values, not comparisons", right)
            if isinstance(value, str) and value.startswith("!"):
                right = "to match none of them, write {not: [a, b]}"
                raise MatchProblem((*path, i), f"{show(value)} negates inside a list", right)
            plain.append(self._scalar(value, (*path, i)))
        return self._equal(plain)

    def _one(self, value: Any, path: tuple[str | int, ...]) -> list[Condition]:
        found = _COMPARE.fullmatch(value) if isinstance(value, str) else None
        if found and self.is_compared:
            return [Condition(self.name, _OPS[found[1]], (self._scalar(found[2], path),))]
        return [self._equal([self._scalar(value, path)])]

    def _equal(self, values: list[str | int | bool]) -> Condition:
        globs = self.kind is str and any(c in str(value) for value in values for c in "*?")
        return Condition(self.name, Op.GLOB if globs else Op.IN, tuple(dict.fromkeys(values)))

    def _scalar(self, value: Any, path: tuple[str | int, ...]) -> str | int | bool:
        if self.kind is bool:
            return self._bool(value, path)
        if self.kind is int:
            return self._number(value, path)
        if self.kind is Money:
            return self._money(value, path)
        if not isinstance(value, str):
            right = f'put it in quotes: "{show(value)}"' if yaml_kind(value) == "a number" else "give text"
            raise self._kind(value, path, right)
        if _COMPARE.match(value):
            raise self._kind(value, path, "only facts that are numbers can be compared")
        if not value or len(value) > 500:
            raise self._kind(value, path, "give 1 to 500 characters")
        return value

    def _bool(self, value: Any, path: tuple[str | int, ...]) -> bool:
        words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        word = value.lower() if isinstance(value, str) else value
        if isinstance(word, bool):
            return word
        if not isinstance(word, str) or word not in words:
            raise self._kind(value, path, "give true or false")
        return words[word]

    def _number(self, value: Any, path: tuple[str | int, ...]) -> int:
        right = 'give a whole number of 0 or more, e.g. 100000, 100k or ">1.5M"'
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
            return value
        found = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 40 else None
        if not found:
            raise self._kind(value, path, right)
        whole, fraction, unit = str(found[1]).replace("_", ""), str(found[2] or ""), str(found[3])
        number: int
        number, rest = divmod(int(whole + fraction) * _SCALE[unit], 10 ** len(fraction))
        if rest or number > _MOST:
            raise MatchProblem(path, f"{show(value)} is not a whole number in range", right)
        return number

    def _money(self, value: Any, path: tuple[str | int, ...]) -> int:
        """Dollars → nano-dollars."""
        right = 'give dollars, e.g. "> $0.05"'
        if isinstance(value, float) and math.isfinite(value):
            value = format(Decimal(repr(value)), "f")  # what was written, and not 5e-05
        text = "" if isinstance(value, bool) else str(value).strip()
        found = _DOLLARS.fullmatch(text)
        if not found:
            raise self._kind(value, path, right)
        nano = int(found[1] + str(found[2] or "").ljust(9, "0"))
        if nano > _MOST:
            raise MatchProblem(path, f"{show(value)} is more than any call costs", right)
        return nano

    def _kind(self, value: Any, path: tuple[str | int, ...], right: str) -> MatchProblem:
        wanted = {str: "text", int: "a number", bool: "true or false", Money: "money"}[self.kind]
        said = "nothing" if value is None else show(value)
        return MatchProblem(path, f"{self.name} is {wanted}, and {said} is not good for it", right)


def _negated(condition: Condition) -> Condition:
    return Condition(condition.fact, condition.op, condition.values, not condition.negated)
