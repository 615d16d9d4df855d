"""The health book: what each member said and did lately, and what follows for its share of calls.

Pure: it has no clock (`now_s` is an argument, unix seconds) and does no I/O. A member is out by its own
word (`retry-after`, a limit that is used up), or by a guess: for what can't get better within seconds (a
refused credential, an account without credit, a model that is gone), or since it breaks one stream after
the other where Envoy saw a good status, whatever its whole replies are. A guess is tried again at growing
distances. Then it comes back in steps. One that is close to a limit is eased off before it says no. What
Envoy ejects is of a pool; all else is of the member, in every pool that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from ..core.causes import BLAMELESS, Cause
from ..core.record import Observed
from .holding import Settled
from .limits import EASED_BELOW, Limit, limits_of, wait_of

# The smallest share of a member: without any, nobody would hear that it is well again.
FLOOR = 0.05
# Shares of a member that comes back, each for as long: a probe first.
RAMP = (FLOOR, 0.2, 0.4, 0.6, 0.8)
# Few steps, since every change of weights makes Envoy begin its turns anew.
_STEPS = (FLOOR, 0.2, 0.4, 0.6, 0.8, 1.0)
RAMP_S = 10.0
# A key, an account or a model: tried again after so long, then twice as long …
PROBED = frozenset((Cause.CREDENTIAL, Cause.BILLING, Cause.MODEL_NOT_FOUND))
PROBE_FIRST_S, PROBE_MOST_S = 10.0, 300.0
# The same of one that breaks so many replies in a row whose status was good: Envoy has seen nothing but that,
# and each call that meets it is lost.
BROKEN_FAILURES = 3
# Of one that fails while it comes back, so often in a row.
RELAPSE_FAILURES = 2
RELAPSE_FIRST_S, RELAPSE_MOST_S = 1.0, 60.0
# A word from further in the future than this was said before the clock was set back: nobody knows when.
_AHEAD_S = 60.0
# Envoy looks for ejections that are over every half second.
_EJECTION_GRACE_S = 2.0


class Failure(msgspec.Struct, frozen=True):
    cause: str
    status: int
    at_s: float
    request_id: str = ""


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one member. `out_said_s`: when that was said by which it is out until `out_until_s`; `strikes`: how
    often in a row it was tried again in vain, 0 where it is out by its own word; `failures`: in a row, as far
    as is known; `well_s`, `failed_s`: when last; `broken`: so many of its streams in a row broke behind a
    good status; `streamed_s`: when a stream went well last."""

    out_until_s: float = 0.0
    out_said_s: float = 0.0
    out_cause: str = ""
    capped: bool = False
    strikes: int = 0
    limits: tuple[Limit, ...] = ()  # of which little is left, by the newest reply that told of any
    limits_s: float = 0.0
    failures: int = 0
    failed_s: float = 0.0
    well_s: float = 0.0
    broken: int = 0
    streamed_s: float = 0.0
    last: Failure | None = None


_UNKNOWN = Standing()


class Ejection(msgspec.Struct, frozen=True):
    """By Envoy, of a member in one pool. `ended_s` is None until Envoy says that it is over."""

    since_s: float
    until_s: float  # as foreseen
    cause: str = ""
    ended_s: float | None = None

    def end_s(self) -> float:
        return self.until_s + _EJECTION_GRACE_S if self.ended_s is None else self.ended_s


class Effect(msgspec.Struct, frozen=True):
    """What holds for a member in a pool. `state`: well, out (by its own word or by a guess of ours), ejected,
    ramping or eased; `until_s` is when that ends or changes, None for well."""

    state: str
    share: float
    until_s: float | None = None
    cause: str = ""
    capped: bool = False


WELL = Effect("well", 1.0)


def after(standing: Standing, seen: Observed) -> Standing:
    """What is known once `seen` is known too. Entries come in any order: the newest word about a limit
    counts, and the longest about a wait."""
    standing = _after_words(standing, seen)
    if seen.cause is None:
        return _after_success(standing, seen.at_s, is_stream=seen.is_stream)
    if seen.cause in BLAMELESS:
        return standing
    standing = _after_failure(standing, seen, seen.cause)
    wait = wait_of(seen.headers, seen.at_s, is_rate_limit=seen.cause is Cause.RATE_LIMIT)
    if wait is not None:
        out = max(
            (standing.out_until_s, standing.out_said_s, standing.out_cause, standing.capped),
            (wait.until_s, seen.at_s, seen.cause.value, wait.capped),
        )
        until_s, said_s, why, capped = out
        strikes = 0 if said_s == seen.at_s else standing.strikes
        return msgspec.structs.replace(
            standing, out_until_s=until_s, out_said_s=said_s, out_cause=why, capped=capped, strikes=strikes
        )
    return _after_strike(standing, seen.at_s, seen.cause, is_broken=seen.is_broken)


