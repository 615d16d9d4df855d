"""What the control plane and the follower that keeps the chain say to each other."""

from __future__ import annotations

import msgspec

from ..journal.reports import SENDING, Report
from .sink import SinkSettings


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is the private key that signs, 64 hex digits; "": one of the state folder's own. `keep_s` 0: for
    ever. `version` is the broker's."""

    folder: str
    key: str = ""
    keep_s: int = 0
    most_bytes: int = 1 << 62
    version: str = ""
    sinks: tuple[SinkSettings, ...] = ()


class SinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: `sending`, or `away`, with `error`. `seq`: up to this event it has all; `behind`: how many
    there are behind that. `sent`, `refused` (by the sink, for ever), `missed` (taken out of the chain before
    they were sent): events since the start."""

    name: str
    kind: str
    state: str = SENDING
    error: str = ""
    seq: int = 0
    behind: int = 0
    sent: int = 0
    refused: int = 0
    missed: int = 0


class AuditReport(Report, frozen=True, kw_only=True):
    """`inode` and `offset` are those of the journal of calls, `acts_…` of that of acts. `seq`, `hash`: the
    chain's head; `checkpoint…`: the newest; `key`: the public key; `expired`: events that were taken away."""

    acts_inode: int = 0
    acts_offset: int = 0
    seq: int = 0
    hash: str = ""
    checkpoint_seq: int = 0
    checkpoint_at_ms: int = 0
    key: str = ""
    expired: int = 0
    sinks: tuple[SinkReport, ...] = ()
