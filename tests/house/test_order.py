"""The order of the tests among several workers: all of them, and the long ones first."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.order import LONG_S, WAITING, in_order

TESTS = Path(__file__).parents[1]


def test_what_is_named_is_there() -> None:
    assert [name for name in LONG_S if not (TESTS / name).is_file()] == []
    assert [name for name in WAITING if not (TESTS / name).is_dir()] == []


@pytest.mark.parametrize("workers", [1, 2, 4, 7])
def test_each_test_once_and_long_ones_at_the_head_of_each_part(workers: int) -> None:
    many = ("audit/test_a.py", "xds/test_d.py")
    files = [*many, "core/test_b.py", *LONG_S, "front_door/test_c.py"]
    names = [name for name in sorted(files) for _ in range(900 if name in many else 7)]
    order = in_order(names, workers)
    assert sorted(order) == list(range(len(names)))
    longest = sorted(LONG_S, key=lambda name: -LONG_S[name])[:workers]
    heads = [names[order[part * len(names) // workers]] for part in range(workers)]
    assert sorted(LONG_S[name] for name in heads) == sorted(LONG_S[name] for name in longest)
    # The tests of one file are not mixed.
    assert [at for at in order if names[at] == longest[0]] == [
        at for at, name in enumerate(names) if name == longest[0]
    ]


def test_nothing_long_is_nothing_special() -> None:
    assert in_order([], 4) == []
    assert in_order(["core/test_b.py"] * 3, 2) == [0, 1, 2]
