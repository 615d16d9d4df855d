"""What the record is told of a call that the broker answers itself, and of any call's caller."""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..core.call import Caller, Facts, Surface

Told = tuple[tuple[str, str], ...]


class Said(NamedTuple):
    """Of a call and its pool's cache: `header` is for the client, where the call is sent, `facts` for the
    record. Empty where there is no cache."""

    header: str = ""
    facts: Told = ()


NOTHING_SAID = Said()


@functools.lru_cache(maxsize=256)
def known_of(caller: Caller) -> Told:
    """Who calls; what is not known is left out."""
    known = (
        ("caller", caller.name),
        ("agent", caller.agent),
        ("user", caller.user),
        ("team", caller.team),
        ("customer", caller.customer),
        ("feature", caller.feature),
        ("tier", caller.tier),
        ("purpose", caller.purpose),
    )
    return tuple(one for one in known if one[1])


def known_of_call(
    request_id: str,
    surface: Surface | None,
    facts: Facts | None,
    caller: Caller,
    *,
    rule: str,
    pool: str,
    revision: str,
    attempt: int = 0,
) -> Told:
    """Who, what for, and how far the decision got. `attempt` 0: none was made."""
    known = (
        ("request_id", request_id),
        ("dialect", surface.dialect if surface else ""),
        ("model", facts.model if facts else ""),
        ("stream", "1" if facts and facts.stream else ""),
        ("rule", rule),
        ("pool", pool),
        ("revision", revision),
        ("attempt", str(attempt) if attempt else ""),
    )
    return tuple(one for one in known if one[1]) + known_of(caller)
