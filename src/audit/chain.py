"""The chain of events: lines of JSON, each with the hash of the line before it. Pure; docs/audit.md tells
others how to verify it.

`{"seq": 17, "prev": "<SHA-256 of line 16, in hex>", "src": […], "event": {…}}`

A line's hash is over its exact bytes, without the newline. A **checkpoint** is a line with `checkpoint` and,
as its last field, `sig`: an Ed25519 signature, in hex, over the line's bytes as they were before
`,"sig":"…"` was put in front of the closing brace. Lines stand in segments, files that are named by the `seq`
of their first line, which is a checkpoint that says `opens`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ..core.acts import AUDIT_CHECKPOINT, AUDIT_EXPIRED
from .events import Event

FORMAT = 1
BEFORE_FIRST = "0" * 64
SUFFIX = ".jsonl"
_NAME_DIGITS = 15
_SIG = b',"sig":"'
_SIG_END = b'"}'
# Which journal a line came from, which of its files, and where in it the next line begins.
Source = tuple[str, str, int]


class Checkpoint(msgspec.Struct, frozen=True):
    """`chain`: the chain's id; `key`: the public key, in hex; `positions`: how far each journal is in the
    chain: (file, bytes); `opens`: it is a segment's first line."""

    chain: str
    key: str
    positions: dict[str, tuple[str, int]]
    opens: bool = False
    format: int = FORMAT


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    seq: int
    prev: str
    event: Event
    src: Source | None = None
    checkpoint: Checkpoint | None = None
    sig: str = ""


class Link(msgspec.Struct, frozen=True):
    """What of a line holds it in the chain."""

    seq: int
    prev: str
    checkpoint: Checkpoint | None = None


class _Acted(msgspec.Struct, frozen=True):
    act: str = ""
    details: dict[str, Any] = {}


class _Told(msgspec.Struct, frozen=True):
    event: _Acted


