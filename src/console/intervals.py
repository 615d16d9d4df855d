"""Figures with the bounds between which they are believed to lie, one below the other on one axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from .charts import nice

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 620, 170, 34, 26, 8, 28
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
_TITLE = Markup('<rect class="hit" x="0" y="{:.1f}" width="{}" height="{}"><title>{}</title></rect>')
_MOST_NAME = 24


class Bar(NamedTuple):
    """A bound that is None is not known: there it goes to the edge, dashed. `colour`: 0 to 8."""

    name: str
    low: float | None
    value: float
    high: float | None
    colour: int


class Mark(NamedTuple):
    """A line across all, as what is allowed at most."""

    value: float
    name: str


def intervals(
    bars: Sequence[Bar],
    told: Callable[[float], str],
    what: str,
    marks: Sequence[Mark] = (),
    least: float = -math.inf,
    most: float = math.inf,
) -> Markup:
    """`told` writes a value, `what` says to those who can't see what it is of. `least`, `most`: what it can
    be at all, where the axis ends."""
    known = [v for bar in bars for v in (bar.low, bar.value, bar.high) if v is not None and math.isfinite(v)]
    known += [mark.value for mark in marks]
    if not known:
        return Markup("")
    low, high = min(known), max(known)
    low, high = _axis(low, high, least, most)
    height = _TOP + _ROW * len(bars) + _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [_tick(x(value), height, told(value)) for value in _ticks(low, high)]
    parts += [_mark(x(mark.value), height, mark.name) for mark in marks]
    for number, bar in enumerate(bars):
        parts.append(_bar(bar, _TOP + _ROW * (number + 0.5), x, told))
    opened = Markup('<svg class="chart bounds" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return opened.format(_WIDTH, height, what) + Markup("".join(parts) + "</svg>")  # noqa: S704 - escaped


def _axis(low: float, high: float, least: float, most: float) -> tuple[float, float]:
    """With room at both sides, but not beyond what there can be."""
    room = (high - low) * 0.06 or max(abs(high) * 0.1, 1e-9)
    low, high = max(low - room, least), min(high + room, most)
    return (low, high) if high > low else (low - 1e-9, low + 1e-9)


def _ticks(low: float, high: float) -> list[float]:
    """Round values between the two, at most seven."""
    step = nice((high - low) / 5)
    first = math.ceil(low / step - 1e-9)
    return [at * step for at in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(x: float, height: int, text: str) -> str:
    line = f'<line class="grid-line" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
    return line + str(_TEXT.format(x, height - 9, "middle", text))


def _mark(x: float, height: int, name: str) -> str:
    line = f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}">'
    return line + str(Markup("<title>{}</title></line>").format(name))


def _bar(bar: Bar, y: float, x: Callable[[float], float], told: Callable[[float], str]) -> str:
    sides = []
    for bound, edge in ((bar.low, _LEFT), (bar.high, _WIDTH - _RIGHT)):
        is_known = bound is not None and math.isfinite(bound)
        end = x(bound) if is_known and bound is not None else float(edge)
        kind = "whisker" if is_known else "whisker open"
        sides.append(
            f'<line class="{kind}" x1="{x(bar.value):.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        if is_known:
            sides.append(
                f'<line class="whisker" x1="{end:.1f}" x2="{end:.1f}" y1="{y - 5:.1f}" y2="{y + 5:.1f}"/>'
            )
    point = f'<circle class="point" cx="{x(bar.value):.1f}" cy="{y:.1f}" r="5"/>'
    name = bar.name if len(bar.name) <= _MOST_NAME else bar.name[: _MOST_NAME - 1] + "…"
    bounds = " to ".join("not known" if one is None else told(one) for one in (bar.low, bar.high))
    title = f"{bar.name}: {told(bar.value)} ({bounds})"
    return (
        str(_TEXT.format(_LEFT - 12, y + 4, "end", name))
        + f'<g class="k{bar.colour}">{"".join(sides)}{point}</g>'
        + str(_TITLE.format(y - _ROW / 2, _WIDTH, _ROW, title))
    )
