"""What the same calls would have cost on another member: by their usage, and its price at their time."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from sqlalchemy import case, select

from ..core.outcomes import LOST
from ..core.prices import PriceBook
from ..core.record import Attempt
from ..core.usage import NOTHING, UNKNOWN, Usage
from ..records.pricing import cost_of_attempt
from .database import Ledger
from .questions import WITH_ANSWERS, Question, spans_of
from .spend import Heard
from .tables import ATTEMPTS, CALLS

_AT_ONCE = 5_000


@dataclass(slots=True)
class Compared:
    """Of a group: `cost` there (of the calls where that is known), how many are `unknown` there, and of the
    calls that are known in both places what they cost `here` and `there`."""

    calls: int = 0
    cost: int = 0
    unknown: int = 0
    both: int = 0
    here: int = 0
    there: int = 0

    def take(self, there: int | None, here: int | None) -> None:
        self.calls += 1
        if there is None:
            self.unknown += 1
            return
        self.cost += there
        if here is not None:
            self.both += 1
            self.here += here
            self.there += there


@dataclass(slots=True)
class Elsewhere:
    member: str
    groups: dict[tuple[str, ...], Compared] = field(default_factory=dict)
    total: Compared = field(default_factory=Compared)


def elsewhere(
    ledger: Ledger, question: Question, member: str, book: PriceBook, heard: Heard | None = None
) -> Elsewhere:
    """Each call is taken by the attempt that answered it; what others in vain used is not asked for again
    there. A call that reached nobody costs nothing there either; one that is lost is unknown."""
    result = Elsewhere(member)
    groups = question.groups()
    a = ATTEMPTS.c
    columns = (
        CALLS.c.cost_total,
        a.usage,
        case((a.number.is_(None), CALLS.c.usage_state), else_=a.usage_state),
        case((a.number.is_(None), CALLS.c.started_s), else_=a.started_s),
        CALLS.c.outcome,
    )
    decoder = msgspec.json.Decoder(Usage)
    with ledger.reading() as connection:
        spans = spans_of(connection, question)
        for number, span in enumerate(spans):
            query = select(*groups, *columns).select_from(WITH_ANSWERS).where(*question.conditions(span))
            rows = connection.execution_options(yield_per=_AT_ONCE).execute(query)
            for row in rows:
                here, usage, state, started_s, outcome = row[len(groups) :]
                if outcome == LOST:
                    state = UNKNOWN
                asked = Attempt(
                    member,
                    0,
                    0.0,
                    started_s=started_s,
                    usage=decoder.decode(usage) if usage else None,
                    usage_state=state or NOTHING,
                )
                there = cost_of_attempt(asked, book).total
                for sums in (result.groups.setdefault(question.key(row), Compared()), result.total):
                    sums.take(there, here)
            if heard is not None:
                heard(number + 1, len(spans))
    return result
