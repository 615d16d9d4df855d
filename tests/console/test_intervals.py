"""Charts of figures with bounds: well-formed, within their frame, and nothing but text of what was given."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.intervals import Bar, Mark, intervals

_values = st.floats(-1e9, 1e9)
_bars = st.lists(
    st.builds(
        Bar, st.text("a<>&\"' ", max_size=40), st.none() | _values, _values, st.none() | _values, st.just(1)
    ),
    max_size=5,
)
_marks = st.lists(st.builds(Mark, _values, st.just("<allowed>")), max_size=2)


@given(_bars, _marks)
def test_all_is_within_the_frame(bars: list[Bar], marks: list[Mark]) -> None:
    made = intervals(bars, lambda value: f"{value:g} <&>", "a <what>", marks)
    if not bars and not marks:
        assert made == ""
        return
    tree = ElementTree.fromstring(str(made))
    width, height = (float(one) for one in tree.attrib["viewBox"].split()[2:])
    for node in tree.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height)):
            if name in node.attrib:
                value = float(node.attrib[name])
                assert math.isfinite(value) and -1 <= value <= most + 1, node.attrib
    assert len(tree.findall(".//{*}circle")) == len(bars)


def test_a_bound_that_nobody_knows_is_open() -> None:
    made = str(intervals([Bar("a", None, 1.0, 2.0, 0)], str, "it"))
    assert "whisker open" in made and "not known to 2.0" in made


def test_the_axis_ends_where_the_figure_does() -> None:
    made = str(intervals([Bar("a", 0.0, 0.0, 0.02, 0)], lambda value: f"{value:.2f}", "it", least=0.0))
    assert ">-" not in made
