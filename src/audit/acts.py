"""The journal of acts, acts.jsonl in the state folder: a line for each, whether events are made of it or not.

The control plane writes it, and commands that run in processes of their own: each writes whole lines behind
a lock, and opens the file anew for them. Only the control plane turns files over, for it alone knows who has
not read them yet.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pwd
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ..core.acts import COMMAND, DONE, NO_DETAILS, Act, Detail
from ..core.ids import RANDOM_BYTES, request_id_of
from ..journal.writing import LineFile, Reader

log = logging.getLogger("modelbroker.audit")

ACTS = "acts.jsonl"
LOCK_NAME = "acts.lock"
FILE_BYTES = 16 << 20
_NEVER_TURNED = 1 << 62
_AGAIN_S = 1.0
_MOST_WAITING = 10_000


def new_act(
    word: str,
    *,
    actor: str,
    user: str = "",
    result: str = DONE,
    revision: str = "",
    details: Mapping[str, Detail] = NO_DETAILS,
) -> Act:
    """One of now."""
    at_ms = time.time_ns() // 1_000_000
    name = request_id_of(at_ms, secrets.token_bytes(RANDOM_BYTES))
    return Act(name, at_ms, word, actor, user, result, revision, dict(details))


def user_named(uid: int) -> str:
    """By the system, never by the environment, which anybody may set; the number where it has no name."""
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def os_user() -> str:
    """Who runs this process."""
    return user_named(os.getuid())


def tell(folder: Path, word: str, details: Mapping[str, Detail]) -> bool:
    """By a command in a process of its own. False where there is no such folder, or no room in it."""
    if not folder.is_dir():
        return False
    with _locked(folder) as is_ours:
        lines = LineFile(folder / ACTS, _NEVER_TURNED)
        act = new_act(word, actor=COMMAND, user=os_user(), details=details)
        with contextlib.closing(lines):
            return is_ours and lines.write(_encoded([act])) is not None


Finish = Callable[[Act], Iterable[Act]]


class ActWriter:
    """`put` never waits: a thread writes. What has no room on the disk is tried again. Where it takes time to
    say what an act was, `finish` makes it whole in that thread, or gives others in its place, or none."""

    def __init__(self, folder: Path, readers: Mapping[str, Reader]) -> None:
        self._folder = folder
        self._lines = LineFile(folder / ACTS, FILE_BYTES, readers)
        self._waiting: queue.Queue[tuple[Act, Finish | None] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="acts", daemon=True)
        self._thread.start()

    def put(self, act: Act, finish: Finish | None = None) -> None:
        try:
            self._waiting.put_nowait((act, finish))
        except queue.Full:
            log.error("an act is not in %s, for %d wait: %s", ACTS, _MOST_WAITING, act.act)

    def close(self, patience_s: float) -> None:
        """Write what waits, for so long."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=patience_s)
            self._thread.join(patience_s)

    def _run(self) -> None:
        kept: list[Act] = []
        while True:
            with contextlib.suppress(queue.Empty):
                said = self._waiting.get(timeout=_AGAIN_S if kept else None)
                if said is None:
                    break
                kept += _finished(*said)
                if not self._waiting.empty():
                    continue
            if self._write(kept):
                kept = []
        self._write(kept)

    def _write(self, acts: Sequence[Act]) -> bool:
        if not acts:
            return True
        try:
            with _locked(self._folder) as is_ours, contextlib.closing(self._lines):
                return is_ours and self._lines.write(_encoded(acts)) is not None
        except Exception:
            log.exception("acts were not written")
            return True


def _finished(act: Act, finish: Finish | None) -> list[Act]:
    try:
        return list(finish(act)) if finish is not None else [act]
    except Exception:  # that it was done is told all the same
        log.exception("more is not known of the act %s", act.act)
        return [act]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Who writes has this; False where it can't be had."""
    try:
        file = (folder / LOCK_NAME).open("a")
    except OSError as error:
        log.error("acts can't be written to %s: %s", folder, error.strerror)
        yield False
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield True


def _encoded(acts: Sequence[Act]) -> bytes:
    return msgspec.json.Encoder().encode_lines(acts)
