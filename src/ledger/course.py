"""What calls cost over time: the sums of `spend`, in one look at the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .database import Ledger
from .questions import Question
from .spend import Heard, Spend, Sums, in_vain, spend

Key = tuple[str, ...]


@dataclass(slots=True)
class Course:
    """`spend`: of the question's groups, of clients' calls where it asks nothing of what calls were for; then
    `besides` are the others, by what they were for. `over`: hour, day or month, as `spend` writes it, to the
    sums of each group in it, without what was in vain."""

    spend: Spend
    over: dict[str, dict[Key, Sums]] = field(default_factory=dict)
    besides: dict[str, Sums] = field(default_factory=dict)


def course(ledger: Ledger, question: Question, unit: str, *, heard: Heard | None = None) -> Course:
    """`unit`: `hour`, `day` or `month`. What was in vain is told, too."""
    apart = ("purpose",) if question.is_of_all else ()
    by = (*apart, *question.by)
    found = spend(ledger, replace(question, by=(unit, *by)), heard=heard)
    result = Course(Spend(question.of_clients() if apart else question))
    for (at, *rest), sums in found.groups.items():
        if (own := _own(result, rest, bool(apart), sums)) is not None:
            result.over.setdefault(at, {})[own] = sums
            _add(result.spend, own, sums)
    for key, sums in in_vain(ledger, replace(question, by=by), heard=heard).groups.items():
        if not (apart and key[0]):
            _add(result.spend, key[len(apart) :], sums)
    return result


def _own(result: Course, rest: list[str], is_apart: bool, sums: Sums) -> Key | None:
    """Its group; None: it is no client's, and stands beside."""
    if not is_apart:
        return tuple(rest)
    purpose, *key = rest
    if not purpose:
        return tuple(key)
    result.besides.setdefault(purpose, Sums()).add(sums)
    return None


def _add(spent: Spend, key: Key, sums: Sums) -> None:
    spent.groups.setdefault(key, Sums()).add(sums)
    spent.total.add(sums)


def with_gone(now: Mapping[Key, Sums], before: Mapping[Key, Sums]) -> dict[Key, Sums]:
    """Also groups that there were before, and are not any more."""
    return {**now, **{key: Sums() for key in before if key not in now}}
