"""A call leaves nothing that only the collector could find.

What a reload finds is frozen, so that the collector does not stop calls for it (`cli/control.py`): a cycle
among it would stay for long.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import micro
import translation


def left_by(work: Callable[[], Any]) -> int:
    """Objects in cycles that it leaves when it is not the first of its kind."""
    work()
    # What is there already, garbage or not, is not looked through: it is much.
    gc.freeze()
    gc.disable()
    try:
        work()
        return gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize("pair", translation.all_pairs(), ids=lambda pair: "-at-".join(pair.names))
def test_a_translated_call_leaves_no_cycle(pair: translation.Pair) -> None:
    left = [left_by(work) for work, _ in pair.works()]
    assert left == [0] * len(left)


@pytest.mark.parametrize("name", micro.works())
def test_a_call_that_passes_leaves_no_cycle(name: str) -> None:
    assert left_by(micro.works()[name]) == 0
