"""The figures for people: tables of numbers and ratios, aligned or as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from measure import SCENARIOS, WARM_UP, Slice, Summary

BASE = "envoy"
# A process that is one thread and used more of a core than this was what the slice really measured.
_FULL = 0.95


def tables(summaries: Sequence[Summary], *, markdown: bool) -> str:
    """All scenarios: those at saturation first, then those at a low rate."""
    at_saturation = [one for one in summaries if SCENARIOS[one.scenario].is_saturation]
    at_rate = [one for one in summaries if not SCENARIOS[one.scenario].is_saturation]
    parts = []
    if at_saturation:
        parts += ["At saturation", table(_SATURATION, map(_saturation_row, at_saturation), markdown)]
    for scenario in dict.fromkeys(one.scenario for one in at_rate):
        rows = [one for one in at_rate if one.scenario == scenario]
        name = "first event" if SCENARIOS[scenario].stream else "reply"
        parts.append(f"Time to the {name} at {rows[0].rate:g} calls/s ({scenario})")
        parts.append(table(_RATE, [_rate_row(one, rows) for one in rows], markdown))
    return "\n\n".join(parts)


def translated(slices: Sequence[Slice]) -> list[str]:
    """A line a scenario and target at saturation: CPU of a call that does not simply pass in times of the
    identity path's."""
    told = []
    for scenario in dict.fromkeys(one.scenario for one in slices if not one.rate):
        mine = [one for one in slices if one.scenario == scenario and one.round != WARM_UP and one.us_total]
        same = {s.round: s.us_total for s in mine if s.target == _IDENTITY}
        for name in _NOT_IDENTITY:
            other = {s.round: s.us_total for s in mine if s.target == name}
            if ratios := [other[number] / same[number] for number in other if number in same]:
                median, least, most = statistics.median(ratios), min(ratios), max(ratios)
                told.append(
                    f"{scenario}: {name} costs {median:.2f} ({least:.2f}-{most:.2f}) times the identity path"
                )
    return told


_IDENTITY = "broker"
_NOT_IDENTITY = ("translated", "guarded", "paid", "kept", "cached", "captured", "spared", "shadowed")
_SATURATION = (
    "scenario",
    "target",
    "calls/s",
    "of Envoy's",
    "CPU/call: Envoy µs",
    "Python µs",
    "together µs",
    "times Envoy's",
    "errors",
)


def _saturation_row(one: Summary) -> list[str]:
    has_cpu = one.us_total > 0
    return [
        one.scenario,
        one.target,
        f"{one.per_second:,.0f}",
        _ratio(one, "per_second"),
        f"{one.us_envoy:,.0f}" if one.us_envoy else "-",
        f"{one.us_python:,.0f}" if one.us_python else "-",
        f"{one.us_total:,.0f}" if has_cpu else "-",
        _ratio(one, "us_total") if has_cpu else "-",
        str(one.errors),
    ]


def _ratio(one: Summary, name: str) -> str:
    """The median of the rounds' ratios, with the least and the most."""
    if name not in one.over:
        return "-"
    median, least, most = one.over[name]
    digits = 2 if median >= 0.1 else 4
    return "1" if one.target == BASE else f"{median:.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"


_RATE = (
    "target",
    "p50 ms",
    "p99 ms",
    "p50 over direct",
    "p99 over direct",
    "p50 over Envoy",
    "p99 over Envoy",
    "CPU/call: Envoy µs",
    "Python µs",
    "errors",
)


def _rate_row(one: Summary, rows: Sequence[Summary]) -> list[str]:
    p50, p99 = _latency(one)
    row = [one.target, f"{p50 / 1000:.2f}", f"{p99 / 1000:.2f}"]
    for name in ("direct", BASE):
        base = next((other for other in rows if other.target == name), None)
        if base is None or base is one:
            row += ["-", "-"]
        else:
            base50, base99 = _latency(base)
            row += [f"{(p50 - base50) / 1000:+.2f}", f"{(p99 - base99) / 1000:+.2f}"]
    row += [f"{value:,.0f}" if value else "-" for value in (one.us_envoy, one.us_python)]
    return [*row, str(one.errors)]


def _latency(one: Summary) -> tuple[float, float]:
    if SCENARIOS[one.scenario].stream:
        return one.first_p50_us, one.first_p99_us
    return one.latency_p50_us, one.latency_p99_us


def table(head: Sequence[str], rows: Iterable[Sequence[str]], markdown: bool) -> str:
    """Columns of words to the left, those of numbers to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    columns = list(zip(*cells[1:], strict=True))
    words = [any(cell[:1].isalpha() for cell in column) for column in columns]

    def line(row: Sequence[str]) -> str:
        shown = [
            cell.ljust(width) if is_word else cell.rjust(width)
            for cell, width, is_word in zip(row, widths, words, strict=True)
        ]
        return f"| {' | '.join(shown)} |" if markdown else "  ".join(shown).rstrip()

    if markdown:
        ends = ["-" if is_word else ":" for is_word in words]
        rule = "|".join("-" * (width + 1) + end for width, end in zip(widths, ends, strict=True))
    else:
        rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(cells[0]), f"|{rule}|" if markdown else rule, *map(line, cells[1:])])


def remarks(slices: Sequence[Slice]) -> list[str]:
    """What a reader has to know before believing the figures."""
    found = []
    for scenario in dict.fromkeys(one.scenario for one in slices):
        for target in dict.fromkeys(one.target for one in slices):
            mine = [one for one in slices if (one.scenario, one.target) == (scenario, target)]
            mine = [one for one in mine if one.round != WARM_UP]
            for who in ("client", "upstream"):
                share = max((getattr(one, f"{who}_share") for one in mine), default=0)
                if share > _FULL and target != "direct":
                    found.append(
                        f"{scenario}, {target}: the {who} was busy for {share:.0%} of a slice: "
                        "calls/s are the tool's limit there, CPU per call is not"
                    )
    return found


def errors(slices: Sequence[Slice]) -> list[str]:
    """One line a target and scenario that had errors, with what they said."""
    found = []
    for key in dict.fromkeys((one.scenario, one.target) for one in slices if one.errors):
        mine = [one for one in slices if (one.scenario, one.target) == key]
        examples = list(dict.fromkeys(text for one in mine for text in one.examples))[:3]
        count = sum(one.errors for one in mine)
        found.append(f"ERRORS: {key[0]}, {key[1]}: {count}: {'; '.join(examples)}")
    return found
