"""What stands in a file of the state folder once and for all, made by whoever wants it first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

Kept = TypeVar("Kept")


def made_once(path: Path, parsed: Callable[[bytes], Kept | None], make: Callable[[], bytes]) -> Kept:
    """What stands there, as `parsed` has it; where that is None, or there is no file, what `make` gives
    stands there from now on. Of several processes that begin at once all get the same. Nobody else may read
    it. OSError, and what `parsed` raises."""
    if (kept := _kept(path, parsed)) is not None:
        return kept
    with _alone(path.parent):
        if (kept := _kept(path, parsed)) is None:
            made = make()
            _write(path, made)
            kept = parsed(made)
    if kept is None:
        raise ValueError(f"{path}: what is made for it does not hold")
    return kept


def _kept(path: Path, parsed: Callable[[bytes], Kept | None]) -> Kept | None:
    with contextlib.suppress(FileNotFoundError):
        return parsed(path.read_bytes())
    return None


def _write(path: Path, made: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


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
