"""What the control plane tells the process that sends copies, and the one that scores answers; and what they
tell it.

To the sender: frames of a head (JSON) and a body, each with its length in four bytes before it; to the
scorer: such frames of a task (MessagePack). From both: a line of JSON for each that is over.
"""

from __future__ import annotations

import os
from typing import BinaryIO

import msgspec

from ..core.capture import Step
from ..core.traffic import Sample

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


def tell(reports: BinaryIO, report: Report | Graded) -> None:
    """Where the control plane has ended, nobody hears it."""
    try:
        reports.write(msgspec.json.encode(report) + b"\n")
        reports.flush()
    except BrokenPipeError:  # what is not written yet would be tried again at the end
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, reports.fileno())
        os.close(nowhere)


class Redact(msgspec.Struct, frozen=True):
    """What of a call nobody else is told: as the section `capture` says."""

    patterns: tuple[str, ...]
    custom: tuple[tuple[str, str], ...]
    drop: tuple[tuple[Step, ...], ...]
    drops_media: bool


class Task(msgspec.Struct, frozen=True):
    """Answers to score: one, or the client's and its copy's. `scorers`: each as JSON, in the words of suites.
    `errands`: pool → the value of the `header` with which it is asked."""

    number: int
    host: str
    port: int
    tls: bool
    timeout_s: float
    scorers: tuple[str, ...]
    header: str
    errands: dict[str, str]
    redact: Redact
    samples: tuple[Sample, ...]


class Graded(msgspec.Struct, frozen=True):
    """0 to 1 for each of its answers; none: `why` says so in one word. `retry_after_s`: when judges may be
    asked again, 0: at once."""

    number: int
    values: tuple[float, ...] = ()
    why: str = ""
    retry_after_s: float = 0.0


def task_frame(task: Task) -> bytes:
    said = msgspec.msgpack.encode(task)
    return len(said).to_bytes(LENGTH_BYTES, "big") + said
