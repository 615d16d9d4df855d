"""The page of what calls cost: over time, and by whatever they have."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from markupsafe import Markup

from ..ledger.course import Course, Key, course, with_gone
from ..ledger.questions import FILTERS
from ..ledger.spend import Heard, Sums, figures
from ..ledger.told import dearest, fields_of
from .asked import Asked, Download, Page
from .charts import KINDS, Axis, Series, stacked, whole
from .choice import MEASURES, PATH, Choice, choice_of
from .sources import Away, Sources
from .spans import CHOICES, Column, Span, columns_of, span_of
from .words import clock, count, moment, money, plural, short, tick

PATIENCE_S = 25.0
MOST_ROWS = 200
_REST = "everything else"
_NONE = "(none)"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TABS = ("team", "customer", "feature", "caller", "user", "agent", "pool", "model", "member", "provider")
_MEASURE: Mapping[str, Callable[[Sums], int]] = {
    "cost": lambda sums: sums.known,
    "calls": lambda sums: sums.calls,
    "tokens": lambda sums: sums.tokens,
}
_TOLD: Mapping[str, Callable[[float], str]] = {
    "cost": lambda value: money(round(value)),
    "calls": count,
    "tokens": short,
}
_AXIS: Mapping[str, Axis] = {"cost": Axis(tick), "calls": Axis(short, whole), "tokens": Axis(short, whole)}


def show(asked: Asked, sources: Sources) -> Page:
    choice = choice_of(asked.query, asked.now_s)
    ledger, heard = sources.ledger(), _patient()
    found = course(ledger, choice.question(), choice.span.unit, heard=heard, days=sources.days)
    before: Mapping[Key, Sums] | None = None
    if choice.compares:
        question = choice.question()
        question = question.of_clients() if question.is_of_all else question
        since_ms, until_ms = choice.span.before
        earlier = replace(question, since_ms=since_ms, until_ms=until_ms)
        before = figures(ledger, earlier, heard=heard, days=sources.days).spend(earlier).groups
    command = choice.command(sources.spend_options())
    return Page(
        "spend.html", {"title": "Spend", "command": command, **told(choice, found, before, asked.now_s)}
    )


def download(asked: Asked, sources: Sources) -> Download:
    """The groups as `modelbroker spend --format csv` has them; `over=time`: by hours, days or months."""
    choice = choice_of(asked.query, asked.now_s)
    question, unit = choice.question(), choice.span.unit
    found = course(sources.ledger(), question, unit, heard=_patient(), days=sources.days)
    return Download("text/csv; charset=utf-8", written(choice, found, asked.query.get("over") == "time"))


def _patient() -> Heard:
    """Away once it takes too long: whoever waits for a page does not wait for ever."""
    ends_s = time.monotonic() + PATIENCE_S

    def heard(done: int, of: int) -> None:
        if done < of and time.monotonic() > ends_s:
            raise Away(
                f"so many calls take longer than {PATIENCE_S:.0f} s to sum up. What is summed up by now is "
                "kept: this page asks again, and goes on from there. Fewer days take less"
            )

    return heard


# -- pure


class Word(NamedTuple):
    """What a group has of one dimension."""

    dimension: str
    text: str
    is_none: bool


@dataclass(frozen=True, slots=True)
class Row:
    """`colour`: of its bars in the chart. `share`: of the cost of all, None: nobody knows;
    `difference`: (nano-dollars more than before, how many are unknown), None: it is not asked for."""

    words: tuple[Word, ...]
    sums: Sums
    colour: int
    url: str
    calls_url: str
    share: float | None
    difference: tuple[int, int] | None = None


def told(choice: Choice, found: Course, before: Mapping[Key, Sums] | None, now_s: float) -> dict[str, Any]:
    """What the template shows."""
    groups = found.spend.groups if before is None else with_gone(found.spend.groups, before)
    order = dearest(groups)
    total = found.spend.total
    rows = [
        _row(choice, key, place, groups[key], total, before) for place, key in enumerate(order[:MOST_ROWS])
    ]
    columns = _used_columns(choice, found)
    return {
        "choice": choice,
        "span": choice.span,
        "whose": "clients' calls" if choice.question().is_of_all else "calls",
        "chart": _chart(choice, found, order, columns) if total.calls or total.known else Markup(),
        "legend": _legend(order, groups),
        "part": _part(columns, choice.span),
        "rows": rows,
        "cut": _cut(order[MOST_ROWS:], groups, total, before),
        "total": total,
        "total_difference": _difference(total, _summed(before)) if before is not None else None,
        "before": _summed(before) if before is not None else None,
        "before_words": " to ".join(moment(at_ms / 1000)[:16] for at_ms in choice.span.before),
        "besides": [
            (name, sums, choice.with_filter(("purpose", name)).url())
            for name, sums in sorted(found.besides.items())
        ],
        "of_what": _of_what(choice),
        "unknown_words": f"the cost of {plural(total.unknown, _of_what(choice))} more is unknown",
        "has_cached": bool(total.cache_read or total.cache_write),
        "has_hits": total.cache_hits > 0,
        "has_vain": total.vain + total.hedges > 0,
        **_choices(choice, now_s),
    }


def _of_what(choice: Choice) -> str:
    return "attempt" if choice.question().needs_attempts else "call"


def written(choice: Choice, found: Course, over_time: bool) -> bytes:
    """CSV. What a spreadsheet would take for a formula gets a `'` in front: names come from calls."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    unit = (choice.span.unit,) if over_time else ()
    writer.writerow([*unit, *choice.by, *fields_of(Sums(), failovers=not over_time)])
    if over_time:
        parts = [
            ((at, *key), found.over[at][key]) for at in sorted(found.over) for key in dearest(found.over[at])
        ]
    else:
        parts = [(key, found.spend.groups[key]) for key in dearest(found.spend.groups)]
    for key, sums in parts:
        words = (f"'{word}" if word.startswith(_FORMULA) else word for word in key)
        writer.writerow([*words, *fields_of(sums, failovers=not over_time).values()])
    return out.getvalue().encode()


