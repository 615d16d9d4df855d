"""Pools and their members: weights, health, traffic now, and why somebody is out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup

from ..core.trials import beside, is_made
from ..ledger.recent import Failures, Minute, Time, failures, minutes, times
from ..stats import quantile
from . import charts
from .asked import Asked, Missing, Page
from .set_up import SetUpReader, SetUps
from .sources import Away, Sources
from .story import pool_href
from .telling import member_words
from .words import clock, count, plural

_SPARK_MINUTES = 30
_TIMES_S = 300
_CHART_MINUTES = 180
_MOST_POOLS = 50
_SET_UPS = SetUpReader()
_STATES = {
    "well": ("good", "well"),
    "out": ("bad", "out"),
    "ejected": ("bad", "ejected"),
    "not-set-up": ("bad", "not set up"),
    "eased": ("warn", "eased off"),
    "ramping": ("warn", "coming back"),
}


@dataclass(frozen=True, slots=True)
class Pace:
    """What was measured: attempts in the last minute, those in vain, and how fast the first bytes came.
    `minutes`: attempts by minute, the newest last."""

    attempts: int = 0
    failed: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    minutes: tuple[int, ...] = (0,) * _SPARK_MINUTES

    @property
    def failing(self) -> float | None:
        """0 to 1."""
        return self.failed / self.attempts if self.attempts else None

    @property
    def spark(self) -> Markup:
        return charts.spark(self.minutes, f"attempts a minute, the last {_SPARK_MINUTES} minutes")


@dataclass(frozen=True, slots=True)
class Member:
    """`share`: 0 to 1, of first attempts by the weights in effect; None at a level that stands by. `kind` is
    the badge's."""

    id: str
    weight: float
    weight_now: float
    level: int
    share: float | None
    kind: str
    state: str
    words: str
    pace: Pace
    last: Mapping[str, Any] | None = None
    in_a_row: int = 0

    @property
    def meter(self) -> Markup:
        return charts.meter(self.share, self.kind if self.kind != "good" else "", "share of first attempts")

    @property
    def is_lowered(self) -> bool:
        return self.weight_now != self.weight


@dataclass(frozen=True, slots=True)
class Pool:
    name: str
    members: tuple[Member, ...]
    pace: Pace

    @property
    def out(self) -> int:
        """Members that get no call now."""
        return sum(member.kind == "bad" for member in self.members)

    @property
    def is_weak(self) -> bool:
        return any(member.kind != "good" for member in self.members)

    @property
    def kind(self) -> str:
        return "bad" if self.out == len(self.members) else "warn" if self.is_weak else "good"

    @property
    def words(self) -> str:
        if self.out == len(self.members):
            return "nobody left"
        if self.out:
            return f"{self.out} of {plural(len(self.members), 'member')} out"
        return "not at full weight" if self.is_weak else "well"

    @property
    def link(self) -> str:
        return pool_href(self.name)

    @property
    def beside(self) -> str:
        """The pool beside which the broker made this one; "": it is the configuration's own."""
        return beside(self.name) if is_made(self.name) else ""


@dataclass(slots=True)
class Measured:
    """(pool, member) → its pace; member "" is the pool. `why_not`: why nothing is known. `by_minute` and
    `failed` of a single pool are those of the chart's time."""

    paces: Mapping[tuple[str, str], Pace] = field(default_factory=dict)
    why_not: str = ""
    by_minute: Sequence[Minute] = ()
    failed: Sequence[Failures] = ()

    def pace(self, pool: str, member: str = "") -> Pace:
        return self.paces.get((pool, member), Pace())


class Charted(NamedTuple):
    """`legend`: name, colour and sum of each series."""

    chart: Markup = Markup()
    legend: tuple[tuple[str, int, float], ...] = ()


def show(asked: Asked, sources: Sources) -> Page:
    name = asked.path.strip("/").partition("/")[2]
    return _one(asked, sources, name) if name else _all(asked, sources)


def _all(asked: Asked, sources: Sources) -> Page:
    status = sources.status()
    measured = measure(sources, asked.now_s)
    pools = pools_of(status, measured, asked.now_s)
    found = asked.query.get("q", "").strip()
    only_weak = asked.query.get("only") == "weak"
    chosen = [pool for pool in pools if is_like(pool, found) and (pool.is_weak or not only_weak)]
    first = _number(asked.query.get("from", ""))
    told = {
        "title": "Pools",
        "pools": chosen[first : first + _MOST_POOLS],
        "set_ups": _set_ups(status, sources),
        "every": len(pools),
        "made": sum(bool(pool.beside) for pool in pools),
        "chosen": len(chosen),
        "weak": sum(pool.is_weak for pool in pools),
        "q": found,
        "only_weak": only_weak,
        "measured": measured,
        "later": _link(found, only_weak, first + _MOST_POOLS) if first + _MOST_POOLS < len(chosen) else "",
        "earlier": _link(found, only_weak, max(first - _MOST_POOLS, 0)) if first else "",
        "all_link": _link(found, False, 0),
        "weak_link": _link(found, True, 0),
    }
    return Page("pools.html", told, every_s=5)


def _one(asked: Asked, sources: Sources, name: str) -> Page:
    status = sources.status()
    those = [told for told in status["pools"] if told["name"] == name]
    if not those:
        raise Missing(f"There is no pool {name[:100]} in the configuration that is served.")
    measured = measure(sources, asked.now_s, name)
    (pool,) = pools_of({**status, "pools": those}, measured, asked.now_s)
    told = {
        "title": name,
        "pool": pool,
        "set_ups": _set_ups(status, sources),
        "made": [(one["name"], pool_href(one["name"])) for one in status["pools"] if _is_made_for(one, name)],
        "measured": measured,
        "chart": chart_of(measured.by_minute, asked.now_s),
        "failed": measured.failed,
        "hours": _CHART_MINUTES // 60,
        "spend": "/console/spend?" + urlencode({"pool": name, "by": "member"}),
    }
    return Page("pool.html", told, every_s=5)


