"""The key that signs checkpoints: Ed25519 (RFC 8032)."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import Misconfigured
from ..core.written_keys import HOW_TO_MAKE, KEY_BYTES, written_key
from ..journal.once import made_once

KEY_NAME = "audit.key"
_EXTRA = "audit events are signed with the extra `audit`: pip install 'modelbroker[audit]'"


@dataclass(frozen=True, slots=True)
class Signer:
    """`public` is the public key: 64 hex digits."""

    public: str
    sign: Callable[[bytes], bytes]


def check_can_sign() -> None:
    """Misconfigured where the extra is missing."""
    _ed25519()


def signer_of(seed: bytes) -> Signer:
    """`seed`: the private key as RFC 8032 has it, 32 bytes."""
    private = _ed25519().Ed25519PrivateKey.from_private_bytes(seed)
    return Signer(private.public_key().public_bytes_raw().hex(), private.sign)


def is_signed(public: str, signature: bytes, data: bytes) -> bool:
    module = _ed25519()
    from cryptography.exceptions import InvalidSignature

    try:
        module.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_key(text: str) -> bytes:
    """A private key as people write it: 32 bytes in base64 or hex. ValueError where it is none; the key is
    never repeated."""
    if (key := written_key(text)) is None:
        raise ValueError(f"is no Ed25519 key: 32 bytes in base64 or hex; {HOW_TO_MAKE}")
    return key


def read_public_key(text: str) -> str:
    """64 hex digits. ValueError where it is none."""
    text = text.strip().lower()
    with contextlib.suppress(ValueError):
        if len(bytes.fromhex(text)) == KEY_BYTES and len(text) == KEY_BYTES * 2:
            return text
    raise ValueError("is no public key: 64 hex digits, as `modelbroker audit key` prints them")


def own_key(folder: Path) -> bytes:
    """That of a state folder, made at the first time. OSError."""
    return made_once(
        folder / KEY_NAME,
        lambda kept: written_key(kept.decode("ascii", "replace")),
        lambda: base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n",
    )


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise Misconfigured(500, "missing_extra", _EXTRA) from None
    return ed25519
