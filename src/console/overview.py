"""The first page: is all well, what is not, and how much goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from ..core.outcomes import ERROR, LOST, OK, REFUSED
from ..core.record import CLIENT_GONE
from ..core.trials import is_made
from ..ledger.calls import Lately, failures, lately
from ..ledger.database import Ledger
from ..ledger.questions import CLIENTS, Question, hour_text
from ..ledger.spend import Spend, Sums, figures, spend
from ..revisions.kept import WHY_WORDS, by_of
from ..stats import quantile
from . import charts
from .asked import Asked, Page
from .calls import Row, row_of
from .sources import Away, Sources
from .troubles import troubles
from .words import money, short, tick

Tree = Mapping[str, Any]
Found = TypeVar("Found")
EVERY_S = 5
_LATELY_S = 900
_MOST_LATELY = 20_000  # calls: what is said of times is said of the newest of them
_HOUR_S, _DAY_S = 3_600, 86_400
_HOURS = 24
_KEPT_S = 30.0
_FAILURES = 8
_NO_TEAM = "no team"
_OUTCOMES = ((OK, 2), (REFUSED, 4), (ERROR, 5), (CLIENT_GONE, 8), (LOST, 3))


class Pulse(NamedTuple):
    """Of clients' calls of the last 15 minutes. `minutes`: how many began in each, the oldest first. Times in
    ms; None: there was no answer. `is_part`: there were more than are looked at."""

    last_minute: int
    minutes: tuple[int, ...]
    calls: int
    errors: int
    median_ms: float | None
    p95_ms: float | None
    is_part: bool


class Spent(NamedTuple):
    """Nano-dollars, and how many calls are of unknown cost beside. `…_trials`: the part of it that was no
    client's, but for shadows and scores."""

    today: int
    today_unknown: int
    today_trials: int
    month: int
    month_unknown: int
    month_trials: int


class Group(NamedTuple):
    """A line of a chart's legend."""

    name: str
    colour: int
    told: str


class Live(NamedTuple):
    """The revision that is served, since when (unix time), and how: `by ana`, `released by ana (token)`."""

    revision: str
    href: str
    since_s: float
    by: str


def show(asked: Asked, sources: Sources) -> Page:
    now_s = asked.now_s
    status = sources.status()
    unsaid: list[str] = []
    budgets, fleet, history = (_part(sources, path, unsaid) for path in ("/budgets", "/fleet", "/history"))
    data = {
        "title": "Overview",
        "status": status,
        "troubles": troubles(status, budgets, fleet, now_s),
        "unsaid": unsaid,
        "live": live_of(status, history.get("revisions", ())),
        "counts": _counts(status, fleet),
        "has_own_ledger": sources.has_own_ledger,
        "ledger_why": "",
        "pulse": None,
        "spark": "",
        "failures": [],
        "charts": None,
        "spent": None,
    }
    try:
        with sources.asking() as ledger:
            data |= _of_ledger(ledger, sources, now_s)
    except Away as away:
        data["ledger_why"] = str(away)
    return Page("overview.html", data, every_s=EVERY_S)


def _part(sources: Sources, path: str, unsaid: list[str]) -> Tree:
    try:
        told: Tree = sources.tree(path)
    except Away as away:
        unsaid.append(str(away))
        return {}
    return told


def _counts(status: Tree, fleet: Tree) -> dict[str, int]:
    members = {member["id"] for pool in status["pools"] for member in pool["members"]}
    return {
        "pools": sum(not is_made(pool["name"]) for pool in status["pools"]),
        "members": len(members),
        "brokers": len(fleet.get("brokers", ())) or 1,
    }


def live_of(status: Tree, history: Sequence[Tree]) -> Live:
    revision = status["serving"] or status["revision"] or ""
    those = [one for one in history if one["revision"] == revision]
    newest = max(those, key=lambda one: one["number"], default=None)
    if newest is None:
        return Live(revision, "/console/revisions", status["loaded_at"], "")
    who, why = (newest["origin"] or {}).get("who", ""), newest["why"]
    done_by = by_of(why, newest.get("actor", ""), newest["by"])
    by = f"{WHY_WORDS[why]} by {done_by}" if done_by else f"by {who}" if who else ""
    return Live(revision, f"/console/revisions/{newest['number']}", newest["since_s"], by)


