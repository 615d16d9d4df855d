"""Charts as SVG, for templates: colours are the style sheet's (`k0` to `k8`); each mark has its number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

KINDS = 8  # colours; what is beyond is one group, of colour k8
_LEAST = 1e-12  # less is nothing
_WIDTH, _HEIGHT = 1200, 270
HALF = 600
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 6, 10, 26
_HIT = Markup('<rect class="hit" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}</title></rect>')
_LABEL = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')


class Series(NamedTuple):
    """`values`: one a column; `colour`: 0 to 8."""

    name: str
    values: Sequence[float]
    colour: int


def stacked(
    columns: Sequence[str],
    series: Sequence[Series],
    told: Callable[[float], str],
    what: str,
    titles: Sequence[str] = (),
    width: int = _WIDTH,
    axis: Axis | None = None,
) -> Markup:
    """Bars, a column each, with the series upon one another; `told` writes a value, `what` says to
    those who can't see what it is of. `titles`: what columns are called where there is room; `width`:
    `HALF` where two stand side by side. `axis`: where values at its side are written otherwise."""
    totals = [sum(one.values[at] for one in series) for at in range(len(columns))]
    axis = axis or Axis(told)
    top = axis.top(max(totals, default=0))
    wide = (width - _LEFT - _RIGHT) / max(len(columns), 1)
    bar = max(wide * 0.8, 0.8)
    parts = [*_grid(top, axis.told, width), *_labels(columns, wide, width)]
    floors = [0.0] * len(columns)
    for one in series:
        rects = []
        for at, value in enumerate(one.values):
            if value <= 0:
                continue
            high = _y(floors[at], top) - _y(floors[at] + value, top)
            x, y = _LEFT + at * wide + (wide - bar) / 2, _y(floors[at] + value, top)
            rects.append(f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{bar:.1f}" height="{high:.1f}"/>')
            floors[at] += value
        parts.append(f'<g class="k{one.colour}">{"".join(rects)}</g>')
    for at, column in enumerate(titles or columns):
        rows = [f"{one.name}: {told(one.values[at])}" for one in reversed(series) if one.values[at]]
        title = "\n".join([f"{column}: {told(totals[at])}", *rows])
        parts.append(_hit(at, wide, title))
    return _svg(parts, what, width)


def lines(
    columns: Sequence[str],
    series: Sequence[Series],
    told: Callable[[float], str],
    what: str,
    axis: Axis | None = None,
) -> Markup:
    """A line a series; a value that is None or NaN is a gap."""
    flat = [value for one in series for value in one.values if value is not None and value == value]
    axis = axis or Axis(told)
    top = axis.top(max(flat, default=0))
    wide = (_WIDTH - _LEFT - _RIGHT) / max(len(columns), 1)
    parts = [*_grid(top, axis.told), *_labels(columns, wide)]
    for one in series:
        path, pen = [], "M"
        for at, value in enumerate(one.values):
            if value is None or value != value:
                pen = "M"
                continue
            alone = "h0" if pen == "M" else ""  # a point between gaps is seen, too
            path.append(f"{pen}{_LEFT + (at + 0.5) * wide:.1f} {_y(value, top):.1f}{alone}")
            pen = "L"
        parts.append(f'<g class="k{one.colour}"><path class="line" d="{" ".join(path)}"/></g>')
    for at, column in enumerate(columns):
        rows = [f"{one.name}: {told(one.values[at])}" for one in series if one.values[at] is not None]
        title = "\n".join([column, *rows])
        parts.append(_hit(at, wide, title))
    return _svg(parts, what)


def spark(values: Sequence[float], what: str) -> Markup:
    """A line without words, from 0 up."""
    top, last = max(max(values, default=0), 1e-9), max(len(values) - 1, 1)
    points = [f"{at * 100 / last:.1f} {26 - 24 * value / top:.1f}" for at, value in enumerate(values)]
    line = "M" + " L".join(points) if points else ""
    area = f"{line} L100 26 L0 26 Z" if points else ""
    shape = f'<path class="area" d="{area}"/><path class="line" d="{line}"/>'
    frame = 'class="spark" viewBox="0 0 100 27" preserveAspectRatio="none" role="img"'
    return Markup(f'<svg {frame} aria-label="{{}}">').format(what) + Markup(shape + "</svg>")  # noqa: S704


def meter(share: float | None, kind: str, what: str) -> Markup:
    """How full something is; `kind`: good, warn, bad or "". More than whole is whole."""
    full = min(max(share or 0.0, 0.0), 1.0) * 100
    rect = f'<rect width="{full:.2f}" height="1" fill="currentColor"/>'
    inner = f'<svg viewBox="0 0 100 1" preserveAspectRatio="none">{rect}</svg>'
    opened = Markup('<span class="meter {}" role="img" aria-label="{}" title="{}">').format(kind, what, what)
    return opened + Markup(inner + "</span>")  # noqa: S704


def nice(most: float) -> float:
    """The top of an axis, whose quarters are short numbers, and not below `most`: 1, 2, 3, 4, 6 or 8 times a
    power of ten."""
    if most < _LEAST:
        return 1.0
    power = 1.0
    while power * 10 <= most:
        power *= 10
    while power > most:
        power /= 10
    return next((step * power for step in (1, 2, 3, 4, 6, 8) if step * power >= most), 10 * power)


def whole(most: float) -> float:
    """The same, of what there are no parts of: the quarters are whole numbers as well."""
    return next((float(top) for top in (4, 8, 12, 16, 20, 40) if top >= most), nice(most))


class Axis(NamedTuple):
    """How its lines are written, and where it ends above the largest value."""

    told: Callable[[float], str]
    top: Callable[[float], float] = nice


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top


def _grid(top: float, told: Callable[[float], str], width: int = _WIDTH) -> list[str]:
    parts = []
    for quarter in range(5):
        value = top * quarter / 4
        y = _y(value, top)
        parts.append(
            f'<line class="grid-line" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        words = Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            _LEFT - 8, y + 4, told(value)
        )
        parts.append(str(words))
    return parts


def _hit(at: int, wide: float, title: str) -> str:
    """What tells a column's numbers to whoever points at it."""
    return str(_HIT.format(_LEFT + at * wide, _TOP, wide, _HEIGHT - _TOP - _BOTTOM, title))


def _labels(columns: Sequence[str], wide: float, width: int = _WIDTH) -> list[str]:
    """As many as there is room for."""
    every = max(1, -(-len(columns) * 74 // (width - _LEFT - _RIGHT)))
    return [
        str(_LABEL.format(_LEFT + (at + 0.5) * wide, _HEIGHT - 8, column))
        for at, column in enumerate(columns)
        if at % every == 0
    ]


def _svg(parts: Sequence[str], what: str, width: int = _WIDTH) -> Markup:
    opened = Markup(
        '<div class="plot"><svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">'
    ).format("chart" if width == _WIDTH else "chart half", width, _HEIGHT, what)
    return opened + Markup("".join(parts) + "</svg></div>")  # noqa: S704 - every word in it was escaped
