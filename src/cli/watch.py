"""Edits of files, seen as they happen."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from watchfiles import Change, awatch

# It says every change that it sees, also of files that do not matter here.
logging.getLogger("watchfiles").setLevel(logging.WARNING)


async def watch(paths: Callable[[], Iterable[Path]]) -> AsyncIterator[None]:
    """One item whenever the content below one of `paths` may have changed.

    Folders are watched rather than files: editors and Kubernetes replace files and swap symbolic
    links, and a watch on the old file would see nothing of that. `paths` is asked again after each item.
    """
    seen = _fingerprint(paths())
    while True:
        watched = list(paths())
        folders = {str(folder) for path in watched if (folder := _folder(path)).is_dir()}
        # The time-out is for what no notification tells: network file systems, a path that was not there.
        async for _ in awatch(
            *folders,
            watch_filter=_filter(watched),
            recursive=False,
            debounce=50,
            step=10,
            rust_timeout=2_000,
            yield_on_timeout=True,
        ):
            now = await asyncio.to_thread(_fingerprint, watched)
            if now != seen:
                seen = now
                yield
                if {str(_folder(path)) for path in paths()} != {str(_folder(path)) for path in watched}:
                    break
                watched = list(paths())


def _filter(paths: Iterable[Path]) -> Callable[[Change, str], bool]:
    """Only what can concern `paths`; Kubernetes swaps a link named `..data` for a whole folder."""
    files = {path.name for path in paths if not path.is_dir()} | {"..data"}
    folders = {str(path.resolve()) for path in paths if path.is_dir()}

    def concerns(_: Change, changed: str) -> bool:
        path = Path(changed)
        return path.name in files or str(path.parent.resolve()) in folders

    return concerns


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _fingerprint(paths: Iterable[Path]) -> str:
    """Of what the files are now: their names, and size and time or, for links, where they lead."""
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            try:
                stat = file.stat()
                digest.update(f"{file}|{stat.st_mtime_ns}|{stat.st_size}|{stat.st_ino}\n".encode())
            except OSError:
                digest.update(f"{file}|absent\n".encode())
    return digest.hexdigest()
