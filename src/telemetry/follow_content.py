"""The exporter of texts: sends what was captured of calls to a collector, in a process of its own, so that no
call waits for one. The control plane starts it (cli/content.py).

It reads the journal as others do, and the store of captured calls for those whose texts are asked for: what
is sent was redacted before it was written there, and what is not there is not sent.
"""

from __future__ import annotations

import logging
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ..core.errors import Misconfigured
from ..core.record import Record
from ..core.traffic import Sample
from ..journal.following import run
from ..traffic.store import StoreError, TrafficStore
from ..traffic.stores import open_store
from .content import Event, event_of, is_named, is_wanted
from .delivery import Delivery
from .lines import Lines
from .reports import ContentReport, ContentSettings
from .wire import events_request

log = logging.getLogger("modelbroker.telemetry")

LOCK_NAME, POSITION_NAME = "content.lock", "content.position"
WHAT = "the export of texts"
BATCH = 256  # lines of the journal
# Of one request: collectors take 4 MiB over gRPC, and an event may have one of them.
_MOST_EVENTS, _MOST_BYTES = 64, 2 << 20
# Samples that are held at a time. S3 is read by objects, each of which has many.
_AT_ONCE, _AT_ONCE_S3 = 8, 64
# A sample is in the store some seconds behind its record, if it gets there at all.
WAIT_S = 30.0
_LOOK_EVERY_S, _LOOK_EVERY_S3_S = 0.5, 5.0
# The store is made with the first call that is written to it: so long that is no matter for the log.
_UNMADE_S = 10.0
_SLACK_S = 60.0  # what a sample's time may be beside its record's
_SAY_EVERY_S = 60.0
# What a sample that was changed or cut in the store is read with.
_UNREADABLE = (Misconfigured, ValueError, TypeError, KeyError, zlib.error)


