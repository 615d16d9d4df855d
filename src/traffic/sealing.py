"""Bodies at rest: compressed, then encrypted with AES-256-GCM, if there is a key.

| bytes | |
|---|---|
| 1 | 1: compressed alone; 2: encrypted as well |
| 8 | of those that are encrypted: the id of the key |
| 12 | the nonce |
| rest | zlib's bytes, with GCM's tag of 16 bytes behind them where they are encrypted |

The call's id and the name of the body are bound to it: no body can stand in for another.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..core.errors import Misconfigured
from ..core.written_keys import HOW_TO_MAKE, written_key

_PLAIN, _SEALED = b"\x01", b"\x02"
_NONCE_BYTES = 12
_ID_BYTES = 8
_LEVEL = 6
_EXTRA = "encrypted bodies need the extra `capture`: pip install 'modelbroker[capture]'"


def read_key(text: str) -> bytes:
    """A key as people write it: 32 bytes in base64, or 64 hex digits. ValueError where it is none; the key is
    never repeated."""
    if (key := written_key(text)) is None:
        raise ValueError(f"is no key of 32 bytes, in base64 or hex; {HOW_TO_MAKE}")
    return key


def key_id(key: bytes) -> str:
    """For people and stores: 16 hex digits that tell keys apart, and nothing of them."""
    return hashlib.sha256(b"modelbroker traffic key" + key).hexdigest()[: 2 * _ID_BYTES]


class Sealer:
    """The first key seals, all of them open. Without keys bodies are compressed alone."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        aes = _aes() if keys else None
        self._by_id = {key_id(key): aes(key) for key in keys} if aes else {}
        self.key = key_id(keys[0]) if keys else ""

    def seal(self, body: bytes, call: str, name: str) -> bytes:
        packed = zlib.compress(body, _LEVEL)
        if not self.key:
            return _PLAIN + packed
        nonce = os.urandom(_NONCE_BYTES)
        head = _SEALED + bytes.fromhex(self.key) + nonce
        sealed: bytes = self._by_id[self.key].encrypt(nonce, packed, _bound(call, name))
        return head + sealed

    def open(self, sealed: bytes, call: str, name: str) -> bytes:
        """Misconfigured where no key here opens it, or it is another one's."""
        if sealed[:1] == _PLAIN:
            return zlib.decompress(sealed[1:])
        ident = sealed[1 : 1 + _ID_BYTES].hex()
        aes = self._by_id.get(ident)
        if aes is None:
            message = (
                f"the bodies of call {call} are encrypted with the key {ident}, which is not there: "
                "give it as `capture.encryption.key`, or among `old_keys`"
            )
            raise Misconfigured(500, "traffic_key", message)
        nonce_end = 1 + _ID_BYTES + _NONCE_BYTES
        try:
            packed = aes.decrypt(sealed[1 + _ID_BYTES : nonce_end], sealed[nonce_end:], _bound(call, name))
        except Exception as error:
            if type(error).__name__ != "InvalidTag":
                raise
            message = f"the {name} of call {call} was changed in the store: it is not what was written"
            raise Misconfigured(500, "traffic_changed", message) from None
        return zlib.decompress(packed)


def key_of(sealed: bytes) -> str:
    """The id of the key that a body is encrypted with; "" for none."""
    return sealed[1 : 1 + _ID_BYTES].hex() if sealed[:1] == _SEALED else ""


def _bound(call: str, name: str) -> bytes:
    return f"{call}/{name}".encode()


def check_can_encrypt() -> None:
    """Misconfigured where the library is not installed."""
    _aes()


def _aes() -> Callable[[bytes], Any]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise Misconfigured(500, "no_cryptography", _EXTRA) from None
    return partial(AESGCM)
