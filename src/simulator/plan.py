"""A plan: the steps by which an answer, faults woven in, goes onto a connection. Pure; the shell obeys it."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .script import Fault

_WBITS = {"gzip": 31, "deflate": 15}
_NO_JSON = b"<html><body>upstream connect error or disconnect</body></html> \xff\xfe{"
_NO_EVENT = b"\x00\xff\xfe<html>this is no event</html>\r\n{{\n\n"
_NO_HTTP = b"\x16\x03\x01\x00\x2f not http at all \x00\xff\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers; `length` is the content-length in bytes, None for a chunked body."""

    status: int
    headers: list[tuple[str, str]]
    length: int | None


@dataclass(frozen=True, slots=True)
class Data:
    """Body bytes, framed by the shell and written on their own."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes put on the wire as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing for so many milliseconds."""

    ms: float


@dataclass(frozen=True, slots=True)
class End:
    """The proper end of the body."""


@dataclass(frozen=True, slots=True)
class Close:
    """The connection closed with a FIN, whatever was promised."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection reset with an RST."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Silence until the client goes away."""


Step = Head | Data | Raw | Wait | End | Close | Reset | Stall


@dataclass(slots=True)
class Outgoing:
    """A whole answer before faults: `pieces` is the one body, or the events of a stream.

    A stream goes out in writes of `split_bytes`, one an event where that is None.
    """

    status: int
    headers: list[tuple[str, str]]
    pieces: list[bytes]
    stream: bool = False
    ping: bytes = b": ping\n\n"
    split_bytes: int | None = None


def weave(out: Outgoing, fault: Fault | None, failure: list[bytes]) -> list[Step]:
    """The steps that send `out` and show `fault`; `failure` is what error_event says instead."""
    steps = _weave(out, fault, failure)
    if not out.stream or out.split_bytes is None:
        return steps
    return list(_split(steps, out.split_bytes))


def _split(steps: Iterable[Step], size: int) -> Iterator[Step]:
    """Events that follow one another at once are one run of bytes, cut wherever the size falls."""
    run = b""
    for step in steps:
        if isinstance(step, Data):
            run += step.data
            continue
        yield from (Data(run[at : at + size]) for at in range(0, len(run), size))
        run = b""
        yield step


def _weave(out: Outgoing, fault: Fault | None, failure: list[bytes]) -> list[Step]:
    if fault is None:
        length = None if out.stream else sum(map(len, out.pieces))
        return [Head(out.status, out.headers, length), *map(Data, out.pieces), End()]
    before: list[Step] = [Wait(fault.delay_headers_ms)] if fault.delay_headers_ms else []
    if fault.reset in ("before-headers", "on-accept"):  # on-accept by header comes too late to be earlier
        return [*before, Reset()]
    if fault.stall == "before-headers":
        return [*before, Stall()]
    if fault.garbage == "not-http":
        return [*before, Raw(_NO_HTTP), Close()]
    headers = _with_headers(out.headers, fault)
    if out.stream:
        after = [Head(out.status, headers, None), *_events(out, fault, failure)]
        return before + (list(_squeeze(after, fault.compress)) if fault.compress else after)
    return before + _whole(out, fault, headers, failure)


def _with_headers(headers: list[tuple[str, str]], fault: Fault) -> list[tuple[str, str]]:
    own = [(name.lower(), value) for name, value in fault.headers.items()]
    names = {name for name, _ in own}
    encoding = [("content-encoding", fault.compress)] if fault.compress else []
    return [pair for pair in headers if pair[0] not in names] + own + encoding


def _lead(out: Outgoing, fault: Fault) -> Iterator[Step]:
    """What lies between the headers and the first event: a wait, with pings spread over it."""
    share = fault.delay_first_event_ms / (fault.pings + 1)
    for _ in range(fault.pings if out.stream else 0):
        if share:
            yield Wait(share)
        yield Data(out.ping)
    if fault.delay_first_event_ms:
        yield Wait(share if out.stream else fault.delay_first_event_ms)


def _events(out: Outgoing, fault: Fault, failure: list[bytes]) -> list[Step]:
    steps = list(_lead(out, fault))
    ends = _ending(fault)
    if ends is None and not fault.error_event and fault.garbage is None:
        return [*steps, *_paced(out.pieces, fault.token_delay_ms), End()]
    after_headers = "after-headers" in (fault.reset, fault.stall)
    count = 0 if after_headers else events_before(fault)
    steps += _paced(out.pieces[:count], fault.token_delay_ms)
    if fault.error_event:
        return [*steps, *map(Data, failure), End()]
    if fault.garbage is not None:
        return [*steps, Data(_NO_EVENT), End()]
    return [*steps, ends or End()]


def events_before(fault: Fault) -> int:
    """How many events of a stream go out before the fault: none before an error or garbage, else one."""
    if fault.after_events is not None:
        return fault.after_events
    return 0 if fault.error_event or fault.garbage else 1


def _ending(fault: Fault) -> Step | None:
    if fault.reset:
        return Reset()
    if fault.stall:
        return Stall()
    if fault.cut:
        return End() if fault.cut == "end" else Close()
    return None


def _paced(pieces: Iterable[bytes], delay_ms: float) -> Iterator[Step]:
    for number, piece in enumerate(pieces):
        if delay_ms and number:
            yield Wait(delay_ms)
        yield Data(piece)


def _whole(out: Outgoing, fault: Fault, headers: list[tuple[str, str]], failure: list[bytes]) -> list[Step]:
    body = b"".join(out.pieces)
    if fault.error_event:
        body = b"".join(failure)
    elif fault.garbage is not None:
        body = _NO_JSON
    if fault.compress:
        squeeze = zlib.compressobj(wbits=_WBITS[fault.compress])
        body = squeeze.compress(body) + squeeze.flush()
    lead = list(_lead(out, fault))
    ends = _ending(fault)
    if ends is None:
        return [Head(out.status, headers, len(body)), *lead, Data(body), End()]
    if "after-headers" in (fault.reset, fault.stall):
        return [Head(out.status, headers, len(body)), *lead, ends]
    # A body that ends properly though half is missing cannot have promised its length.
    length = None if fault.cut == "end" else len(body)
    return [Head(out.status, headers, length), *lead, Data(body[: len(body) // 2]), ends]


def _squeeze(steps: Iterable[Step], how: str) -> Iterator[Step]:
    squeeze = zlib.compressobj(wbits=_WBITS[how])
    for step in steps:
        if isinstance(step, Data):
            # Flushed at every event, so that compression delays none of them.
            yield Data(squeeze.compress(step.data) + squeeze.flush(zlib.Z_SYNC_FLUSH))
            continue
        if isinstance(step, End):
            yield Data(squeeze.flush())
        yield step
