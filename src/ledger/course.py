"""What calls cost over time: the sums of `spend`, in one look at the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .database import Ledger
from .days import Days
from .questions import Question
from .spend import Figures, Heard, Spend, Sums, figures, in_vain

Key = tuple[str, ...]


@dataclass(slots=True)
class Course:
    """`spend`: of the question's groups, of clients' calls where it asks nothing of what calls were for; then
    `besides` are the others, by what they were for. `over`: hour, day or month, as `spend` writes it, to the
    sums of each group in it, without what was in vain."""

    spend: Spend
    over: dict[str, dict[Key, Sums]] = field(default_factory=dict)
    besides: dict[str, Sums] = field(default_factory=dict)


def course(
    ledger: Ledger,
    question: Question,
    unit: str,
    *,
    heard: Heard | None = None,
    days: Days | None = None,
) -> Course:
    """`unit`: `hour`, `day` or `month`. What was in vain is told, too. `days`: as of `figures`."""
    apart = ("purpose",) if question.is_of_all else ()
    by = (*apart, *question.by)
    found = figures(ledger, replace(question, by=(unit, *by)), heard=heard, days=days)
    over: dict[str, dict[Key, Sums]] = {}
    besides: dict[str, Sums] = {}
    own = Figures(found.names)
    for (at, *rest), numbers in found.groups.items():
        if apart and rest[0]:
            besides.setdefault(rest[0], Sums()).add(found.sums(numbers))
            continue
        key = tuple(rest[len(apart) :])
        over.setdefault(at, {})[key] = found.sums(numbers)
        own.add(key, numbers)
    result = Course(own.spend(question.of_clients() if apart else question), over, besides)
    for words, sums in in_vain(ledger, replace(question, by=by), heard=heard, days=days).groups.items():
        if not (apart and words[0]):
            result.spend.groups.setdefault(words[len(apart) :], Sums()).add(sums)
            result.spend.total.add(sums)
    return result


def with_gone(now: Mapping[Key, Sums], before: Mapping[Key, Sums]) -> dict[Key, Sums]:
    """Also groups that there were before, and are not any more."""
    return {**now, **{key: Sums() for key in before if key not in now}}
