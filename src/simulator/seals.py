"""What only its maker can read: signatures of thinking, encrypted reasoning, thought signatures.

A real provider signs or encrypts reasoning so that it can be given back, and refuses what another one made.
So here: a seal holds its text, hidden, and a keyed hash; the key is the simulator's name.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Literal

Kind = Literal["thinking", "redacted", "encrypted", "thought"]
_MAC_BYTES = 24


class Seals:
    """The seals of the simulator of that name; the same text gives the same seal."""

    def __init__(self, name: str) -> None:
        self._key = hashlib.sha256(f"simulated provider {name}".encode()).digest()

    def seal(self, kind: Kind, text: str) -> str:
        """Base64 that `open` gives `text` for."""
        hidden = self._hide(kind, text.encode("utf-8", "surrogatepass"))
        return base64.b64encode(self._mac(kind, hidden) + hidden).decode()

    def open(self, kind: Kind, sealed: object) -> str | None:
        """The text of a seal; None when this simulator did not make it, or not for this."""
        if not isinstance(sealed, str):
            return None
        try:
            # Some clients give bytes back in the alphabet for URLs.
            raw = base64.b64decode(sealed.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            return None
        mac, hidden = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(kind, hidden)):
            return None
        return self._hide(kind, hidden).decode("utf-8", "surrogatepass")

    def _mac(self, kind: str, hidden: bytes) -> bytes:
        return hmac.digest(self._key, kind.encode() + b":" + hidden, "sha256")[:_MAC_BYTES]

    def _hide(self, kind: str, data: bytes) -> bytes:
        pad = hashlib.shake_256(self._key + kind.encode()).digest(len(data))
        return bytes(a ^ b for a, b in zip(data, pad, strict=True))
