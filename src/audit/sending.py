"""A sink's own thread: takes events out of the chain at its own pace. The chain is where they wait while the
sink is away, so that no sink ever holds up another one, or the chain."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import Misconfigured
from ..journal.reports import AWAY, SENDING
from . import ecs, ocsf
from .chain import Line
from .reports import SinkReport
from .sink import Refused, Sent, Sink, SinkAway, SinkSettings
from .store import ChainReader

log = logging.getLogger("modelbroker.audit")

FOLDER = "sinks"
_FORMS = {"ocsf": ocsf.encoded, "ecs": ecs.encoded}
_POLL_S = 0.5
_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.5, 30.0
_SAY_EVERY_S = 60.0


def encoded(line: Line, raw: bytes, form: str, version: str) -> bytes:
    """The event as its form has it: JSON, without a newline. `raw` is the line itself."""
    return _FORMS[form](line.event, line.seq, version, raw if line.checkpoint is not None else b"")


class Sender:
    """`folder` is the chain's, `head` its last event. `opened` opens the sink, again after it was away."""

    def __init__(
        self,
        folder: Path,
        settings: SinkSettings,
        version: str,
        opened: Callable[[SinkSettings], Sink],
        head: Callable[[], int],
    ) -> None:
        self._settings, self._version, self._opened, self._head = settings, version, opened, head
        self._path = folder / FOLDER / f"{settings.name}.position"
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._sure_seq = min(self._position(), head())
        self._recent: deque[tuple[float, int]] = deque()  # (when, up to which event), not sure yet
        self._reader = ChainReader(folder, self._sure_seq)
        self._read: list[tuple[Line, bytes]] = []  # out of the chain, and not sent yet
        self._sink: Sink | None = None
        self._ending = threading.Event()
        self._woken = threading.Event()
        self._error = ""
        self._said_s = 0.0
        self._sent = self._refused = 0
        self._thread = threading.Thread(target=self._run, name=f"sink {settings.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def end(self) -> None:
        """It may send what is there, and ends then."""
        self._ending.set()
        self._woken.set()

    def join(self, within_s: float) -> None:
        self._thread.join(within_s)

    def report(self) -> SinkReport:
        return SinkReport(
            name=self._settings.name,
            kind=self._settings.kind,
            state=AWAY if self._error else SENDING,
            error=self._error,
            seq=self._reader.after,
            behind=max(self._head() - self._reader.after, 0),
            sent=self._sent,
            refused=self._refused,
            missed=self._reader.missed,
        )

    # -- in the thread

    def _run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            is_last_look = self._ending.is_set()
            self._woken.clear()
            try:
                more = self._step()
            except Exception as error:
                self._fail(error)
                if is_last_look or self._ending.wait(backoff_s):
                    break
                backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)
                continue
            if self._error:
                log.warning("audit: the sink %s is there again", self._settings.name)
                self._error, self._said_s = "", 0.0
            backoff_s = _BACKOFF_FIRST_S
            if not more:
                if is_last_look:
                    break
                self._woken.wait(_POLL_S)
        self._let_go()

    def _step(self) -> bool:
        """One batch; False where there is none."""
        if self._settings.lacks:
            raise SinkAway(self._settings.lacks)
        sink = self._sink = self._sink or self._opened(self._settings)
        batch = self._batch(sink)
        if not batch:
            return False
        refused: tuple[int, ...] = ()
        try:
            sink.send(batch)
        except Refused as error:
            refused = error.indexes
            ids = ", ".join(batch[at].id for at in refused[:3])
            what = f"{len(refused)} events ({ids}{' …' if len(refused) > 3 else ''})"
            log.error("audit: the sink %s refuses %s: %s", self._settings.name, what, error)
        self._refused += len(refused)
        self._sent += len(batch) - len(refused)
        self._reader.after = batch[-1].seq
        del self._read[: len(batch)]
        self._keep(self._sure(sink.again_s))
        return True

    def _batch(self, sink: Sink) -> Sequence[Sent]:
        # After a failure there may be more by now: beside others a sink knows an event that nobody takes.
        if (room := sink.most_events - len(self._read)) > 0:
            missed = self._reader.missed
            last = self._read[-1][0].seq if self._read else 0
            more = self._reader.read(room, sink.most_bytes)
            self._read += [one for one in more if one[0].seq > last]
            if gone := self._reader.missed - missed:
                log.error("audit: %d events left the chain before %s had them", gone, self._settings.name)
        batch: list[Sent] = []
        size = 0
        for line, raw in self._read:
            event = line.event
            text = encoded(line, raw, self._settings.form, self._version)
            if batch and size + len(text) > sink.most_bytes:
                break
            batch.append(Sent(line.seq, event.id, event.at_ms, event.severity, text))
            size += len(text)
        return batch

    def _fail(self, error: Exception) -> None:
        """The same events are sent again. A sink that says itself that it is away is kept: it knows which of
        them are taken already, and what it has to send once more."""
        why = str(error) if isinstance(error, SinkAway) else _named(error)
        if not isinstance(error, (SinkAway, OSError)):
            log.debug("audit: the sink %s failed", self._settings.name, exc_info=error)
        now_s = time.monotonic()
        if why != self._error or now_s - self._said_s > _SAY_EVERY_S:
            log.error("audit: the sink %s is away, events wait in the chain: %s", self._settings.name, why)
            self._said_s = now_s
        self._error = why
        if not isinstance(error, SinkAway):
            self._let_go()

    def _let_go(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            with contextlib.suppress(Exception):
                sink.close()

    # -- its position

    def _position(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(self._path.read_text(encoding="ascii"))
        return 0

    def _sure(self, again_s: float) -> int:
        """Up to which event nothing has to be sent again after a restart."""
        now_s = time.monotonic()
        self._recent.append((now_s, self._reader.after))
        while self._recent and now_s - self._recent[0][0] >= again_s:
            self._sure_seq = self._recent.popleft()[1]
        return self._sure_seq

    def _keep(self, seq: int) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{seq}\n", encoding="ascii")
        fresh.replace(self._path)


def _named(error: Exception) -> str:
    """Without its text, which may hold anything."""
    if isinstance(error, Misconfigured):  # what it needs is not installed
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it failed with {type(error).__name__}"
