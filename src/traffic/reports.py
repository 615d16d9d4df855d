"""What the control plane and the writer say to each other. Without SQLAlchemy and boto3."""

from __future__ import annotations

import struct

import msgspec

from ..core.traffic import Sample

ENDS_WITHIN_S = 3.0  # behind the end of its standard input
LENGTH = struct.Struct(">I")  # stands before each sample


class Settings(msgspec.Struct, frozen=True):
    """The first line of the writer's standard input, as JSON. `keys`: in hex, the first one encrypts.
    `redact` are names of built-in patterns, `custom` (name, regular expression). `keep_s`, `store_bytes`:
    0 is no bound."""

    url: str
    keys: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()
    custom: tuple[tuple[str, str], ...] = ()
    drop: tuple[tuple[str | int, ...], ...] = ()
    drops_media: bool = True
    keep_s: int = 0
    store_bytes: int = 0


class Report(msgspec.Struct, frozen=True):
    """A line of its standard output. `state`: `writing`, or `waiting` for the store with `error`. Since the
    start: samples `taken` from the pipe, `written`, and `failed`: that could not be redacted, or that the
    store does not take."""

    state: str
    store: str = ""
    error: str = ""
    taken: int = 0
    written: int = 0
    failed: int = 0


def packed(sample: Sample) -> bytes:
    text = msgspec.msgpack.encode(sample)
    return LENGTH.pack(len(text)) + text
