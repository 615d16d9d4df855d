"""The member that a decided call's conversation belongs to, where its pool asks for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..core.call import Decision, Facts
from ..core.catalog import Member, Pool
from ..dialects import AffinityKey, affinity_key
from ..policy import away, preferred


class Belongs(NamedTuple):
    """The member for the first attempt, by which key, and where that was found in the call."""

    member: Member
    key: str
    source: str


def key_in(pool: Pool, facts: Facts, header: Callable[[str], str], body: bytes) -> AffinityKey | None:
    """None: the pool asks for no affinity, or nothing in the call says what it belongs to. `header` gives the
    first value of a header, "" where there is none."""
    if pool.affinity is None:
        return None
    return affinity_key(pool.affinity, facts.surface.dialect, facts.caller, header, body)


def belongs(
    pool: Pool,
    decision: Decision,
    facts: Facts,
    header: Callable[[str], str],
    body: bytes,
    share_of: Callable[[Member], float],
) -> Belongs | None:
    """None: the call goes by weight (`key_in`). `share_of` says how much of its conversations a member has: 0
    where it is out, 1 where it is not (though it be eased off), between them while it comes back by steps."""
    key = key_in(pool, facts, header, body)
    if key is None:
        return None
    member = preferred(key.value, decision.eligible, away(key.value, share_of))
    return Belongs(member, key.value, key.source)
