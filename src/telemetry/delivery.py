"""What every exporter does: all of a batch goes to the collector, but what that will never take."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from .. import __version__
from ..journal.following import source_of
from ..journal.reports import FOLLOWING, WAITING, Report
from .lines import Lines
from .reports import Collector
from .sending import Bad, Patience, Sender, Unsent, sender_of
from .wire import resource_of

log = logging.getLogger("modelbroker.telemetry")

Item = TypeVar("Item")


class _Unspelled(Bad):
    """No request can be made of it."""


class Delivery:
    """To one collector. `quotes`: what it says of its errors is told. `refused`: what it will never take,
    since the start."""

    def __init__(self, to: Collector, folder: Path, *, quotes: bool = True) -> None:
        self._to, self._quotes = to, quotes
        self._sender: Sender | None = None
        self._patience = Patience()
        own = {"service.version": __version__, "service.instance.id": source_of(folder)}
        self.resource: Resource = resource_of({"service.name": "modelbroker", **own, **to.resource})
        self.refused = 0

    def check(self) -> None:
        """Unsent while it wants no more."""
        self._patience.check()

    def send(self, kind: str, items: Sequence[Item], request_of: Callable[[Sequence[Item]], bytes]) -> int:
        """How many of them it has now: all but those that it will never take."""
        if not items:
            return 0
        self._sender = self._sender or sender_of(self._to, quotes=self._quotes)
        try:
            rejected, why = self._sender.send(kind, _spelled(items, request_of))
        except Bad as error:
            if len(items) == 1:
                who = "nobody can tell" if isinstance(error, _Unspelled) else "the collector refuses"
                self.refuse(f"{who} the {kind} of a call: {error}")
                return 0
            half = len(items) // 2
            return self.send(kind, items[:half], request_of) + self.send(kind, items[half:], request_of)
        if rejected:
            self.refused += rejected
            log.error(
                "the collector did not take %d of the %s%.200s", rejected, kind, f": {why}" if why else ""
            )
        return max(0, len(items) - rejected)

    def refuse(self, why: str) -> None:
        self.refused += 1
        log.error("%s", why)

    def why_to_wait(self, error: Exception) -> str | None:
        if isinstance(error, Unsent):
            self._patience.heard(error)
        return str(error) if isinstance(error, (Unsent, OSError)) else None

    def report(self, lines: Lines, taken: int, error: str) -> Report:
        """Of what is delivered out of these lines. `error`: what is waited for, "": nothing is."""
        return Report(
            state=WAITING if error else FOLLOWING,
            place=self._to.endpoint,
            error=error,
            behind_bytes=lines.behind_bytes,
            inode=lines.inode,
            offset=lines.offset,
            taken=taken,
            refused=self.refused,
            torn=lines.torn,
        )

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None


def _spelled(items: Sequence[Item], request_of: Callable[[Sequence[Item]], bytes]) -> bytes:
    """Bad."""
    try:
        return request_of(items)
    except Exception as error:  # a bug of ours is one call's; the error may have a text of it
        raise _Unspelled(type(error).__name__) from None
