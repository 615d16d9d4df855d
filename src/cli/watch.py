"""Edits of files, seen as they happen."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from watchfiles import Change, awatch

# It says every change that it sees, also of files that do not matter here.
logging.getLogger("watchfiles").setLevel(logging.WARNING)


# How long an edit may go unseen that no notification tells of: on a network file system, of a folder that was
# not there or was put in the place of another.
_POLL_MS = 1_000


async def watch(paths: Callable[[], Iterable[Path]]) -> AsyncIterator[None]:
    """One item at the start and whenever the content below one of `paths` may have changed: what is read
    after an item is not older than what the next one is compared with.

    Folders are watched rather than files: editors and Kubernetes replace files and swap symbolic
    links, and a watch on the old file would see nothing of that. `paths` is asked again after each item.
    """
    seen = None
    while True:
        watched = list(paths())
        folders = await asyncio.to_thread(_folders, watched)
        now = await asyncio.to_thread(_fingerprint, watched)
        if now != seen:
            seen = now
            yield
            continue
        async for _ in awatch(
            *folders,
            watch_filter=_filter(watched),
            recursive=False,
            debounce=50,
            step=10,
            rust_timeout=_POLL_MS,
            yield_on_timeout=True,
        ):
            now = await asyncio.to_thread(_fingerprint, watched)
            if now != seen:
                seen = now
                yield
            # A watch on a folder that was replaced sees nothing any more.
            if list(paths()) != watched or await asyncio.to_thread(_folders, watched) != folders:
                break


def _filter(paths: Iterable[Path]) -> Callable[[Change, str], bool]:
    """Only what can concern `paths`; Kubernetes swaps a link named `..data` for a whole folder."""
    files = {path.name for path in paths if not path.is_dir()} | {"..data"}
    folders = {str(path.resolve()) for path in paths if path.is_dir()}

    def concerns(_: Change, changed: str) -> bool:
        path = Path(changed)
        return path.name in files or str(path.parent.resolve()) in folders

    return concerns


def _folders(paths: Iterable[Path]) -> dict[str, tuple[int, int]]:
    """The folders to watch, with what tells them from others of the same name."""
    folders = {}
    for path in paths:
        folder = path if path.is_dir() else path.parent
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        with contextlib.suppress(OSError):
            stat = folder.stat()
            folders[str(folder)] = (stat.st_dev, stat.st_ino)
    return folders


def _fingerprint(paths: Iterable[Path]) -> str:
    """Of what the files are now: their names, and size and time or, for links, where they lead."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
        except OSError:
            files = [path]
        for file in files:
            try:
                stat = file.stat()
                digest.update(f"{file}|{stat.st_mtime_ns}|{stat.st_size}|{stat.st_ino}\n".encode())
            except OSError:
                digest.update(f"{file}|absent\n".encode())
    return digest.hexdigest()
