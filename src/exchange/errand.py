"""What the broker sends itself on: a call that is no client's, with what it is for.

It comes through the outer listener like any other, so that its record, price and translation are those of any
call. What makes it an errand is a sealed header: a client's own says nothing, and none goes to a provider.
"""

from __future__ import annotations

import msgspec

from ..core.call import Caller
from ..core.trials import CANDIDATE
from .seals import seal, unseal

ERRAND_HEADER = "x-broker-errand"
_USE = b"errand"


class Errand(msgspec.Struct, frozen=True, array_like=True):
    """To `pool`, whatever rules say. `purpose` is what it is for (`shadow`), `shadow_of` the id of the call
    that it is a copy of; `caller` and `agent` stand for who calls. `rollout` and `stage`: whose figures it is
    for, if it is a rollout's. Good until `until_s` (unix time). Captured is of it what is of the
    call itself. `is_scored`: so is its call, and both replies are compared."""

    purpose: str
    shadow_of: str
    pool: str
    caller: str
    agent: str
    rollout: str
    stage: str
    until_s: float
    captures_request: bool = False
    captures_reply: bool = False
    is_scored: bool = False

    def as_caller(self) -> Caller:
        return Caller(name=self.caller, agent=self.agent, purpose=self.purpose)

    def facts(self) -> tuple[tuple[str, str], ...]:
        """For the record."""
        facts = (("shadow_of", self.shadow_of),) if self.shadow_of else ()  # the rest is its caller's
        if not self.rollout:
            return facts
        return (*facts, ("rollout", self.rollout), ("arm", CANDIDATE), ("stage", self.stage))


def sealed_errand(errand: Errand, key: bytes) -> str:
    """The header's value."""
    return seal(msgspec.json.encode(errand), key, _USE)


def errand_in(value: str, key: bytes) -> Errand | None:
    """None where it was not sealed with `key`."""
    content = unseal(value, key, _USE) if value and key else None
    try:
        return msgspec.json.decode(content, type=Errand) if content is not None else None
    except ValueError:  # of another version of the broker's
        return None
