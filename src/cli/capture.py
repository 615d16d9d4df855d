"""The control plane's side of captured bodies: the writer of the store is kept alive, fed, heard, and ended.

Calls never wait for it: what does not fit into `queue_bytes` is dropped and counted, and so is what a writer
had when it was killed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec
from prometheus_client import Gauge

from ..core.capture import Capture
from ..core.catalog import Catalog, SecretRef
from ..core.errors import Misconfigured
from ..core.traffic import Sample
from ..extproc.capture import CAPTURED
from ..metrics import Up
from ..secrets.box import SecretBox, secret_place
from ..settings import place_at
from ..traffic.place import checked, default_url
from ..traffic.reports import ENDS_WITHIN_S, Report, Settings, packed
from ..traffic.sealing import check_can_encrypt, read_key
from .children import ChildKeeper, log_level
from .secrets import read_secret

log = logging.getLogger("modelbroker.capture")

_SILENT_S = 60.0  # a writer that says nothing for so long is stuck, in an expression say
_UP = Up("modelbroker_capture_up", "1 while captured calls are written")
_QUEUED = Gauge("modelbroker_capture_queued_bytes", "Captured calls on their way to the writer")


def settings_of(
    capture: Capture, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[Settings | None, str]:
    """(settings, why there are none, behind the field that is to blame); no URL stands for the file in the
    state folder. Misconfigured where what it needs is not installed."""
    url = capture.url
    if capture.secret is not None:
        value, why = read_secret(capture.secret, environ, box)
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
    refs = {"key": capture.key} if capture.key is not None else {}
    if refs:
        refs |= {f"old_keys[{number}]": ref for number, ref in enumerate(capture.old_keys)}
        check_can_encrypt()
    keys = []
    for name, ref in refs.items():
        key, why = _key(ref, environ, box)
        if key is None:
            return None, f"capture.encryption.{name}: {why}"
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


def located(why: str, texts: Mapping[str, str]) -> str:
    """Why there are no settings, and where: `a.yaml:3: capture.encryption.key: …`."""
    field, _, rest = why.partition(": ")
    path = [int(part) if part.isdecimal() else part for part in re.findall(r"[^.\[\]]+", field)]
    return f"{place_at(texts, *path)}: {rest}"


def _key(ref: SecretRef, environ: Mapping[str, str], box: SecretBox | None) -> tuple[bytes | None, str]:
    value, why = read_secret(ref, environ, box)
    if value is None:
        return None, why
    try:
        return read_key(value), ""
    except ValueError as error:
        return None, f"what {secret_place(ref)} holds {error}"


class CaptureKeeper(ChildKeeper[Settings]):
    """Of the writer, which writes what it has before it ends. `configured` says what holds from now on,
    `offer` takes samples."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("the writer of captured calls", log, ENDS_WITHIN_S + 2)
        self._state_dir = state_dir
        self._settings: Settings | None = None
        self._why = "off"  # why there is no writer
        self._most_bytes = 0
        self._pipe: asyncio.WriteTransport | None = None
        self._waiting: deque[bytes] = deque()  # for a writer that is not there yet
        self._waiting_bytes = 0
        self._sent = self._losses = self._dropped = 0
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
            _UP.is_up = None if self._why == "off" else False

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
            "lost": self._losses,
        }

    def _wanted(self) -> Settings | None:
        return self._settings

    def _words(self, wanted: Settings) -> Sequence[str]:
        return "-m", "modelbroker.traffic.write", log_level(), str(self._state_dir.absolute())

    async def _begun(self, child: Popen[bytes], wanted: Settings) -> None:
        loop = asyncio.get_running_loop()
        self._pipe, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, child.stdin)
        self._sent, self._heard_s = 0, time.monotonic()
        # Not in the command line, which anybody may read.
        self._pipe.write(msgspec.json.encode(wanted) + b"\n")
        while self._waiting:
            self._sent += 1
            self._pipe.write(self._waiting.popleft())
        self._waiting_bytes = 0

    def _is_stuck(self) -> bool:
        return time.monotonic() - self._heard_s > _SILENT_S

    def _look_s(self) -> float:
        return _SILENT_S / 6

    def _hear(self, line: bytes) -> None:
        report = msgspec.json.decode(line, type=Report)
        before, self._report = self._report, report
        self._heard_s = time.monotonic()
        _UP.is_up = report.state == "writing"
        for result in ("written", "failed"):
            now, then = getattr(report, result), getattr(before, result)
            CAPTURED.labels(result).inc(now - then if now >= then else now)

    def _lost(self) -> None:
        """What it had and did not write is lost."""
        report = self._report
        lost = max(0, self._sent - report.written - report.failed)
        if lost:
            log.warning("%d captured calls were with the writer and are lost", lost)
            CAPTURED.labels("lost").inc(lost)
        self._losses += lost
        self._sent = 0
        if self._pipe is not None and not self._pipe.is_closing():
            self._pipe.abort()
        self._pipe = None
        self._report = Report("waiting", report.store, "its writer ended")
        _UP.is_up = False

    def _release(self, child: Popen[bytes]) -> None:
        self._sent = 0  # it writes them
        if self._pipe is not None:
            self._pipe.close()
