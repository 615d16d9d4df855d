"""Who gets the next attempt of a call, and which failures of it are worth another one. Pure.

The first attempt is Envoy's to give, by weight among the eligible; each further one is for one member by
name: those that are not known to be in trouble first, by priority and by lot, then the others. A member that
has said that it takes no calls now is left out, or waited for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..core.catalog import Member, Pool
from ..core.causes import ALWAYS_CLIENTS, DEFAULT_ACTIONS, Action, Cause
from .affinity import preference
from .health import Book, Effect, is_guess

# Nothing was sent to a provider: such an attempt costs nothing of the budget.
UNSENT = frozenset((Cause.CAPACITY, Cause.NOT_CARRIED))
# Envoy runs a call through its filters no more often than this, budget or not.
MOST_ATTEMPTS = 31
# Attempts at one member alone whose new credential is refused: by some of them that is known for sure.
MOST_KEYED = 3
_SHAKY_S = 60.0
# Long enough for news to have become weights at every Envoy.
_NEWS_S = 2.0
# Who is alone is asked once more where that can help: a connection that the provider had just closed is no
# answer. A timeout would only be waited for twice.
_AGAIN = frozenset(
    (
        Cause.CONNECT,
        Cause.DNS,
        Cause.TLS,
        Cause.RESET,
        Cause.CUT,
        Cause.GARBAGE,
        Cause.SERVER,
        Cause.OVERLOADED,
    )
)


class Tried(NamedTuple):
    """An attempt that failed: at which member (its id), and why."""

    member: str
    cause: Cause


class Outlook:
    """What is known of a pool's members at this moment. `now_s` is unix time."""

    __slots__ = ("_book", "_now_s", "_pool")

    def __init__(self, book: Book, pool: Pool, now_s: float) -> None:
        self._book = book
        self._pool = pool
        self._now_s = now_s

    def out_for_s(self, member: Member) -> float:
        """How long it takes no calls, by its own word or for want of a key, credit or model; 0: it does."""
        standing = self._book.standings.get(member.id)
        if standing is None or standing.out_until_s <= self._now_s:  # nearly always
            return 0.0
        effect = self._book.effect(member.id, self._now_s)
        return max(0.0, (effect.until_s or 0.0) - self._now_s) if effect.state == "out" else 0.0

    def is_news(self, member: Member) -> bool:
        """That it is out was said just now: Envoy may not know yet."""
        standing = self._book.standings.get(member.id)
        if standing is None or standing.out_until_s <= self._now_s:
            return False
        return self._now_s < standing.out_said_s + _NEWS_S

    def is_guessed(self, member: Member) -> bool:
        """That it is out is our own guess, not its word."""
        standing = self._book.standings.get(member.id)
        return standing is not None and is_guess(standing)

    def cause(self, member: Member) -> str:
        """Why it is out."""
        return self._book.effect(member.id, self._now_s).cause

    def is_shaky(self, member: Member) -> bool:
        """It failed lately, or Envoy has taken it out of this pool: others are tried first. (Not for ever:
        who gets no calls can't show that it is well.)"""
        standing = self._book.standings.get(member.id)
        if standing is not None and standing.failures and self._now_s < standing.failed_s + _SHAKY_S:
            return True
        is_known = (self._pool.name, member.id) in self._book.ejections
        return is_known and self._effect(member).state == "ejected"

    def share_of(self, member: Member) -> float:
        """How much of its conversations it has: none while it is out or fails, and more and more while it
        comes back."""
        standing = self._book.standings.get(member.id)
        if standing is None:
            return 1.0
        ejection = self._pool.ejection
        fails_for_s = self._now_s - standing.failed_s
        if standing.failures >= ejection.consecutive_errors and fails_for_s < ejection.base_ms / 1000:
            return 0.0
        effect = self._effect(member)
        if effect.state in ("out", "ejected"):
            return 0.0
        return effect.share if effect.state == "ramping" else 1.0

    def eased_share_of(self, member: Member) -> float:
        """The same of calls that belong to nobody: who is close to its limit gets fewer of them, too."""
        share = self.share_of(member)
        if share < 1 or member.id not in self._book.standings:  # nearly always
            return share
        return self._effect(member).share

    def _effect(self, member: Member) -> Effect:
        ramp_s = self._pool.ejection.ramp_ms / 1000
        return self._book.effect(member.id, self._now_s, self._pool.name, ramp_s)