class _Out(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line in the order in which it is written."""

    seq: int
    prev: str
    src: Source | None = None
    event: Event | None = None
    checkpoint: Checkpoint | None = None


_ENCODER = msgspec.json.Encoder()
_LINKS = msgspec.json.Decoder(Link)
_LINES = msgspec.json.Decoder(Line)
_TOLD = msgspec.json.Decoder(_Told)


def digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def line_of(seq: int, prev: str, event: Event, source: Source) -> bytes:
    return _ENCODER.encode(_Out(seq, prev, source, event))


def own_line(seq: int, prev: str, event: Event) -> bytes:
    """Of what the chain says of itself."""
    return _ENCODER.encode(_Out(seq, prev, None, event))


def signed_line(
    seq: int, prev: str, event: Event, checkpoint: Checkpoint, sign: Callable[[bytes], bytes]
) -> bytes:
    body = _ENCODER.encode(_Out(seq, prev, None, event, checkpoint))
    return body[:-1] + _SIG + sign(body).hex().encode() + _SIG_END


def read(line: bytes) -> Line:
    """ValueError where it is none (msgspec's)."""
    return _LINES.decode(line)


def segment_name(first: int) -> str:
    return f"{first:0{_NAME_DIGITS}d}{SUFFIX}"


def first_of(name: str) -> int | None:
    """The first line of the segment in a file of this name; None: it is no segment."""
    digits = name.removesuffix(SUFFIX)
    is_one = name.endswith(SUFFIX) and digits.isdecimal() and name == segment_name(int(digits))
    return int(digits) if is_one else None


def signature(line: bytes) -> tuple[bytes, bytes] | None:
    """(what was signed, the signature); None: there is none, or it is spelled otherwise than we do."""
    body, separator, rest = line.rpartition(_SIG)
    digits = rest.removesuffix(_SIG_END)
    if not separator or len(rest) - len(digits) != len(_SIG_END):
        return None
    try:
        made = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return None
    return (body + b"}", made) if made.hex().encode() == digits else None


@dataclass(frozen=True, slots=True)
class Wrong:
    """`line` counts from 1; 0: the file as a whole, or what is not there."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}" if place else self.what


class Verifier:
    """Files are begun in the order of their names, and given line by line; `end` says what is missing.

    `is_signed(key, signature, data)` checks a signature, key in hex. `keys` are those that are trusted; none:
    those of the chain itself, which are in `seen_keys`. `known` are checkpoints, seq → line, that somebody
    kept elsewhere. `wrong` has the first `most` of what is found, `found` counts all."""

    def __init__(
        self,
        is_signed: Callable[[str, bytes, bytes], bool],
        keys: Collection[str] = (),
        known: Mapping[int, bytes] | None = None,
        most: int = 100,
    ) -> None:
        self._is_signed, self._keys, self._most = is_signed, frozenset(keys), most
        self._known = dict(known or {})
        self._file, self._first = "", 0
        self._seq: int | None = None  # of the line before
        self._hash = ""
        self._chain = ""
        self._begins = 0  # the chain's first line that is here
        self._expired = 0  # up to here lines were taken away by the broker, as the chain says
        self._at = "", 0  # where the line before is
        self._sits_at_start = False
        self.events = self.found = self.checkpoints = self.unsigned = 0
        self.signed_to = 0
        self.seen_keys: dict[str, int] = {}  # key → the first line that it signed
        self.wrong: list[Wrong] = []

    @property
    def head(self) -> tuple[int, str]:
        return self._seq or 0, self._hash

    def begin_file(self, name: str, first: int) -> None:
        if self._sits_at_start:
            self._note(0, "holds no line")
        self._file, self._first, self._sits_at_start = name, first, True

    def line(self, number: int, raw: bytes) -> None:
        """Without its newline."""
        self._take(number, raw)
        self._at = self._file, number

    def _take(self, number: int, raw: bytes) -> None:
        self.events += 1
        opens, self._sits_at_start = self._sits_at_start, False
        try:
            link = _LINKS.decode(raw)
        except ValueError:
            self._note(number, "is no line of a chain: it was changed, or does not belong here")
            # What comes behind is held against what this was to be.
            self._seq, self._hash = (self._seq or self._first - 1) + 1, digest(raw)
            return
        if self._seq is None:
            self._begins = link.seq
        else:
            self._check_order(number, link)
        if link.checkpoint is not None:
            self._check_signature(number, link, link.checkpoint, raw)
        elif opens:
            self._note(number, "the file does not begin with its opening checkpoint: lines are missing")
        else:
            self.unsigned += 1
        if opens and link.seq != self._first:
            self._note(number, f"the file begins with event {link.seq}, and is named for {self._first}")
        if link.checkpoint is None and b'"' + AUDIT_EXPIRED.encode() + b'"' in raw:
            self._check_expiry(raw)
        kept = self._known.pop(link.seq, None)
        if kept is not None and kept != raw:
            self._note(number, f"event {link.seq} is not the checkpoint that was kept elsewhere")
        self._seq, self._hash = link.seq, digest(raw)

    def end(self) -> None:
        if self._sits_at_start:
            self._note(0, "holds no line")
        if self._begins > 1 and self._begins > self._expired + 1:
            missing = f"events up to {self._begins - 1} are missing, and the chain tells"
            self._wrong(Wrong("", 0, f"{missing} of {self._expired} that the broker took away"))
        for seq in sorted(self._known):
            if seq <= self._expired and seq < self._begins:
                continue
            gone = f"event {seq}, a checkpoint that was kept elsewhere, is missing"
            self._wrong(Wrong("", 0, f"{gone}: the end of the chain was cut"))

    # -- one line

    def _check_order(self, number: int, link: Link) -> None:
        expected = (self._seq or 0) + 1
        if link.seq != expected:
            if link.seq > expected:
                last = link.seq - 1
                some = f"event {last} is" if last == expected else f"events {expected} to {last} are"
                self._note(number, f"{some} missing before event {link.seq}")
            elif link.seq == self._seq:
                self._note(number, f"event {link.seq} stands twice")
            else:
                self._note(number, f"event {link.seq} stands behind event {self._seq}: they were reordered")
        elif link.prev != self._hash:
            what = (
                f"event {expected - 1} is not the one that event {expected} was chained to: one was changed"
            )
            self._wrong(Wrong(*self._at, what))

    def _check_signature(self, number: int, link: Link, said: Checkpoint, raw: bytes) -> None:
        self.checkpoints += 1
        self._chain = self._chain or said.chain
        found = signature(raw)
        if said.format != FORMAT:
            self._note(number, f"has the form {said.format} of a chain, which this version does not know")
        elif said.chain != self._chain:
            self._note(number, "is a checkpoint of another chain")
        elif self._keys and said.key not in self._keys:
            self._note(number, f"is signed with the key {said.key}, which is not the one that was given")
        elif found is None or not self._is_signed(said.key, found[1], found[0]):
            self._note(number, f"the signature of checkpoint {link.seq} is not good: it was changed")
        else:
            self.signed_to, self.unsigned = link.seq, 0
            self.seen_keys.setdefault(said.key, link.seq)

    def _check_expiry(self, raw: bytes) -> None:
        try:
            told = _TOLD.decode(raw).event
        except ValueError:
            return
        through = told.details.get("through_seq")
        if told.act == AUDIT_EXPIRED and isinstance(through, int):
            self._expired = max(self._expired, through)

    def _note(self, number: int, what: str) -> None:
        self._wrong(Wrong(self._file, number, what))

    def _wrong(self, wrong: Wrong) -> None:
        self.found += 1
        if len(self.wrong) < self._most:
            self.wrong.append(wrong)


def is_checkpoint(line: Line) -> bool:
    return line.event.act == AUDIT_CHECKPOINT
