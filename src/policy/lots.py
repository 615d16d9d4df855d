"""Lots that are always the same: who draws again, here or at another replica, draws the same."""

from __future__ import annotations

import hashlib

from ..core.trials import ALL_PPM


def is_drawn(what: str, key: str, share_ppm: int) -> bool:
    """Is `key` among the `share_ppm` of a million for `what`? With a larger share it stays drawn."""
    if share_ppm >= ALL_PPM:
        return True
    text = f"{what}\0{key}".encode("utf-8", "surrogateescape")
    drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    return drawn * ALL_PPM < share_ppm << 64
