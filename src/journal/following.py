"""Followers of a journal: each is a process of its own, a child of the control plane, that takes lines
elsewhere at its own pace, so that what it waits for never makes a call wait.

The first line of standard input are its settings (JSON; they may hold a password, which no command line
should); standard output has its reports, a line each. It ends when standard input does: then it catches up
for a bounded time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from .once import made_once
from .reports import ENDS_WITHIN_S, Report

ID_NAME = "ledger.id"
_NICE = 5
_POLL_S = 0.2
_REPORT_EVERY_S = 1.0
_SAY_EVERY_S = 60.0
_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.5, 10.0


class Follower(Protocol):
    """`step` does one piece of work, and says whether there may be more. Nothing is lost by an error for
    which `why_to_wait` has words (None: it is no such error, but a bug): after `disconnect` the next step
    begins where the last whole one ended."""

    def step(self) -> bool: ...

    def why_to_wait(self, error: Exception) -> str | None:
        """Without secrets."""

    def disconnect(self) -> None: ...

    def report(self, error: str = "") -> Report: ...

    def close(self) -> None: ...


def source_of(folder: Path) -> str:
    """The id of a state folder, made at the first time."""
    return made_once(
        folder / ID_NAME,
        lambda kept: kept.decode("ascii").strip() or None,
        lambda: secrets.token_hex(8).encode(),
    )


@contextlib.contextmanager
def locked(path: Path, *, waits: bool) -> Iterator[bool]:
    """One follower of a kind a journal, by this file; False where another one has it and this one does not
    wait."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except OSError:
            yield False
            return
        yield True


def follow(
    follower: Follower,
    ending: threading.Event,
    say: Callable[[Report], None],
    what: str,
    log: logging.Logger,
    *,
    catches_up: bool = True,
) -> None:
    """Until `ending` is set, and then, where it `catches_up`, for as long as there is more to take. `what` it
    is, as the log names it."""
    backoff_s, said_s, told_s, wrong = _BACKOFF_FIRST_S, 0.0, 0.0, ""
    while True:
        is_last_look = ending.is_set()
        if is_last_look and not catches_up:
            return
        try:
            more = follower.step()
        except Exception as error:
            why = follower.why_to_wait(error)
            if why is None:
                raise
            follower.disconnect()
            if why != wrong or time.monotonic() - said_s > _SAY_EVERY_S:
                log.error("%s waits, records stay in the journal: %s", what, why)
                wrong, said_s = why, time.monotonic()
            say(follower.report(why))
            if ending.wait(backoff_s):
                return
            backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)
            continue
        if wrong:
            log.warning("%s goes on", what)
        backoff_s, was_wrong, wrong = _BACKOFF_FIRST_S, wrong, ""
        if was_wrong or not more or time.monotonic() - told_s > _REPORT_EVERY_S:
            say(follower.report())
            told_s = time.monotonic()
        if not more:
            if is_last_look:
                return
            ending.wait(_POLL_S)


def begun() -> bytes:
    """As every child of the control plane does at first; the line of its settings."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the control plane, which ends this
    os.nice(_NICE)  # calls go first
    logging.basicConfig(
        level=sys.argv[1] if len(sys.argv) > 1 else "INFO",
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    return _first_line()


def run(
    begin: Callable[[bytes], Follower],
    lock_of: Callable[[bytes], Path],
    what: str,
    log: logging.Logger,
    *,
    catches_up: bool = True,
) -> int:
    """A follower's process, from its beginning to its end. `begin` makes it of the settings' line, `lock_of`
    says which file only one of its kind may have at a time. One that passes over what the next one may want
    `catches_up` with nothing when it is to end."""
    settings = begun()
    ending, last = threading.Event(), [b""]
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    threading.Thread(target=_end_with_input, args=(ending,), daemon=True).start()

    def say(report: Report) -> None:
        if (line := msgspec.json.encode(report) + b"\n") != last[0]:
            last[0] = line
            with contextlib.suppress(BrokenPipeError):
                os.write(1, line)

    with locked(lock_of(settings), waits=True), contextlib.closing(begin(settings)) as follower:
        follow(follower, ending, say, what, log, catches_up=catches_up)
    return 0


def _end_with_input(ending: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    ending.set()
    time.sleep(ENDS_WITHIN_S)  # whoever it waits for must not keep this process
    os._exit(0)


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line
