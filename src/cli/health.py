"""The health book's life: what access logs and Envoy tell goes in; weights, metrics and a file come out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import Gauge

from ..core.catalog import Catalog, Pool
from ..core.causes import Cause
from ..core.keys import pool_cluster
from ..core.record import Observed
from ..metrics import Counts
from ..policy import Book, Effect
from ..policy.limits import Limit, limits_of
from ..xds.overlay import ShareOf
from .ejections import Change, EventLog

log = logging.getLogger("modelbroker.health")

FILE_NAME = "health.json"
# Who is out must get no further call: that is told nearly at once. Mere shares have time.
_GATHER_S = 0.005
_SHARES_EVERY_S = 0.25
_KEEP_EVERY_S = 1.0
_LOOK_EVERY_S = 0.1
_FORGET_EVERY_S = 60.0
_EJECTIONS = Counts("modelbroker_ejections", "Members that Envoy took out of a pool", ["pool", "member"])
_OUT = Gauge(
    "modelbroker_member_out",
    "1 for a member that is out: of all pools by its own word or by what failed, of one by Envoy",
    ["pool", "member", "reason"],
)
_FAILURES = Counts("modelbroker_attempt_failures", "Attempts that failed, by cause", ["member", "cause"])

_NEVER: tuple[float, Mapping[str, str]] = (0.0, {})
_MOST_LIMITS = 12  # of one member's: their names are its provider's

Publish = Callable[[Collection[str], ShareOf], None]


class HealthKeeper:
    """Everything but `effect` and `notable` is for the event loop's thread. `publish` brings members' shares
    to Envoys; `file` keeps the book over a restart; `events` is where Envoy writes of its ejections."""

    def __init__(self, file: Path, events: Path | None, publish: Publish) -> None:
        self._file = file
        self._events = EventLog(events) if events is not None else None
        self._publish = publish
        self.book = _read(file)
        self._pools: Mapping[str, Pool] = {}
        self._clusters: Mapping[str, str] = {}  # of each pool, as Envoy knows it
        self._ramps_s: frozenset[float] = frozenset()
        self._news = asyncio.Event()
        self._urgent = asyncio.Event()
        self._unkept = asyncio.Event()
        self._out: dict[tuple[str, str], str] = {}  # (pool or "", member) → reason, as it was told
        self._said: dict[str, tuple[float, Mapping[str, str]]] = {}  # member → its newest word on its limits

    # -- what happens

    def observe(self, seen: Observed) -> None:
        """An attempt ended."""
        if seen.headers and seen.at_s >= self._said.get(seen.member, _NEVER)[0]:
            self._said[seen.member] = seen.at_s, seen.headers
        if seen.cause is not None:
            _FAILURES.of(seen.member, seen.cause.value).inc()
            self._unkept.set()
        if not self.book.observe(seen):
            return
        self._unkept.set()
        if seen.cause is not None:
            self._urgent.set()
        self._news.set()

    def configured(self, catalog: Catalog, mended: Iterable[str] = ()) -> None:
        """Another configuration is served. `mended`: providers whose credential is another one now."""
        clusters = {name: pool_cluster(pool, catalog.limits) for name, pool in catalog.pools.items()}
        for name, cluster in self._clusters.items():
            if (
                clusters.get(name) != cluster
            ):  # how a pool ejects is a part of its cluster: that starts afresh
                self.book.forget_ejections(name)
        self._clusters = clusters
        self._pools = catalog.pools
        self._ramps_s = frozenset(pool.ejection.ramp_ms / 1000 for pool in catalog.pools.values())
        for provider in mended:
            self.book.forgive(provider)
        self._urgent.set()
        self._news.set()

    def acquit(self, members: Iterable[str]) -> list[str]:
        """Somebody knows better than what these said; those whom it kept from their whole share."""
        known = self.book.acquit(members, time.time(), self.most_ramp_s)
        log.info("what was said of %s is forgotten: somebody asked for it", ", ".join(known) or "nobody")
        self._unkept.set()
        self._push()
        return known

    def look(self) -> None:
        """Read what Envoy wrote of ejections."""
        if self._events is None:
            return
        is_fresh, changes = self._events.read()
        if is_fresh:
            self.book.forget_ejections()
        for change in changes:
            self._take(change)
        if is_fresh or changes:
            self._news.set()

    def _take(self, change: Change) -> None:
        if self._clusters.get(change.pool) != change.cluster:
            return
        if not change.is_out:
            self.book.uneject(change.pool, change.member, change.at_s)
            return
        pool = self._pools[change.pool]
        wait_ms = min(pool.ejection.base_ms * change.number, max(pool.ejection.max_ms, pool.ejection.base_ms))
        self.book.eject(change.pool, change.member, change.at_s, change.at_s + wait_ms / 1000, change.why)
        if change.at_s > time.time() - _FORGET_EVERY_S:  # not what an earlier run of ours has told already
            _EJECTIONS.of(change.pool, change.member).inc()

    # -- what follows

    def share_of(self, pool: str, member: str) -> float:
        """As `xds` lays it over endpoints. Who is ejected is left out by Envoy itself, and begins small."""
        effect = self.effect(pool, member)
        return 0.0 if effect.state == "out" else effect.share

    def effect(self, pool: str, member: str) -> Effect:
        known = self._pools.get(pool)
        ramp_s = known.ejection.ramp_ms / 1000 if known is not None else 0.0
        return self.book.effect(member, time.time(), pool, ramp_s)

    def notable(self) -> frozenset[str]:
        """Members that have not their whole share in every pool."""
        return self.book.notable(time.time(), self.most_ramp_s)

    def is_out(self, pool: str, member: str) -> bool:
        """Now, of this pool."""
        return self.book.is_out(member, time.time(), pool)

    def headroom(self, now_s: float) -> Iterator[tuple[str, Limit]]:
        """(member, limit) of each that a provider told of, until its word runs out."""
        for member, (at_s, headers) in list(self._said.items()):
            for limit in (limits_of(headers, at_s, math.inf) or ())[:_MOST_LIMITS]:
                if now_s < limit.until_s:
                    yield member, limit

    @property
    def most_ramp_s(self) -> float:
        return max(self._ramps_s, default=0.0)

    # -- its life

    def start(self) -> None:
        """What is known from before is there with the first configuration that an Envoy gets."""
        self.look()
        self._push()

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._follow(), self._keep(), self._tail())

    def close(self) -> None:
        """Write down what is known; to be called when `run` has ended."""
        self._write(self.book.to_json())

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        pushed_s = 0.0
        while True:
            await _wait(self._news, self._until_change_s())
            if not self._urgent.is_set():
                await _wait(self._urgent, pushed_s + _SHARES_EVERY_S - loop.time())
            if self._urgent.is_set():
                await asyncio.sleep(_GATHER_S)
            self._news.clear()
            self._urgent.clear()
            try:
                self._push()
            except Exception:  # the next news brings it into order
                log.exception("members' health could not be brought to Envoys")
            pushed_s = loop.time()

    def _until_change_s(self) -> float:
        now_s = time.time()
        change_s = self.book.next_change_s(now_s, self._ramps_s)
        return _FORGET_EVERY_S if change_s is None else min(_FORGET_EVERY_S, change_s - now_s)

    def _push(self) -> None:
        notable = self.book.eased = self.notable()
        self._publish(notable, self.share_of)
        self._tell(notable)

    def _tell(self, notable: Collection[str]) -> None:
        """Who is out, in the log and as a metric."""
        now_s, out = time.time(), {}
        effects = {("", name): self.book.effect(name, now_s) for name in notable}
        effects |= {key: self.book.effect(key[1], now_s, key[0]) for key in self.book.ejections}
        for key, effect in effects.items():
            if effect.state == ("ejected" if key[0] else "out"):
                out[key] = effect.cause if effect.state == "out" else "ejected"
        for key in self._out.keys() - out.keys():
            _OUT.remove(*key, self._out[key])
            where = f"in the pool {key[0]}" if key[0] else "by its own word"
            log.info("%s may be called again (%s)", key[1], where)
        for key, reason in out.items():
            if self._out.get(key) != reason:
                if key in self._out:
                    _OUT.remove(*key, self._out[key])
                _OUT.labels(*key, reason).set(1)
                _warn(key, effects[key], now_s)
        self._out = out

    async def _tail(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                log.exception("Envoy's ejections could not be read")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _keep(self) -> None:
        forgot_s = time.monotonic()
        while True:
            await _wait(self._unkept, _FORGET_EVERY_S)
            if self._pools and time.monotonic() - forgot_s > _FORGET_EVERY_S:
                forgot_s = time.monotonic()
                names = {member.id for pool in self._pools.values() for member in pool.members}
                self.book.forget(names, time.time())
                self._said = {name: said for name, said in self._said.items() if name in names}
            if self._unkept.is_set():
                self._unkept.clear()
                await asyncio.to_thread(self._write, self.book.to_json())
                await asyncio.sleep(_KEEP_EVERY_S)

    def _write(self, text: bytes) -> None:
        fresh = self._file.with_suffix(".new")
        try:
            fresh.touch(mode=0o600)
            fresh.write_bytes(text)
            fresh.replace(self._file)
        except OSError as error:
            log.warning("what members said can't be kept in %s: %s", self._file, error)


def _read(file: Path) -> Book:
    """What was kept; an empty book where there is nothing, or nothing that can be read."""
    try:
        return Book.from_json(file.read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("what members said before is not known: %s can't be read: %s", file, error)
    return Book()


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    if timeout_s > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), timeout_s)


def _warn(key: tuple[str, str], effect: Effect, now_s: float) -> None:
    pool, member = key
    seconds = max(0.0, (effect.until_s or now_s) - now_s)
    if pool:
        log.warning(
            "%s: Envoy took it out of the pool %s for %.0f s (%s)", member, pool, seconds, effect.cause
        )
    elif effect.cause == Cause.RATE_LIMIT.value:
        more = "; it asked for longer" if effect.capped else ""
        log.warning("%s said that it wants no call for %.0f s%s", member, seconds, more)
    else:
        log.warning("%s is out for %.0f s: %s", member, seconds, effect.cause)
