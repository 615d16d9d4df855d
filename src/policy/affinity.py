"""Which member a conversation belongs to: the same at every replica, with nothing remembered anywhere.

Weighted rendezvous hashing: each member draws a lot from the key and its own name, and the best lot wins; a
larger weight makes better lots. A member that comes, goes or changes its weight changes its own lots alone,
so only keys from it or to it move.

Source: Schindelhauer and Schomaker, "Weighted distributed hash tables" (SPAA 2005), the logarithmic method.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Protocol, Self

from ..core.catalog import Member

_BITS = 52  # with the half that is added, as many as a float tells apart


class _Hash(Protocol):
    def copy(self) -> Self: ...

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


def _configured(member: Member) -> float:
    return member.weight


def preference(
    key: str, members: Iterable[Member], weight_of: Callable[[Member], float] = _configured
) -> tuple[Member, ...]:
    """The members in the order in which calls with this key want them: by priority, and in each by lot.

    `key` is any text (AffinityKey.value). The order of `members` means nothing; a weight of 0 puts a member
    behind all others of its priority.
    """
    begun = _begun(key)

    def rank(member: Member) -> tuple[int, float, str]:
        return member.priority, _wait(_drawn(begun, member, b""), weight_of(member)), member.id

    return tuple(sorted(members, key=rank))


def _begun(key: str) -> _Hash:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8)


def _drawn(begun: _Hash, member: Member, what: bytes) -> float:
    """A number between 0 and 1, neither of them, that is always the same."""
    drawn = begun.copy()
    drawn.update(b"\0" + member.id.encode() + what)
    return ((int.from_bytes(drawn.digest(), "big") >> (64 - _BITS)) + 0.5) / (1 << _BITS)


def _wait(part: float, weight: float) -> float:
    """An exponentially distributed time with the rate `weight`: who waits least is first, and the chance of
    that is the member's share of all weights."""
    return -math.log(part) / weight if weight > 0 else math.inf


def preferred(
    key: str,
    members: Iterable[Member],
    is_out: Callable[[Member], bool],
    weight_of: Callable[[Member], float] = _configured,
) -> Member:
    """The one of `members` (eligible for the call; one or more) for the first attempt of calls with this key:
    of the first priority that has a member which is not out, the one that wins among those.

    `is_out` must say only that a member takes no calls at all: what is merely eased off keeps its
    conversations, for to move them costs their cached prompts. Where all are out, it is the one that the key
    would have if none were.
    """
    order = preference(key, members, weight_of)
    able = (member for member in order if not is_out(member) and weight_of(member) > 0)
    return next(able, order[0])


def away(key: str, share_of: Callable[[Member], float]) -> Callable[[Member], bool]:
    """`is_out` of `preferred` for this key, where members come back by steps: one with a share of 0 is out,
    with 1 it has all of its conversations, and between these so many of them: the same at every replica, and
    with a larger share those and more. So nobody who is just back is flooded."""
    begun = _begun(key)

    def is_out(member: Member) -> bool:
        share = share_of(member)
        return share < 1 and (share <= 0 or _drawn(begun, member, b"\0back") >= share)

    return is_out
