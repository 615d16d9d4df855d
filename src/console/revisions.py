"""The configurations that were live: since when, by whom, what each changed for whom, and what calls came to
under it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..ledger.questions import CLIENTS, Question
from ..ledger.spend import Sums, spend
from ..revisions.kept import MOST, WHY_WORDS, Live, Revisions, Rollback, RollbackFile, until_words
from .asked import Asked, Missing, Page
from .compared import Desk, Pair
from .sources import Away, Sources
from .words import moment

_A_PAGE = 25
_MOST_DAYS = 31
_SMALL = 128 << 10  # bytes of a revision: what is compared though nobody asked for that one
_LIST_WAITS_S, _PAIR_WAITS_S = 0.12, 0.25
_NUMBERS = re.compile(r"#?(\d{1,9})(?:\.\.#?(\d{1,9}))?")
_DESK = Desk()
_RESTS_S = 2.0


class Row(NamedTuple):
    """One that was live. `until_s` None: it is to this day. `before`: the number of the one that it took the
    place of, 0 where none is kept."""

    live: Live
    until_s: float | None
    is_serving: bool
    before: int

    @property
    def why(self) -> str:
        return WHY_WORDS.get(self.live.why, self.live.why)

    @property
    def who(self) -> str:
        return str(self.live.done_by or self.live.origin.who)

    def lasted_s(self, now_s: float) -> float:
        return max((self.until_s or now_s) - self.live.since_s, 0.0)


class State(NamedTuple):
    """What the broker says now. `away`: why it says nothing."""

    serving: str = ""
    is_in_effect: bool = True
    refused: str = ""
    nacked: str = ""
    source: str = ""
    away: str = ""


def show(asked: Asked, sources: Sources) -> Page:
    revisions = Revisions(sources.folder)
    state = _state(sources)
    rows = rows_of(revisions.all(), state.serving)
    said = asked.path.strip("/").partition("/")[2]
    if said:
        return _shown(asked, sources, revisions, rows, numbers_of(said, rows))
    if asked.query.get("a") or asked.query.get("b"):
        both = f"{asked.query.get('a', '')}..{asked.query.get('b', '')}"
        return _shown(asked, sources, revisions, rows, numbers_of(both, rows))
    return _list(asked, sources, revisions, rows, state)


# -- pure


def rows_of(all_of: Sequence[Live], serving: str) -> list[Row]:
    """`all_of`: the newest first. The newest one is what is served, if it is that revision."""
    rows = []
    for at, live in enumerate(all_of):
        until_s = all_of[at - 1].since_s if at else None
        before = all_of[at + 1].number if at + 1 < len(all_of) else 0
        rows.append(Row(live, until_s, not at and live.revision == serving, before))
    return rows


def numbers_of(said: str, rows: Sequence[Row]) -> tuple[Live | None, Live]:
    """`12`, and the one before it, or `9..12`. Missing."""
    found = _NUMBERS.fullmatch(said)
    if found is None:
        raise Missing(f"There is no revision {said[:60]}: give its number, or two of them as 3..7.")
    by_number = {row.live.number: row for row in rows}
    if found[2] is not None:
        return _numbered(by_number, found[1]).live, _numbered(by_number, found[2]).live
    row = _numbered(by_number, found[1])
    before = by_number.get(row.before)
    return before.live if before is not None else None, row.live


def _numbered(rows: Mapping[int, Row], number: str) -> Row:
    row = rows.get(int(number))
    if row is None:
        raise Missing(f"There is no revision {number} here: the last {MOST} that were live are kept.")
    return row


def rollback_words(rollback: Rollback | None) -> str:
    if rollback is None:
        return ""
    until = until_words(holds=rollback.holds)
    since = f", {moment(rollback.at_s)} UTC," if rollback.at_s else ""
    by = rollback.done_by
    return f"Rolled back to #{rollback.number} ({rollback.revision}) by {by}{since} until {until}."


def first_place(error: str) -> str:
    """`broker.yaml:12` of an error's first line."""
    first = error.strip().splitlines()[0] if error.strip() else ""
    found = re.match(r"(\S+?:\d+)(?=[:\s])", first)
    return found[1] if found is not None else ""


# -- what is asked


