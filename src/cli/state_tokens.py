"""Tokens that the broker makes itself, for whoever may read its state folder."""

from __future__ import annotations

import secrets
from pathlib import Path

from ..core.console import LEAST_TOKEN
from ..journal.once import made_once


def state_token(path: Path) -> str:
    """That of this file of the state folder, made at the first time. OSError where it can't be kept,
    ValueError where what is kept is no token."""
    return made_once(
        path, lambda kept: _token_in(kept) or None, lambda: f"{secrets.token_urlsafe(32)}\n".encode()
    )


def kept_token(path: Path) -> str:
    """ "": nothing stands in its file. OSError, ValueError."""
    return _token_in(path.read_bytes())


def _token_in(text: bytes) -> str:
    kept = text.strip()
    if not kept:
        return ""
    if not kept.isascii() or not kept.decode("ascii").isprintable():
        raise ValueError("it holds what is no text of one line; remove it, and there will be a new one")
    if len(kept) < LEAST_TOKEN:
        told = f"it holds {len(kept)} characters of at least {LEAST_TOKEN}"
        raise ValueError(f"{told}; remove it, and there will be a new one")
    return kept.decode("ascii")
