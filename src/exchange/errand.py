"""What the broker sends itself on: a call that is no client's, with what it is for.

It comes through the outer listener like any other, so that its record, price and translation are those of any
call. What makes it an errand is a sealed header: a client's own says nothing, and none goes to a provider.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from ..core.call import Caller
from ..core.trials import CANDIDATE

ERRAND_HEADER = "x-broker-errand"
_MAC_BYTES = 16
# What is sealed for another use with the same key is no errand.
_PERSON = b"errand"


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
    """The header's value: base64url of MAC and content."""
    content = msgspec.json.encode(errand)
    return base64.urlsafe_b64encode(_mac(content, key) + content).decode()


def errand_in(value: str, key: bytes) -> Errand | None:
    """None where it was not sealed with `key`."""
    if not value or not key:
        return None
    try:
        raw = base64.b64decode(value.encode(), b"-_", validate=True)
        mac, content = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, _mac(content, key)):
            return None
        return msgspec.json.decode(content, type=Errand)
    except ValueError:  # binascii's and msgspec's too
        return None


def _mac(content: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(content, key=key, digest_size=_MAC_BYTES, person=_PERSON).digest()
