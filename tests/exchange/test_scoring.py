"""Whose answers are scored: by a lot, of each arm, and never of who is exempt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.call import Facts
from modelbroker.core.trials import CANDIDATE, STABLE, ToScore
from modelbroker.exchange.errand import Errand
from modelbroker.exchange.scoring import to_score
from modelbroker.exchange.trying import NO_ARM, Arm, Standing
from modelbroker.exchange.view import View
from modelbroker.policy import State
from support.catalogs import catalog, facts

STAGES = [
    {"shadow": "50%", "budget": "$1/day"},
    {"share": "10%"},
    {"share": "50%", "gates": {"errors": "1%"}},
    {"share": "100%"},
]


def view(share: str = "100%") -> View:
    scores = {"by": [{"kind": "json", "schema": {"type": "object"}}], "share": share}
    rollout = {"to": "b/n", "name": "r", "gates": {"quality": "5%"}, "stages": STAGES, "scores": scores}
    pools = [{"name": "chat", "members": [{"provider": "a", "model": "m"}], "rollout": rollout}]
    capture = {"exempt": ["payroll-*"], "encryption": "none"}
    return View("g", catalog(pools=pools, capture=capture), State({}, {}), {})


VIEW = view()


def drawn(
    arm: str,
    stage: int,
    *,
    request_id: str = "id",
    served_by: str = "",
    call: Facts | None = None,
    errand: Errand | None = None,
    at: Standing | None = None,
    seen: View = VIEW,
) -> ToScore | None:
    """Of a call of that arm at that stage."""
    served_by = served_by or ("chat~b/n" if arm == CANDIDATE else "chat")
    standings = {"r": at or Standing("b/n", stage, True)}
    arm_ = NO_ARM if errand is not None else Arm("r", arm, "x")
    call = call or facts("chat", caller={"name": "anna"})
    return to_score(seen, call, request_id, arm_, served_by, standings, errand)


def copy(scored: bool = True) -> Errand:
    return Errand("shadow", "first", "chat~b/n", "shadow:chat", "r", "r", "shadow", 9e9, is_scored=scored)


@pytest.mark.parametrize("arm", [STABLE, CANDIDATE])
def test_both_arms_are_scored_alone_in_stages_of_shares(arm: str) -> None:
    found = drawn(arm, 1)
    assert found is not None
    assert (found.scores.name, found.rollout, found.arm, found.first, found.is_pair) == (
        "r",
        "r",
        arm,
        "id",
        False,
    )


def test_a_call_and_its_copy_are_scored_together() -> None:
    ids = [f"call {n}" for n in range(200)]
    found = [one for request_id in ids if (one := drawn(STABLE, 0, request_id=request_id)) is not None]
    assert 60 < len(found) < 140 and all(one.is_pair for one in found)  # those that are copied
    one = drawn(CANDIDATE, 0, errand=copy())
    assert one is not None and (one.arm, one.first, one.is_pair) == (CANDIDATE, "first", True)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"stage": 2}, id="no gate looks at it"),
        pytest.param({"at": Standing("b/n", 1, False)}, id="rolled back"),
        pytest.param({"at": Standing("b/n", 3, True, True)}, id="done"),
        pytest.param({"served_by": "chat", "arm": CANDIDATE}, id="others answered in its place"),
        pytest.param({"call": facts("chat", caller={"name": "payroll-1"})}, id="exempt"),
        pytest.param({"call": facts("chat", caller={"name": "e", "purpose": "eval"})}, id="no client's"),
        pytest.param({"call": facts("chat", "openai-embeddings")}, id="no conversation"),
        pytest.param(
            {"call": facts("chat", hosted_tools=frozenset({"web_search"}))}, id="tools of the provider's"
        ),
        pytest.param({"errand": copy(False), "stage": 0}, id="a copy of a call that is not scored"),
        pytest.param({"errand": copy(), "stage": 1}, id="a copy of the stage before"),
        pytest.param({"errand": Errand("score", "", "j", "score:chat", "r", "", "", 9e9)}, id="a question"),
    ],
)
def test_who_is_not(more: dict[str, Any]) -> None:
    told = {"arm": STABLE, "stage": 1, **more}
    assert drawn(told.pop("arm"), told.pop("stage"), **told) is None


def test_who_is_no_part_of_it_is_not_scored() -> None:
    standings = {"r": Standing("b/n", 1, True)}
    assert to_score(VIEW, facts("chat"), "id", NO_ARM, "chat", standings, None) is None
    assert to_score(VIEW, facts("chat"), "id", Arm("r", STABLE, "10%"), "chat", {}, None) is None
    assert not View("g", replace(VIEW.catalog, trials={}), State({}, {}), {}).scores and VIEW.scores


SMALL, LARGE = view("5%"), view("40%")


@given(st.text(min_size=1, max_size=32), st.sampled_from([STABLE, CANDIDATE]))
def test_the_lot_is_always_the_same_and_a_larger_share_holds_the_smaller(request_id: str, arm: str) -> None:
    small, large = (drawn(arm, 1, request_id=request_id, seen=one) for one in (SMALL, LARGE))
    assert small == drawn(arm, 1, request_id=request_id, seen=SMALL)
    assert small is None or large is not None
    other = CANDIDATE if arm == STABLE else STABLE
    assert (drawn(other, 1, request_id=request_id, seen=SMALL) is None) == (small is None)
