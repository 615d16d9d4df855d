"""Splunk's HTTP Event Collector, with the indexers' acknowledgment where the token has it.

Source: Splunk, "Format events for HTTP Event Collector", "Troubleshoot HTTP Event Collector" (status codes),
"About HTTP Event Collector Indexer Acknowledgment".
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..sink import Sent, SinkAway, SinkSettings
from .batches import Ends, Unwanted, send_in_parts
from .web import Answer, Web

_EVENTS, _ACKS = "/services/collector/event", "/services/collector/ack"
_ACK_FIRST_S, _ACK_MOST_S = 0.1, 5.0
# In Splunk's own words: its answers are not repeated.
_WORDS = {
    1: "the token is disabled",
    2: "it wants a token",
    3: "it does not understand the authorization",
    4: "the token is not valid",
    5: "no data",
    6: "the event's format is not valid",
    7: "the token may not write to this index",
    8: "an internal error",
    9: "the server is busy",
    10: "it wants a channel",
    11: "the channel is not valid",
    12: "the event has no field `event`",
    13: "the event is blank",
    14: "acknowledgment is disabled for this token: set `ack: false`",
    15: "its indexed fields are not valid",
    18: "its queues are full",
    19: "its acknowledgments are not available",
    20: "its queues are full and its acknowledgments not available",
    21: "the token is not valid",
    22: "the token is disabled",
    23: "the server is shutting down",
    26: "its queue is full",
    27: "the request is too large",
}
_EVENTS_OWN = (6, 12, 13, 15)


class Reply(msgspec.Struct, rename={"at": "invalid-event-number", "ack": "ackId"}):
    code: int = -1
    at: int | None = None
    ack: int | None = None


class Acks(msgspec.Struct):
    acks: dict[str, bool]


class Splunk:
    """Events are taken when Splunk has them; with `ack`, when they are indexed."""

    most_events = 500
    most_bytes = 512 << 10  # a cloud's collector takes 1 MB
    again_s = 0.0

    def __init__(self, settings: SinkSettings, clock: Callable[[], float] = time.monotonic) -> None:
        options = settings.options
        self._clock = clock
        self._zips = options.get("gzip", "true") == "true"
        self._waits_for_ack = options.get("ack") == "true"
        self._ack_s = int(options.get("ack_timeout_ms", "60000")) / 1000
        self._about: dict[str, Any] = {
            "host": options.get("host") or socket.gethostname(),
            "source": options.get("source", "modelbroker"),
            "sourcetype": options.get("sourcetype", "modelbroker:audit"),
        }
        if "index" in options:
            self._about["index"] = options["index"]
        self._channel = options.get("channel") or str(uuid.uuid4())
        self._headers = {
            "authorization": f"Splunk {settings.secrets['token']}",
            "content-type": "application/json",
            "x-splunk-request-channel": self._channel,
        }
        self._web = Web(options["address"], options)
        self._ends = Ends()
        self._closing = threading.Event()

    def send(self, events: Sequence[Sent]) -> None:
        send_in_parts(events, self._ask, self._ends)

    def close(self) -> None:
        self._closing.set()
        self._web.close()

    def _ask(self, events: Sequence[Sent]) -> None:
        body = b"\n".join(self._envelope(event) for event in events)
        reply = self._said(self._web.send("POST", _EVENTS, body, self._headers, zipped=self._zips))
        if self._waits_for_ack:
            if reply.ack is None:
                raise SinkAway("it acknowledges nothing: the token has no indexer acknowledgment")
            self._wait_for(reply.ack)

    def _envelope(self, event: Sent) -> bytes:
        about = {
            "time": f"{event.at_ms // 1000}.{event.at_ms % 1000:03}",
            **self._about,
            "fields": {"event_id": event.id, "seq": event.seq},
            "event": msgspec.Raw(event.line),
        }
        return msgspec.json.encode(about)

    def _wait_for(self, ack: int) -> None:
        until_s = self._clock() + self._ack_s
        pause_s = _ACK_FIRST_S
        body = msgspec.json.encode({"acks": [ack]})
        path = f"{_ACKS}?channel={self._channel}"
        while True:
            answer = self._web.send("POST", path, body, self._headers)
            if not answer.is_good:
                self._said(answer)
            try:
                acks = msgspec.json.decode(answer.body, type=Acks).acks
            except msgspec.MsgspecError:
                raise SinkAway("its answer is none about acknowledgments") from None
            if acks.get(str(ack)):
                return
            if self._clock() > until_s:
                raise SinkAway(f"it has not acknowledged within {self._ack_s:g} s")
            if self._closing.wait(pause_s):
                raise SinkAway("the broker ends before it acknowledged")
            pause_s = min(pause_s * 2, _ACK_MOST_S)

    def _said(self, answer: Answer) -> Reply:
        """Raises SinkAway or Unwanted where that is no success."""
        try:
            reply = msgspec.json.decode(answer.body, type=Reply)
        except msgspec.MsgspecError:
            reply = Reply()
        if answer.is_good and reply.code == 0:
            return reply
        if answer.is_good:
            raise SinkAway("its answer is not that of an event collector")
        words = f"{_WORDS[reply.code]} (code {reply.code})" if reply.code in _WORDS else answer.words()
        if reply.code in _EVENTS_OWN:
            raise Unwanted(words, reply.at)
        if answer.status == 413:
            raise Unwanted(words, is_final=True)
        raise SinkAway(words)

    def __repr__(self) -> str:  # a traceback must not show headers
        return "Splunk(…)"


def open_sink(settings: SinkSettings) -> Splunk:
    return Splunk(settings)
