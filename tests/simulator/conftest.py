"""Helpers for the simulator's tests: a simulator in a thread of its own, raw sockets, recordings."""

import asyncio
import concurrent.futures
import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from modelbroker.simulator import Simulator, parse_script
from support.authorities import one_authority

__all__ = ["one_authority"]

KEY = {"authorization": "Bearer sk-test", "anthropic-version": "2023-06-01"}


class Served:
    """A simulator served from another thread, so that blocking clients can be used."""

    def __init__(self, simulator: Simulator, loop: asyncio.AbstractEventLoop) -> None:
        self.simulator, self._loop = simulator, loop
        self.url, self.port = simulator.base_url, simulator.port

    def call(self, function: Callable[[], Any]) -> Any:
        """Runs something in the simulator's loop."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()

        async def run() -> None:
            try:
                result = function()
                done.set_result(await result if asyncio.iscoroutine(result) else result)
            except BaseException as error:
                done.set_exception(error)

        asyncio.run_coroutine_threadsafe(run(), self._loop)
        return done.result(10)

    def script(self, text: str) -> None:
        self.call(lambda: self.simulator.set_script(parse_script(text)))

    def journal(self) -> list[dict[str, Any]]:
        """The journal once no answer is under way."""
        assert self.call(self.simulator.settled), "answers still under way"
        return self.call(lambda: [entry.shown() for entry in self.simulator.journal.since(0)])


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[Served]:
    ready: concurrent.futures.Future[Served] = concurrent.futures.Future()
    stop: list[Callable[[], None]] = []

    async def main() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        try:
            async with Simulator(**options) as simulator:
                ready.set_result(Served(simulator, loop))
                await over.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        yield ready.result(10)
    finally:
        if stop:
            stop[0]()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """A function that starts simulators for one test; `script` may be YAML text."""
    with contextlib.ExitStack() as stack:

        def start(script: str | None = None, **options: Any) -> Served:
            if script is not None:
                options["script"] = parse_script(script)
            return stack.enter_context(serving(**options))

        yield start


def request_bytes(path: str, body: Any, headers: dict[str, str] | None = None) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    lines += [f"{k}: {v}" for k, v in {**KEY, **(headers or {})}.items()]
    lines.append(f"Content-Length: {len(raw)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + raw


def read_all(sock: socket.socket, quiet_s: float) -> tuple[bytes, str]:
    """What comes until the end, and which end: "fin", "rst" or "silence" (so long without a byte)."""
    sock.settimeout(quiet_s)
    out = b""
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            return out, "rst"
        except TimeoutError:
            return out, "silence"
        if not data:
            return out, "fin"
        out += data


@pytest.fixture
def raw() -> Callable[..., tuple[bytes, str]]:
    """Sends one request over a fresh socket; the bytes that came, and how it ended."""

    def send(
        served: Served, path: str, body: Any, headers: dict[str, str] | None = None, quiet_s: float = 10.0
    ) -> tuple[bytes, str]:
        with socket.create_connection(("127.0.0.1", served.port)) as sock:
            try:
                sock.sendall(request_bytes(path, body, headers))
            except ConnectionError:
                # A reset that came first is told once: reading would call it a plain end.
                data, _ = read_all(sock, quiet_s)
                return data, "rst"
            return read_all(sock, quiet_s)

    return send


@pytest.fixture
def chat() -> Callable[..., dict[str, Any]]:
    def make(text: str = "Hello there", **fields: Any) -> dict[str, Any]:
        return {"model": "gpt-5", "messages": [{"role": "user", "content": text}], **fields}

    return make


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recordings of real traffic."""
    beside = Path(__file__).resolve().parents[2] / ".." / "shared" / "recordings"
    folder = Path(os.environ.get("MODELBROKER_RECORDINGS") or beside)
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder} (MODELBROKER_RECORDINGS names the folder)")
    return folder
