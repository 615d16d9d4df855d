"""The control plane's side of captured bodies: the writer of the store is kept alive, fed, heard, and ended.

Calls never wait for it: what does not fit into `queue_bytes` is dropped and counted, and so is what a writer
had when it was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

import msgspec
from prometheus_client import Gauge

from ..core.capture import Capture
from ..core.catalog import Catalog, SecretRef
from ..core.errors import Misconfigured
from ..core.traffic import Sample
from ..extproc.capture import CAPTURED
from ..traffic.place import checked, default_url
from ..traffic.reports import ENDS_WITHIN_S, Report, Settings, packed
from ..traffic.sealing import check_can_encrypt, read_key
from .secrets import read_secret, secret_place

log = logging.getLogger("modelbroker.capture")

_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.2, 10.0
_LIVED_S = 30.0
_SILENT_S = 60.0  # a writer that says nothing for so long is stuck, in an expression say
_UP = Gauge("modelbroker_capture_up", "1 while captured calls are written")
_QUEUED = Gauge("modelbroker_capture_queued_bytes", "Captured calls on their way to the writer")


def settings_of(capture: Capture, environ: Mapping[str, str]) -> tuple[Settings | None, str]:
    """(settings, why there are none); no URL stands for the file in the state folder. Misconfigured where
    what it needs is not installed."""
    url = capture.url
    if capture.secret is not None:
        value, why = read_secret(capture.secret, environ)
        if value is None:
            return None, f"capture.store: {why}"
        url = value
    try:
        if url:
            checked(url)
    except Misconfigured as error:
        if capture.secret is None or error.code != "traffic_url":
            raise
        return None, f"capture.store: {secret_place(capture.secret)}: {error.message}"
    refs = (capture.key, *capture.old_keys) if capture.key is not None else ()
    if refs:
        check_can_encrypt()
    keys = []
    for ref in refs:
        key, why = _key(ref, environ)
        if key is None:
            return None, f"capture.encryption: {why}"
        keys.append(key.hex())
    made = Settings(
        url=url,
        keys=tuple(keys),
        redact=capture.patterns,
        custom=capture.custom,
        drop=capture.drop,
        drops_media=capture.drops_media,
        keep_s=capture.keep_s,
        store_bytes=capture.store_bytes,
    )
    return made, ""


def _key(ref: SecretRef, environ: Mapping[str, str]) -> tuple[bytes | None, str]:
    value, why = read_secret(ref, environ)
    if value is None:
        return None, why
    try:
        return read_key(value), ""
    except ValueError as error:
        return None, f"what {secret_place(ref)} holds {error}"


class CaptureKeeper:
    """`configured` says what holds from now on, `offer` takes samples; `run` keeps the writer alive until it
    is cancelled, `close` lets it write what it has and ends it."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._settings: Settings | None = None
        self._why = "off"  # why there is no writer
        self._most_bytes = 0
        self._changed = asyncio.Event()
        self._child: Popen[bytes] | None = None
        self._pipe: asyncio.WriteTransport | None = None
        self._waiting: deque[bytes] = deque()  # for a writer that is not there yet
        self._waiting_bytes = 0
        self._sent = self._lost = self._dropped = 0
        self._report = Report("off")
        self._heard_s = 0.0
        _QUEUED.set_function(self._queued)

    def configured(self, catalog: Catalog, settings: Settings | None, why: str) -> None:
        capture = catalog.capture
        self._most_bytes = capture.queue_bytes
        self._why = "off" if not capture.rules else why
        if settings is not None and not settings.url:
            settings = msgspec.structs.replace(settings, url=default_url(self._state_dir))
        if settings != self._settings:
            self._settings = settings
            self._changed.set()
        if settings is None:
            self._report = Report("off" if self._why == "off" else "waiting", error=why)
            _UP.set(0)

    def offer(self, sample: Sample) -> bool:
        """False: there is no room for it."""
        text = packed(sample)
        if self._settings is None or self._queued() + len(text) > self._most_bytes:
            self._dropped += 1
            return False
        if self._pipe is None or self._pipe.is_closing():
            self._waiting.append(text)
            self._waiting_bytes += len(text)
        else:
            self._sent += 1
            self._pipe.write(text)
        return True

    def _queued(self) -> int:
        in_pipe = self._pipe.get_write_buffer_size() if self._pipe is not None else 0
        return self._waiting_bytes + in_pipe

    def status(self) -> dict[str, Any]:
        report = self._report
        return {
            "state": report.state,
            "store": report.store or None,
            "error": report.error or None,
            "queued_bytes": self._queued(),
            "written": report.written,
            "failed": report.failed,
            "dropped": self._dropped,
            "lost": self._lost,
        }

    async def run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            self._changed.clear()
            if (settings := self._settings) is None:
                await self._changed.wait()
                continue
            started_s = time.monotonic()
            try:
                child = await self._start(settings)
            except OSError as error:
                log.error("the writer of captured calls can't be started: %s", error)
            else:
                if await self._changes_before_the_end_of(child):
                    await self._end(child)
                    continue
                log.error(
                    "the writer of captured calls ended (exit code %s): starting it again", child.returncode
                )
                self._forget_child()
            if time.monotonic() - started_s > _LIVED_S:
                backoff_s = _BACKOFF_FIRST_S
            self._report = Report("waiting", self._report.store, "its writer ended")
            _UP.set(0)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)

    async def close(self) -> None:
        if self._child is not None:
            await self._end(self._child)

    async def _start(self, settings: Settings) -> Popen[bytes]:
        level = logging.getLevelName(logging.getLogger().getEffectiveLevel())
        command = [sys.executable, "-m", "modelbroker.traffic.write", level, str(self._state_dir.absolute())]
        # By `subprocess`, whose vfork costs nothing: uvloop forks a process with gRPC's threads.
        child = await asyncio.to_thread(Popen, command, stdin=PIPE, stdout=PIPE, bufsize=0)
        loop = asyncio.get_running_loop()
        self._pipe, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, child.stdin)
        self._child, self._sent, self._heard_s = child, 0, time.monotonic()
        self._pipe.write(msgspec.json.encode(settings) + b"\n")
        while self._waiting:
            self._sent += 1
            self._pipe.write(self._waiting.popleft())
        self._waiting_bytes = 0
        return child

    async def _changes_before_the_end_of(self, child: Popen[bytes]) -> bool:
        listening = asyncio.create_task(self._listen_to(child))
        changing = asyncio.create_task(self._changed.wait())
        try:
            while not listening.done() and not changing.done():
                await asyncio.wait(
                    (listening, changing), timeout=_SILENT_S / 6, return_when=asyncio.FIRST_COMPLETED
                )
                if time.monotonic() - self._heard_s > _SILENT_S:
                    log.error("the writer of captured calls says nothing any more: it is ended")
                    child.kill()
            if changing.done():
                return True
            await asyncio.to_thread(child.wait)
            return False
        finally:
            listening.cancel()
            changing.cancel()

    async def _listen_to(self, child: Popen[bytes]) -> None:
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), child.stdout)
        with contextlib.closing(transport):
            async for line in lines:
                try:
                    self._hear(msgspec.json.decode(line, type=Report))
                except msgspec.MsgspecError:
                    log.error("the writer of captured calls says what is no report: %.200r", line)

    def _hear(self, report: Report) -> None:
        before, self._report = self._report, report
        self._heard_s = time.monotonic()
        _UP.set(report.state == "writing")
        for result in ("written", "failed"):
            now, then = getattr(report, result), getattr(before, result)
            CAPTURED.labels(result).inc(now - then if now >= then else now)

    def _forget_child(self) -> None:
        """What it had and did not write is lost."""
        report = self._report
        lost = max(0, self._sent - report.written - report.failed)
        if lost:
            log.warning("%d captured calls were with the writer and are lost", lost)
            CAPTURED.labels("lost").inc(lost)
        self._lost += lost
        if self._pipe is not None and not self._pipe.is_closing():
            self._pipe.abort()
        self._child = self._pipe = None

    async def _end(self, child: Popen[bytes]) -> None:
        """With the end of its input it writes what it has, for a bounded time."""
        if self._pipe is not None:
            self._pipe.close()
        try:
            await asyncio.to_thread(child.wait, ENDS_WITHIN_S + 2)
        except TimeoutExpired:
            child.kill()
            await asyncio.to_thread(child.wait)
        self._child = self._pipe = None
