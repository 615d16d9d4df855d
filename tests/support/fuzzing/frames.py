"""HTTP/2 without TLS, by someone who means no good: frames made, and what the broker answers in frames."""

from __future__ import annotations

import random

from modelbroker.extproc import http2_frames as h2
from modelbroker.extproc.hpack import Decoder, HpackError, encode

from ..broker import KEY
from .jsons import VALID, fuzzed_body, tree_of, write
from .requests import NAMES, VALUES
from .sockets import Answer, Answers, Case, Heard, Request
from .verdict import judge_answer

PREFACE = h2.PREFACE
# Of a path that says nothing: an error may have either shape.
_ANY = Request("POST", "*", ())


def _head(r: random.Random, path: str) -> bytes:
    pairs = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"broker"),
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {KEY}".encode()),
    ]
    more = range(r.choice((0, 0, 1, 2, 5)))
    pairs += [(r.choice(NAMES).lower().encode(), r.choice(VALUES).encode("latin-1")) for _ in more]
    if r.random() < 0.2:
        at = r.randrange(len(pairs))
        odd = ((b":status", b"200"), (b":method", b"GET"), (b"", b""), (b"A", b"\r\nx: y"), (b":path", b""))
        pairs[at] = r.choice((*odd, pairs[0], (b":protocol", b"websocket"), (b"te", b"gzip")))
    return encode(pairs)


def _request(r: random.Random, stream: int) -> list[bytes]:
    path = r.choice(tuple(VALID))
    body = write(tree_of(r.choice(VALID[path]))) if r.random() < 0.5 else fuzzed_body(r, path)[:60_000]
    frames = [h2.frame(h2.HEADERS, h2.END_HEADERS, stream, _head(r, path))]
    while len(body) > 16_000:
        frames.append(h2.frame(h2.DATA, 0, stream, body[:16_000]))
        body = body[16_000:]
    return [*frames, h2.frame(h2.DATA, h2.END_STREAM, stream, body)]


def _odd_frame(r: random.Random) -> bytes:
    size = r.choice((0, 1, 4, 5, 8, 9, 100, 16_384, 16_385))
    kind, flags = r.choice((*range(10), 0x2F, 0xFF)), r.choice((0, 1, 4, 5, 8, 0x20, 0xFF))
    stream = r.choice((0, 0, 1, 1, 2, 3, 5, 7, 0x7FFFFFFF, 0xFFFFFFFF))
    payload = r.choice((r.randbytes(size), bytes(size), b"\xff" * size, b"\x82\x86\x84" * (size // 3)))
    return h2.frame(kind, flags, stream, payload)


def fuzzed_frames(r: random.Random, name: str) -> Case:
    frames = [h2.settings({}) if r.random() < 0.9 else _odd_frame(r)]
    for stream in (1, 3, 5)[: r.randrange(1, 4)]:
        frames += _request(r, stream)
    for _ in range(r.choice((0, 1, 1, 2, 5))):
        at = r.randrange(len(frames) + 1)
        match r.randrange(5):
            case 0 | 1:
                frames.insert(at, _odd_frame(r))
            case 2 if at < len(frames):
                del frames[at]
            case 3 if at < len(frames) and frames[at]:
                whole = bytearray(frames[at])
                whole[r.randrange(len(whole))] ^= 1 << r.randrange(8)
                frames[at] = bytes(whole)
            case _:
                frames.insert(at, r.randbytes(r.randrange(60)))
    return Case(name, (PREFACE + b"".join(frames),))


class Frames(Answers):
    """What an HTTP/2 connection said, stream by stream."""

    def __init__(self) -> None:
        super().__init__([])
        self._left = b""
        self._decoder = Decoder()
        self._streams: dict[int, Answer] = {}
        self._goaway = False

    @property
    def said_goodbye(self) -> bool:
        return self._goaway

    def feed(self, data: bytes) -> None:
        self._left += data
        while len(self._left) >= h2.HEAD_SIZE and not self.fault:
            high, low, kind, flags, stream = h2.HEAD.unpack_from(self._left)
            size = high << 8 | low
            end = h2.HEAD_SIZE + size
            if size > h2.DEFAULT_FRAME or kind > h2.CONTINUATION:
                self.fault = f"a frame that nobody asked for: {self._left[:60]!r}"
            if len(self._left) < end:
                return
            payload, self._left = self._left[h2.HEAD_SIZE : end], self._left[end:]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == h2.GOAWAY:
            self._goaway = True
        elif kind == h2.RST_STREAM:
            self._streams.pop(stream, None)
        elif kind in (h2.HEADERS, h2.DATA):
            answer = self._streams.setdefault(stream, Answer())
            if kind == h2.DATA:
                answer.body += payload
            else:
                self._head(answer, payload)
            if flags & h2.END_STREAM and answer.status >= 200:
                answer.whole = True
                self.found.append(answer)

    def _head(self, answer: Answer, payload: bytes) -> None:
        try:
            pairs = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in self._decoder.decode(payload)]
        except HpackError as error:
            self.fault = f"headers that can't be read: {error}"
            return
        answer.headers |= dict(pairs)
        answer.status = int(answer.headers.get(":status", "0"))


def judge_frames(case: Case, heard: Heard, answers: Answers) -> str:
    """ "" or what is wrong. A stream may be reset, and a connection be ended: HTTP/2's words for "not so"."""
    if heard.hangs:
        return "hangs: neither answered nor closed"
    if answers.fault:
        return f"the answer is not HTTP/2: {answers.fault}"
    return next((wrong for answer in answers.found if (wrong := judge_answer(answer, _ANY))), "")
