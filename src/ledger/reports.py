"""What the control plane tells the ledger's follower. Without SQLAlchemy."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """`retention_s`: how long calls are kept; 0: for ever."""

    folder: str
    url: str
    retention_s: int = 0
