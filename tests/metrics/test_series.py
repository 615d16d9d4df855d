"""Series: never more than is said, none for ever, and exact as long as there is room."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.metrics import GONE_S, OTHER, Counts, Looked, Times, Up, Values, full, sweep
from modelbroker.metrics import series as module
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

_numbers = itertools.count()
NAMES = st.text(alphabet="abcde", max_size=3)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """What a test registers is gone behind it."""
    before = list(REGISTRY._collector_to_names)
    families = dict(module._FAMILIES)
    yield
    for collector in list(REGISTRY._collector_to_names):
        if collector not in before:
            REGISTRY.unregister(collector)
    module._FAMILIES.clear()
    module._FAMILIES.update(families)


def fresh_name() -> str:
    return f"test_{next(_numbers)}"


def counted(family: Counts) -> dict[tuple[str, ...], int]:
    return {values: family.of(*values).value for values in family.series()}


@given(asked=st.lists(st.tuples(NAMES, NAMES)), most=st.integers(1, 5))
def test_there_are_never_more_series_than_is_said_and_no_count_is_lost(
    asked: list[tuple[str, str]], most: int
) -> None:
    family = Counts(fresh_name(), "x", ["a", "b"], most=most)
    for values in asked:
        family.of(*values).inc()
    found = counted(family)
    assert len(found) <= most + 1
    assert sum(found.values()) == len(asked)
    exact = Counter(asked)
    assert all(count == exact[values] for values, count in found.items() if values != (OTHER, OTHER))
    assert family.is_full == (len(set(asked)) > most) == (family.name in full())


@given(said=st.lists(st.text()), most=st.integers(1, 5))
def test_a_label_never_has_more_values_than_is_said(said: list[str], most: int) -> None:
    values = Values(most)
    found = [values.fold(one) for one in said]
    assert len(set(found) - {"", OTHER}) <= most
    assert all(len(one) <= 128 for one in found)
    again = [values.fold(one) for one in said]
    kept = [(a, b) for a, b in zip(found, again, strict=True) if a != OTHER]
    assert all(a == b for a, b in kept)  # who has a place keeps it
    assert all((one == "") == (folded == "") for one, folded in zip(said, found, strict=True))


def test_a_long_value_is_cut() -> None:
    values = Values(1)
    assert values.fold("x" * 1000) == "x" * 128 == values.fold("x" * 128)
    assert values.fold("y") == OTHER


@given(observed=st.lists(st.floats(0, 100)))
def test_a_histogram_is_what_prometheus_clients_is(observed: list[float]) -> None:
    from prometheus_client import CollectorRegistry, Histogram

    name, bounds = fresh_name(), (0.5, 1.0, 10.0)
    ours = Times(name, "x", ["a"], bounds)
    registry = CollectorRegistry()
    theirs = Histogram(name, "x", ["a"], buckets=bounds, registry=registry)
    for value in observed:
        ours.of("v").observe(value)
        theirs.labels("v").observe(value)
    text = {as_read(line) for line in ours.text().splitlines() if line[0] != "#"}
    wanted = {as_read(line) for line in generate_latest(registry).decode().splitlines() if line[0] != "#"}
    assert text == ({line for line in wanted if "_created" not in line[0]} if observed else set())


def as_read(line: str) -> tuple[str, float]:
    """A series and its value, however they are written."""
    name, _, value = line.rpartition(" ")
    return name, float(value)


@given(value=st.text())
def test_any_text_is_a_label(value: str) -> None:
    family = Counts(fresh_name(), "what it is", ["a"])
    family.of(value).inc(7)
    (metric,) = text_string_to_metric_families(family.text())
    ((_, labels, number, *_),) = metric.samples
    assert (metric.type, metric.documentation, number) == ("counter", "what it is", 7.0)
    assert labels == ({"a": value} if value else {})


def test_a_name_is_one_metric() -> None:
    name = fresh_name()
    Counts(name, "x")
    with pytest.raises(ValueError, match="two metrics"):
        Counts(name, "x")


def test_what_is_gone_goes_after_a_while_and_what_comes_back_stays() -> None:
    family = Counts(fresh_name(), "x", ["pool", "member", "status"])
    for pool, member in (("p", "a/m"), ("old", "a/m"), ("p", "old/m"), ("", ""), (OTHER, OTHER)):
        family.of(pool, member, "200").inc()
    known = {"pool": frozenset(("p",)), "member": frozenset(("a/m",))}
    assert not sweep(known, 100.0)
    assert not sweep(known, 100.0 + GONE_S - 1)
    # `old` is configured again, and then no longer.
    assert not sweep(known | {"pool": frozenset(("p", "old"))}, 100.0 + GONE_S - 1)
    assert sweep(known, 100.0 + GONE_S)
    left = set(family.series())
    assert left == {("p", "a/m", "200"), ("old", "a/m", "200"), ("", "", "200"), (OTHER, OTHER, "200")}
    assert sweep(known, 100.0 + 2 * GONE_S)
    assert ("old", "a/m", "200") not in family.series()


def test_other_labels_begin_anew() -> None:
    family = Counts(fresh_name(), "x", ["a"])
    family.of("1").inc()
    family.relabel(["a"])
    assert family.of("1").value == 1
    family.relabel(["a", "b"])
    assert family.series() == []
    family.of("1", "").inc()
    assert f'{family.name}_total{{a="1"}} 1\n' in family.text()


def test_gauges_that_are_read_say_nothing_where_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    name, other = fresh_name(), fresh_name()
    gauges = Looked({name: ("x", ["a"]), other: ("y", [])})
    assert generate_latest(gauges) == b""  # type: ignore[arg-type]
    gauges.read = lambda: [(name, ["1"], 2.0)]
    assert generate_latest(gauges).decode().splitlines()[-1] == f'{name}{{a="1"}} 2.0'  # type: ignore[arg-type]
    gauges.read = lambda: 1 / 0  # type: ignore[assignment,return-value]
    assert generate_latest(gauges) == b""  # type: ignore[arg-type]
    assert "could not be read" in caplog.text


def test_up_is_there_where_it_is_wanted() -> None:
    up = Up(fresh_name(), "x")
    assert generate_latest(up) == b""  # type: ignore[arg-type]
    up.is_up = False
    assert generate_latest(up).decode().endswith(f"{up.name} 0.0\n")  # type: ignore[arg-type]
