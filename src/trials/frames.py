"""What the control plane and the process that sends copies tell each other.

To it: frames of a head (JSON) and a body, each with its length in four bytes before it. From it: a line of
JSON for each copy that is over.
"""

from __future__ import annotations

import msgspec

LENGTH_BYTES = 4


class Head(msgspec.Struct, frozen=True):
    """One copy: where the outer listener is, and what it gets. `number` names it in its report."""

    number: int
    host: str
    port: int
    tls: bool
    path: str
    headers: list[tuple[str, str]]
    timeout_s: float


class Report(msgspec.Struct, frozen=True):
    """`status` 0: no whole reply came, and `why` says what was there instead. `by_broker`: nobody was asked;
    `retry_after_s`: when it may be tried again, 0 where nobody said."""

    number: int
    status: int
    why: str = ""
    by_broker: bool = False
    retry_after_s: float = 0.0


def frame(head: Head, body: bytes) -> list[bytes]:
    """The pieces, so that a large body is not copied."""
    said = msgspec.json.encode(head)
    lengths = len(said).to_bytes(LENGTH_BYTES, "big"), len(body).to_bytes(LENGTH_BYTES, "big")
    return [lengths[0], said, lengths[1], body]