def _after_words(standing: Standing, seen: Observed) -> Standing:
    """Of two replies of the same moment the one counts that leaves less."""
    if not seen.headers or seen.at_s < standing.limits_s:
        return standing
    limits = limits_of(seen.headers, seen.at_s)
    if limits is None or (
        seen.at_s == standing.limits_s and _tightness(limits) <= _tightness(standing.limits)
    ):
        return standing
    return msgspec.structs.replace(standing, limits=limits, limits_s=seen.at_s)


def _tightness(limits: tuple[Limit, ...]) -> tuple[float, tuple[tuple[str, float, float], ...]]:
    least = min((limit.left for limit in limits), default=1.0)
    return -least, tuple((limit.name, limit.left, limit.until_s) for limit in limits)


def _after_success(standing: Standing, at_s: float, *, is_stream: bool) -> Standing:
    failures = 0 if at_s >= standing.failed_s else standing.failures
    broken, streamed_s = standing.broken, standing.streamed_s
    if is_stream:
        broken = 0 if at_s >= standing.failed_s else broken
        streamed_s = max(streamed_s, at_s)
    well_s = max(standing.well_s, at_s)
    until_s, strikes = standing.out_until_s, standing.strikes
    if at_s >= until_s:
        strikes = 0
    elif at_s > standing.out_said_s and is_guess(standing) and broken < BROKEN_FAILURES:
        until_s, strikes = at_s, 0  # a key was mended, say: somebody tried it before its time
    return msgspec.structs.replace(
        standing,
        failures=failures,
        well_s=well_s,
        broken=broken,
        streamed_s=streamed_s,
        out_until_s=until_s,
        strikes=strikes,
    )


def _after_failure(standing: Standing, seen: Observed, cause: Cause) -> Standing:
    last = standing.last
    failure = Failure(cause.value, seen.status, seen.at_s, seen.request_id)
    if last is None or (last.at_s, last.request_id) < (failure.at_s, failure.request_id):
        last = failure
    return msgspec.structs.replace(
        standing,
        failures=standing.failures + (seen.at_s > standing.well_s),
        broken=standing.broken + (seen.is_broken and seen.at_s > standing.streamed_s),
        failed_s=max(standing.failed_s, seen.at_s),
        last=last,
    )


def _after_strike(standing: Standing, at_s: float, cause: Cause, *, is_broken: bool) -> Standing:
    """A failure without a word about waiting; `is_broken`: behind a good status. What was under way when it
    was taken out is no strike."""
    if at_s < standing.out_until_s or at_s < (standing.streamed_s if is_broken else standing.well_s):
        return standing
    if cause in PROBED or (is_broken and standing.broken >= BROKEN_FAILURES):
        first_s, most_s = PROBE_FIRST_S, PROBE_MOST_S
    elif _is_relapse(standing, at_s, cause):
        first_s, most_s = RELAPSE_FIRST_S, RELAPSE_MOST_S
    else:
        return standing
    wait_s = min(most_s, first_s * 2.0 ** min(standing.strikes, 30))
    return msgspec.structs.replace(
        standing,
        out_until_s=at_s + wait_s,
        out_said_s=at_s,
        out_cause=cause.value,
        capped=False,
        strikes=standing.strikes + 1,
    )


def _is_relapse(standing: Standing, at_s: float, cause: Cause) -> bool:
    """On its way back it says that it was too soon, or fails twice in a row: one failure may be chance, and a
    member with a few of them must not be kept out for good."""
    is_back = 0.0 < standing.out_until_s <= at_s < standing.out_until_s + RAMP_S
    return is_back and (cause is Cause.RATE_LIMIT or standing.failures >= RELAPSE_FAILURES)


def is_guess(standing: Standing) -> bool:
    """That it is out is our own guess (its key is refused, it failed on its way back …), not its word."""
    return standing.strikes > 0 or any(standing.out_cause == probed.value for probed in PROBED)


