"""A simulation's figures for people: as a table, in Markdown for a pull request, as a page."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..simulation.figures import METRICS, NO_STREAMS
from .ledger_access import moment
from .simulate_trials import trial_sections
from .status_table import aligned

_TITLES = {
    "cost": "cost",
    "first_event": "time to the first event",
    "latency": "time of the whole reply",
    "refusals": "refused",
    "degradations": "degraded by a budget",
    "cache_hits": "answered by the cache",
    "moved": "calls that move",
}
_HEAD = ("", "OLD", "NEW", "95 % OF REPEATS", "CHANGE")
_MOST_MOVES = 15
Rows = list[tuple[str, ...]]


def amount(metric: str, value: float | None) -> str:
    if value is None:
        return "?"
    match METRICS[metric]:
        case "money":
            return _money(value)
        case "ms":
            return f"{value:,.0f} ms"
    return f"{value:,.0f}"


def _money(nano: float) -> str:
    """To a hundredth of a cent; of less than that two digits, of more than $100 whole cents."""
    if not nano:
        return "$0"
    places = 2 if abs(nano) >= 1e11 else max(4, 1 - math.floor(math.log10(abs(nano) / 1e9)))
    return f"${nano / 1e9:,.{min(places, 9)}f}"


def _change(ppm: float | None) -> str:
    return "?" if ppm is None else f"{ppm / 10_000:+.2f} %"


def _rows(group: Mapping[str, Any]) -> Rows:
    rows: Rows = []
    for metric, title in _TITLES.items():
        one = group[metric]
        if metric == "moved":
            share = one["new"] / group["calls"] if group["calls"] else 0.0
            rows.append((title, "", amount(metric, one["new"]), "", f"{share:.1%} of {group['calls']:,}"))
            rows.append(("of them, at another member", "", amount(metric, one["member"]), "", ""))
            continue
        if METRICS[metric] == "calls" and not (one["old"] or one["new"]):
            continue
        if one.get("why") == NO_STREAMS:
            rows.append((title, "-", "-", NO_STREAMS, ""))
            continue
        bounds = ""
        if one["low"] is not None and one["low"] != one["high"]:
            bounds = f"{amount(metric, one['low'])} to {amount(metric, one['high'])}"
        new = amount(metric, one["new"])
        rows.append((title, amount(metric, one["old"]), new, bounds, _change(one["change_ppm"])))
    return rows


def _notes(tree: Mapping[str, Any]) -> Iterator[str]:
    """Why figures are missing; what a mark means that stands in the report; and what else is to be said."""
    group = tree["total"]
    for metric in ("first_event", "latency"):
        why = group[metric]["why"]
        if group["calls"] and why and why != NO_STREAMS:
            yield f"{_TITLES[metric]}: {why}"
    if any("?" in cell.split() for _, _, rows, _ in _sections(tree) for row in rows for cell in row):
        yield "?: not known (docs/simulate.md, What each figure means)"
    yield from tree["notes"]


def _by(groups: Mapping[str, Mapping[str, Any]]) -> Rows:
    rows: Rows = []
    for name, group in groups.items():
        cost = group["cost"]
        rows.append(
            (
                name or "-",
                f"{group['calls']:,}",
                f"{group['moved']['new']:,}",
                amount("cost", cost["old"]),
                amount("cost", cost["new"]),
                _change(cost["change_ppm"]),
                f"{_change(cost['change_low_ppm'])} to {_change(cost['change_high_ppm'])}",
                _pair(group, "latency"),
                _pair(group, "refusals"),
            )
        )
    return rows


def _pair(group: Mapping[str, Any], metric: str) -> str:
    one = group[metric]
    return f"{amount(metric, one['old'])} → {amount(metric, one['new'])}"


_BY_HEAD = ("CALLS", "MOVE", "COST", "NEW COST", "CHANGE", "95 %", "REPLY", "REFUSED")


def _moves(tree: Mapping[str, Any]) -> Rows:
    return [
        (f"{move['calls']:,}", _place(move["old"]), _place(move["new"]))
        for move in tree["moves"][:_MOST_MOVES]
    ]


def _place(side: Mapping[str, str]) -> str:
    rule = f" by {side['rule']}" if side["rule"] else ""
    return f"{side['pool'] or '-'}{rule}"


def _members(tree: Mapping[str, Any]) -> Rows:
    return [(one["member"], f"{one['old']:,.0f}", f"{one['new']:,.0f}") for one in tree["members"]]


def _tokens(tree: Mapping[str, Any]) -> Rows:
    said = {"same": "the same model", "pairs": "calls that both had", "lots": "calls that either had by lot"}
    return [
        (
            one["from"],
            one["to"],
            *(_ratio(one[part]) if one["how"] != "unknown" else "as many, assumed" for part in _PARTS),
            said.get(one["how"], "never seen"),
        )
        for one in tree["tokens"]
    ]


_PARTS = ("prompt", "answer")


def _ratio(one: Mapping[str, float]) -> str:
    if one["low"] == one["high"]:
        return f"x {one['ratio']:.2f}"
    return f"x {one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def _sections(tree: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str], Rows, int]]:
    """(title, head, rows, how many columns are text)"""
    yield "", _HEAD, _rows(tree["total"]), 1
    yield from trial_sections(tree, amount)
    if tree["moves"]:
        yield "What moves", ("CALLS", "FROM", "TO"), _moves(tree), 0
    if tree["members"]:
        yield "Members (first attempts)", ("MEMBER", "OLD", "NEW"), _members(tree), 1
    for name, groups in tree["by"].items():
        yield f"By {name}", (name.upper(), *_BY_HEAD), _by(groups), 1
    if tree["tokens"] and tree["total"]["moved"]["new"]:
        head = ("FROM", "TO", "TOKENS OF PROMPTS", "TOKENS OF ANSWERS", "LEARNED FROM")
        yield "Tokens of calls that move", head, _tokens(tree), 5


def _title(tree: Mapping[str, Any]) -> str:
    span = f"{moment(tree['since_ms'], 'seconds')} to {moment(tree['until_ms'], 'seconds')}"
    old = tree["old"]["config"] or "what was recorded"
    where = " ".join(f"{name}={'|'.join(values)}" for name, values in tree["where"].items())
    chosen = f" with {where}" if where else ""
    return (
        f"{tree['calls']:,} calls{chosen}, {span}: {old} against {tree['new']['config']} "
        f"({tree['new']['revision']})"
    )


def table(tree: Mapping[str, Any]) -> str:
    lines = [_title(tree), ""]
    for title, head, rows, texts in _sections(tree):
        if title:
            lines += ["", title]
        lines += aligned([tuple(head), *rows], right=texts) if texts < 5 else aligned([tuple(head), *rows])
    lines += ["", *_notes(tree)]
    lines += [f"{'FAILS' if gate['fails'] else 'holds'}: {_gate(gate)}" for gate in tree["gates"]]
    return "\n".join(lines).rstrip()


def _gate(gate: Mapping[str, Any]) -> str:
    return f"{gate['text']} (found {gate['found']})"


def markdown(tree: Mapping[str, Any]) -> str:
    failed = [gate for gate in tree["gates"] if gate["fails"]]
    verdict = "" if not tree["gates"] else " ❌" if failed else " ✅"
    lines = [f"### Simulated routing change{verdict}", "", _escaped(_title(tree)), ""]
    lines += [
        f"- {'❌' if gate['fails'] else '✅'} `{gate['text']}`: {gate['found']}" for gate in tree["gates"]
    ]
    apart = len(list(trial_sections(tree, amount)))
    for number, (title, head, rows, texts) in enumerate(_sections(tree)):
        if number == 1 + apart:
            lines += ["", "<details><summary>What moves, and for whom</summary>"]
        lines += ["", f"**{title}**", ""] if title else [""]
        lines.append("| " + " | ".join(word.lower() for word in head) + " |")
        lines.append("|" + "|".join("---" if place < texts else "--:" for place in range(len(head))) + "|")
        lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    lines += ["", "</details>", ""]
    lines += [f"- {_escaped(note)}" for note in _notes(tree)]
    return "\n".join(lines).rstrip()


def _escaped(text: str) -> str:
    for mark in "\\`*_{}[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return text


_STYLE = (
    ":root{color-scheme:light dark;--line:#ccc;--bad:#b00020;--good:#1b6e2c}"
    "@media(prefers-color-scheme:dark){:root{--line:#444;--bad:#ff8a80;--good:#81c995}}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "div{overflow-x:auto}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.3rem .7rem;"
    "border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}th{font-size:12px}"
    ".t{text-align:left}.bad{color:var(--bad)}.good{color:var(--good)}"
)


def page(tree: Mapping[str, Any]) -> str:
    esc = html.escape
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>Simulated routing change</title><style>{_STYLE}</style>",
        f"<h1>Simulated routing change</h1><p>{esc(_title(tree))}</p>",
    ]
    for gate in tree["gates"]:
        kind = "bad" if gate["fails"] else "good"
        parts.append(f"<p class={kind}>{'fails' if gate['fails'] else 'holds'}: {esc(_gate(gate))}</p>")
    for title, head, rows, texts in _sections(tree):
        parts.append(f"<h2>{esc(title)}</h2>" if title else "")
        parts.append(
            "<div><table><tr>" + "".join(_cell("th", word, n < texts) for n, word in enumerate(head))
        )
        parts += [
            "<tr>" + "".join(_cell("td", word, n < texts) for n, word in enumerate(row)) for row in rows
        ]
        parts.append("</table></div>")
    parts.append("<ul>" + "".join(f"<li>{esc(note)}" for note in _notes(tree)) + "</ul></html>")
    return "\n".join(part for part in parts if part)


def _cell(kind: str, text: str, is_text: bool) -> str:
    mark = " class=t" if is_text else ""
    return f"<{kind}{mark}>{html.escape(text)}</{kind}>"


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "table": table,
    "markdown": markdown,
    "html": page,
    "json": str,
}