def _row(
    choice: Choice,
    key: Key,
    place: int,
    sums: Sums,
    total: Sums,
    before: Mapping[Key, Sums] | None,
) -> Row:
    words = tuple(Word(name, text or _NONE, not text) for name, text in zip(choice.by, key, strict=True))
    share = _share(sums, total)
    difference = _difference(sums, before.get(key, Sums())) if before is not None else None
    colour = min(place, KINDS)
    return Row(words, sums, colour, choice.inside(key).url(), choice.calls_url(key), share, difference)


def _cut(
    those: Sequence[Key], groups: Mapping[Key, Sums], total: Sums, before: Mapping[Key, Sums] | None
) -> tuple[int, Sums, float | None, tuple[int, int]] | None:
    """(how many, their sums, share, difference) of groups for which there is no room."""
    if not those:
        return None
    sums = _summed({key: groups[key] for key in those})
    earlier = _summed({key: before[key] for key in those if key in before}) if before else Sums()
    return len(those), sums, _share(sums, total), _difference(sums, earlier)


def _share(sums: Sums, total: Sums) -> float | None:
    is_known = sums.known or not sums.unknown
    return sums.known / total.known if total.known and is_known else None


def _difference(now: Sums, before: Sums) -> tuple[int, int]:
    return now.known - before.known, now.unknown + before.unknown


def _summed(groups: Mapping[Key, Sums] | None) -> Sums:
    total = Sums()
    for sums in (groups or {}).values():
        total.add(sums)
    return total


# -- the chart


def _used_columns(choice: Choice, found: Course) -> list[Column]:
    """From the first month with a call on, where columns are months: nobody wants to see years of nothing."""
    columns = columns_of(choice.span)
    if choice.span.unit != "month" or not found.over:
        return columns
    first = min(found.over)
    return [column for column in columns if column.key >= first] or columns


