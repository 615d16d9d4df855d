"""The control plane: ext_proc, xDS and the admin port in one process, following the configuration."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge

from .. import __version__
from ..budgets import Keeper, Kept
from ..core.acts import By
from ..core.admin import LOCAL
from ..core.catalog import CacheStore
from ..core.causes import Cause
from ..core.errors import Misconfigured
from ..core.keys import content_hash
from ..core.prices import NO_PRICES
from ..core.record import Observed, Record
from ..core.traffic import Sample
from ..envoyapi import api
from ..exchange import View
from ..extproc.cache import CacheDesk
from ..extproc.cache_redis import RedisReplies
from ..extproc.capture import CaptureDesk
from ..extproc.messages import Messages
from ..extproc.streams import Streams
from ..journal.writing import CALLS, Mark
from ..policy.hedging import HedgeTally
from ..records.file import RecordFile, written_since
from ..records.opens import OpenCalls
from ..records.server import AccessLogServer
from ..records.undecided import UndecidedFile
from ..records.write_ahead import FOLDER as OPEN_FOLDER
from ..records.write_ahead import Segments
from ..records.writer import Writer
from ..settings import PriceList, SettingsError
from ..xds.server import XdsServer
from ..xds.snapshot import Snapshot
from .acts import ActDesk
from .admin import AdminServer, Pulse, Served
from .answers import Answers, Now
from .audit import AuditKeeper
from .background import watched
from .capture import CaptureKeeper
from .certificates import CertificateWatch
from .collection import no_collection
from .commanders import Commanders
from .console import ConsoleKeeper
from .content import ContentKeeper
from .fleet import FleetKeeper
from .followers import FollowerKeeper
from .health import FILE_NAME, HealthKeeper
from .ledger import LedgerKeeper
from .metrics import GAUGES, EnvoyStats, readings
from .prices import price_list_here
from .readiness import is_equal, mended, on_loop, same
from .rollbacks import Rollbacks, revision_routes
from .runtime import Overrides, Ready, make_ready, prepare
from .secret_keeper import SecretsKeeper
from .secrets import files_of
from .servers import serve_ext_proc, serve_grpc
from .sources import Source
from .sourcing import Sourcing
from .state import call_key
from .telemetry import TelemetryKeeper
from .trials import TrialKeeper
from .watch import watch

log = logging.getLogger("modelbroker")

_RELOADS = Counter("modelbroker_config_reloads", "Configurations read after an edit", ["result"])
for _result in ("loaded", "refused"):
    _RELOADS.labels(_result)  # from 0 on
_REVISION = Gauge("modelbroker_config_info", "1 for the revision that is served", ["revision"])
# An Envoy's stream of configuration never ends by itself, and Envoy keeps what it has.
_XDS_GRACE_S = 0.2
# So long after its decision a call has its credential at the latest. One that was decided before there was a
# new one would not know that it may be refused.
_DECIDED_S = 0.5
_WRITE_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """`source`: where the configuration is from. `xds`, `ext_proc`, `admin`: addresses to listen on,
    `unix:/path` or `host:port`."""

    source: Source
    state_dir: Path
    xds: str
    ext_proc: str
    admin: str
    overrides: Overrides = field(default_factory=Overrides)
    drain_timeout_s: float = 10.0
    ext_proc_fd: int | None = None  # a socket that listens at `ext_proc` already, and outlives this process
    transport: str = "http2"  # or "grpc": ext_proc by the book, many times slower
    # Simulator → `host:port` where its script and journal are, whatever it does to calls.
    mock_controls: Mapping[str, str] = field(default_factory=dict)
    # Of the Envoy beside it: its admin interface (an address), and where it writes of ejections.
    envoy_admin: str = ""
    ejections: Path | None = None
    # Where the outer listener is for this broker itself (`host:port`), where Envoy is on another machine.
    listener: str = ""
    admin_commands: str = LOCAL
    stdout_fd: int = 1  # where audit events go that are sent to standard output


class ControlPlane:
    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._api = api()
        self._xds = XdsServer(self._api, self._accepted, self._refused)
        self._sourcing = Sourcing(options.source, options.state_dir)
        self._ledger = LedgerKeeper(options.state_dir)
        self._telemetry = TelemetryKeeper(options.state_dir)
        self._content = ContentKeeper(options.state_dir)
        self._audit = AuditKeeper(options.state_dir, options.stdout_fd)
        self._acts = ActDesk(options.state_dir, self._sourcing.whence, {"audit": self._audit.acts})
        readers: dict[str, FollowerKeeper[Any]]
        readers = {"ledger": self._ledger, "telemetry": self._telemetry, "audit": self._audit}
        readers["content"] = self._content
        self._record_file = RecordFile(options.state_dir, readers=readers)
        self._writer = Writer(self._record_file.write, self._dropped, self._written)
        self._opens = OpenCalls(
            Segments(options.state_dir / OPEN_FOLDER), lambda mark: written_since(options.state_dir, mark)
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._health = HealthKeeper(options.state_dir / FILE_NAME, options.ejections, self._xds.set_health)
        hedges, seal = HedgeTally(), call_key(options.state_dir)
        self._kept = Kept(options.state_dir, options.state_dir / CALLS)
        broker = content_hash(seal.hex())
        self._budgets = Keeper(self._kept, broker)
        for opened in self._opens.waiting():
            self._budgets.adopt(opened.request_id, opened.facts.get("reserved", ""))
        self._cache = CacheDesk(CacheStore().bytes)
        self._cache_redis: tuple[str, RedisReplies | None] = "", None
        self._trials = TrialKeeper(options.state_dir, broker, options.listener, seal, self._acts)
        self._capture = CaptureKeeper(options.state_dir)
        self._captures = CaptureDesk(self._captured, self._trials.to_score)
        known = (hedges, self._opens.open, self._cache, self._budgets, self._captures, self._trials)
        self._streams = Streams(Messages(self._api), seal, self._health.book, *known)
        self._records = AccessLogServer(
            self._api,
            self._writer.put,
            self._trials.take,
            self._captures.records,
            observe=self._observe,
            hedged=hedges.ended,
            prices=lambda: self._ready.prices if self._ready is not None else NO_PRICES,
            opens=self._opens,
            undecided=UndecidedFile(path) if (path := options.overrides.undecided) is not None else None,
            paid=self._cache.settle,
            reserved=self._budgets.adopt,
            settle=self._budgets.settle,
        )
        self._secrets = SecretsKeeper(self.reload, self._acts.secrets)
        self._console = ConsoleKeeper(options.state_dir)
        self._certificates = CertificateWatch()
        self._commanders = Commanders(options.state_dir, options.admin_commands)
        parts = {
            "secrets": self._secrets.status,
            "records": lambda: self._record_file.status(self._writer.waiting),
            **{name: reader.status for name, reader in readers.items()},
            "shadows": self._trials.shadows,
            "rollouts": self._trials.rollouts,
            "capture": self._capture.status,
            "console": self._console.status,
        }
        self._answers = Answers(options, self._xds, self._sourcing, self._health, self.now, parts)
        self._fleet = FleetKeeper(broker, options.admin, self._answers.in_short, self._sourcing.changed_s)
        self._price_list: PriceList | None = None  # what comes with the broker
        self._views: dict[str, View] = {}
        self._ready: Ready | None = None
        self._newest: Ready | None = None  # what the last edit that could be read says, refused or not
        self._served: Ready | None = None  # what some Envoy has in full
        self._error = ""
        self._loaded_at_s = 0.0
        self._reload_lock = asyncio.Lock()

    async def run(self, stop: asyncio.Event, on_listening: Any) -> None:
        """Serve until `stop`. SettingsError where there is nothing that could be served."""
        if not await self._sourcing.looked(stop):
            return
        with no_collection():
            await self._start_configuration()
        self._health.start()
        options = self._options
        loop = self._loop = asyncio.get_running_loop()
        self._records.recall(lambda: written_since(options.state_dir, None))
        xds = await serve_grpc(options.xds, self._xds.handler(), self._records.handler())
        ext_proc = await serve_ext_proc(
            self._streams.open, options.ext_proc, options.transport, options.ext_proc_fd
        )
        admin = self._admin(loop)
        GAUGES.read = lambda: readings(self._answers.as_served(), self._health, time.time())
        admin.start()
        background = (
            self._follow(),
            self._xds.run(),
            self._certificates.run(),
            self._records.run(),
            self._health.run(),
            self._ledger.run(),
            self._cache.run(),
            self._budgets.run(),
            self._trials.run(),
            self._capture.run(),
            self._captures.run(),
            self._secrets.run(),
            self._sourcing.run(self.reload),
            self._fleet.run(),
            self._telemetry.run(),
            self._content.run(),
            self._audit.run(),
            self._console.run(),
        )
        tasks = [watched(work) for work in background]
        on_listening(admin.address)
        self._acts.started(__version__)
        try:
            await stop.wait()
        finally:
            self._sourcing.stop()
            for task in tasks:
                task.cancel()
            self._acts.stopped()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._trials.close()
            self._cache.let_go()
            await ext_proc.close(options.drain_timeout_s)
            await self._cache.close()
            await xds.close(_XDS_GRACE_S)
            await self._budgets.close()
            admin.stop()
            self._writer.close(_WRITE_PATIENCE_S)
            self._kept.write()
            self._record_file.close()
            self._opens.close()
            self._captures.close()
            self._acts.close(_WRITE_PATIENCE_S)
            those = (self._ledger, self._capture, self._telemetry, self._content, self._audit, self._console)
            await asyncio.gather(*(child.close() for child in those))
            self._health.close()
            self._secrets.close()

    def _admin(self, loop: asyncio.AbstractEventLoop) -> AdminServer:
        def forget(names: list[str], by: By) -> list[str]:
            forgotten = on_loop(loop, lambda: self._answers.forget(names))
            self._acts.forgotten(names, by)
            return forgotten

        def budgets() -> dict[str, Any]:
            return asyncio.run_coroutine_threadsafe(self._budgets.shown(), loop).result(10)

        stats = EnvoyStats(self._options.envoy_admin).answer
        more = {
            **self._trials.routes(loop),
            **revision_routes(Rollbacks(self._sourcing, self._reload_lock, self), self._sourcing, loop),
            **self._fleet.routes(),
        }
        door = self._console.door(self._acts)
        told = (self._answers.status, forget, Pulse(loop), budgets, stats, more, door.answer)
        admin = AdminServer(
            self._options.admin, Served(*told, self._commanders.user_of, self._acts.command_refused)
        )
        self._console.reached_at(admin.address)
        return admin

    def _observe(self, seen: Observed) -> None:
        self._health.observe(seen)
        if seen.cause is Cause.CREDENTIAL and self._ready is not None:
            self._health.book.swaps = self._secrets.refused(seen, self._ready.catalog)

    def now(self) -> Now:
        return Now(self._ready, self._served, self._error, self._loaded_at_s)

    def _captured(self, sample: Sample) -> bool:
        self._trials.sampled(sample)
        return self._capture.offer(sample)

    def _dropped(self, records: Sequence[Record]) -> None:
        """The disk never had room for these."""
        self._record_file.count_dropped(records)
        for record in records:
            self._kept.add(record.budgets)

    def _written(self, records: Sequence[Record], mark: Mark) -> None:
        """In the writer's thread: these have their lines. Once the loop has ended what a later process finds
        tells it the same."""
        self._kept.written(records, mark.inode, mark.size)
        ids = [record.request_id for record in records]
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._opens.closed, ids, mark)

    # -- the configuration's life

    async def _start_configuration(self) -> None:
        """What is on the disk; if it is broken, the last good one (a restart must not be an outage)."""
        try:
            ready = await asyncio.to_thread(self._prepare_from_disk, None)
        except (SettingsError, Misconfigured) as error:
            self._acts.refused(str(error))
            make = partial(self.prepared, before=None)
            last_good = await asyncio.to_thread(self._sourcing.newest_of, make)
            if last_good is None:
                self._acts.close(_WRITE_PATIENCE_S)
                raise
            self._error = str(error)
            log.error("the configuration is refused; serving the last good one\n%s", error)
            self._acts.rolled_back(last_good, "the configuration on the disk is refused")
            await self._publish(last_good, proven=True)
            return
        last_good = await asyncio.to_thread(self._read_last_good, ready)
        if last_good is not None:
            # An Envoy that ran on may still decide by it, and it is what to come back to.
            await self._publish(last_good, proven=True)
            await asyncio.to_thread(self._secrets.want, ready.catalog)  # its stores go before those of old
        await self._publish(ready)

    def _prepare_from_disk(self, before: Ready | None) -> Ready:
        texts = self._sourcing.read()
        if before is not None and texts == before.texts:
            # Only secrets, or nothing at all, can have changed.
            return self._with_todays_secrets(before)
        return self.prepared(texts, before)

    def _with_todays_secrets(self, ready: Ready) -> Ready:
        """The same configuration, made ready again."""
        said = ready.compile_warnings
        return make_ready(ready.texts, ready.catalog, said, os.environ, ready, box=self._secrets.box)

    def prepared(self, texts: Mapping[str, str], before: Ready | None) -> Ready:
        if self._price_list is None:
            self._price_list, why = price_list_here()
            if why and before is None:
                log.warning("%s: only what `prices` says has a price", why)
        return prepare(
            texts,
            self._options.overrides,
            os.environ,
            before,
            price_list=self._price_list,
            warned_at_s=int(time.time()),
            box=self._secrets.box,
        )

    async def _publish(self, ready: Ready, *, proven: bool = False) -> None:
        plan = await self._xds.plan(ready.snapshot)
        if self._ready is not None and not ready.view.state.spare <= self._ready.view.state.spare:
            self._streams.set_views(ready.view, {**self._views, ready.view.generation: ready.view})
            await asyncio.sleep(_DECIDED_S)
        if not proven:  # what was served before has been warned of before
            for warning in ready.warnings:
                if self._ready is None or warning not in self._ready.warnings:
                    log.warning("%s", warning)
        before, self._ready = self._ready, ready
        self._secrets.tell()  # what was rotated is told as that, and not as an edit
        if not proven:
            self._acts.loaded(before, ready)
        self._loaded_at_s = time.time()
        # Calls are decided by it as soon as an Envoy has it, and by the older ones until then.
        self._views[ready.view.generation] = ready.view
        self._streams.set_views(ready.view, self._views)
        self._xds.publish(plan, proven=proven)
        if proven:
            self._served = ready
        live = set(self._xds.store.generations())
        self._views = {name: view for name, view in self._views.items() if name in live}
        self._streams.set_views(ready.view, self._views)
        self._health.configured(ready.catalog, mended(before, ready))
        self._configure(ready)
        self._secrets.keep([one.catalog for one in (ready, self._served, self._newest) if one is not None])
        _REVISION.clear()
        _REVISION.labels(ready.catalog.revision).set(1)
        kept = " (the last good one, for an Envoy that ran on)" if proven else ""
        log.info("configuration %s: %d pools%s", ready.catalog.revision, len(ready.catalog.pools), kept)

    def _configure(self, ready: Ready) -> None:
        """What is beside the way of calls."""
        self._budgets.configured(ready.catalog.budgets, ready.catalog.fleet, ready.redis_password)
        self._fleet.configured(ready.catalog.fleet, ready.redis_password)
        self._ledger.configured(ready.catalog.ledger, ready.resolved)
        self._trials.configured(ready, is_in_effect=ready is self._served)
        url = ready.resolved.cache_redis
        if url != self._cache_redis[0]:
            self._cache_redis = url, RedisReplies(url) if url else None
        self._cache.configure(ready.catalog.cache.bytes, self._cache_redis[1])
        self._captures.most_bytes = ready.catalog.capture.queue_bytes
        self._capture.configured(ready.catalog, ready.capture, ready.capture_why)
        self._telemetry.configured(ready.telemetry, ready.telemetry_why)
        self._content.configured(ready.catalog, ready.content, ready.content_why)
        self._audit.configured(ready.audit, ready.catalog.audit, ready.audit_warnings)
        self._console.configured(ready.catalog, ready.resolved, ready.console)
        self._commanders.configured(ready.rights)
        self._certificates.configured(ready.certificates, time.time())
        self._records.counts.configured(ready.catalog)

    async def reload(self) -> None:
        """Read the configuration again; a broken one changes nothing but what /status says."""
        async with self._reload_lock:
            with no_collection():
                await self.reload_now()

    async def reload_now(self) -> None:
        """Under the lock, and without the collector."""
        current = self._ready
        try:
            ready = await asyncio.to_thread(self._prepare_from_disk, current)
        except (SettingsError, Misconfigured) as error:
            if str(error) != self._error:
                _RELOADS.labels("refused").inc()
                self._acts.refused(str(error))
                log.error("the edited configuration is refused; the last good one goes on\n%s", error)
            self._error = str(error)
            if current is not None:
                await self._rotate(current)
            return
        refused, self._newest = self._newest, ready
        refusal = self._xds.store.refusal
        if refusal is not None and refused is not None and is_equal(refused, ready):
            self._error = f"Envoy refused it: {refusal.nack.error}"  # and would say the same again
            if current is not None:
                await self._rotate(current)
            return
        if self._error:
            log.info("the configuration is good again")
        self._error = ""
        if current is not None and current is self._ready and same(current, ready):
            self._xds.store.refusal = None
            return
        _RELOADS.labels("loaded").inc()
        await self._publish(ready)

    async def _rotate(self, current: Ready) -> None:
        """What is served gets today's secrets, whatever is wrong with the edit beside it."""
        with contextlib.suppress(Misconfigured):
            ready = await asyncio.to_thread(self._with_todays_secrets, current)
            if current is self._ready and not same(current, ready):
                await self._publish(ready)

    async def _follow(self) -> None:
        """Reload at each edit of the configuration or of a secret's file."""

        def paths() -> list[Path]:
            ready = self._newest or self._ready
            return [*self._sourcing.paths(), *(files_of(ready.catalog) if ready else ())]

        while True:
            try:
                async for _ in watch(paths):
                    await self.reload()
            except Exception:
                log.exception("reloading failed; the last good configuration goes on")
                await asyncio.sleep(1)

    # -- what Envoys say

    def _accepted(self, snapshot: Snapshot) -> None:
        ready = self._ready
        if ready is None or ready.snapshot is not snapshot:
            return
        self._served = ready
        self._trials.in_effect()
        self._health.book.swaps = self._secrets.in_effect(ready)
        log.info("Envoy serves configuration %s", snapshot.revision)
        self._sourcing.serves(snapshot.revision, ready.texts)

    def _refused(self, error: str, good: Snapshot | None) -> None:
        self._error = f"{self._error}\n{error}".strip()
        log.error("%s", error)
        self._acts.nacked(error, self._xds.store.refusal)
        if good is not None and self._served is not None:
            self._ready = self._served
            self._acts.rolled_back(self._served, "an Envoy refused what was to take its place")
            self._health.configured(self._served.catalog)
            self._configure(self._served)
            self._streams.set_views(self._served.view, self._views)

    def _read_last_good(self, ready: Ready) -> Ready | None:
        """None where there is none, or where it says the same as `ready`."""
        with contextlib.suppress(SettingsError, Misconfigured):
            texts = self._sourcing.last_good()
            if texts is None or list(texts.values()) == list(ready.texts.values()):
                return None
            last_good = self.prepared(texts, ready)
            same = last_good.snapshot.generation == ready.snapshot.generation
            return None if same else last_good
        return None
