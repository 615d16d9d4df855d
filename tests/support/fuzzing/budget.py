"""How many cases each fuzz test runs, and the seed that makes them again.

MODELBROKER_FUZZ_SEED: another seed than the one of every day. MODELBROKER_FUZZ_CASES: that many cases in
all, shared out as below. Every case has a generator of its own, so that one can be made again alone.
"""

from __future__ import annotations

import os
import random

PROMISED = 10_000  # what the project promises of every run

_SHARES = {
    "requests": 3_200,
    "bytes": 3_200,
    "frames": 200,
    "bodies": 2_800,
    "replies": 900,
    "yaml": 1_500,
    "built": 150,
    "reload": 200,
}
_TOTAL = sum(_SHARES.values())
SEED = os.environ.get("MODELBROKER_FUZZ_SEED", "20261121")


def total() -> int:
    return int(os.environ.get("MODELBROKER_FUZZ_CASES", _TOTAL))


def cases(kind: str) -> int:
    """How many cases of one kind this run has."""
    return max(1, round(_SHARES[kind] * total() / _TOTAL))


def promised() -> int:
    """The cases of a run that nobody asked to be shorter or longer."""
    return _TOTAL


def timeout_s() -> float:
    """How long one test of a run this long may take."""
    return 180 * max(1.0, total() / _TOTAL)


def rng(kind: str, number: int) -> random.Random:
    """The generator of one case: the same in every run with this seed."""
    return random.Random(f"{SEED}/{kind}/{number}")


def name(kind: str, number: int) -> str:
    return f"{kind}/{number} (MODELBROKER_FUZZ_SEED={SEED})"
