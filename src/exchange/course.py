"""What a call has behind it, from one attempt to the next.

No memory crosses streams: a header carries it through Envoy, sealed, since what says it in a client's name
would be believed. It never leaves Envoy: members' listeners strip it before the provider.
"""

from __future__ import annotations

import msgspec

from ..core.causes import Cause
from ..policy.attempts import Tried
from .errand import Errand
from .seals import seal, unseal

COURSE_HEADER = "x-broker-call"


class Course(msgspec.Struct, frozen=True, array_like=True):
    """A call under way. `started_ms`: of the machine's monotonic clock. `caller`: who it is, by name;
    `feature` and `customer` as its headers said. `pools`: where it was decided to go, and where it went on.
    `tried`: (member id, cause). `waited_ms`: how long it has waited for members that take no calls.
    `degraded`: the pool that it was for and the budget that sent it on, where one did. `errand`: it is no
    client's; `arm`: rollout, arm and stage, where it is part of one."""

    request_id: str
    started_ms: int
    caller: str
    feature: str
    customer: str
    pools: tuple[str, ...]
    tried: tuple[tuple[str, str], ...] = ()
    waited_ms: int = 0
    claimed: tuple[str, ...] = ()  # agent, user, team, tier, where a token told of them
    degraded: tuple[str, str] = ("", "")
    errand: Errand | None = None
    arm: tuple[str, str, str] = ("", "", "")
    trace: str = ""  # where it is traced: core.tracing.Trace.text

    def failed(self) -> tuple[Tried, ...]:
        return tuple(Tried(member, Cause(cause)) for member, cause in self.tried)

    def after(self, member: str, cause: str, attempts: int = 1) -> Course:
        """`attempts`: so many failed, side by side; who the others were is not known."""
        others = (("", cause),) * (attempts - 1)
        return msgspec.structs.replace(self, tried=(*self.tried, *others, (member, cause)))


def sealed(course: Course, key: bytes) -> str:
    """The header's value."""
    return seal(msgspec.json.encode(course), key)


def opened(value: str, key: bytes) -> Course | None:
    """None where it was not sealed with `key`."""
    content = unseal(value, key)
    try:
        return msgspec.json.decode(content, type=Course) if content is not None else None
    except ValueError:  # of another version of the broker's
        return None
