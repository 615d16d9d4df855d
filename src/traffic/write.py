"""The writer: takes captured calls from the control plane, redacts and encrypts them, and puts them into the
store: a process of its own, so that neither texts nor databases make a call wait.

The control plane starts it (cli/capture.py). The first line of standard input are its settings (JSON: they
hold keys, which no command line should), then come samples; standard output has its reports, a line each. It
ends when standard input does. While the store does not work it takes no more: what waits then waits at the
control plane, which bounds it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from ..core.errors import Misconfigured
from ..core.traffic import Sample
from ..policy.in_time import REDACTED_WITHIN_S, hint_of, within
from ..policy.redaction import Redaction, cleaned, redaction_by
from .place import place_of
from .reports import ENDS_WITHIN_S, LENGTH, Report, Settings
from .store import StoreError, TrafficStore
from .stores import open_store

log = logging.getLogger("modelbroker.traffic")

_NICE = 10
_BATCH_BYTES, _BATCH_SAMPLES = 4 << 20, 500
_FLUSH_S = {"s3": 5.0}  # an object a batch: few large ones
_FLUSH_DEFAULT_S = 0.5
_EXPIRE_EVERY_S = 600.0
_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.5, 10.0
_REPORT_EVERY_S = 1.0
_READ_BYTES = 1 << 20


def redaction_of(settings: Settings) -> Redaction:
    return redaction_by(settings.redact, settings.custom, settings.drop, settings.drops_media)


class Writer:
    """`step` waits for samples a moment, and writes them. False: there are none any more. Time is told."""

    def __init__(self, settings: Settings, source: int, say: Callable[[Report], None]) -> None:
        self._settings = settings
        self._source = source
        self._say = say
        self._redaction = redaction_of(settings)
        self._keys = [bytes.fromhex(key) for key in settings.keys]
        self._store: TrafficStore | None = None
        self._buffer = bytearray()
        self._batch: list[Sample] = []
        self._batch_bytes = 0
        self._batch_s = 0.0
        self._flush_s = _FLUSH_S.get(settings.url.partition(":")[0], _FLUSH_DEFAULT_S)
        self._expired_s = float("-inf")
        self._said_s = float("-inf")
        self._has_ended = False
        self._ends_s = 0.0
        self._error = ""
        self._taken = self._written = self._failed = 0

    def run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while not (self._has_ended and not self._batch):
            try:
                self._step()
            except (StoreError, Misconfigured) as error:
                self._disconnect()
                why = error.message if isinstance(error, Misconfigured) else str(error)
                if why != self._error:
                    log.error("the store of traffic waits, what does not fit is dropped: %s", why)
                self._error = why
                self._report()
                if self._is_over(backoff_s):
                    break
                backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)
                continue
            if self._error:
                log.warning("the store of traffic goes on")
                self._error = ""
            backoff_s = _BACKOFF_FIRST_S
        self._report()
        self._disconnect()

    def _is_over(self, backoff_s: float) -> bool:
        """Waits; True where the control plane is gone, and the store does not come back in time."""
        until_s = time.monotonic() + backoff_s
        while (left_s := until_s - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._source, select.POLLHUP)
            if poll.poll(min(left_s, _REPORT_EVERY_S) * 1000) and not self._has_ended:
                self._has_ended, self._ends_s = True, time.monotonic() + ENDS_WITHIN_S
            if self._has_ended:
                time.sleep(min(left_s, 0.2))
                return time.monotonic() > self._ends_s
            self._report()
        return False

    def _step(self) -> None:
        if self._store is None:
            self._store = open_store(self._settings.url, self._keys)
        if self._batch and (self._is_full() or time.monotonic() - self._batch_s >= self._flush_s):
            self._flush(self._store)
        if time.monotonic() - self._expired_s > _EXPIRE_EVERY_S:
            self._expire(self._store)
        if not self._has_ended and not self._is_full():
            self._read()
        if self._has_ended:
            self._flush(self._store)
        self._report_in_time()

    def _report_in_time(self) -> None:
        if time.monotonic() - self._said_s > _REPORT_EVERY_S:
            self._report()

    def _is_full(self) -> bool:
        return self._batch_bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_SAMPLES

    def _read(self) -> None:
        wait_s = _REPORT_EVERY_S
        if self._batch:
            wait_s = min(wait_s, max(0.0, self._batch_s + self._flush_s - time.monotonic()))
        if not select.select([self._source], [], [], wait_s)[0]:
            return
        data = os.read(self._source, _READ_BYTES)
        if not data:
            self._has_ended, self._ends_s = True, time.monotonic() + ENDS_WITHIN_S
            return
        self._buffer += data
        for text in self._texts():
            self._take(text)
            self._report_in_time()  # each of them may take its five seconds

    def _texts(self) -> Iterator[bytes]:
        start = 0
        while len(self._buffer) - start >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._buffer, start)
            if len(self._buffer) - start - LENGTH.size < size:
                break
            start += LENGTH.size
            yield bytes(self._buffer[start : start + size])
            start += size
        del self._buffer[:start]

    def _take(self, text: bytes) -> None:
        self._taken += 1
        try:
            with within(REDACTED_WITHIN_S):
                sample = cleaned(msgspec.msgpack.decode(text, type=Sample), self._redaction)
        except TimeoutError:
            self._failed += 1
            hint = hint_of(self._settings.custom)
            log.error("a sample was dropped: to redact it takes more than %d s%s", REDACTED_WITHIN_S, hint)
            return
        except Exception as error:  # no text of a call may be in what is logged
            self._failed += 1
            log.error("a sample was dropped: it could not be redacted (%s)", type(error).__name__)
            return
        if not self._batch:
            self._batch_s = time.monotonic()
        self._batch.append(sample)
        self._batch_bytes += len(sample.request or b"") + len(sample.reply or b"")

    def _flush(self, store: TrafficStore) -> None:
        if not self._batch:
            return
        self._put(store, self._batch)
        self._batch, self._batch_bytes = [], 0
        self._report()

    def _put(self, store: TrafficStore, samples: Sequence[Sample]) -> None:
        try:
            store.put(samples)
        except (ValueError, TypeError) as error:  # one by one, then: the others are good
            if len(samples) > 1:
                for sample in samples:
                    self._put(store, [sample])
                return
            self._failed += 1
            log.error("a sample was dropped: the store does not take it (%s)", type(error).__name__)
        else:
            self._written += len(samples)

    def _expire(self, store: TrafficStore) -> None:
        settings = self._settings
        before_s = time.time() - settings.keep_s if settings.keep_s else 0
        if gone := store.expire(before_s, settings.store_bytes):
            log.info("%d captured calls are older than `keep`, or more than `store_bytes`, and went", gone)
        self._expired_s = time.monotonic()

    def _report(self) -> None:
        self._said_s = time.monotonic()
        state = "waiting" if self._error else "writing"
        counts = (self._taken, self._written, self._failed)
        self._say(Report(state, place_of(self._settings.url), self._error, *counts))

    def _disconnect(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the control plane, which ends this
    os.nice(_NICE)  # calls go first
    os.umask(0o077)  # nobody else's to read
    logging.basicConfig(
        level=sys.argv[1] if len(sys.argv) > 1 else "INFO",
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for name in ("botocore", "boto3", "urllib3", "sqlalchemy"):  # they would tell what they send
        logging.getLogger(name).setLevel(logging.WARNING)
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    settings = msgspec.json.decode(line, type=Settings)

    def say(report: Report) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(1, msgspec.json.encode(report) + b"\n")

    Writer(settings, 0, say).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
