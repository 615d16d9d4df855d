"""Sends copies of calls: a process of its own, so that a reply that nobody reads costs calls nothing.

The control plane starts it (cli/shadow.py), gives it frames on standard input and reads reports from standard
output. It ends when standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from typing import BinaryIO

import h11
import msgspec

from .frames import LENGTH_BYTES, Head, Report, tell

_NICE = 5
_READ_BYTES = 1 << 16
_MOST_BYTES = 1 << 30
_OWN_HEADERS = frozenset(("host", "content-length", "connection"))


async def send(head: Head, body: bytes) -> Report:
    """One copy, to the last byte of its reply. Never raises."""
    try:
        async with asyncio.timeout(head.timeout_s):
            return await _exchange(head, body)
    except TimeoutError:
        return Report(head.number, 0, "timeout")
    except (OSError, h11.ProtocolError) as error:
        return Report(head.number, 0, type(error).__name__)


async def _exchange(head: Head, body: bytes) -> Report:
    reader, writer = await asyncio.open_connection(head.host, head.port, ssl=to_ourselves(head.tls))
    try:
        connection = h11.Connection(h11.CLIENT)
        headers = [
            ("host", f"{head.host}:{head.port}"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *(pair for pair in head.headers if pair[0] not in _OWN_HEADERS),
        ]
        request = h11.Request(method="POST", target=head.path, headers=headers)
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        return await _reply(head.number, connection, reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def _reply(number: int, connection: h11.Connection, reader: asyncio.StreamReader) -> Report:
    report = Report(number, 0, "no reply")
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            report = _read(number, event)
        elif (
            isinstance(event, h11.EndOfMessage)
            or event is h11.PAUSED
            or isinstance(event, h11.ConnectionClosed)
        ):
            return report


def _read(number: int, response: h11.Response) -> Report:
    said = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    retry_after = said.get("retry-after", "")
    return Report(
        number,
        int(response.status_code),
        by_broker=said.get("x-broker-attempts") == "0" and response.status_code >= 400,
        retry_after_s=float(retry_after) if retry_after.isdecimal() else 0.0,
    )


def to_ourselves(tls: bool) -> ssl.SSLContext | None:
    """The other end is this machine's own listener, whose certificate is for another name."""
    if not tls:
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def serve(frames: asyncio.StreamReader, reports: BinaryIO) -> None:
    """Until `frames` end. How many are under way together is for who gives them to say."""
    under_way: set[asyncio.Task[None]] = set()

    async def one(head: Head, body: bytes) -> None:
        tell(reports, await send(head, body))

    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            head = msgspec.json.decode(await piece(frames), type=Head)
            task = asyncio.create_task(one(head, await piece(frames)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    for task in under_way:
        task.cancel()


async def piece(frames: asyncio.StreamReader) -> bytes:
    """What stands behind its length. IncompleteReadError where there is no more."""
    size = int.from_bytes(await frames.readexactly(LENGTH_BYTES), "big")
    return await frames.readexactly(size) if size else b""


async def _main() -> None:
    frames = asyncio.StreamReader(limit=_MOST_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(frames), sys.stdin.buffer
    )
    await serve(frames, sys.stdout.buffer)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the control plane says when it is over
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    asyncio.run(_main())


if __name__ == "__main__":
    main()
