"""Tokens that the broker makes itself, for whoever may read its state folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..core.console import LEAST_TOKEN


def state_token(path: Path) -> str:
    """That of this file of the state folder, made at the first time. OSError where it can't be kept,
    ValueError where what is kept is no token."""
    return _kept_if_any(path) or _made_token(path)


def _kept_if_any(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return kept_token(path)
    return ""


def kept_token(path: Path) -> str:
    """ "": nothing stands in its file. OSError, ValueError."""
    kept = path.read_bytes().strip()
    if not kept:
        return ""
    if not kept.isascii() or not kept.decode("ascii").isprintable():
        raise ValueError("it holds what is no text of one line; remove it, and there will be a new one")
    if len(kept) < LEAST_TOKEN:
        told = f"it holds {len(kept)} characters of at least {LEAST_TOKEN}"
        raise ValueError(f"{told}; remove it, and there will be a new one")
    return kept.decode("ascii")


def _made_token(path: Path) -> str:
    """Of several processes that begin at once all get the same."""
    with _alone(path.parent):
        if kept := _kept_if_any(path):
            return kept
        made = secrets.token_urlsafe(32)
        handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # nobody else may read it
        fresh = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{made}\n")
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        return made


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else is here meanwhile, on disks that know locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