def _chart(choice: Choice, found: Course, order: Sequence[Key], columns: Sequence[Column]) -> Markup:
    """The dearest groups each by itself, and all others as one. Colours go by what a group costs, whatever
    is measured."""
    value = _MEASURE[choice.measure]
    own, rest = list(order[:KINDS]), set(order[KINDS:])
    series = [
        Series(name_of(key), [_at(found, column, key, value) for column in columns], place)
        for place, key in enumerate(own)
    ]
    if rest:
        sums = [
            float(sum(value(one) for key, one in found.over.get(column.key, {}).items() if key in rest))
            for column in columns
        ]
        series.append(Series(_REST, sums, KINDS))
    labels = [column.label for column in columns]
    titles = [_title(column, found) for column in columns]
    what = f"{MEASURES[choice.measure]} by {' and '.join(choice.by)}, {choice.span.words}"
    return stacked(labels, series, _TOLD[choice.measure], what, titles, axis=_AXIS[choice.measure])


def _at(found: Course, column: Column, key: Key, value: Callable[[Sums], int]) -> float:
    sums = found.over.get(column.key, {}).get(key)
    return float(value(sums)) if sums is not None else 0.0


def _title(column: Column, found: Course) -> str:
    """Says what is not known of it, too."""
    unknown = sum(sums.unknown for sums in found.over.get(column.key, {}).values())
    part = " (only a part)" if column.is_part else ""
    return f"{column.words}{part}{f', {unknown:,} of unknown cost' if unknown else ''}"


def _part(columns: Sequence[Column], span: Span) -> str:
    """Which columns are not whole."""
    parts = [column.words for column in columns if column.is_part]
    until = f", until {clock(span.until_ms / 1000)} UTC" if span.is_open and columns[-1].is_part else ""
    return f"Only a part of {' and '.join(parts)} is in it{until}." if parts else ""


def _legend(order: Sequence[Key], groups: Mapping[Key, Sums]) -> list[tuple[int, str, Sums]]:
    shown = [(place, name_of(key), groups[key]) for place, key in enumerate(order[:KINDS])]
    if len(order) > KINDS:
        rest = _summed({key: groups[key] for key in order[KINDS:]})
        shown.append((KINDS, f"{_REST} ({plural(len(order) - KINDS, 'group')})", rest))
    return shown


def name_of(key: Key) -> str:
    return " · ".join(word or _NONE for word in key)


# -- what else can be chosen


def _choices(choice: Choice, now_s: float) -> dict[str, Any]:
    def to_span(name: str) -> str:
        return choice._replace(span=span_of({"span": name}, now_s)).url()

    tabs = list(dict.fromkeys((*_TABS, choice.by[0])))
    return {
        "spans": [(words, to_span(name), name == choice.span.name) for name, words in CHOICES.items()],
        "bys": [(name, choice._replace(by=(name,)).url(), name == choice.by[0]) for name in tabs],
        "measures": [
            (words, choice._replace(measure=name).url(), name == choice.measure)
            for name, words in MEASURES.items()
        ],
        "chips": [
            (f"{name}: {value}" if value else f"no {name}", choice.without(name).url())
            for name, value in choice.where
        ],
        "compare_url": choice._replace(compares=not choice.compares).url(),
        "plain_url": choice._replace(where=()).url(),
        "csv_url": choice.url(f"{PATH}.csv"),
        "csv_over_url": _with(choice.url(f"{PATH}.csv"), "over=time"),
        "dimensions": FILTERS,
        "kept_by_dates": _kept(choice, "span", "from", "to"),
        "kept_by_groups": _kept(choice, "by"),
        "kept_by_filter": _kept(choice),
    }


def _kept(choice: Choice, *but: str) -> list[tuple[str, str]]:
    """What a form has to send besides its own fields."""
    return [pair for pair in choice.pairs() if pair[0] not in but]


def _with(url: str, more: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{more}"
