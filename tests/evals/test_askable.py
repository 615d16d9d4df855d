"""Who can't be asked for want of a credential."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.evals.askable import lacks, may_come
from modelbroker.evals.overlay import stages_of
from modelbroker.evals.suite import Suite, read_suite

SUITE = """
name: sums
data: {file: cases.jsonl}
candidates:
  - {name: pool, pool: chat}
  - {name: Member, provider: p, model: m}
  - {name: whole, config: other.yaml}
scorers:
  - {kind: judge, pool: judges}
"""


@pytest.fixture(scope="module")
def suite() -> Suite:
    return read_suite("suite.yaml", SUITE)


def status(**pools: dict[str, str | None]) -> dict[str, Any]:
    return {
        "pools": [
            {
                "name": name.replace("_", "-"),
                "members": [{"id": member, "out": why} for member, why in members.items()],
            }
            for name, members in pools.items()
        ]
    }


GOOD: dict[str, dict[str, str | None]] = {
    "chat": {"a/m": None, "b/m": None},
    "judges": {"j/m": None},
    "eval_member": {"p/m": None},
}


@pytest.mark.parametrize(
    ("changes", "config", "wrong", "notes"),
    [
        ({}, "", (), ()),
        (
            {"chat": {"a/m": "no", "b/m": "none"}},
            "",
            ("candidate pool can't be asked: a/m: no; b/m: none",),
            (),
        ),
        (
            {"chat": {"a/m": "no", "b/m": None}},
            "",
            (),
            ("candidate pool is asked without some of its members: a/m: no",),
        ),
        ({"eval_member": {"p/m": "no"}}, "", ("candidate Member can't be asked: p/m: no",), ()),
        ({"judges": {"j/m": "no"}}, "", ("scorer judge can't be asked: j/m: no",), ()),
        ({"unused": {"x/m": "no"}}, "", (), ()),
        # Any pool may answer for a whole configuration.
        (
            {"unused": {"x/m": "no"}},
            "other.yaml",
            (),
            ("candidate whole is asked without some of its members: x/m: no",),
        ),
    ],
)
def test_lacks(
    suite: Suite,
    changes: dict[str, dict[str, str | None]],
    config: str,
    wrong: tuple[str, ...],
    notes: tuple[str, ...],
) -> None:
    (stage,) = [one for one in stages_of(suite, None) if one.config == config]
    assert lacks(status(**{**GOOD, **changes}), stage, suite) == (wrong, notes)


def test_a_whole_configuration_where_nobody_can_be_asked(suite: Suite) -> None:
    (stage,) = [one for one in stages_of(suite, None) if one.config]
    (told,) = lacks(status(chat={"a/m": "no"}, more={"b/m": "none"}), stage, suite).wrong
    assert told == "candidate whole can't be asked: a/m: no; b/m: none"


def test_what_may_come_yet() -> None:
    assert not may_come({}) and not may_come({"secrets": [{"state": "good"}]})
    assert may_come({"secrets": [{"state": "good"}, {"state": "missing"}]})