class ContentExporter:
    """`journal.following.Follower`. A batch is done with when of each of its calls the texts are with the
    collector, or there are none."""

    def __init__(self, settings: ContentSettings) -> None:
        self._settings, folder = settings, Path(settings.folder)
        self._records = msgspec.json.Decoder(Record)
        self._lines = Lines(folder, POSITION_NAME)
        self._delivery = Delivery(settings, folder, quotes=False)  # it might quote a text
        self._keys = [bytes.fromhex(key) for key in settings.keys]
        self._is_s3 = settings.url.startswith("s3:")
        self._store: TrafficStore | None = None
        self._store_since_s = 0.0  # since when it is there
        self._looks_since_s = 0.0  # likewise for the batch in hand, by a clock that nobody sets
        self._todo: dict[str, Record] | None = None  # of the batch in hand, by the ids of their calls
        self._ready: dict[str, Event] = {}  # to be sent, by the ids of their calls
        self._ready_bytes = 0
        self._look_s = 0.0  # when there may be more in the store
        self._said_s = float("-inf")
        self.taken = self.missing = self.unread = 0

    def step(self) -> bool:
        lines = self._lines.batch(BATCH)
        if lines is None:
            return False
        if self._todo is None:
            self._todo, self._look_s = self._wanted(lines), 0.0
            self._looks_since_s = time.monotonic()
        if self._todo:
            self._delivery.check()
            self._flush()  # what a collector that was away did not take
            if time.monotonic() < self._look_s:
                return False
            self._look(self._todo)
            self._look_s = time.monotonic() + (_LOOK_EVERY_S3_S if self._is_s3 else _LOOK_EVERY_S)
        if self._todo:
            return False
        self._todo = None
        self._lines.finish()
        return True

    def report(self, error: str = "") -> ContentReport:
        told = msgspec.structs.asdict(self._delivery.report(self._lines, self.taken, error))
        return ContentReport(**told, missing=self.missing, unread=self.unread)

    def why_to_wait(self, error: Exception) -> str | None:
        if isinstance(error, StoreError):
            return f"the store of captured calls: {error}"
        return error.message if isinstance(error, Misconfigured) else self._delivery.why_to_wait(error)

    def disconnect(self) -> None:
        """What is ready is sent later; the store was left by whoever had trouble with it."""
        self._delivery.close()

    def close(self) -> None:
        self.disconnect()
        self._leave_store()
        self._lines.close()

    def _wanted(self, lines: Sequence[bytes]) -> dict[str, Record]:
        found = {}
        for line in lines:
            try:
                record = self._records.decode(line)
            except ValueError as error:
                self._delivery.refuse(f"a line of the journal is no record: {error}")
                continue
            if is_wanted(record, self._settings.pools, self._settings.strangers):
                found[record.request_id] = record
        return found

    # -- the store

    def _look(self, todo: dict[str, Record]) -> None:
        """Sends what is there, and gives up what comes no more."""
        try:
            store = self._store = self._store or self._opened()
            records = list(todo.values())
            at_once = _AT_ONCE_S3 if self._is_s3 else _AT_ONCE
            for begin in range(0, len(records), at_once):
                for sample in self._samples(store, records[begin : begin + at_once]):
                    self._take(sample, todo)
        except (StoreError, Misconfigured) as error:
            self._leave_store()
            is_unmade = isinstance(error, Misconfigured) and error.code == "no_traffic"
            if is_unmade and time.monotonic() - self._looks_since_s < _UNMADE_S:
                return
            raise
        self._flush()
        now_s, looked_s = time.time(), time.monotonic() - self._looks_since_s
        for record in list(todo.values()):
            ended_s = record.started_s + record.duration_ms / 1000
            # Its record comes when it has ended, whatever a clock that was set since says of that.
            if max(now_s - max(ended_s, self._store_since_s), looked_s) > WAIT_S:
                del todo[record.request_id]
                self.missing += 1
                self._say("nothing of call %s is in the store of captured calls", record.request_id)

    def _opened(self) -> TrafficStore:
        store = open_store(self._settings.url, self._keys, creates=False)
        # Its writer may be about to bring what waited for it.
        self._store_since_s, self._looks_since_s = time.time(), time.monotonic()
        return store

    def _leave_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _samples(self, store: TrafficStore, records: Sequence[Record]) -> Iterator[Sample]:
        """Those that are there and can be read. What can't is done with."""
        since_s = min(record.started_s for record in records) - _SLACK_S
        until_s = max(record.started_s + record.duration_ms / 1000 for record in records) + _SLACK_S
        read = set()
        try:
            where = {"request_id": [record.request_id for record in records]}
            for sample in store.read(since_s, until_s, where):
                read.add(sample.request_id)
                yield sample
            return
        except _UNREADABLE:  # one of them: the others are looked for one by one
            pass
        for record in records:
            if record.request_id not in read:
                try:
                    yield from store.read(since_s, until_s, {"request_id": [record.request_id]})
                except _UNREADABLE as error:
                    why = error.message if isinstance(error, Misconfigured) else "it was changed in the store"
                    self._cannot_read(record.request_id, why)

    def _take(self, sample: Sample, todo: dict[str, Record]) -> None:
        record = todo[sample.request_id]
        if not is_named(sample.pool, self._settings.pools, record.started_s):
            del todo[sample.request_id]  # it was handed on, and what was kept of it is another pool's
            return
        event: Event | str
        try:
            event = event_of(record, sample, self._settings.places, self._settings.most_chars)
        except Exception as error:  # a bug of ours is one call's; no text of it may be in what is logged
            event = f"it can't be told ({type(error).__name__})"
        if isinstance(event, str):
            self._cannot_read(sample.request_id, event)
            return
        size = event.size
        if self._ready_bytes + size > _MOST_BYTES or len(self._ready) == _MOST_EVENTS:
            self._flush()
        self._ready[sample.request_id] = event
        self._ready_bytes += size

    def _cannot_read(self, request_id: str, why: str) -> None:
        self._done(request_id)
        self.unread += 1
        self._say("what was captured of call %s is not sent: %s", request_id, why)

    def _done(self, request_id: str) -> None:
        if self._todo is not None:
            self._todo.pop(request_id, None)

    # -- the collector

    def _flush(self) -> None:
        self.taken += self._delivery.send("logs", list(self._ready.values()), self._request)
        for request_id in self._ready:
            self._done(request_id)
        self._ready, self._ready_bytes = {}, 0

    def _request(self, events: Sequence[Event]) -> bytes:
        return events_request(self._delivery.resource, events)

    def _say(self, words: str, *more: str) -> None:
        """Now and then: there may be one of each call."""
        if time.monotonic() - self._said_s > _SAY_EVERY_S:
            self._said_s = time.monotonic()
            counts = f"so far {self.missing} are missing, and {self.unread} can't be read"
            log.error(f"{words}; {counts}", *more)


def _begin(line: bytes) -> ContentExporter:
    for name in ("botocore", "boto3", "urllib3", "sqlalchemy"):  # they would tell what they read
        logging.getLogger(name).setLevel(logging.WARNING)
    return ContentExporter(msgspec.json.decode(line, type=ContentSettings))


def _lock(line: bytes) -> Path:
    return Path(msgspec.json.decode(line, type=ContentSettings).folder) / LOCK_NAME


if __name__ == "__main__":
    # Where a pool was added, calls of it are for the next one.
    sys.exit(run(_begin, _lock, WHAT, log, catches_up=False))
