"""Where a broker stands towards its fleet: what they agreed on, and what its own configuration says. Pure.

Brokers get a new configuration at different moments, and a pod may begin with an old one. Whoever has a
candidate that the fleet has never had begins it for all; one whose place another has taken begins again only
where somebody's configuration has come back to it, which is: it was with the fleet and has changed, or nobody
has had the newer one for a while. Everybody else is behind. So each change of a configuration moves the fleet
once at most, and turns only go up."""

from __future__ import annotations

import msgspec

from ..core.trials import Rollout
from .rollout import BY_COMMAND, PAUSED, ROLLED_BACK, RUNNING, Past, State, Step, begun

FOLLOW, RESTORE, BEGIN, BEHIND = "follow", "restore", "begin", "behind"


def stand(rollout: Rollout, own: State | None, there: State, *, is_held: bool) -> str:
    """What a broker does whose configuration says `rollout`. `own`: where it was last; `there`: what the
    fleet agreed on; `is_held`: some broker's configuration has the candidate of `there`, or had it just now.

    `restore`: `there` is older than what this one knows, for their Redis has lost the rest. `behind`: it
    changes nothing."""
    if there.to == rollout.to:
        return FOLLOW
    if own is not None and own.to == rollout.to and own.turn > there.turn:
        return RESTORE
    if past_of(there, rollout.to) is None:
        return BEGIN
    was_with_it = own is not None and (own.to, own.began) == (there.to, there.began)
    return BEGIN if was_with_it or not is_held else BEHIND


def past_of(there: State, to: str) -> Past | None:
    return next((past for past in there.past if past.to == to), None)


def is_news(there: State, own: State) -> bool:
    """Was it rolled back here while nobody could be told?"""
    is_on = there.phase in (RUNNING, PAUSED)
    return own.to == there.to and own.phase == ROLLED_BACK and there.turn == own.turn and is_on


def back_by_others(own: State, there: State) -> Step | None:
    """A broker that is behind rolls its candidate back where another one did."""
    past = past_of(there, own.to)
    if past is None or past.phase != ROLLED_BACK or past.turn < own.turn or not own.is_on:
        return None
    return Step(msgspec.structs.replace(own, phase=ROLLED_BACK, reason=past.reason), "rolled-back")


def with_news(there: State, own: State) -> State | None:
    """What the fleet agreed on, and that a broker which is behind has rolled back its candidate. None: that
    is no news."""
    past = past_of(there, own.to)
    if past is None or own.is_on or past.phase == ROLLED_BACK or own.turn < past.turn:
        return None
    news = Past(own.to, own.phase, own.turn, own.reason)
    return msgspec.structs.replace(there, past=tuple(news if one is past else one for one in there.past))


def restored(there: State, own: State) -> State:
    """What takes the place of `there`, which is older: `own`, and what was rolled back there stays so."""
    return with_news(own, there) or own


def taken_over(rollout: Rollout, there: State, own: State | None, now_s: float) -> Step:
    """What people say to a broker that is behind: its candidate begins now, for all, whatever was before."""
    fresh = begun(rollout, now_s, there, own).state
    return Step(msgspec.structs.replace(fresh, phase=RUNNING, reason=BY_COMMAND), "began")
