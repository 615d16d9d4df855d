"""Plots as SVG text, with the report's colours (CSS variables), so that they follow light and dark. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 18, 46


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate in the plane. `x` and `y` are (low, value, high); `colour`: its number. `front`: nobody is
    better and cheaper."""

    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    colour: int
    front: bool = False


def scatter(points: Sequence[Point], x_name: str, y_name: str, x_label: Callable[[float], str]) -> str:
    """Crosses of intervals, with the line of the Pareto front."""
    if not points:
        return ""
    xs = [v for p in points for v in p.x if math.isfinite(v)]
    ys = [v for p in points for v in p.y if math.isfinite(v)]
    left, right = _padded(min(xs), max(xs), 0.0)
    low, high = _padded(min(ys), max(ys), 0.0, 1.0)
    to_x = _scale(left, right, _LEFT, _WIDTH - _RIGHT)
    to_y = _scale(low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = [*_frame(x_name, y_name)]
    parts += [_x_tick(to_x(v), x_label(v)) for v in ticks(left, right)]
    parts += [_y_tick(to_y(v), f"{v * 100:g} %") for v in ticks(low, high)]
    front = sorted((p for p in points if p.front), key=lambda p: p.x[1])
    if len(front) > 1:
        line = " ".join(f"{to_x(p.x[1]):.1f},{to_y(p.y[1]):.1f}" for p in front)
        parts.append(f'<polyline class="front" points="{line}"/>')
    taken: list[tuple[float, float]] = []
    for p in sorted(points, key=lambda p: -p.y[1]):
        x, y = to_x(p.x[1]), to_y(p.y[1])
        x0, x1 = (to_x(min(max(v, left), right)) for v in (p.x[0], p.x[2]))
        y0, y1 = (to_y(min(max(v, low), high)) for v in (p.y[0], p.y[2]))
        parts.append(
            f'<g class="c{p.colour}">'
            f"<title>{escape(p.name)}: {p.y[1] * 100:.1f} % at {escape(x_label(p.x[1]))}</title>"
            f'<line x1="{x0:.1f}" x2="{x1:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y0:.1f}" y2="{y1:.1f}"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if p.front else 4.5}"/>'
            f"{_label(p.name, x, y, taken)}</g>"
        )
    return _svg(parts, f"{y_name} against {x_name}")


def _label(name: str, x: float, y: float, taken: list[tuple[float, float]]) -> str:
    """Beside the point, and below what is there already."""
    is_right = x > _WIDTH * 0.72
    at = y - 9
    while any(abs(at - other) < 14 and abs(x - beside) < 150 for beside, other in taken):
        at += 14
    taken.append((x, at))
    anchor, dx = ("end", -10) if is_right else ("start", 10)
    return f'<text class="name" x="{x + dx:.1f}" y="{at:.1f}" text-anchor="{anchor}">{escape(name)}</text>'


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    values: tuple[float, ...]
    colour: int


def distributions(curves: Sequence[Curve], x_name: str, x_label: Callable[[float], str]) -> str:
    """Shares of calls that are over by then, on a scale of powers of ten."""
    curves = [curve for curve in curves if curve.values]
    if not curves:
        return ""
    least = min(min(curve.values) for curve in curves)
    most = max(max(curve.values) for curve in curves)
    low, high = math.log10(max(least, 0.1) * 0.9), math.log10(max(most, 0.2) * 1.1)
    to_x = _scale(low, high, _LEFT, _WIDTH - _RIGHT)
    to_y = _scale(0.0, 1.0, _HEIGHT - _BOTTOM, _TOP)
    parts = [*_frame(x_name, "calls that are over")]
    parts += [_x_tick(to_x(math.log10(v)), x_label(v)) for v in _tens(low, high)]
    parts += [_y_tick(to_y(v), f"{v * 100:g} %") for v in (0.0, 0.25, 0.5, 0.75, 0.95)]
    for curve in curves:
        ordered = sorted(curve.values)
        path = [f"M{to_x(math.log10(max(ordered[0], 0.1))):.1f},{to_y(0):.1f}"]
        for number, value in enumerate(_thinned(ordered), start=1):
            share, x = number / len(_thinned(ordered)), to_x(math.log10(max(value, 0.1)))
            path.append(f"H{x:.1f}V{to_y(share):.1f}")
        parts.append(
            f'<path class="curve c{curve.colour}" d="{"".join(path)}">'
            f"<title>{escape(curve.name)}</title></path>"
        )
    return _svg(parts, f"distribution of {x_name}")


def _thinned(ordered: list[float]) -> list[float]:
    """At most 200 of them, evenly by rank."""
    n = len(ordered)
    return ordered if n <= 200 else [ordered[(i + 1) * n // 200 - 1] for i in range(200)]


@dataclass(frozen=True, slots=True)
class Bar:
    """A difference and its bounds."""

    label: str
    low: float
    value: float
    high: float
    colour: int
    strong: bool = False


def forest(bars: Sequence[Bar], margin: float) -> str:
    """Differences in points, one below the other, with zero and the margin."""
    if not bars:
        return ""
    most = max(0.02, margin * 1.5, *(abs(v) for b in bars for v in (b.low, b.high) if math.isfinite(v)))
    most = min(most * 1.1, 1.0)
    left, row = 200, 24
    height = row * len(bars) + 52
    to_x = _scale(-most, most, left, _WIDTH - _RIGHT)
    bottom, zero = height - 38, to_x(0)
    parts = [
        f'<rect class="margin" x="{to_x(-margin):.1f}" y="10" width="{zero - to_x(-margin):.1f}" '
        f'height="{bottom - 10}"/>',
        f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="10" y2="{bottom}"/>',
        f'<text class="axis" x="{zero:.1f}" y="{height - 5}" text-anchor="middle">'
        "difference to the baseline, points of quality</text>",
    ]
    parts += [
        f'<text class="tick" x="{to_x(value):.1f}" y="{bottom + 16}" text-anchor="middle">'
        f"{_points(value)}</text>"
        for value in ticks(-most, most)
    ]
    for number, bar in enumerate(bars):
        y = 10 + row * number + row / 2
        x0, x1 = (to_x(min(max(v, -most), most)) for v in (bar.low, bar.high))
        weight = " strong" if bar.strong else ""
        told = f"{bar.value * 100:+.1f} ({bar.low * 100:+.1f} to {bar.high * 100:+.1f})"
        parts.append(
            f'<text class="row{weight}" x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">'
            f'{escape(bar.label)}</text><g class="c{bar.colour}"><title>{told}</title>'
            f'<line x1="{x0:.1f}" x2="{x1:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle cx="{to_x(bar.value):.1f}" cy="{y:.1f}" r="{5 if bar.strong else 4}"/></g>'
        )
    return _svg(parts, "differences to the baseline", height)


def _points(value: float) -> str:
    return f"{value * 100:+g}".replace("-", "−") if value else "0"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between the two."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / about
    step = 10 ** math.floor(math.log10(raw))
    step *= next(m for m in (1, 2, 5, 10) if m * step >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _tens(low: float, high: float) -> list[float]:
    """1, 2, 5 of each power of ten between the two exponents; powers alone where they are many."""
    steps = (1, 2, 5) if high - low < 2 else (1, 3) if high - low < 3 else (1,)
    values = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in steps]
    return [v for v in values if low <= math.log10(v) <= high]


def _padded(low: float, high: float, least: float, most: float = math.inf) -> tuple[float, float]:
    pad = (high - low) * 0.12 or max(abs(high) * 0.2, 0.01)
    return max(least, low - pad), min(most, high + pad)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _frame(x_name: str, y_name: str) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    middle, across = (_TOP + bottom) / 2, (_LEFT + right) / 2
    return [
        f'<path class="frame" d="M{_LEFT},{_TOP}V{bottom}H{right}"/>',
        f'<text class="axis" x="{across}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text class="axis" transform="translate(14,{middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>",
    ]


def _x_tick(x: float, label: str) -> str:
    bottom = _HEIGHT - _BOTTOM
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(label)}</text>'
    )


def _y_tick(y: float, label: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
    )


def _svg(parts: Sequence[str], label: str, height: int = _HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
