"""What is asked of the ledger: dimensions, and spans of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ..core.trials import made_beside
from .database import Ledger
from .rows import DAY_MS, day_of
from .tables import ATTEMPTS, CALLS

_HOUR_MS = 3_600_000
_MOST_SPANS = 64
# Null where there is nothing; no parameters, for in GROUP BY each would be another one.
_OF_TRIALS = ("purpose", "rollout", "arm", "stage")
CLIENTS: Mapping[str, tuple[str, ...]] = MappingProxyType({"purpose": ("",)})

OF_CALLS: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {
        **{
            name: CALLS.c[name]
            for name in (
                *("team", "customer", "feature", "agent", "user", "caller", "tier", "pool", "rule"),
                *("dialect", "outcome", "code", "revision"),
            )
        },
        **{name: func.coalesce(CALLS.c[name], literal_column("''")) for name in _OF_TRIALS},
        "asked": CALLS.c.model,
        "day": CALLS.c.day,
        "hour": CALLS.c.at_ms - CALLS.c.at_ms % literal_column(str(_HOUR_MS)),
        "month": func.substr(CALLS.c.day, literal_column("1"), literal_column("7")),
    }
)


class _Slash(FunctionElement[int]):
    """Where a text's first `/` is, from 1; 0: nowhere."""

    type = Integer()
    inherit_cache = True


@compiles(_Slash, "sqlite")
def _slash_in_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    return f"instr({compiler.process(element.clauses, **more)}, '/')"


@compiles(_Slash, "postgresql")
def _slash_in_postgres(element: Any, compiler: Any, **more: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **more)}, '/')"


# No parameters in what follows: in GROUP BY each would be another one.
_NONE: ColumnElement[str] = literal_column("''")
_ONE: ColumnElement[int] = literal_column("1")
IS_HIT: ColumnElement[bool] = CALLS.c.cache.in_((literal_column("'hit'"), literal_column("'joined'")))
# Whose reply the cache gave: the record tells the member.
_OF_HITS: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {
        "member": CALLS.c.member,
        "provider": func.substr(CALLS.c.member, _ONE, _Slash(CALLS.c.member) - _ONE),
        "model": func.substr(CALLS.c.member, _Slash(CALLS.c.member) + _ONE),
    }
)
_OF_TRIED: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {"member": ATTEMPTS.c.member, "provider": ATTEMPTS.c.provider, "model": ATTEMPTS.c.member_model}
)
_IS_UNTRIED = ATTEMPTS.c.number.is_(None)
# Of a call without an attempt: of a reply of the cache whose it was; of others the empty text.
OF_ATTEMPTS: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {
        name: case(
            (_IS_UNTRIED & IS_HIT & (CALLS.c.member != _NONE), of_hit),
            else_=func.coalesce(_OF_TRIED[name], _NONE),
        )
        for name, of_hit in _OF_HITS.items()
    }
)
DIMENSIONS: Mapping[str, ColumnElement[Any]] = MappingProxyType({**OF_CALLS, **OF_ATTEMPTS})
OF_TIME = ("hour", "day", "month")
FILTERS = tuple(name for name in DIMENSIONS if name not in OF_TIME)
_SAME_CALL = and_(CALLS.c.request_id == ATTEMPTS.c.request_id, CALLS.c.at_ms == ATTEMPTS.c.at_ms)
WITH_ATTEMPTS: FromClause = CALLS.outerjoin(ATTEMPTS, _SAME_CALL)
TRIED: FromClause = ATTEMPTS.join(CALLS, _SAME_CALL)
WITH_ANSWERS: FromClause = CALLS.outerjoin(ATTEMPTS, and_(_SAME_CALL, ATTEMPTS.c.answered))