def effect_of(standing: Standing, ejection: Ejection | None, now_s: float, ramp_s: float = RAMP_S) -> Effect:
    """What follows from what was said, at `now_s`. `ramp_s`: how long a member takes to come back."""
    if standing.out_said_s > now_s + _AHEAD_S:
        standing = msgspec.structs.replace(standing, out_until_s=0.0)
    if now_s < standing.out_until_s:
        return Effect("out", FLOOR, standing.out_until_s, standing.out_cause, standing.capped)
    if ejection is not None and ejection.since_s > now_s + _AHEAD_S:
        ejection = None
    if ejection is not None and now_s < ejection.end_s():
        return Effect("ejected", FLOOR, ejection.until_s, ejection.cause)
    effect = WELL
    for ended_s, cause in (
        (standing.out_until_s, standing.out_cause),
        (ejection.end_s(), ejection.cause) if ejection is not None else (0.0, ""),
    ):
        effect = _less(effect, _ramping(ended_s, cause, now_s, ramp_s))
    for limit in standing.limits if standing.limits_s <= now_s + _AHEAD_S else ():
        if now_s < limit.until_s:
            effect = _less(effect, Effect("eased", _eased(limit.left), limit.until_s, limit.name))
    return effect


def _less(one: Effect, other: Effect) -> Effect:
    return other if other.share < one.share else one


def _ramping(ended_s: float, cause: str, now_s: float, ramp_s: float) -> Effect:
    if not ended_s or now_s >= ended_s + ramp_s:
        return WELL
    step_s = ramp_s / len(RAMP)
    step = min(len(RAMP) - 1, int((now_s - ended_s) / step_s))
    return Effect("ramping", RAMP[step], ended_s + ramp_s, cause)


def _eased(left: float) -> float:
    return next(step for step in _STEPS if step >= min(1.0, left / EASED_BELOW))


def _changes(standing: Standing, ejection: Ejection | None, ramps_s: Iterable[float]) -> Iterable[float]:
    """Moments at which the effect may change by itself."""
    yield from (limit.until_s for limit in standing.limits)
    ends = [standing.out_until_s]
    if ejection is not None:
        ends.append(ejection.end_s())
    for ramp_s in ramps_s:
        for end_s in ends:
            yield from (end_s + ramp_s * step / len(RAMP) for step in range(len(RAMP) + 1))


class Swaps(NamedTuple):
    """Of providers' credentials that may be new and refused. `settled`: provider → what its calls surely go
    with; `deaf`: members that refused the new one and the one before."""

    settled: Mapping[str, Settled] = MappingProxyType({})
    deaf: frozenset[str] = frozenset()


NO_SWAPS = Swaps()


class _Kept(msgspec.Struct):
    """What of a book is written down. Ejections are Envoy's to tell."""

    standings: dict[str, Standing]
    version: int = 1


