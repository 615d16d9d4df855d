"""The order in which several workers take the tests, for all of them to be busy to the end.

pytest-xdist gives each worker an equal part of the list; who is through takes over the last ones of another
(`--dist worksteal`). In the order of names one worker would have most of the front door, and the last test of
the run might be a long one. So each part begins with what takes long, and tests that wait for processes have
others between them, which just compute. At the end are short ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

Test = TypeVar("Test")

# Files that take long, in seconds of a worker among others on a machine of two cores. Not more than a hint:
# a file that is not named comes behind them.
LONG_S = {
    "front_door/test_eval.py": 100,
    "front_door/test_drill.py": 90,
    "front_door/test_rollout.py": 90,
    "front_door/test_witnesses.py": 90,
    "deploy/test_pods.py": 80,
    "front_door/test_audit_kills.py": 70,
    "front_door/test_identities.py": 70,
    "front_door/test_scale.py": 70,
    "front_door/test_soak.py": 65,
    "front_door/test_translated_failover.py": 60,
    "simulation/test_trials.py": 60,
    "front_door/test_edits.py": 55,
    "front_door/test_money.py": 55,
    "front_door/test_rollback.py": 50,
    "front_door/test_tutorial.py": 50,
    "cli/test_commands.py": 50,
    "front_door/test_usage.py": 45,
    "front_door/test_budgets.py": 45,
    "simulation/test_predicted.py": 40,
    "front_door/test_fleet_status.py": 40,
    "front_door/test_hedging.py": 40,
    "front_door/test_refused_keys.py": 40,
    "front_door/test_simulate.py": 40,
    "front_door/test_handback.py": 35,
    "front_door/test_pair.py": 35,
    "front_door/test_ledger.py": 35,
    "front_door/test_agent_loops.py": 35,
    "front_door/test_secret_stores.py": 35,
    "front_door/test_up.py": 35,
    "front_door/test_audit.py": 35,
    "traffic/test_write.py": 35,
    "bench/test_bench.py": 30,
}
# Folders whose tests start processes and wait for them.
WAITING = ("bench", "cli", "deploy", "front_door", "fuzz", "ledger", "secrets", "traffic")
_OTHERS_S = 10
# So much of each part is of short tests alone, at its end: these are what one worker takes from another.
_TAIL = 0.1


class File(NamedTuple):
    """`name`: below tests/."""

    name: str
    tests: list[int]

    @property
    def waits(self) -> bool:
        return self.name in LONG_S or self.name.startswith(tuple(f"{folder}/" for folder in WAITING))

    @property
    def lasts_s(self) -> int:
        return LONG_S.get(self.name, _OTHERS_S)


def in_order(names: Sequence[str], workers: int) -> list[int]:
    """Where each test of the new order was: `names` are their files', below tests/, in the order that they
    were found in. Tests of a file stay together and as they are, but for a file that is on the edge of two
    parts."""
    files = [
        File(name, [number for number, _ in found])
        for name, found in itertools.groupby(enumerate(names), key=lambda one: one[1])
    ]
    waiting = sorted((file for file in files if file.waits), key=lambda file: -file.lasts_s)
    parts: list[list[File]] = [[] for _ in range(workers)]
    for file in waiting:  # the longest one to whoever has least
        min(parts, key=lambda part: sum(other.lasts_s for other in part)).append(file)
    others = iter([number for file in files if not file.waits for number in file.tests])
    order: list[int] = []
    for number, part in enumerate(parts):
        end = (number + 1) * len(names) // workers
        order += _mixed(part, list(itertools.islice(others, max(0, end - len(order) - _count(part)))))
    return [*order, *others]


def _mixed(part: Sequence[File], others: list[int]) -> Iterator[int]:
    """`others` between the files of `part`."""
    between = int(len(others) * (1 - _TAIL)) // max(1, len(part))
    rest = iter(others)
    for file in part:
        yield from file.tests
        yield from itertools.islice(rest, between)
    yield from rest


def _count(part: Sequence[File]) -> int:
    return sum(len(file.tests) for file in part)
