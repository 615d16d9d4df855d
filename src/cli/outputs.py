"""What commands leave behind: files that are whole, or not there at all, and word of what they did."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from ..audit.acts import tell
from ..core.acts import Detail
from ..core.catalog import Catalog
from ..core.errors import Misconfigured
from .printed import exported
from .state import state_folder_of


def tell_of(
    catalog: Catalog, config: Path, state_dir: Path | None, word: str, details: Mapping[str, Detail]
) -> None:
    """What this command has done to the broker's data, in its journal of acts. Where no broker keeps one
    here, but events are wanted, that is said."""
    folder = state_folder_of(state_dir, config)
    if not tell(folder, word, details) and catalog.audit.is_on:
        why = f"this is in no audit event, for there is no state folder {folder}: say --state-dir"
        print(f"warning: {why}", file=sys.stderr)


@contextlib.contextmanager
def written(out: str, *, private: bool = False) -> Iterator[IO[bytes]]:
    """`out` is a path, or `-` for standard output, where a terminal gets what is printable. A file takes its
    place when it is whole; `private`: for its user alone. A device or a pipe is written to as it stands: it
    is nobody's to replace.

    Raises Misconfigured where that can't be done."""
    if out == "-":
        file = exported()
        yield file
        file.flush()
        return
    path = Path(os.path.realpath(out))  # also what a link leads to stays where it is
    if path.is_dir():
        raise Misconfigured(500, "no_export", f"{out} is a folder: give a file, or - for standard output")
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        fresh = path.with_name(f".{path.name}.part")
        try:
            fresh.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(fresh, flags, 0o600 if private else 0o666), "wb") as file:
                yield file
            fresh.replace(path)
        finally:  # half of it stays nowhere
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise Misconfigured(500, "no_export", f"{out} can't be written: {error.strerror}") from None