@dataclass(frozen=True, slots=True)
class Takers:
    """Members for an attempt: those that take it, in the order of trying; those that may take a further one,
    should it fail; and how long it is until the first of all does (0: that is now; None: there is nobody at
    all)."""

    now: tuple[Member, ...]
    is_probe: bool = False  # nobody takes calls; the one in `now` is tried all the same
    soon: tuple[Member, ...] = ()
    wait_s: float | None = 0.0


def takers(
    members: Collection[Member],
    outlook: Outlook,
    key: str,
    patience_s: float,
    order: Callable[[str, Collection[Member]], Sequence[Member]] = preference,
) -> Takers:
    """`members` could all serve; `key` is the call's own, so that another call draws other lots; `patience_s`
    is how long an attempt and the wait behind it may last; `order` is that of trying, while all are well."""
    waits = {member: outlook.out_for_s(member) for member in members}
    able = [member for member, wait_s in waits.items() if not wait_s]
    if len(able) > 1:
        able = sorted(order(key, able), key=outlook.is_shaky)
    # Who is out for a guess alone is tried where there is nobody else.
    soon = tuple(
        member
        for member, wait_s in waits.items()
        if wait_s and (wait_s <= patience_s or outlook.is_guessed(member))
    )
    if not able and (guessed := [member for member in waits if outlook.is_guessed(member)]):
        # A pool is never empty for a mere guess: it may be well by now.
        probed = min(guessed, key=lambda member: waits[member])
        return Takers((probed,), True, tuple(member for member in soon if member is not probed), 0.0)
    return Takers(tuple(able), False, soon, min(waits.values(), default=None))


def untried(
    eligible: Sequence[Member], tried: Sequence[Tried], *, has_spare: bool = False
) -> tuple[Member, ...]:
    """Of `eligible`, who may get another attempt: who had none yet; who is alone, once more, and twice where
    its new credential was refused and it `has_spare`: it may be gone back to that."""
    had = [one.member for one in tried]
    if len(eligible) == 1 and had and set(had) == {eligible[0].id}:
        may_again = len(had) == 1 and tried[0].cause in _AGAIN
        if has_spare and {one.cause for one in tried} == {Cause.CREDENTIAL}:
            may_again = len(had) < MOST_KEYED
        return tuple(eligible) if may_again else ()
    return tuple(member for member in eligible if member.id not in had)


def later(members: Sequence[Member], than: Member | None) -> tuple[Member, ...]:
    """Those of a later priority."""
    return tuple(member for member in members if than is None or member.priority > than.priority)


def first_of_later(members: Sequence[Member], than: Member | None, outlook: Outlook) -> tuple[Member, ...]:
    """The same, those of a later priority first that are not known to be in trouble."""
    good = [member for member in later(members, than) if not outlook.is_shaky(member)]
    return (*good, *(member for member in members if member not in good))


def sent(tried: Sequence[Tried]) -> int:
    """How many attempts reached a provider."""
    return sum(1 for one in tried if one.cause not in UNSENT)


def tells(tried: Sequence[Tried]) -> bool:
    """Is there more to tell than what the last member can't carry? Where no member can, that is all there is,
    and it is the client's to change."""
    return any(one.cause is not Cause.NOT_CARRIED for one in tried)


@functools.lru_cache(maxsize=4_096)
def handed_back(
    on: tuple[tuple[Cause, Action | str], ...],
    has_next: bool,
    has_later: bool,
    is_alone: bool,
    enters: frozenset[str],
    tells: bool,
    is_last: bool = False,
    is_keyed: bool = False,
) -> tuple[Cause, ...]:
    """The causes for which an attempt that fails is worth another one; the others' answers are the client's.

    `on` is the pool's. `has_next`: there is a member for it; `has_later`: one of a later priority;
    `is_alone`: the attempt is for the only member, and may be made once more; `enters`: other pools that have
    a member for the call; `tells`: earlier attempts failed as well, and where the member can't even be asked,
    the client is told of them; `is_last`: the budget has room for this attempt and no other, but if nothing
    was sent, it was none; `is_keyed`: the only member's new credential may be refused, and the one before it
    be gone back to.
    """
    actions: dict[Cause, Action | str] = {**DEFAULT_ACTIONS, **dict(on)}
    worth = []
    for cause in Cause:
        action = actions[cause]
        if cause in ALWAYS_CLIENTS or (is_last and cause not in UNSENT):
            continue
        if (
            (
                action is Action.NEXT
                and (has_next or (is_alone and cause in _AGAIN) or (is_keyed and cause is Cause.CREDENTIAL))
            )
            or (action is Action.NEXT_PRIORITY and has_later)
            or action in enters
            or (cause is Cause.NOT_CARRIED and tells)
        ):
            worth.append(cause)
    return tuple(worth)
