"""Results → a report: JSON, a table for a terminal, and one HTML file that needs nothing beside it. Pure but
for reading its template (jinja2, the extra `evals`, is imported when used)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ..core.errors import Misconfigured
from ..stats import Interval
from . import svg
from .answers import Answer
from .cases import reference_of
from .figures import Disagreement, Figures, Results, Run, disagreements, pareto
from .outcomes import Outcome
from .redacting import Redact
from .scoring import shown
from .verdicts import BETTER, NOT_WORSE, OPEN, WORSE

_ENDS = {
    "through": "all cases were asked",
    "decided": "every candidate was decided before the cases were through",
    "money": "it ended by its budget before the cases were through",
    "interrupted": "it was interrupted: run it again, and it goes on",
    "": "it is under way, or was killed: run it again, and it goes on",
}
_MOST_SHOWN = 1_600  # characters of each text


@dataclass(frozen=True, slots=True)
class About:
    """What a report says of its run beside figures. `configs`: path → revision."""

    name: str
    at: str
    version: str
    configs: Mapping[str, str]
    price_revision: str
    left_out: Mapping[str, int]
    why: str = ""


def tree_of(results: Results, about: About) -> dict[str, Any]:
    """The report as JSON has it; docs/evals.md says what is what."""
    suite = results.run.suite
    return {
        "suite": suite.name,
        "run": about.name,
        "at": about.at,
        "modelbroker": about.version,
        "ended": results.run.ended,
        "configurations": {name or "own": revision for name, revision in about.configs.items()},
        "price_revision": about.price_revision,
        "cases": len(results.run.cases),
        "left_out": dict(about.left_out),
        "reference": suite.reference,
        "margin": suite.margin,
        "confidence": 1.0 - suite.alpha,
        "cost_nano": results.cost,
        "unknown_costs": results.unknown_costs,
        "baseline": suite.baseline,
        "candidates": [
            {
                **_figures_tree(one),
                "what": next(c.what for c in suite.candidates if c.name == one.candidate),
                **_verdict_tree(results, one.candidate),
            }
            for one in results.overall
        ],
        "pareto": list(pareto(results)),
        "slices": [{"slice": one.slice, "value": one.value, **_figures_tree(one)} for one in results.slices],
    }


def _verdict_tree(results: Results, candidate: str) -> dict[str, Any]:
    verdict = results.verdicts.get(candidate)
    if verdict is None:
        return {"verdict": "baseline"}
    return {"verdict": verdict.word, "decided_by": verdict.by, "always_valid": verdict.always.as_json()}


def _figures_tree(one: Figures) -> dict[str, Any]:
    intervals = (
        "quality",
        "difference",
        "refusals",
        "errors",
        "first_event_ms",
        "latency_p50_ms",
        "latency_p95_ms",
        "cost",
    )
    told = {name: _told(getattr(one, name)) for name in intervals}
    return {
        "candidate": one.candidate,
        "n": one.n,
        **told,
        "p_value": one.p_value,
        "unknown_costs": one.unknown_costs,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "scorers": {name: _told(interval) for name, interval in one.scorers.items()},
    }


def _told(interval: Interval | None) -> dict[str, Any] | None:
    return interval.as_json() if interval is not None else None


# -- for people


def percent(interval: Interval | None) -> str:
    """`81.0 % (74.2–86.5)`"""
    if interval is None:
        return "–"
    return f"{interval.value * 100:.1f} % ({_bound(interval.low, 100)}–{_bound(interval.high, 100)})"


def points(interval: Interval | None) -> str:
    """`+2.0 (−1.1 to +5.2)`"""
    if interval is None:
        return "–"
    return f"{_signed(interval.value)} ({_signed(interval.low)} to {_signed(interval.high)})"


def _signed(value: float) -> str:
    return f"{value * 100:+.1f}".replace("-", "−")


def _bound(value: float, factor: float) -> str:
    return "?" if value in (float("inf"), float("-inf")) else f"{value * factor:.1f}"


def millis(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.0f} s"
    return f"{value / 1000:.2g} s" if value >= 1000 else f"{value:.0f} ms"


def _time(interval: Interval | None) -> str:
    return "–" if interval is None else millis(interval.value)


def dollars(value: float) -> str:
    """With as many digits as say something."""
    if value == 0 or value >= 1:
        return f"${value:,.2f}" if value else "$0"
    digits = 1 - math.floor(math.log10(abs(value)))
    return f"${value:.{min(digits, 9)}f}"


def _cost(one: Figures) -> str:
    if one.cost is None:
        return "unknown" if one.n else "–"
    more = f", {one.unknown_costs} unknown" if one.unknown_costs else ""
    return f"{dollars(one.cost.value)}{more}"


def _p(one: Figures) -> str:
    if one.p_value is None:
        return ""
    return f"p {one.p_value:.3f}" if one.p_value >= 0.001 else "p < 0.001"


def _word(results: Results, candidate: str) -> str:
    verdict = results.verdicts.get(candidate)
    return verdict.word if verdict is not None else "baseline"


_HEADS = (
    "CANDIDATE",
    "CASES",
    "QUALITY",
    "DIFFERENCE",
    "VERDICT",
    "REFUSED",
    "FAILED",
    "FIRST EVENT",
    "P50",
    "P95",
    "A CALL",
)


def table_of(results: Results, about: About) -> list[str]:
    """Lines for a terminal."""
    rows: list[tuple[str, ...]] = [_HEADS]
    rows += [_row(one, one.candidate, _word(results, one.candidate)) for one in results.overall]
    lines = _aligned(rows)
    if results.slices:
        rows = [("SLICE", "VALUE", "CANDIDATE", "CASES", "QUALITY", "DIFFERENCE", "P (HOLM)")]
        for one in results.slices:
            p_value = _p(one)
            rows.append(
                (
                    one.slice,
                    one.value or "–",
                    one.candidate,
                    str(one.n),
                    percent(one.quality),
                    points(one.difference),
                    p_value,
                )
            )
        lines += ["", *_aligned(rows)]
    return [*lines, "", *notes_of(results, about)]


def _row(one: Figures, name: str, word: str) -> tuple[str, ...]:
    return (
        name,
        str(one.n),
        percent(one.quality),
        points(one.difference) if word != "baseline" else "",
        word,
        percent(one.refusals).partition(" (")[0],
        percent(one.errors).partition(" (")[0],
        _time(one.first_event_ms),
        _time(one.latency_p50_ms),
        _time(one.latency_p95_ms),
        _cost(one),
    )


def notes_of(results: Results, about: About) -> list[str]:
    """What has to be known beside the figures."""
    suite = results.run.suite
    unknown = f", and what {results.unknown_costs} calls cost nobody knows" if results.unknown_costs else ""
    notes = [
        f"{_ENDS[results.run.ended][0].upper()}{_ENDS[results.run.ended][1:]}. {about.why}".strip(),
        f"It cost {dollars(results.cost / 1e9)}{unknown}.",
        f"Confidence {100 - suite.alpha * 100:g} %. Up to {suite.margin * 100:g} points less: {NOT_WORSE}.",
    ]
    notes += _unscored(results.run)
    configs = ", ".join(f"{name or 'configuration'} {revision}" for name, revision in about.configs.items())
    if configs:
        notes.append(f"Revision: {configs}; prices {about.price_revision or 'none'}.")
    if about.left_out:
        notes.append(
            "Left out: " + "; ".join(f"{count} since {why}" for why, count in about.left_out.items()) + "."
        )
    return notes


def _unscored(run: Run) -> list[str]:
    """A scorer that says nothing of an answer has no part in its quality: that must not go unseen."""
    asked: Counter[str] = Counter()
    none: dict[str, Counter[str]] = {}
    for key, scored in run.scores.items():
        if key not in run.outcomes or run.outcomes[key].failed:
            continue
        for one in scored:
            asked[one.scorer] += 1
            if one.value is None:
                none.setdefault(one.scorer, Counter())[one.why] += 1
    notes = []
    for name, whys in none.items():
        why = whys.most_common(1)[0][0]
        mostly = f" ({'mostly: ' if len(whys) > 1 else ''}{why})" if why else ""
        notes.append(f"No score of {name} for {whys.total()} of {asked[name]} answers{mostly}.")
    return notes


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


# -- HTML

_BY = {"": "", "bounds": "by bounds that hold at every moment", "sample": "by the whole sample"}
_CLASSES = {BETTER: "good", NOT_WORSE: "good", WORSE: "bad", OPEN: "open", "baseline": "base"}


def html_of(results: Results, about: About, redact: Redact) -> str:
    """One file: no script, nothing fetched. `redact` goes over every text of a request or an answer.
    Misconfigured without jinja2."""
    try:
        import jinja2
    except ImportError:
        raise Misconfigured(
            500, "missing_extra", "the HTML report needs jinja2: pip install 'modelbroker[evals]'"
        ) from None
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    suite = results.run.suite
    colours = {one.name: number % 8 for number, one in enumerate(suite.candidates)}
    return template.render(
        suite=suite,
        about=about,
        notes=notes_of(results, about),
        rows=[_html_row(results, one, colours) for one in results.overall],
        scorers=_scorer_rows(results),
        scatter=_scatter(results, colours),
        latency=_latency(results, colours, "latency_ms", "latency"),
        first=_latency(results, colours, "first_event_ms", "time to the first event"),
        forest=_forest(results, colours),
        slices=_slice_rows(results, colours),
        disagreements=[_shown(results, one, redact) for one in disagreements(results.run)],
        colours=colours,
        data=json.dumps(tree_of(results, about)).replace("<", "\\u003c"),
        cases=len(results.run.cases),
    )


def _html_row(results: Results, one: Figures, colours: Mapping[str, int]) -> dict[str, Any]:
    word = _word(results, one.candidate)
    verdict = results.verdicts.get(one.candidate)
    cells = _row(one, one.candidate, word)
    return {
        "name": one.candidate,
        "what": next(c.what for c in results.run.suite.candidates if c.name == one.candidate),
        "colour": colours[one.candidate],
        "word": word,
        "class": _CLASSES[word],
        "quality": percent(one.quality),
        "difference": cells[3],
        "always": points(verdict.always) if verdict else "",
        "p_value": _p(one),
        "by": _BY[verdict.by] if verdict else "",
        "n": one.n,
        "refusals": percent(one.refusals),
        "errors": percent(one.errors),
        "first": cells[7],
        "p50": cells[8],
        "p95": cells[9],
        "cost": cells[10],
        "front": one.candidate in pareto(results),
    }


def _scorer_rows(results: Results) -> list[tuple[str, list[str]]]:
    names = list(dict.fromkeys(name for one in results.overall for name in one.scorers))
    return (
        [(name, [percent(one.scorers.get(name)) for one in results.overall]) for name in names]
        if len(names) > 1
        else []
    )


def _scatter(results: Results, colours: Mapping[str, int]) -> str:
    front = pareto(results)
    points_of = [
        svg.Point(
            one.candidate,
            (one.cost.low, one.cost.value, one.cost.high),
            (one.quality.low, one.quality.value, one.quality.high),
            colours[one.candidate],
            one.candidate in front,
        )
        for one in results.overall
        if one.quality is not None and one.cost is not None
    ]
    return svg.scatter(points_of, "cost of a call", "quality", dollars)


def _latency(results: Results, colours: Mapping[str, int], name: str, what: str) -> str:
    curves = []
    for candidate in results.run.suite.candidates:
        found = [
            value
            for (_, who), outcome in results.run.outcomes.items()
            if who == candidate.name
            and outcome.answer is not None
            and (value := getattr(outcome, name)) is not None
        ]
        curves.append(svg.Curve(candidate.name, tuple(found), colours[candidate.name]))
    return svg.distributions(curves, what, millis)


def _forest(results: Results, colours: Mapping[str, int]) -> str:
    bars = []
    for one in results.overall:
        if one.difference is not None:
            bars.append(_bar(one, one.candidate, colours, True))
            bars += [
                _bar(part, f"{part.slice} {part.value or '–'}", colours, False)
                for part in results.slices
                if part.candidate == one.candidate and part.difference is not None
            ]
    return svg.forest(bars, results.run.suite.margin)


def _bar(one: Figures, label: str, colours: Mapping[str, int], strong: bool) -> svg.Bar:
    gap = one.difference or Interval(0, 0, 0, 0)
    label = label if len(label) <= 30 else label[:29] + "…"
    return svg.Bar(label, gap.low, gap.value, gap.high, colours[one.candidate], strong)


def _slice_rows(results: Results, colours: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "slice": one.slice,
            "value": one.value or "–",
            "name": one.candidate,
            "colour": colours[one.candidate],
            "n": one.n,
            "quality": percent(one.quality),
            "difference": points(one.difference) if one.difference else "",
            "p_value": _p(one),
            "errors": percent(one.errors).partition(" (")[0],
            "p50": _time(one.latency_p50_ms),
            "p95": _time(one.latency_p95_ms),
            "cost": _cost(one),
        }
        for one in results.slices
    ]


def _shown(results: Results, one: Disagreement, redact: Redact) -> dict[str, Any]:
    run = results.run
    baseline, rival = (run.outcomes[one.case.id, name] for name in (run.suite.baseline, one.rival))
    reference = reference_of(one.case, run.suite.reference, None)
    return {
        "case": one.case.id,
        "asked": _cut(redact(last_words(one.case.request))),
        "reference": _cut(redact(shown(reference))) if reference is not None else "",
        "rival": one.rival,
        "gap": _signed(one.gap),
        "class": "good" if one.gap > 0 else "bad",
        "sides": [_side(results, outcome, redact) for outcome in (baseline, rival)],
        "slices": [
            f"{name} {one.case.slices[name]}" for name in run.suite.slices if one.case.slices.get(name)
        ],
    }


def _side(results: Results, outcome: Outcome, redact: Redact) -> dict[str, Any]:
    run = results.run
    scored = run.scores.get((outcome.case, outcome.candidate), ())
    return {
        "name": outcome.candidate,
        "quality": f"{(run.quality(outcome.case, outcome.candidate) or 0.0) * 100:.0f} %",
        "text": _cut(redact(shown(outcome.answer or Answer())))
        or (f"failed: {outcome.code}" if outcome.failed else "(nothing)"),
        "why": [f"{s.scorer}: {redact(s.why)}" for s in scored if s.why],
        "time": millis(outcome.latency_ms),
    }


def last_words(request: Mapping[str, Any]) -> str:
    """What the user said last, in any dialect."""
    said = request.get("messages", request.get("input", ""))
    if isinstance(said, str):
        return said
    for message in reversed(said if isinstance(said, list) else []):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return "\n".join(_texts(message.get("content")))
    return json.dumps(said, ensure_ascii=False)


def _texts(content: Any) -> Iterable[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping):
            yield str(part["text"]) if "text" in part else f"[{part.get('type', 'part')}]"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + " …"
