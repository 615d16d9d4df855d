"""Batches by HTTP, for whatever takes JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..sink import Sent, SinkAway, SinkSettings
from .batches import Ends, Unwanted, send_in_parts
from .web import Answer, Web, headers_of

_TYPES = {"ndjson": "application/x-ndjson", "array": "application/json"}
_AROUND = {"ndjson": (b"", b"\n", b"\n"), "array": (b"[", b",", b"]")}
# Of the request as it is; all others say something of the server, or of the configuration.
_UNWANTED = (400, 413, 422)


class Http:
    """A POST (or PUT) for each batch: lines of JSON, or an array. 2xx: it is taken."""

    again_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        options = settings.options
        self.most_events = int(options.get("most_events", "500"))
        self.most_bytes = int(options.get("most_bytes", str(1 << 20)))
        self._method = options.get("method", "POST")
        self._batch = options.get("batch", "ndjson")
        self._zips = options.get("gzip") == "true"
        self._headers = {"content-type": _TYPES[self._batch], **headers_of(options, settings.secrets)}
        self._web = Web(options["address"], options)
        self._ends = Ends()

    def send(self, events: Sequence[Sent]) -> None:
        send_in_parts(events, self._ask, self._ends)

    def close(self) -> None:
        self._web.close()

    def _ask(self, events: Sequence[Sent]) -> None:
        lines = [event.line for event in events]
        first, between, last = _AROUND[self._batch]
        body = first + between.join(lines) + last
        headers = {**self._headers, "idempotency-key": key_of(events)}
        judge(self._web.send(self._method, "", body, headers, zipped=self._zips))

    def __repr__(self) -> str:  # a traceback must not show headers
        return "Http(…)"


def key_of(events: Sequence[Sent]) -> str:
    """The same for the same events, over restarts too."""
    return hashlib.sha256("\n".join(event.id for event in events).encode()).hexdigest()[:32]


def judge(answer: Answer) -> None:
    """Raises Unwanted or SinkAway where it is no success."""
    if answer.status in _UNWANTED:
        raise Unwanted(answer.words(), is_final=answer.status == 413)
    if not answer.is_good:
        raise SinkAway(answer.words())


def open_sink(settings: SinkSettings) -> Http:
    return Http(settings)