@dataclass(slots=True)
class Book:
    """Member id (`anthropic/claude-opus-4-7`) → its standing; (pool, member id) → its ejection."""

    standings: dict[str, Standing] = field(default_factory=dict)
    ejections: dict[tuple[str, str], Ejection] = field(default_factory=dict)
    swaps: Swaps = NO_SWAPS
    eased: frozenset[str] = frozenset()  # `notable`, when Envoys were last told

    # -- what happens

    def observe(self, seen: Observed) -> bool:
        """Take note of an attempt; True where shares may be others than before."""
        old = self.standings.get(seen.member, _UNKNOWN)
        if (new := after(old, seen)) == old:
            return False
        self.standings[seen.member] = new
        return new.out_until_s != old.out_until_s or new.limits != old.limits

    def eject(self, pool: str, member: str, at_s: float, until_s: float, cause: str = "") -> None:
        """Envoy took the member out of this pool, foreseeably until then."""
        self.ejections[pool, member] = Ejection(at_s, until_s, cause)

    def uneject(self, pool: str, member: str, at_s: float) -> None:
        """Envoy let the member in again."""
        if (ejection := self.ejections.get((pool, member))) is not None:
            self.ejections[pool, member] = msgspec.structs.replace(ejection, ended_s=at_s)

    def forget_ejections(self, pool: str | None = None) -> None:
        """Another Envoy came in the place of the one that told of them, or another cluster in a pool's."""
        for key in list(self.ejections):
            if pool is None or key[0] == pool:
                del self.ejections[key]

    def forgive(self, provider: str) -> None:
        """The provider's credential is another one: what was said of the old one counts no longer."""
        for member, standing in list(self.standings.items()):
            if member.startswith(f"{provider}/") and standing.out_cause == Cause.CREDENTIAL.value:
                self.standings[member] = _without_out(standing)

    def acquit(self, members: Iterable[str], now_s: float, most_ramp_s: float = RAMP_S) -> list[str]:
        """What was said of these counts no longer, since somebody knows better; those whom it kept from their
        whole share. Envoy's ejections are not for us to end."""
        taken = {name: standing for name in members if (standing := self.standings.pop(name, None))}
        return [name for name, standing in taken.items() if _is_notable(standing, now_s, most_ramp_s)]

    def forget(self, configured: Iterable[str], now_s: float) -> None:
        """Let go of members that are configured no longer and whose words have run out, and of ejections that
        are long over."""
        kept = set(configured)
        for member, standing in list(self.standings.items()):
            if member not in kept and effect_of(standing, None, now_s) == WELL:
                del self.standings[member]
        for key, ejection in list(self.ejections.items()):
            if now_s > ejection.end_s() + MOST_RAMP_S or ejection.since_s > now_s + _AHEAD_S:
                del self.ejections[key]

    # -- what follows

    def effect(self, member: str, now_s: float, pool: str = "", ramp_s: float = RAMP_S) -> Effect:
        return effect_of(
            self.standings.get(member, _UNKNOWN), self.ejections.get((pool, member)), now_s, ramp_s
        )

    def is_out(self, member: str, now_s: float, pool: str = "") -> bool:
        """Out by its own word, or ejected from this pool."""
        return self.effect(member, now_s, pool).state in ("out", "ejected")

    def ready_at_s(self, member: str, now_s: float, pool: str = "") -> float:
        """When it may be called (again): `now_s` where that is now."""
        effect = self.effect(member, now_s, pool)
        is_out = effect.state in ("out", "ejected") and effect.until_s is not None
        return max(now_s, effect.until_s or now_s) if is_out else now_s

    def share(self, member: str, now_s: float, pool: str = "", ramp_s: float = RAMP_S) -> float:
        """Of its weight, above 0 and up to 1. Members that are out have the smallest."""
        return self.effect(member, now_s, pool, ramp_s).share

    def order(self, members: Iterable[str], now_s: float, pool: str = "") -> list[str]:
        """In the order of trying: who is not out in the given order, then others, soonest ready first."""
        return sorted(members, key=lambda member: self.ready_at_s(member, now_s, pool))

    def notable(self, now_s: float, most_ramp_s: float = RAMP_S) -> frozenset[str]:
        """Members that have less than their whole share, in some pool at least. (A few that have it may be
        among them.) No pool's ramp takes longer than `most_ramp_s`."""
        names = [
            name for name, standing in self.standings.items() if _is_notable(standing, now_s, most_ramp_s)
        ]
        names += [
            name for (_, name), ejection in self.ejections.items() if now_s < ejection.end_s() + most_ramp_s
        ]
        return frozenset(names)

    def next_change_s(self, now_s: float, ramps_s: Iterable[float] = (RAMP_S,)) -> float | None:
        """When shares will next be others though nothing happens; None: never."""
        ramps_s = tuple(ramps_s)
        most_s = max(ramps_s, default=0.0)
        changes: list[float] = []
        for standing in self.standings.values():
            if _is_notable(standing, now_s, most_s):
                changes += _changes(standing, None, ramps_s)
        for ejection in self.ejections.values():
            changes += _changes(_UNKNOWN, ejection, ramps_s)
        return min((moment for moment in changes if moment > now_s), default=None)

    # -- over a restart

    def to_json(self) -> bytes:
        return msgspec.json.encode(_Kept(self.standings))

    @staticmethod
    def from_json(text: bytes) -> Book:
        """ValueError where it is none. What was said of a credential is left out: it may be a new one."""
        kept = msgspec.json.decode(text, type=_Kept)
        if kept.version != 1:
            raise ValueError(f"version {kept.version} of a health book; 1 would be right")
        return Book(
            {
                member: _without_out(standing) if standing.out_cause == Cause.CREDENTIAL.value else standing
                for member, standing in kept.standings.items()
            }
        )


# No pool takes longer to let a member come back (settings hold it).
MOST_RAMP_S = 3_600.0


def _without_out(standing: Standing) -> Standing:
    return msgspec.structs.replace(
        standing, out_until_s=0.0, out_said_s=0.0, out_cause="", capped=False, strikes=0
    )


def _is_notable(standing: Standing, now_s: float, most_ramp_s: float) -> bool:
    return now_s < standing.out_until_s + most_ramp_s or any(
        now_s < limit.until_s for limit in standing.limits
    )
