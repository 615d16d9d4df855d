"""A call as its record tells it: as much of it as a simulation needs."""

from __future__ import annotations

import dataclasses
from operator import attrgetter

import msgspec

from ..core.ids import unix_ms_of
from ..core.outcomes import REFUSED
from ..core.record import HIT, JOINED
from ..core.usage import EXACT, UNKNOWN, Usage

_AMOUNTS = tuple(field.name for field in dataclasses.fields(Usage) if field.name != "beside")
_AMOUNTS_OF_CALLS = (
    *("started_s", "duration_ms", "first_byte_ms", "request_bytes", "response_bytes", "attempts_made"),
    *("context_tokens", "max_output_tokens", "cost_estimate"),
)
_of_amounts, _of_calls_amounts = attrgetter(*_AMOUNTS), attrgetter(*_AMOUNTS_OF_CALLS)
NO_HEADERS: dict[str, str] = {}


class Chance(msgspec.Struct, frozen=True, gc=False):
    """As core.record.Eligible."""

    member: str
    chance: float


class Amount(msgspec.Struct, gc=False):
    """Of a Cost, the whole: nano-dollars; None: unknown."""

    total: int | None = None


class Kept(msgspec.Struct, gc=False):
    """As core.record.Saved."""

    usage: Usage | None = None
    service_tier: str = ""
    cost: Amount | None = None


class Tried(msgspec.Struct, omit_defaults=True, gc=False):
    """As core.record.Attempt."""

    member: str
    status: int = 0
    duration_ms: float = 0.0
    started_s: float = 0.0
    hedge: bool = False
    usage: Usage | None = None
    usage_state: str = UNKNOWN
    service_tier: str = ""
    cost: Amount | None = None
    code: str = ""


class Recorded(msgspec.Struct, omit_defaults=True, gc=False):
    """As core.record.Record, by the same names: lines of the journal are read as this. `purpose` is "" for
    clients' calls; `shadow_of` is the call that a shadow repeats."""

    request_id: str
    started_s: float
    duration_ms: float = 0.0
    first_byte_ms: float | None = None
    status: int = 0
    path: str = ""
    caller: str = ""
    agent: str = ""
    user: str = ""
    team: str = ""
    customer: str = ""
    feature: str = ""
    tier: str = ""
    dialect: str = ""
    model: str = ""
    stream: bool = False
    rule: str = ""
    pool: str = ""
    member: str = ""
    revision: str = ""
    outcome: str = ""
    code: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    attempts_made: int = 0
    cost: Amount | None = None
    eligible: tuple[Chance, ...] = ()
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    choices: int = 1
    holds: tuple[str, ...] = ()
    degraded_from: str = ""
    budget: str = ""
    cache: str = ""
    cache_reason: str = ""
    saved: Kept | None = None
    same_dialect: str = ""
    owners: tuple[str, ...] = ()
    unowned_ids: str = ""
    headers: dict[str, str] = NO_HEADERS
    conversation: str = ""
    fingerprint: str = ""
    cost_estimate: int | None = None
    purpose: str = ""
    shadow_of: str = ""
    rollout: str = ""
    arm: str = ""
    stage: str = ""
    attempts: tuple[Tried, ...] = ()

    @property
    def at_ms(self) -> int:
        """When it was, as the ledger has it."""
        at_ms = unix_ms_of(self.request_id)
        return at_ms if at_ms is not None else int(self.started_s * 1000)

    @property
    def is_known(self) -> bool:
        """Do its facts stand in the record? Those of a call that was refused unread do not."""
        return self.context_tokens is not None and bool(self.dialect)

    @property
    def was_refused(self) -> bool:
        return self.outcome == REFUSED

    @property
    def was_hit(self) -> bool:
        return self.cache in (HIT, JOINED)

    @property
    def first_member(self) -> str:
        """Who had the first attempt; "": nobody."""
        return self.attempts[0].member if self.attempts else ""

    @property
    def usage(self) -> Used | None:
        """Of the reply, by whom it was made. None: not known."""
        if self.cache in (HIT, JOINED):
            saved = self.saved
            return Used(saved.usage, self.member, saved.service_tier) if saved and saved.usage else None
        for attempt in reversed(self.attempts):
            usage = attempt.usage
            if usage is not None and attempt.usage_state == EXACT and attempt.member == self.member:
                return Used(usage, attempt.member, attempt.service_tier)
        return None


def below_zero(call: Recorded) -> str:
    """The field that has less than nothing, as no call can; "": none."""
    if min(filter(None, _of_calls_amounts(call)), default=0) < 0:
        return next(name for name in _AMOUNTS_OF_CALLS if (getattr(call, name) or 0) < 0)
    if call.cost is not None and (call.cost.total or 0) < 0:
        return "cost.total"
    for number, tried in enumerate(call.attempts):
        where = f"attempts[{number}]"
        if tried.duration_ms < 0:
            return f"{where}.duration_ms"
        if tried.cost is not None and (tried.cost.total or 0) < 0:
            return f"{where}.cost.total"
        if tried.usage is not None and (wrong := _of_usage(tried.usage, f"{where}.usage")):
            return wrong
    saved = call.saved
    if saved is not None and saved.cost is not None and (saved.cost.total or 0) < 0:
        return "saved.cost.total"
    return _of_usage(saved.usage, "saved.usage") if saved is not None and saved.usage is not None else ""


def _of_usage(usage: Usage, where: str) -> str:
    if min(filter(None, _of_amounts(usage)), default=0) < 0:
        return f"{where}.{next(name for name in _AMOUNTS if (getattr(usage, name) or 0) < 0)}"
    for number, one in enumerate(usage.beside):
        if wrong := _of_usage(one.usage, f"{where}.beside[{number}].usage"):
            return wrong
    return ""


class Used(msgspec.Struct, frozen=True, gc=False):
    usage: Usage
    member: str
    service_tier: str


decode = msgspec.json.Decoder(Recorded).decode
