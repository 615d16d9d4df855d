"""What of a simulated call is tried beside its pool's own members: nouns."""

from __future__ import annotations

from typing import NamedTuple

Chances = tuple[tuple[str, float], ...]  # (member, how likely it has the first attempt)
# What becomes of a copy. `over`: its budget has no room; `paused`: it had none a moment ago; `unfit`: the
# target can't take the call.
SENT, OVER, PAUSED, UNFIT = "sent", "over", "paused", "unfit"


class Lot(NamedTuple):
    """Of a call that is part of a rollout. `chance`: that it is the candidate's, as far as is known of this
    very call (0 or 1: that is known); `share`: of all such calls, None: each is whose it was recorded to be.
    Members' chances in either arm. `is_mixed`: the call's shares are those of both arms together; else they
    are of the arm that was drawn."""

    rollout: str
    stage: str
    chance: float
    share: float | None
    candidate: Chances
    stable: Chances
    is_mixed: bool = False

    @property
    def whole(self) -> Chances:
        """Of all such calls."""
        share = self.chance if self.share is None else self.share
        return mixed(share, self.candidate, self.stable)

    @property
    def sticky(self) -> Chances:
        """Once the arm is drawn, the conversation stays there: members' chances in an arm of theirs."""
        found = dict(self.candidate)
        for member, chance in self.stable:
            found[member] = max(chance, found.get(member, 0.0))
        return tuple(found.items())


class Copied(NamedTuple):
    """A copy of a call for a shadow. `chance`: how likely such calls are copied; `held`: the id by which its
    budget holds something for it, "": nothing."""

    shadow: str
    result: str
    chance: float = 1.0
    shares: Chances = ()
    held: str = ""


class Spent(NamedTuple):
    """What a copy costs: nano-dollars, None: unknown; the rest as in a `Judged`."""

    copy: Copied
    nano: float | None = None
    variance: float = 0.0
    by_mean: float = 0.0
    parts: tuple[tuple[str, str, float, float], ...] = ()


def mixed(chance: float, candidate: Chances, stable: Chances) -> Chances:
    found: dict[str, float] = {}
    for part, shares in ((chance, candidate), (1.0 - chance, stable)):
        for member, share in shares:
            if part * share > 0:
                found[member] = found.get(member, 0.0) + part * share
    return tuple(found.items())