@dataclass(frozen=True, slots=True)
class Question:
    """`by`: the dimensions that make the groups. `where`: dimension → values, one of which it has to have; a
    pool's calls are also those of the pools that the broker makes beside it.
    `since_ms` is in it, `until_ms` is not."""

    by: tuple[str, ...] = ()
    since_ms: int = 0
    until_ms: int = 1 << 62
    where: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def needs_attempts(self) -> bool:
        return any(name in OF_ATTEMPTS for name in (*self.by, *self.where))

    @property
    def is_of_all(self) -> bool:
        """Nothing is asked of what calls were for: then whoever asks means clients' calls."""
        return "purpose" not in self.by and "purpose" not in self.where

    def of_clients(self) -> Question:
        return replace(self, where={**self.where, **CLIENTS})

    def conditions(self, span: tuple[int, int]) -> list[ColumnElement[bool]]:
        kept: list[ColumnElement[bool]] = [CALLS.c.at_ms >= span[0], CALLS.c.at_ms < span[1]]
        return kept + self._in(DIMENSIONS, self.where)

    def of_calls(self) -> list[ColumnElement[bool]]:
        """What chooses rows of `calls` alone, in any order that an index gives."""
        time = [CALLS.c.at_ms >= self.since_ms, CALLS.c.at_ms < self.until_ms]
        calls, names = self._apart()
        if not names:
            return [*time, *calls]
        tried = exists().where(_SAME_CALL, *self._in(_OF_TRIED, names))
        from_cache = and_(IS_HIT, ~exists().where(_SAME_CALL), *self._in(_OF_HITS, names))
        return [*time, *calls, or_(tried, from_cache)]

    def of_tried(self) -> list[ColumnElement[bool]]:
        """What chooses rows of TRIED: attempts of calls, and at members, that are asked for, by when the call
        was."""
        time = [ATTEMPTS.c.at_ms >= self.since_ms, ATTEMPTS.c.at_ms < self.until_ms]
        calls, names = self._apart()
        return [*time, *calls, *self._in(_OF_TRIED, names)]

    def of_attempts(self) -> list[ColumnElement[bool]]:
        """The same of `attempts`: of calls, and at members, that are asked for."""
        time = [ATTEMPTS.c.at_ms >= self.since_ms, ATTEMPTS.c.at_ms < self.until_ms]
        calls, names = self._apart()
        attempts = self._in(_OF_TRIED, names)
        return [*time, *attempts, exists().where(_SAME_CALL, *calls)] if calls else [*time, *attempts]

    def _apart(self) -> tuple[list[ColumnElement[bool]], list[str]]:
        """What is asked of calls, and the names of what is asked of attempts."""
        names = [name for name in self.where if name in OF_ATTEMPTS]
        return self._in(OF_CALLS, [name for name in self.where if name not in OF_ATTEMPTS]), names

    def _in(
        self, columns: Mapping[str, ColumnElement[Any]], names: Iterable[str]
    ) -> list[ColumnElement[bool]]:
        found = []
        for name in names:
            column, values = columns[name], self.where[name]
            begins = made_beside(values) if name == "pool" else ()
            made = (func.substr(column, 1, len(begin)) == begin for begin in begins)
            found.append(or_(column.in_(values), *made))
        return found

    def groups(self) -> list[ColumnElement[Any]]:
        return [DIMENSIONS[name].label(f"by_{number}") for number, name in enumerate(self.by)]

    def key(self, row: Any) -> tuple[str, ...]:
        """The values of the dimensions, which are the first of a row, as people write them."""
        return tuple(
            hour_text(int(row[number])) if name == "hour" else str(row[number])
            for number, name in enumerate(self.by)
        )


_NAMES = ("asked", "pool", "member", "model", "provider")  # which people take for one another


def has_calls(ledger: Ledger, question: Question) -> bool:
    """Whether it is about any."""
    with ledger.reading() as connection:
        found = connection.execute(select(CALLS.c.at_ms).where(*question.of_calls()).limit(1))
        return found.first() is not None


def is_seen_as(ledger: Ledger, question: Question, name: str, value: str) -> list[str]:
    """As what else than `name` calls of that time have this value, of `asked`, `pool`, `member` and so on."""
    if name not in _NAMES:
        return []
    others = (other for other in _NAMES if other != name)
    return [other for other in others if has_calls(ledger, replace(question, where={other: (value,)}))]


def behind(key: Sequence[ColumnElement[Any]], after: Sequence[Any]) -> list[ColumnElement[bool]]:
    """Rows behind this one in the order of `key`. The first condition says no more than the second, and lets
    an index find the place."""
    return [key[0] >= after[0], tuple_(*key) > tuple(after)]


def hour_text(at_ms: int) -> str:
    """`2026-11-29T20:00Z`"""
    return f"{day_of(at_ms)}T{at_ms // _HOUR_MS % 24:02d}:00Z"


def ends_of(connection: Connection, question: Question) -> tuple[int, int] | None:
    """When the first and the last call of its time were; None: there is none."""
    times = [CALLS.c.at_ms >= question.since_ms, CALLS.c.at_ms < question.until_ms]
    first = connection.execute(select(func.min(CALLS.c.at_ms)).where(*times)).scalar()
    last = connection.execute(select(func.max(CALLS.c.at_ms)).where(*times)).scalar()
    return (first, last) if first is not None and last is not None else None


def spans_of(connection: Connection, question: Question) -> list[tuple[int, int]]:
    """The question's time in spans, for one query each: progress can be told, and none takes for ever."""
    if (ends := ends_of(connection, question)) is None:
        return []
    first, last = ends
    days = (last - first) // DAY_MS + 1
    width = -(-days // _MOST_SPANS) * DAY_MS
    return [(at, min(at + width, last + 1)) for at in range(first, last + 1, width)]
