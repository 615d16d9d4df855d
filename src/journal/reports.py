"""What the control plane and a follower of a journal say to each other."""

from __future__ import annotations

import msgspec

ENDS_WITHIN_S = 2.0  # behind the end of its standard input
FOLLOWING, WAITING, OFF, STARTING = "following", "waiting", "off", "starting"
SENDING, AWAY = "sending", "away"  # of a sink
IDLE, RENDERING = "idle", "rendering"  # of the console


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: `following`, or `waiting` for the `place` it writes to, with `error`. `inode`: the file that
    is read, done with up to `offset`; older ones are done with. `taken`, `refused`, `torn`: lines since the
    start that went where they should, that nobody takes, that were never written to their end."""

    state: str = STARTING
    place: str = ""
    error: str = ""
    behind_bytes: int = 0
    inode: int = 0
    offset: int = 0
    taken: int = 0
    refused: int = 0
    torn: int = 0
