"""`modelbroker audit`: the chain on the disk, asked and verified without its broker."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..audit.chain import Line, Verifier, read
from ..audit.events import CALL, Event
from ..audit.keys import check_can_sign, is_signed, read_public_key
from ..audit.query import events
from ..audit.sending import encoded
from ..audit.store import FOLDER, segments
from ..core.acts import By
from ..core.errors import Misconfigured
from .ledger_access import Progress, moment
from .outputs import written
from .printed import printed
from .spend import money
from .state import state_folder_of
from .status_table import aligned

_HEAD = ("AT", "WHAT", "WHO", "ON", "OUTCOME", "CODE", "COST", "ID")
_AT_ONCE = 500  # rows of a table whose columns are as wide as the widest of them
_MOST_LETTERS = 80  # of a name that a client made up


def chain_folder(config: Path | None, state_dir: Path | None) -> Path:
    """Misconfigured where there is no chain."""
    if config is None and state_dir is None:
        raise Misconfigured(500, "no_audit", "say which broker's events: --config PATH or --state-dir DIR")
    state = state_dir if config is None else state_folder_of(state_dir, config)
    folder = (state or Path()) / FOLDER
    try:
        if segments(folder):
            return folder
        why = "has none: does the configuration have the section `audit`, and did its broker run?"
    except OSError as error:
        why = f"can't be read: {error.strerror}"
    raise Misconfigured(500, "no_audit", f"there are no audit events: {folder} {why}")


# -- verify


def print_verified(folder: Path, keys: Sequence[str], kept: Sequence[Path], format: str) -> int:
    """0: all is well; 1: something was found."""
    check_can_sign()
    trusted = [_key(text) for text in keys]
    known = {seq: line for path in kept for seq, line in _kept(path)}
    verifier = Verifier(is_signed, trusted, known)
    try:
        torn = verified(folder, verifier)
    except FileNotFoundError as error:  # it was too old meanwhile
        message = (
            f"{error.filename} went while the chain was read, for its events are too old: verify it again"
        )
        raise Misconfigured(500, "no_audit", message) from None
    if format == "json":
        print(json.dumps(_told(verifier, torn)))
    else:
        print("\n".join(_lines(verifier, torn, bool(trusted))))
    return 1 if verifier.found else 0


def verified(folder: Path, verifier: Verifier) -> str:
    """Give all of it to the verifier; the name of a file whose last line is not whole, "" where there is
    none: of all but the newest file that is wrong."""
    progress, there, torn = Progress(), segments(folder), ""
    for at, (first, path) in enumerate(there):
        verifier.begin_file(path.name, first)
        number, last = 0, b"\n"
        with path.open("rb") as file:
            for number, last in enumerate(file, 1):
                if last.endswith(b"\n"):
                    verifier.line(number, last[:-1])
        if not last.endswith(b"\n"):
            if at + 1 < len(there):
                verifier.line(number, last)
            else:
                torn = path.name
        progress(at + 1, len(there))
    progress.end()
    verifier.end()
    return torn


def _lines(verifier: Verifier, torn: str, are_trusted: bool) -> Iterator[str]:
    for wrong in verifier.wrong:
        yield f"WRONG {wrong}"
    if verifier.found > len(verifier.wrong):
        yield f"WRONG … and {verifier.found - len(verifier.wrong)} more"
    seq, head = verifier.head
    result = f"{verifier.found} wrong" if verifier.found else "nothing is wrong"
    yield f"{verifier.events} events up to {seq}, {verifier.checkpoints} checkpoints: {result}"
    yield f"the head is {head}"
    if verifier.unsigned:
        yield f"{verifier.unsigned} events behind the last good checkpoint are not signed yet"
    if torn:
        yield f"the last line of {torn} is not whole: of a kill, or it is being written; a start mends it"
    for key, first in verifier.seen_keys.items():
        yield f"signed with the key {key}, from event {first} on"
    if not are_trusted:
        yield "the key is what the chain itself says: give the one that you know with --public-key"


def _told(verifier: Verifier, torn: str) -> dict[str, object]:
    seq, head = verifier.head
    return {
        "good": not verifier.found,
        "events": verifier.events,
        "checkpoints": verifier.checkpoints,
        "head": {"seq": seq, "hash": head},
        "unsigned": verifier.unsigned,
        "torn": torn or None,
        "keys": [{"key": key, "first_seq": first} for key, first in verifier.seen_keys.items()],
        "wrong": [asdict(one) for one in verifier.wrong],
        "found": verifier.found,
    }


def _key(text: str) -> str:
    path = Path(text)
    try:
        return read_public_key(path.read_text(encoding="utf-8") if path.is_file() else text)
    except (OSError, ValueError) as error:
        raise Misconfigured(
            500, "audit_key", f"--public-key {text[:80]} {error}, or a file of them"
        ) from None


def _kept(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise Misconfigured(500, "no_file", f"{path} can't be read: {error.strerror}") from None
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        kept = _as_sent(raw)
        try:
            line = read(kept)
        except ValueError:
            line = None
        if line is None or line.checkpoint is None:
            message = f"{path}:{number} is no checkpoint, as `modelbroker audit checkpoint` prints it"
            raise Misconfigured(500, "no_checkpoint", message)
        yield line.seq, kept


def _as_sent(raw: bytes) -> bytes:
    """The chain's line out of an event that a sink got."""
    with contextlib.suppress(ValueError, AttributeError):
        told = json.loads(raw)
        line = told.get("raw_data") or told.get("event", {}).get("original")
        if isinstance(line, str):
            return line.encode()
    return raw