def _is_made_for(told: Mapping[str, Any], name: str) -> bool:
    return is_made(told["name"]) and beside(told["name"]) == name


def _set_ups(status: Mapping[str, Any], sources: Sources) -> SetUps:
    return _SET_UPS.of(sources.folder, status["serving"] or status["revision"] or "")


def measure(sources: Sources, now_s: float, pool: str = "") -> Measured:
    """Of all pools, or of one, and that for as long as its chart is."""
    long_ms = int(now_s - (_CHART_MINUTES if pool else _SPARK_MINUTES) * 60) * 1000
    try:
        with sources.asking() as ledger:
            by_minute = minutes(ledger, long_ms, pool)
            recent = times(ledger, int(now_s - _TIMES_S) * 1000, pool)
            failed = failures(ledger, long_ms, pool) if pool else []
    except Away as away:
        return Measured(why_not=str(away))
    return Measured(paces_of(by_minute, recent, now_s), "", by_minute, failed)


def paces_of(
    by_minute: Iterable[Minute], recent: Iterable[Time], now_s: float
) -> dict[tuple[str, str], Pace]:
    """Of pools and of members. A pool that the broker made beside another one counts there as well."""
    this_minute = int(now_s // 60)
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * _SPARK_MINUTES)
    now: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in by_minute:
        back = this_minute - one.at_ms // 60_000
        for key in _keys(one):
            if 0 <= back < _SPARK_MINUTES:
                counts[key][_SPARK_MINUTES - 1 - back] += one.attempts
            if back == 1:  # the last whole one
                now[key][0] += one.attempts
                now[key][1] += one.failed
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for time in recent:
        for key in _keys(time):
            took[key].append(time.first_byte_ms)
    return {
        key: Pace(
            now[key][0],
            now[key][1],
            _quantile(took[key], 0.5),
            _quantile(took[key], 0.95),
            tuple(counts[key]),
        )
        for key in {*counts, *took}
    }


def _keys(told: Minute | Time) -> set[tuple[str, str]]:
    """A candidate's calls are also those of the pool beside which it is; a shadow's copies aren't."""
    names = (told.pool,) if told.purpose else (told.pool, beside(told.pool))
    return {(name, one) for name in names for one in (told.member, "")}


def _quantile(values: list[float], share: float) -> float | None:
    """None: there are none."""
    return quantile(sorted(values), share) if values else None


def pools_of(status: Mapping[str, Any], measured: Measured, now_s: float) -> list[Pool]:
    """Those first that are not well, and then by name."""
    made = [
        Pool(
            told["name"],
            tuple(_members(told, status["members"], measured, now_s)),
            measured.pace(told["name"]),
        )
        for told in status["pools"]
    ]
    order = {"bad": 0, "warn": 1, "good": 2}
    return sorted(made, key=lambda pool: (order[pool.kind], pool.name))


def _members(
    told: Mapping[str, Any], known: Mapping[str, Any], measured: Measured, now_s: float
) -> Iterable[Member]:
    levels: dict[int, float] = defaultdict(float)
    for member in told["members"]:
        levels[member["priority"]] += member["weight_in_effect"]
    serving = min((level for level, weight in levels.items() if weight), default=None)
    for member in told["members"]:
        kind, state = _STATES.get(member["state"], ("warn", member["state"]))
        stands_by = member["priority"] != serving and member["weight_in_effect"] > 0
        more = known.get(member["id"], {})
        yield Member(
            id=member["id"],
            weight=member["weight"],
            weight_now=member["weight_in_effect"],
            level=member["priority"],
            share=None if stands_by else member["weight_in_effect"] / (levels[member["priority"]] or 1),
            kind=kind,
            state=state,
            words=member_words(member, now_s),
            pace=measured.pace(told["name"], member["id"]),
            last=more.get("last_error"),
            in_a_row=more.get("failures_in_a_row", 0),
        )


def chart_of(by_minute: Sequence[Minute], now_s: float) -> Charted:
    """Attempts of the last hours by member, in columns of some minutes."""
    width = 3
    last = int(now_s // 60) // width
    first = last - _CHART_MINUTES // width + 1
    columns = [clock((at * width) * 60)[:5] for at in range(first, last + 1)]
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * len(columns))
    for one in by_minute:
        at = one.at_ms // 60_000 // width - first
        if 0 <= at < len(columns):
            sums[one.member][at] += one.attempts
    order = sorted(sums, key=lambda name: (-sum(sums[name]), name))
    series = [charts.Series(name, sums[name], at) for at, name in enumerate(order[: charts.KINDS])]
    if rest := order[charts.KINDS :]:
        values = [sum(sums[name][at] for name in rest) for at in range(len(columns))]
        series.append(charts.Series("all others", values, charts.KINDS))
    what, axis = f"attempts by member, {width} minutes a column", charts.Axis(count, charts.whole)
    chart = charts.stacked(columns, series, count, what, axis=axis)
    return Charted(chart, tuple((one.name, one.colour, sum(one.values)) for one in series))


def is_like(pool: Pool, found: str) -> bool:
    said = found.lower()
    return said in pool.name.lower() or any(said in member.id.lower() for member in pool.members)


def _number(text: str) -> int:
    return min(int(text), 1_000_000) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _link(found: str, only_weak: bool, first: int) -> str:
    said = {"q": found, "only": "weak" if only_weak else "", "from": str(first or "")}
    words = urlencode({name: value for name, value in said.items() if value})
    return f"/console/pools?{words}" if words else "/console/pools"
