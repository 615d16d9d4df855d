"""Request ids: a UUID of version 7 (RFC 9562, section 5.7) as 32 hex digits.

They begin with the time, so that calls sort by it, and a store that is cut into spans of time finds a call by
its id alone.
"""

from __future__ import annotations

import re

RANDOM_BYTES = 10
_ID = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")


def request_id_of(unix_ms: int, random: bytes) -> str:
    """The id of a call that began at `unix_ms`; `random` is RANDOM_BYTES long."""
    text = random.hex()
    variant = "89ab"[random[2] >> 4 & 3]
    return f"{unix_ms & 0xFFFFFFFFFFFF:012x}7{text[:3]}{variant}{text[5:]}"


def unix_ms_of(request_id: str) -> int | None:
    """When a call with this id began; None where the id is none of ours."""
    return int(request_id[:12], 16) if _ID.fullmatch(request_id) else None
