"""What a sink is: somewhere that audit events are sent. The follower has one of these for each of the
configuration's `audit.sinks`, in a thread of its own; `audit/sinks` has the kinds there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec


class Sent(NamedTuple):
    """One event as a sink gets it. `seq` is its place in the chain, `severity` OCSF's `severity_id`; `line`
    is one JSON object in the sink's form (`ocsf` or `ecs`), UTF-8, without a newline."""

    seq: int
    id: str
    at_ms: int
    severity: int
    line: bytes


class SinkAway(Exception):
    """It can't be reached, or says no for now: the same events are sent again. Its text holds no secret."""


class Refused(Exception):
    """It will never take these events of the batch, and has taken the others. Its text holds no secret."""

    def __init__(self, message: str, indexes: tuple[int, ...]) -> None:
        super().__init__(message)
        self.indexes = indexes


class SinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one sink: `kind` is one that `audit/sinks` has, `form` `ocsf` or `ecs`; `options` are as its kind
    has them in the configuration, `secrets` the values of its credentials. `lacks`: why one of these is not
    there, for which events wait."""

    name: str
    kind: str
    form: str
    options: dict[str, str] = {}
    secrets: dict[str, str] = {}
    lacks: str = ""


class Sink(Protocol):
    """`most_events`, `most_bytes` (of lines): of one batch. `send` returns when they are taken, and raises
    SinkAway or Refused; a sink that was away is asked again, with the same events first. `again_s`: what was
    taken may be lost for so long yet, where this process ends too: after a restart it is sent again."""

    most_events: int
    most_bytes: int
    again_s: float

    def send(self, events: Sequence[Sent]) -> None: ...

    def close(self) -> None: ...
