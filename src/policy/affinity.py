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

from ..core.catalog import Member

_BITS = 53  # as many as a float tells apart


def _configured(member: Member) -> float:
    return member.weight


def preference(
    key: str, members: Iterable[Member], weight_of: Callable[[Member], float] = _configured
) -> tuple[Member, ...]:
    """The members in the order in which calls with this key want them: by priority, and in each by lot.

    `key` is any text (AffinityKey.value). The order of `members` means nothing; a weight of 0 puts a member
    behind all others of its priority.
    """
    begun = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8)

    def rank(member: Member) -> tuple[int, float, str]:
        drawn = begun.copy()
        drawn.update(b"\0" + member.id.encode())
        return member.priority, _wait(drawn.digest(), weight_of(member)), member.id

    return tuple(sorted(members, key=rank))


def _wait(drawn: bytes, weight: float) -> float:
    """An exponentially distributed time with the rate `weight`: who waits least is first, and the chance of
    that is the member's share of all weights."""
    if weight <= 0:
        return math.inf
    part = ((int.from_bytes(drawn, "big") >> (64 - _BITS)) + 0.5) / (1 << _BITS)  # between 0 and 1
    return -math.log(part) / weight


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
