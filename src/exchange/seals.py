"""What Envoy carries for the broker in a header, sealed: who has not the key can't make one."""

from __future__ import annotations

import base64
import hashlib
import hmac

_MAC_BYTES = 16


def seal(content: bytes, key: bytes, use: bytes = b"") -> str:
    """A header's value: base64url of MAC and content. What is sealed for one `use` (up to 16 bytes) is
    nothing for another with the same key."""
    return base64.urlsafe_b64encode(_mac(content, key, use) + content).decode()


def unseal(value: str, key: bytes, use: bytes = b"") -> bytes | None:
    """The content; None where it was not sealed with `key` for that use."""
    try:
        raw = base64.b64decode(value.encode(), b"-_", validate=True)
    except ValueError:  # binascii's and UTF-8's too
        return None
    mac, content = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    return content if hmac.compare_digest(mac, _mac(content, key, use)) else None


def _mac(content: bytes, key: bytes, use: bytes) -> bytes:
    return hashlib.blake2b(content, key=key, digest_size=_MAC_BYTES, person=use).digest()