# -- what is there


def print_events(
    folder: Path,
    since_ms: int,
    until_ms: int,
    where: Mapping[str, Sequence[str]],
    limit: int | None,
    format: str,
) -> int:
    found: Iterable[tuple[int, bytes, Line]] = events(folder, since_ms, until_ms, where)
    if limit is not None:
        found = deque(found, limit)
    if format == "json":
        for _, raw, _ in found:
            sys.stdout.buffer.write(printed(raw.decode()).encode() + b"\n")
        sys.stdout.buffer.flush()
        return 0
    count = 0
    rows: list[tuple[str, ...]] = [_HEAD]
    for _, _, line in found:
        count += 1
        rows.append(_row(line.event))
        if len(rows) > _AT_ONCE:
            _print(rows)
            rows = [_HEAD]
    if len(rows) > 1:
        _print(rows)
    print(f"{count} events" if count != 1 else "1 event", file=sys.stderr)
    return 0


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    print("\n".join(aligned(rows)))


def _row(event: Event) -> tuple[str, ...]:
    if event.kind != CALL:
        by = str(By(event.actor, event.user))
        name = event.details.get("name")
        on = str(name) if name not in (None, "") else "-"
        return _at(event), event.act, by, on, event.result, "-", "-", event.id
    cost = "?" if event.cost_nano is None else money(event.cost_nano, 0, 1) if event.cost_nano else "0"
    who = event.agent or event.caller or "-"
    on = event.member or event.pool or event.asked or "-"
    on = on if len(on) <= _MOST_LETTERS else f"{on[: _MOST_LETTERS - 1]}…"
    return _at(event), CALL, who, on, event.outcome, event.code or "-", cost, event.id


def _at(event: Event) -> str:
    return moment(event.at_ms, "milliseconds")


def export_events(
    folder: Path, since_ms: int, until_ms: int, where: Mapping[str, Sequence[str]], form: str, out: str
) -> int:
    progress, count = Progress(), 0
    with written(out, private=True) as file:
        for _, raw, line in events(folder, since_ms, until_ms, where):
            file.write(encoded(line, raw, form, __version__) + b"\n")
            count += 1
            progress.say(f"{count} events")
    progress.end()
    print(f"{count} events written", file=sys.stderr)
    return 0


def print_checkpoint(folder: Path) -> int:
    sys.stdout.buffer.write(_newest(folder) + b"\n")
    sys.stdout.buffer.flush()
    return 0


def print_key(folder: Path) -> int:
    said = read(_newest(folder)).checkpoint
    print(said.key if said is not None else "")
    return 0


def _newest(folder: Path) -> bytes:
    """The last checkpoint's line. Each segment has one, its first."""
    for _, path in reversed(segments(folder)):
        found = b""
        with path.open("rb") as file:
            for raw in file:
                if b'"checkpoint":{' in raw and raw.endswith(b"\n"):
                    found = raw[:-1]
        if found:
            return found
    raise Misconfigured(500, "no_checkpoint", f"{folder} has no checkpoint")
