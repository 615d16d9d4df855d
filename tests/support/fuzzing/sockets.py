"""Bytes to the listener and back, with no HTTP library in between that would refuse to send them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import h11

# A case that has not ended by then hangs, on a busy machine too. What it may take in truth is LIMIT_S: see
# `run_all`.
PATIENCE_S = 30.0
LIMIT_S = 1.0
_MAX_HEAD = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request as h11 reads it: what of a case is certainly HTTP."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Case:
    """What one connection sends: `pieces` one by one, then, with `ends`, the end of our side. With `stays`
    we only wait from then on, whether an answer is due or not."""

    name: str
    pieces: tuple[bytes, ...]
    ends: bool = False
    stays: bool = False
    patience_s: float = PATIENCE_S

    @property
    def sent(self) -> bytes:
        return b"".join(self.pieces)

    def __str__(self) -> str:
        end = ", and then the end of our side" if self.ends else ""
        return f"{self.name}: {[piece[:3000] for piece in self.pieces]!r}{end}"


@dataclass(slots=True)
class Heard:
    """What came back. `end`: "fin" or "reset" where the broker closed, "" where we did."""

    received: bytes = b""
    end: str = ""
    seconds: float = 0.0
    hangs: bool = False


@dataclass(slots=True)
class Answer:
    """One final response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False


def requests_in(sent: bytes) -> tuple[list[Request], str]:
    """The requests that `sent` certainly holds, and what follows them: "end", "more" (the last one is not
    whole) or "wrong"."""
    found: list[Request] = []
    while sent:
        if sent.startswith(b"PRI * HTTP/2"):
            return found, "wrong"  # HTTP/2 begins so, and h11 would take it for a request
        parser = h11.Connection(h11.SERVER, _MAX_HEAD)
        try:
            parser.receive_data(sent)
            request = parser.next_event()
            if not isinstance(request, h11.Request):
                return found, "more"
            while not isinstance(event := parser.next_event(), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    return found, "more"
        except (h11.RemoteProtocolError, ValueError):
            return found, "wrong"
        headers = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers)
        found.append(Request(request.method.decode("latin-1"), request.target.decode("latin-1"), headers))
        sent = parser.trailing_data[0]
    return found, "end"


class Answers:
    """Responses, parsed as they come. `methods`: of the requests that are to be answered."""

    def __init__(self, methods: Sequence[str]) -> None:
        self._methods = list(methods) or ["GET"]
        self.found: list[Answer] = []
        self.fault = ""
        self._closed = False
        self._parser = self._next()

    def _next(self) -> h11.Connection:
        method = self._methods[min(len(self.found), len(self._methods) - 1)]
        parser = h11.Connection(h11.CLIENT, _MAX_HEAD)
        # The method matters where it forbids a body; a broken one does not.
        known = method if method in ("HEAD", "CONNECT") else "GET"
        parser.send(h11.Request(method=known, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        return parser

    @property
    def whole(self) -> int:
        return sum(answer.whole for answer in self.found)

    @property
    def said_goodbye(self) -> bool:
        """The last answer ends the connection: what was pipelined behind it is lost, and the client knows."""
        last = self.found[-1] if self.found else Answer()
        return last.whole and last.headers.get("connection", "").lower() == "close"

    def feed(self, data: bytes) -> None:
        """b"": the broker closed the connection."""
        if self.fault or (self._closed and not data):
            return
        self._closed = self._closed or not data
        if not data and self.whole == len(self.found):
            return  # between two answers
        try:
            self._parser.receive_data(data)
            self._pump()
        except h11.RemoteProtocolError as error:
            self.fault = str(error)

    def _pump(self) -> None:
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Response):
                pairs = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
                self.found.append(Answer(event.status_code, dict(pairs), [name for name, _ in pairs]))
            elif isinstance(event, h11.Data):
                self.found[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.found[-1].whole = True
                rest = self._parser.trailing_data[0]
                self._parser = self._next()
                if rest:
                    self._parser.receive_data(rest)
                elif self._closed:
                    return
            elif not isinstance(event, h11.InformationalResponse):
                return


async def exchange(port: int, case: Case, expected: int, answers: Answers) -> Heard:
    """Send a case and listen. Where answers are due (`expected`) they are waited for; where none is, a
    short while, and then the broker is told that nothing more will come: it has to close."""
    heard = Heard()
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        async with asyncio.timeout(case.patience_s):
            await _talk(case, reader, writer, heard, answers, expected)
    except TimeoutError:
        heard.hangs = True
    except OSError:
        heard.end = "reset"
        answers.feed(b"")
    finally:
        heard.seconds = time.monotonic() - began
        writer.transport.abort()
    return heard


async def _talk(
    case: Case,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    heard: Heard,
    answers: Answers,
    expected: int,
) -> None:
    sender = asyncio.create_task(_send(case, writer))
    try:
        told = case.ends
        while not (expected and answers.whole >= expected) and not answers.said_goodbye:
            quiet_s = None if expected or told or case.stays else 0.03
            try:
                async with asyncio.timeout(quiet_s):
                    data = await reader.read(2**18)
            except TimeoutError:
                await asyncio.gather(sender, return_exceptions=True)
                with contextlib.suppress(OSError):
                    writer.write_eof()
                told = True
                continue
            heard.received += data
            answers.feed(data)
            if not data:
                heard.end = "fin"
                return
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


async def _send(case: Case, writer: asyncio.StreamWriter) -> None:
    for number, piece in enumerate(case.pieces):
        if number:
            await asyncio.sleep(0)  # its own segment, where the kernel will have it so
        writer.write(piece)
        await writer.drain()
    if case.ends:
        writer.write_eof()


Judge = Callable[[Case, Heard, Answers], str]
Listen = Callable[[Case, list[Request]], Answers]


def listen_for_http1(case: Case, requests: list[Request]) -> Answers:
    return Answers([r.method for r in requests] or [case.sent[:40].split(b" ")[0].decode("latin-1")])


async def run_case(port: int, case: Case, judge: Judge, listen: Listen = listen_for_http1) -> str:
    """ "" or what is wrong. Slow because the machine is busy is not slow: it has to be slow alone, too."""
    requests, rest = requests_in(case.sent)
    expected = 0 if case.ends else len(requests)
    answers = listen(case, requests)
    heard = await exchange(port, case, expected, answers)
    if wrong := judge(case, heard, answers):
        return f"{wrong}\nafter {heard.seconds:.2f} s; h11 reads {len(requests)} and then {rest}\n" + (
            f"case {case}\nheard {heard.received[:1500]!r} {heard.end}\n"
        )
    return "slow" if heard.seconds > LIMIT_S and case.patience_s == PATIENCE_S else ""


async def run_all(
    port: int,
    cases: Sequence[Case],
    judge: Judge,
    listen: Listen = listen_for_http1,
    parallel: int = 24,
) -> list[str]:
    """Everything that is wrong with them."""
    gate = asyncio.Semaphore(parallel)

    async def one(case: Case) -> str:
        async with gate:
            return await run_case(port, case, judge, listen)

    results = await asyncio.gather(*(one(case) for case in cases))
    wrong = [result for result in results if result not in ("", "slow")]
    for case, result in zip(cases, results, strict=True):
        if result == "slow":
            again = [await run_case(port, case, judge, listen) for _ in range(3)]
            if "" not in again:
                wrong.append(f"takes longer than {LIMIT_S} s, every time\ncase {case}\n{again[-1]}")
    return wrong
