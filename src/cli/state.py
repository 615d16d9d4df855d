"""The state folder: what must survive a restart (the last good configuration, records, Envoy's log)."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import logging
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..core.errors import Misconfigured
from ..journal.once import made_once

log = logging.getLogger("modelbroker")

_KEY_BYTES = 32


@contextlib.contextmanager
def state_folder(
    given: Path | None, config: Path | str, role: str, patience_s: float = 0.0
) -> Iterator[Path]:
    """The folder, made if it is not there, and ours alone: two brokers would write over each other's records
    and last good configuration. Where none is given it follows from the configuration's path, and a second
    broker on the same configuration gets the next one. `role` is who asks: `up` and its own control plane
    are two. `patience_s`: for who has it and is about to end.
    """
    for folder in (given,) if given is not None else _defaults(config):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f"{role}.lock").open("a")
        except OSError as error:
            message = f"the state folder {folder} can't be used: {error.strerror}"
            raise Misconfigured(500, "state_dir", message) from None
        with file:
            if _lock(file, patience_s):
                yield folder
                return
    message = f"the state folder {given} is in use by another broker: give another --state-dir"
    raise Misconfigured(500, "state_dir", message)


def state_folder_of(given: Path | None, config: Path | str) -> Path:
    """Where a broker on this configuration keeps its state: the first one, where several run. Not locked."""
    return given if given is not None else next(_defaults(config))


def _defaults(config: Path | str) -> Iterator[Path]:
    """`~/.local/state/modelbroker/<name of the configuration>-<hash of its path>`, then `….2`, `….3` …; the
    same of a repository, by its place."""
    base = os.environ.get("XDG_STATE_HOME")
    path = config if isinstance(config, str) else str(config.absolute())
    short = Path(path.partition("#")[0]).name if isinstance(config, str) else config.absolute().name
    name = f"{short}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    first = (Path(base) if base else Path.home() / ".local" / "state") / "modelbroker" / name
    yield first
    for number in itertools.count(2):
        yield first.with_name(f"{name}.{number}")


def _lock(file: IO[str], patience_s: float) -> bool:
    until_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= until_s:
                return False
        time.sleep(0.05)


def call_key(state_dir: Path) -> bytes:
    """The key that seals what calls carry from one attempt to the next: kept, so that calls under way outlive
    the control plane. Where it can't be kept it is good for as long as this process."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        return made_once(
            state_dir / "call.key",
            lambda kept: kept if len(kept) == _KEY_BYTES else None,
            lambda: secrets.token_bytes(_KEY_BYTES),
        )
    except OSError as error:
        log.warning("the key of calls under way can't be kept in %s: %s", state_dir, error.strerror)
    return secrets.token_bytes(_KEY_BYTES)
