"""The follower that keeps the chain: makes events of the lines of both journals, calls and acts, and hands
them to the sinks, in a process of its own, so that no call waits for any of it. The control plane starts it
(cli/audit.py).
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..core.errors import Misconfigured
from ..journal.following import run
from ..journal.reading import Journal, Piece, Position
from ..journal.reports import FOLLOWING, WAITING
from ..journal.writing import CALLS
from .acts import ACTS
from .chain import Source
from .events import ActLine, CallLine, Event, of_act, of_call
from .keys import own_key, signer_of
from .reports import AuditReport, Settings
from .sending import Sender
from .sink import Sink, SinkSettings
from .sinks import open_sink
from .store import FOLDER, Chain

log = logging.getLogger("modelbroker.audit")

LOCK_NAME = "audit.lock"
WHAT = "the chain of audit events"
_EXPIRE_EVERY_S = 60.0
_SENDS_WITHIN_S = 1.0
_CALLS = msgspec.json.Decoder(CallLine)
_ACTS = msgspec.json.Decoder(ActLine)
# Acts first: what was done stands before what came of it.
_JOURNALS: dict[str, tuple[str, Callable[[bytes], Event]]] = {
    "acts": (ACTS, lambda line: of_act(_ACTS.decode(line))),
    "calls": (CALLS, lambda line: of_call(_CALLS.decode(line))),
}


class Follower:
    """`journal.following.Follower`. What goes wrong with the disk is waited for."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        opened: Callable[[SinkSettings], Sink] = open_sink,
    ) -> None:
        self._settings, self._clock, self._opened = settings, clock, opened
        self._folder = Path(settings.folder)
        self._chain: Chain | None = None
        self._journals: dict[str, Journal] = {}
        self._senders: tuple[Sender, ...] = ()
        self._torn = self._expired = 0
        self._expired_s = clock()
        self._head = 0  # of the chain, for senders
        self.taken = self.refused = 0

    def step(self) -> bool:
        chain = self._open()
        more = False
        for name, journal in self._journals.items():
            if (piece := journal.read()) is not None:
                self._take(chain, name, piece)
                more = True
        chain.tick()
        self._expire(chain)
        if chain.seq != self._head:
            self._head = chain.seq
            for sender in self._senders:
                sender.wake()
        return more

    def report(self, error: str = "") -> AuditReport:
        chain = self._chain
        calls, acts = (self._journals.get(name) for name in ("calls", "acts"))
        journals = [journal for journal in (calls, acts) if journal is not None]
        positions = chain.positions if chain is not None else {}
        return AuditReport(
            state=WAITING if error else FOLLOWING,
            place=str(self._folder / FOLDER),
            error=error,
            behind_bytes=sum(journal.behind() for journal in journals),
            inode=calls.inode if calls else 0,
            offset=positions.get("calls", ("", 0))[1],
            acts_inode=acts.inode if acts else 0,
            acts_offset=positions.get("acts", ("", 0))[1],
            taken=self.taken,
            refused=self.refused,
            torn=self._torn + sum(journal.torn for journal in journals),
            seq=chain.seq if chain else 0,
            hash=chain.hash if chain else "",
            checkpoint_seq=chain.checkpoint_seq if chain else 0,
            checkpoint_at_ms=chain.checkpoint_at_ms if chain else 0,
            key=chain.key if chain else "",
            expired=self._expired,
            sinks=tuple(sender.report() for sender in self._senders),
        )

    def why_to_wait(self, error: Exception) -> str | None:
        if isinstance(error, Misconfigured):
            return error.message
        return (error.strerror or str(error)) if isinstance(error, OSError) else None

    def disconnect(self) -> None:
        """The next step looks anew what is in the chain, and goes on behind that."""
        for journal in self._journals.values():
            self._torn += journal.torn
            journal.close()
        self._journals = {}
        if self._chain is not None:
            self._chain.close()
            self._chain = None

    def close(self) -> None:
        """What is in the chain is signed, and sinks have a moment for it."""
        if self._chain is not None:
            with contextlib.suppress(OSError):
                self._chain.checkpoint()
                self._head = self._chain.seq
        for sender in self._senders:
            sender.end()
        until_s = time.monotonic() + _SENDS_WITHIN_S
        for sender in self._senders:
            sender.join(max(0.0, until_s - time.monotonic()))
        self.disconnect()

    # --

    def _open(self) -> Chain:
        if self._chain is None:
            seed = bytes.fromhex(self._settings.key) if self._settings.key else own_key(self._folder)
            self._chain = Chain(self._folder / FOLDER, signer_of(seed), self._clock)
            self._head = self._chain.seq
        if not self._journals:
            for name, (file, _) in _JOURNALS.items():
                position = Position(*self._chain.positions.get(name, ("", 0)))
                self._journals[name] = Journal(self._folder, position, file)
        if not self._senders and self._settings.sinks:
            told = self._settings.version, self._opened, lambda: self._head
            self._senders = tuple(Sender(self._folder / FOLDER, sink, *told) for sink in self._settings.sinks)
            for sender in self._senders:
                sender.start()
        return self._chain

    def _take(self, chain: Chain, name: str, piece: Piece) -> None:
        event_of = _JOURNALS[name][1]
        at = piece.position.offset - sum(len(line) + 1 for line in piece.lines)
        found: list[tuple[Event, Source]] = []
        for line in piece.lines:
            at += len(line) + 1
            try:
                found.append((event_of(line), (name, piece.position.file, at)))
            except (ValueError, OverflowError) as error:
                self.refused += 1
                log.error("a line of the journal of %s is none: %s", name, error)
        chain.append(found)
        chain.positions[name] = piece.position.file, piece.position.offset
        self.taken += len(found)

    def _expire(self, chain: Chain) -> None:
        if self._clock() - self._expired_s < _EXPIRE_EVERY_S:
            return
        self._expired_s = self._clock()
        if gone := chain.expire(self._settings.keep_s, self._settings.most_bytes):
            self._expired += gone
            log.info("%d events left the chain: they were too old, or there was no room for them", gone)


def _begin(line: bytes) -> Follower:
    return Follower(msgspec.json.decode(line, type=Settings))


def _lock(line: bytes) -> Path:
    return Path(msgspec.json.decode(line, type=Settings).folder) / LOCK_NAME


if __name__ == "__main__":
    sys.exit(run(_begin, _lock, WHAT, log))
