"""The seam between the transport and the broker's side of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Wire(Protocol):
    """The transport's side of a stream: bytes of one message out, the end, a timer."""

    def send(self, message: bytes) -> None:
        """Queue one message for Envoy."""

    def close(self) -> None:
        """End the stream cleanly once everything queued is sent."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back on the same thread, unless the stream has ended by then."""


class Stream(Protocol):
    """The broker's side of a stream."""

    def receive(self, serialized: bytes) -> None:
        """Take one ProcessingRequest. DecodeError where the bytes are none: the transport ends the stream."""


# (the stream's metadata, its wire) → the broker's side of it
Opener = Callable[[Mapping[str, str], Wire], Stream]
