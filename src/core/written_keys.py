"""Keys of 32 bytes as people write them."""

from __future__ import annotations

import base64
import binascii

KEY_BYTES = 32
HOW_TO_MAKE = "make one with: openssl rand -base64 32"


def written_key(text: str) -> bytes | None:
    """In base64, or 64 hex digits; None where it is none."""
    text = text.strip()
    try:
        key = bytes.fromhex(text) if len(text) == KEY_BYTES * 2 else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None
