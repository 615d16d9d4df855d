"""What the control plane and the follower say to each other. Without SQLAlchemy."""

from __future__ import annotations

import msgspec

ENDS_WITHIN_S = 2.0  # behind the end of its standard input


class Settings(msgspec.Struct, frozen=True):
    """`retention_s`: how long calls are kept; 0: for ever."""

    folder: str
    url: str
    retention_s: int = 0


class Report(msgspec.Struct, frozen=True):
    """`state`: `following`, or `waiting` for the database with `error`. `inode`: the file that is read,
    so far in the ledger up to `offset`; older ones are done with. `taken`, `refused`, `torn`: records since
    the start that went in, that no database takes, that were never written to their end."""

    state: str
    database: str
    error: str = ""
    behind_bytes: int = 0
    inode: int = 0
    offset: int = 0
    taken: int = 0
    refused: int = 0
    torn: int = 0
