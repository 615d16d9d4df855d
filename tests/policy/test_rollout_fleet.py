"""Where a broker stands towards its fleet, and a rollout in a configuration that has other stages."""

from __future__ import annotations

import msgspec
import pytest
from modelbroker.core.trials import ALL_PPM, Gates, Rollout, Stage
from modelbroker.policy.rollout import DONE, ROLLED_BACK, State, begun, command, stage_of
from modelbroker.policy.rollout_fleet import (
    BEGIN,
    BEHIND,
    FOLLOW,
    RESTORE,
    back_by_others,
    restored,
    stand,
    with_news,
)


def rollout(to: str, *shares: int) -> Rollout:
    stages = [
        Stage(f"{share // 10_000}%", share, 1, 1, 1_000, Gates()) for share in shares or (100_000, ALL_PPM)
    ]
    return Rollout("r", "chat", f"chat~{to}", to, tuple(stages))


A, B, C = rollout("a"), rollout("b"), rollout("c")
AT_A = begun(A, 1.0).state
AT_B = begun(B, 2.0, AT_A).state
AT_A_AGAIN = begun(A, 3.0, AT_B).state
AT_B_AGAIN = begun(B, 4.0, AT_A_AGAIN).state


@pytest.mark.parametrize(
    ("says", "own", "there", "is_held", "does"),
    [
        pytest.param(A, None, AT_A, True, FOLLOW, id="a pod comes"),
        pytest.param(B, AT_A, AT_A, True, BEGIN, id="a new candidate"),
        pytest.param(B, None, AT_A, True, BEGIN, id="a new candidate, at a pod"),
        pytest.param(A, AT_A, AT_B, True, BEHIND, id="it has not seen the commit yet"),
        pytest.param(A, None, AT_B, True, BEHIND, id="an old pod"),
        pytest.param(A, AT_B, AT_B, True, BEGIN, id="a commit that goes back"),
        pytest.param(A, AT_A, AT_B, False, BEGIN, id="nobody has the newer one any more"),
        pytest.param(A, AT_B, AT_B_AGAIN, True, BEHIND, id="it goes back where others have been already"),
        pytest.param(C, AT_A, AT_B, True, BEGIN, id="it has skipped a commit"),
        pytest.param(B, AT_B, AT_A, True, RESTORE, id="Redis has lost it, and one that was behind was first"),
    ],
)
def test_who_moves_the_fleet(
    says: Rollout, own: State | None, there: State, is_held: bool, does: str
) -> None:
    assert stand(says, own, there, is_held=is_held) == does


def test_what_is_rolled_back_behind_is_rolled_back_at_all_that_have_it() -> None:
    own = command(A, AT_A, "rollback", 5.0).state
    news = with_news(AT_B, own)
    assert news is not None and msgspec.structs.replace(news, past=()) == msgspec.structs.replace(
        AT_B, past=()
    )
    assert with_news(news, own) is None and back_by_others(AT_A, AT_B) is None
    said = back_by_others(AT_A, news)
    assert said is not None and (said.state.phase, said.event) == (ROLLED_BACK, "rolled-back")
    # Where Redis has lost the newer one meanwhile, it comes back with that; else as it was.
    assert restored(own, AT_B) == news and restored(AT_A, AT_B) == AT_B
    # It has begun anew since: what an old turn came to is no news.
    assert with_news(AT_B_AGAIN, own) is None
    assert begun(A, 9.0, news).state.phase == ROLLED_BACK
    resumed = command(A, begun(A, 9.0, news).state, "resume", 10.0).state
    assert resumed.is_on and [one.to for one in resumed.past] == ["b"]


def test_a_configuration_with_other_stages_gives_the_candidate_no_more() -> None:
    shares = {
        (100_000, 500_000, ALL_PPM): 100_000,
        (10_000, 100_000, ALL_PPM): 100_000,
        (10_000, 50_000, 200_000, ALL_PPM): 50_000,
        (200_000, ALL_PPM): 200_000,  # there is none with less
    }
    at = begun(rollout("a", 100_000, 500_000, ALL_PPM), 1.0).state
    for said, share in shares.items():
        assert stage_of(rollout("a", *said), at).share_ppm == share
    # What is done has all sessions, however many stages there are now.
    last = command(A, command(A, AT_A, "promote", 2.0).state, "promote", 3.0).state
    assert last.phase == DONE
    assert stage_of(rollout("a", 10_000, 100_000, 500_000, ALL_PPM), last).share_ppm == ALL_PPM
    # One that an older broker has kept is known by its number.
    old = msgspec.structs.replace(at, share_ppm=-1, stage=1)
    assert stage_of(rollout("a", 10_000, 100_000, ALL_PPM), old).share_ppm == 100_000
