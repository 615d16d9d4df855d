"""SQLite files in the state folder, which several processes open at once."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

BUSY_MS = 30_000  # how long one waits for another that writes


def make_wal(connection: Any) -> None:
    """`connection` is the driver's. SQLite does not wait where another process opens a new file at the same
    moment: this does, for BUSY_MS."""
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    deadline_s = time.monotonic() + BUSY_MS / 1000
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
