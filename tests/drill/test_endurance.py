"""A soak's samples: what slope they have, and what is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.drill.calls import Processes
from modelbroker.drill.endurance import Sample, Soak, as_csv, as_json, as_text, broken, slope_of, trends

HOUR_S = 3600


def samples(
    seconds: int,
    mb_per_h: float,
    descriptors_per_s: float = 0.0,
    warm_up_mb: float = 0.0,
    of_others: Sequence[int] = (0, 300),
) -> list[Sample]:
    """Every tenth at rest; in between there are connections `of_others`, in turn."""
    return [
        Sample(
            at,
            Processes(
                {"Envoy": 80 + (warm_up_mb if at >= 300 else 0) + mb_per_h * at / HOUR_S},
                {"Envoy": 28 + int(descriptors_per_s * at) + (others if number % 10 else 0)},
            ),
            at_rest=number % 10 == 0,
        )
        for number, (at, others) in enumerate(
            zip(range(0, seconds, max(1, seconds // 180)), cycle(of_others), strict=False)
        )
    ]


def soak(of: list[Sample], seconds: int) -> Soak:
    return Soak(seconds, 1000, 10, 0, 0, 0, 5, 0, 5, trends(of, seconds))


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_the_slope_of_a_line_is_its_own(slope: float, start: float) -> None:
    points = [(float(x), start + slope * x) for x in range(10)]
    assert slope_of(points) == pytest.approx(slope, abs=1e-6)


def test_samples_can_be_had_as_they_are() -> None:
    of = Processes({"b": 2.5, "a": 1.0}, {"a": 7, "b": 8})
    assert as_csv([Sample(1.0, of), Sample(2.0, of, at_rest=True)]).splitlines() == [
        "at_s,process,memory_mb,descriptors,at_rest",
        "1.0,a,1.00,7,0",
        "1.0,b,2.50,8,0",
        "2.0,a,1.00,7,1",
        "2.0,b,2.50,8,1",
    ]


def test_there_is_no_slope_in_a_point() -> None:
    assert slope_of([]) == slope_of([(1.0, 5.0)]) == 0.0


def test_flat_is_good_and_a_leak_is_not() -> None:
    assert broken(soak(samples(1800, 0), 1800)) == []
    (why,) = broken(soak(samples(1800, 60), 1800))
    assert why.startswith("Envoy grows by 60 MB/h")


def test_less_than_allocators_keep_back_is_no_leak() -> None:
    assert broken(soak(samples(120, 100), 120)) == []


def test_the_warm_up_is_left_out() -> None:
    of = samples(1800, 0, warm_up_mb=50)
    assert broken(soak(of, 1800)) == []
    assert trends(of, 1800)[0].first_mb == 130


def test_what_a_process_has_at_rest_does_not_rise() -> None:
    assert broken(soak(samples(1800, 0, descriptors_per_s=0.001), 1800)) == []
    (why,) = broken(soak(samples(1800, 0, descriptors_per_s=0.05), 1800))
    assert why == "Envoy has 103 file descriptors at rest where it had 58"


def test_a_soak_of_a_minute_sees_one_that_stays_with_each_edit() -> None:
    """Of which there is one every four or five seconds."""
    assert broken(soak(samples(60, 0, descriptors_per_s=1 / 30), 60)) == []
    (why,) = broken(soak(samples(60, 0, descriptors_per_s=1 / 5), 60))
    assert "descriptors at rest" in why


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_connections_of_clients_and_to_providers_are_no_leak(of_others: list[int]) -> None:
    """As many as a crowd of calls opened, for as long as their other ends like."""
    (trend,) = trends(samples(120, 0, of_others=of_others), 120)
    assert trend.descriptors == (28, 28)


def test_without_a_rest_nothing_is_known_of_descriptors() -> None:
    busy = [replace(sample, at_rest=False) for sample in samples(60, 0)]
    for few in (busy, [*busy, replace(busy[-1], at_rest=True)]):
        assert trends(few, 60)[0].descriptors is None
        assert broken(soak(few, 60)) == []
        assert '"descriptors": null' in as_json(soak(few, 60), [])
        assert as_text(soak(few, 60), [], markdown=True).splitlines()[2].endswith("| - | - |")


@pytest.mark.parametrize("field", ["unforeseen", "lost", "doubled", "stuck_edits"])
def test_nothing_may_be_lost(field: str) -> None:
    good = soak(samples(600, 0), 600)
    bad = replace(good, **{field: 1})
    assert broken(good) == []
    assert len(broken(bad)) == 1
    assert "broken: " in as_text(bad, ["a note"], markdown=False)
    assert "All promises were kept." in as_text(good, [], markdown=True)
    assert '"passed": false' in as_json(bad, [])
