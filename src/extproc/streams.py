"""One ext_proc stream: its messages to the exchange's events, and its commands back to messages.

No call's memory outlives its stream; what a member's stream must know comes in the stream's metadata.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from ..dialects import BUILT
from ..envoyapi import AnyMessage
from ..exchange import Forward, Inbound, OuterCall, Strip, View, spoken
from .member_streams import MemberCallStream, MemberReplyStream
from .messages import Messages, defect
from .wire import Stream, Wire

log = logging.getLogger("modelbroker.extproc")


class OuterStream:
    """Decides: headers, then the whole body."""

    def __init__(self, messages: Messages, wire: Wire, view: View) -> None:
        self._messages = messages
        self._wire = wire
        self._call = OuterCall(view, os.urandom(16).hex())

    def receive(self, serialized: bytes) -> None:
        message = self._messages.decode(serialized)
        kind = message.WhichOneof("request")
        try:
            answer = self._answer(kind, message)
        except Exception as error:  # a bug of ours is one call's error, never the process's
            log.exception("call %s failed in the broker", self._call.request_id)
            answer = self._messages.reply(self._call.refuse(defect(error)))
        if answer is not None:
            self._wire.send(answer)
        if kind == "request_body":
            # All is said: without a stream to the broker a call in flight outlives the broker.
            self._wire.close()

    def _answer(self, kind: str | None, message: AnyMessage) -> bytes | None:
        match kind:
            case "request_headers":
                request = message.request_headers
                inbound = Inbound.of(self._messages.first_values(request))
                answer = self._call.on_headers(inbound, request.end_of_stream)
                match answer:
                    case None:
                        return self._messages.continue_request_headers
                    case Strip():
                        return self._messages.strip(answer)
                return self._messages.reply(answer)
            case "request_body":
                outcome = self._call.on_body(message.request_body.body)
                if isinstance(outcome, Forward):
                    return self._messages.forward(outcome)
                return self._messages.reply(outcome)
        return None


class Streams:
    """Opens the broker's side of each stream, by the role that its metadata names.

    `views`: generation → view; the newest serves a generation that is not known here (an Envoy that was
    configured before this process started).
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._views: dict[str, View] = {}
        self._newest: View | None = None

    def set_views(self, newest: View, older: Mapping[str, View]) -> None:
        self._views = {**older, newest.generation: newest}
        self._newest = newest

    def open(self, metadata: Mapping[str, str], wire: Wire) -> Stream:
        """ValueError where the stream is not one of ours."""
        match metadata.get("x-broker-role"):
            case "outer" if self._newest is not None:
                view = self._views.get(metadata.get("x-broker-generation", ""), self._newest)
                return OuterStream(self._messages, wire, view)
            case "member" if metadata.get("x-broker-member"):
                return MemberCallStream(self._messages, wire, spoken(metadata["x-broker-member"]))
            case "member" if metadata.get("x-broker-dialect") in BUILT:
                return MemberReplyStream(self._messages, wire, metadata.get("x-broker-dialect", ""))
        raise ValueError(f"no stream for {dict(metadata)}")