def _state(sources: Sources) -> State:
    try:
        told = sources.status()
    except Away as away:
        return State(away=str(away))
    nacked = told.get("refused_by_envoy")
    source = told.get("source") or {}
    return State(
        serving=told.get("serving") or "",
        is_in_effect=bool(told.get("in_effect")),
        refused=told.get("error") or "",
        nacked=f"Envoy refuses {nacked['revision']}: {nacked['error']}" if nacked else "",
        source=f"{source['source']}: {source['error']}" if source.get("error") else "",
    )


def _list(asked: Asked, sources: Sources, revisions: Revisions, rows: list[Row], state: State) -> Page:
    first = max(_number(asked.query.get("from")), 0)
    shown = rows[first : first + _A_PAGE]
    by_number = {row.live.number: row.live for row in rows}
    pairs = {row.live.number: (by_number[row.before], row.live) for row in shown if row.before}
    folder = str(sources.folder)
    small = [both for both in pairs.values() if _size(sources.folder, both[1]) <= _SMALL]
    found = _DESK.look(folder, revisions, small, _LIST_WAITS_S)
    for number, both in pairs.items():
        if number not in found and (ready := _DESK.ready(folder, *both)) is not None:
            found[number] = ready
    sums, away = _sums(sources, [row.live.revision for row in shown], _since_ms(shown, asked.now_s), asked)
    data = {
        "title": "Revisions",
        "rows": shown,
        "count": len(rows),
        "most": MOST,
        "first": first,
        "newer": max(first - _A_PAGE, 0) if first else None,
        "older": first + _A_PAGE if first + _A_PAGE < len(rows) else None,
        "all": rows,
        "pairs": found,
        "waits": {number for number, both in pairs.items() if both in small and number not in found},
        "state": state,
        "place": first_place(state.refused),
        "rollback": rollback_words(RollbackFile(sources.folder).read()),
        "sums": sums,
        "away": away,
        "days": _MOST_DAYS,
    }
    return Page("revisions.html", data, every_s=5)


def _shown(
    asked: Asked,
    sources: Sources,
    revisions: Revisions,
    rows: Sequence[Row],
    both: tuple[Live | None, Live],
) -> Page:
    old, new = both
    row = next(one for one in rows if one.live.number == new.number)
    pair: Pair | None = None
    if old is not None:
        pair = _DESK.ask(str(sources.folder), revisions, old, new, _PAIR_WAITS_S)
    waits = old is not None and pair is None
    since_ms = _since_ms([row], asked.now_s)
    sums, away = _sums(sources, [new.revision], since_ms, asked)
    is_two = old is not None and old.number != row.before
    at = rows.index(row)
    data: dict[str, Any] = {
        "title": f"#{old.number} → #{new.number}" if is_two and old else f"Revision #{new.number}",
        "is_two": is_two,
        "row": row,
        "folder": str(sources.folder),
        "old": old,
        "pair": pair,
        "waits": waits,
        "all": rows,
        "newer": rows[at - 1].live.number if at else 0,
        "sums": sums.get(new.revision),
        "away": away,
        "since_s": since_ms / 1000,
    }
    return Page("revision.html", data, every_s=1 if waits else 0)


def _number(said: str | None) -> int:
    return int(said) if said and said.isascii() and said.isdecimal() and len(said) < 10 else 0


def _size(folder: Path, live: Live) -> int:
    """Of its texts, in bytes."""
    place = folder / "revisions" / f"{live.number:06d}-{live.revision}"
    try:
        return sum(one.stat().st_size for one in place.glob("*.yaml"))
    except OSError:
        return 0


def _since_ms(shown: Sequence[Row], now_s: float) -> int:
    """Since when calls are counted: from the oldest that is shown, for at most so many days."""
    since_s = min((row.live.since_s for row in shown), default=now_s)
    return int(max(since_s, now_s - _MOST_DAYS * 86_400) * 1000)


def _sums(sources: Sources, names: Sequence[str], since_ms: int, asked: Asked) -> tuple[dict[str, Sums], str]:
    """(revision → what clients' calls came to under it, why nobody knows)."""
    where = {**CLIENTS, "revision": tuple(dict.fromkeys(names))}
    if not names:
        return {}, ""

    def ask() -> dict[str, Sums]:
        question = Question(("revision",), since_ms, int(asked.now_s * 1000) + 60_000, where)
        with sources.asking() as ledger:
            return {key[0]: sums for key, sums in spend(ledger, question).groups.items()}

    try:
        key = "revisions", where["revision"], since_ms // 3_600_000
        return sources.kept.get(key, _RESTS_S, ask), ""
    except Away as away:
        return {}, str(away)