def _of_ledger(ledger: Ledger, sources: Sources, now_s: float) -> dict[str, Any]:
    hour_s, now_ms = int(now_s) // _HOUR_S * _HOUR_S, int(now_s * 1000)
    first_ms = (hour_s - (_HOURS - 1) * _HOUR_S) * 1000
    at = datetime.fromtimestamp(now_s, UTC)

    def asked(make: Callable[[Ledger], Found], name: str, least_s: float = _KEPT_S) -> Found:
        return sources.kept.get((name, hour_s), least_s, lambda: make(ledger))

    def of_month(one: Ledger) -> Spend:
        return figures(one, days, days=sources.days).spend(days)

    recent = Question(since_ms=now_ms - _LATELY_S * 1000, where=CLIENTS)
    day = Question(since_ms=now_ms - _DAY_S * 1000)
    outcomes = Question(("hour", "outcome"), first_ms, where=CLIENTS)
    teams = Question(("hour", "team", "purpose"), first_ms)
    month_ms = int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp() * 1000)
    days = Question(("day", "purpose"), month_ms)
    columns = [hour_text(first_ms + number * _HOUR_S * 1000) for number in range(_HOURS)]
    pulse = pulse_of(lately(ledger, recent, _MOST_LATELY), now_ms)
    return {
        "pulse": pulse,
        "spark": charts.spark(pulse.minutes, "Calls a minute, of the last 15"),
        "failures": _rows(failures(ledger, day, _FAILURES)),
        "spent": spent_of(asked(of_month, "days"), at.strftime("%Y-%m-%d")),
        "charts": (
            outcomes_chart(asked(lambda one: spend(one, outcomes), "outcomes"), columns),
            teams_chart(asked(lambda one: spend(one, teams), "teams"), columns),
        ),
    }


def _rows(calls: Iterable[Any]) -> list[Row]:
    return [row_of(one) for one in calls]


def pulse_of(calls: Sequence[Lately], now_ms: int) -> Pulse:
    """Those of the last 15 minutes, the newest first."""
    minutes = [0] * (_LATELY_S // 60)
    for one in calls:
        ago = max(now_ms - one.at_ms, 0) // 60_000
        if ago < len(minutes):
            minutes[-1 - ago] += 1
    good = (one.first_byte_ms for one in calls if one.outcome == OK)
    times = sorted(one for one in good if one is not None)
    errors = sum(one.outcome in (ERROR, LOST) for one in calls)
    return Pulse(
        minutes[-1],
        tuple(minutes),
        len(calls),
        errors,
        quantile(times, 0.5) if times else None,
        quantile(times, 0.95) if times else None,
        len(calls) >= _MOST_LATELY,
    )


def spent_of(days: Spend, today: str) -> Spent:
    """Of a month's days, by what calls were for."""
    of_today, trials, trials_today = Sums(), Sums(), Sums()
    for (day, purpose), sums in days.groups.items():
        if day == today:
            of_today.add(sums)
        if purpose:
            trials.add(sums)
        if day == today and purpose:
            trials_today.add(sums)
    total = days.total
    return Spent(
        *(of_today.known, of_today.unknown, trials_today.known),
        *(total.known, total.unknown, trials.known),
    )


class Chart(NamedTuple):
    svg: Any
    legend: tuple[Group, ...]


def outcomes_chart(found: Spend, columns: Sequence[str]) -> Chart:
    """Calls an hour, by what they came to."""
    shown = []
    for outcome, colour in _OUTCOMES:
        values = [found.groups.get((column, outcome), Sums()).calls for column in columns]
        if sum(values):
            shown.append(charts.Series(outcome.replace("_", " "), values, colour))
    what = "Calls an hour by outcome, of the last 24 hours"
    axis = charts.Axis(short, charts.whole)
    svg = charts.stacked(_hours(columns), shown, short, what, width=charts.HALF, axis=axis)
    return Chart(svg, tuple(Group(one.name, one.colour, short(sum(one.values))) for one in shown))


def teams_chart(found: Spend, columns: Sequence[str]) -> Chart:
    """What calls cost an hour, by team: the dearest, and the others together. What was no client's is
    called by what it was for."""
    costs: dict[str, dict[str, int]] = {}
    unknown: dict[str, int] = {}
    for (hour, team, purpose), sums in found.groups.items():
        whose = f"for {purpose}" if purpose else team or _NO_TEAM
        its = costs.setdefault(whose, {})
        its[hour] = its.get(hour, 0) + sums.known
        unknown[whose] = unknown.get(whose, 0) + sums.unknown
    those = (team for team in costs if any(costs[team].values()) or unknown[team])
    dear = sorted(those, key=lambda team: -sum(costs[team].values()))
    shown, legend = [], []
    groups = [(team, [team]) for team in dear[: charts.KINDS - 1]]
    groups += [("others", dear[charts.KINDS - 1 :])] if len(dear) >= charts.KINDS else []
    for number, (name, teams) in enumerate(groups):
        values = [sum(costs[team].get(column, 0) for team in teams) for column in columns]
        colour = charts.KINDS if name == "others" else number
        shown.append(charts.Series(name, values, colour))
        legend.append(Group(name, colour, money(sum(values), sum(unknown[team] for team in teams))))
    what = "What calls cost an hour by team, of the last 24 hours"
    hours, axis = _hours(columns), charts.Axis(tick)
    svg = charts.stacked(hours, shown, _told, what, width=charts.HALF, axis=axis)
    return Chart(svg, tuple(legend))


def _hours(columns: Sequence[str]) -> list[str]:
    """`2026-11-29T20:00Z` → `20:00`"""
    return [column[11:16] for column in columns]


def _told(nano: float) -> str:
    return money(int(nano))
