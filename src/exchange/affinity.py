"""The member that a decided call's conversation belongs to, where its pool asks for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..core.call import Decision, Facts
from ..core.catalog import Member, Pool
from ..dialects import affinity_key
from ..policy import preferred


class Belongs(NamedTuple):
    """The member for the first attempt, by which key, and where that was found in the call."""

    member: Member
    key: str
    source: str


def belongs(
    pool: Pool,
    decision: Decision,
    facts: Facts,
    header: Callable[[str], str],
    body: bytes,
    is_out: Callable[[Member], bool],
) -> Belongs | None:
    """None: the call goes by weight, since the pool asks for no affinity, or nothing in the call says what it
    belongs to. `header` gives the first value of a header, "" where there is none."""
    if pool.affinity is None:
        return None
    key = affinity_key(pool.affinity, facts.surface.dialect, facts.caller, header, body)
    if key is None:
        return None
    return Belongs(preferred(key.value, decision.eligible, is_out), *key)
