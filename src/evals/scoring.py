"""How good an answer is, by what needs no call: a number from 0 to 1, and why. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.jsonschema import problem_of, same
from ..settings.scorer_schema import ScorerIn
from .answers import Answer, Used, parsed
from .cases import Case
from .similarity import alike


@dataclass(frozen=True, slots=True)
class Score:
    """`why` is for people: what was wrong with it; "" where there is nothing to say."""

    value: float
    why: str = ""


def applies(scorer: ScorerIn, case: Case, reference: Answer | None) -> bool:
    """Whether it says anything of this case: the same for every candidate."""
    if any(case.slices.get(name, "") not in values for name, values in scorer.match.items()):
        return False
    match scorer.kind:
        case "exact" | "similarity":
            return reference is not None
        case "json":
            return _schema(scorer, case) is not None or _value(reference) is not None
        case "tools":
            return reference is not None and case.slices.get("tools") == "yes"
    return True


def score(scorer: ScorerIn, case: Case, answer: Answer, reference: Answer | None) -> Score:
    """By a scorer that `applies` and needs no call (not the judge, nor embeddings, nor the user's own)."""
    return _SCORERS[scorer.kind](scorer, case, answer, reference or Answer())


def _exact(scorer: ScorerIn, case: Case, answer: Answer, reference: Answer) -> Score:
    one, other = (" ".join(text.split()) for text in (answer.text, reference.text))
    if not scorer.case:
        one, other = one.lower(), other.lower()
    return Score(1.0) if one == other else Score(0.0, "another text")


def _similarity(scorer: ScorerIn, case: Case, answer: Answer, reference: Answer) -> Score:
    return Score(round(alike(answer.text, reference.text), 6))


def _regex(scorer: ScorerIn, case: Case, answer: Answer, reference: Answer) -> Score:
    pattern = scorer.pattern or ""
    return Score(1.0) if re.search(pattern, answer.text) else Score(0.0, f"nothing matches {pattern}")


def _rubric(scorer: ScorerIn, case: Case, answer: Answer, reference: Answer) -> Score:
    met = total = 0.0
    failed = []
    for check in scorer.rubric:
        weight = float(check.get("weight", 1))
        way = next(name for name in check if name != "weight")
        total += weight
        if _CHECKS[way](answer.text, check[way]):
            met += weight
        else:
            failed.append(f"{way} {check[way]}")
    return Score(met / total if total else 1.0, "; ".join(failed))


_CHECKS: Mapping[str, Callable[[str, Any], bool]] = {
    "says": lambda text, pattern: re.search(pattern, text) is not None,
    "says_not": lambda text, pattern: re.search(pattern, text) is None,
    "at_most": lambda text, count: len(text) <= count,
    "at_least": lambda text, count: len(text) >= count,
}


def _json(scorer: ScorerIn, case: Case, answer: Answer, reference: Answer) -> Score:
    value = parsed(unfenced(answer.text), _NOTHING)
    if value is _NOTHING:
        return Score(0.0, "is no JSON")
    schema = _schema(scorer, case)
    if schema is not None and (wrong := problem_of(value, schema)):
        return Score(0.0, wrong)
    wanted = _value(reference)
    if wanted is None:
        return Score(1.0)
    there, right = dict(_leaves(value)), dict(_leaves(wanted))
    names = [n for n in {**right, **there} if not scorer.fields or _is_in(n, scorer.fields)]
    off = [n for n in names if n not in there or n not in right or not same(there[n], right[n])]
    return Score(1.0 - len(off) / len(names) if names else 1.0, f"other: {', '.join(off[:5])}" if off else "")


_NOTHING = object()


def unfenced(text: str) -> str:
    """Models like to put JSON between fences."""
    found = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", text, re.DOTALL)
    return found[1] if found else text


def _schema(scorer: ScorerIn, case: Case) -> Any:
    """The suite's, else what the request asks for, in its dialect's words."""
    if scorer.schema_ is not None:
        return scorer.schema_
    request = case.request
    for path in (
        ("response_format", "json_schema", "schema"),
        ("text", "format", "schema"),
        ("output_config", "format", "schema"),
        ("output_format", "schema"),
    ):
        found: Any = request
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is not None:
            return found
    return None


def _value(reference: Answer | None) -> Any:
    value = parsed(unfenced(reference.text)) if reference is not None else None
    return value if isinstance(value, dict | list) else None


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{at}.{name}" if at else str(name))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{at}[{number}]")
    else:
        yield at, value


def _is_in(name: str, fields: list[str]) -> bool:
    return any(name == one or name.startswith((f"{one}.", f"{one}[")) for one in fields)


def _tools(scorer: ScorerIn, case: Case, answer: Answer, reference: Answer) -> Score:
    """Each call has the most alike of those that are left, by name and then by arguments."""
    left = list(reference.calls)
    most = max(len(left), len(answer.calls))
    if not most:
        return Score(1.0)
    got, wrong = 0.0, []
    for call in answer.calls:
        named = [one for one in left if one.name == call.name]
        if not named:
            wrong.append(f"{call.name} was not wanted")
            continue
        best = max(named, key=lambda one: _agreement(call, one))
        left.remove(best)
        agreement = _agreement(call, best) if scorer.arguments else 1.0
        got += agreement
        if agreement < 1:
            wrong.append(f"{call.name}: other arguments")
    wrong += [f"{one.name} was not called" for one in left]
    return Score(got / most, "; ".join(wrong[:5]))


def _agreement(one: Used, other: Used) -> float:
    a, b = dict(_leaves(one.arguments)), dict(_leaves(other.arguments))
    names = {**a, **b}
    return sum(n in a and n in b and same(a[n], b[n]) for n in names) / len(names) if names else 1.0


_SCORERS: Mapping[str, Callable[[ScorerIn, Case, Answer, Answer], Score]] = {
    "exact": _exact,
    "json": _json,
    "tools": _tools,
    "similarity": _similarity,
    "regex": _regex,
    "rubric": _rubric,
}


def shown(answer: Answer) -> str:
    """Text and calls as a judge, or a person, reads them."""
    calls = [f"[calls {call.name} {json.dumps(call.arguments, ensure_ascii=False)}]" for call in answer.calls]
    return "\n".join(part for part in (answer.text, *calls) if part)
