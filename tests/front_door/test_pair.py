"""An Envoy and a control plane that nobody supervises: what each does while the other is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.broker import KEY, KEY_SHA256, provider
from support.calls import PATHS, Ask, asks, make
from support.pair import Pair
from support.simulators import Simulators
from support.waiting import wait_until

CALLS = [(dialect, stream) for dialect in PATHS for stream in (False, True)]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        yield simulators


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the name of a unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="mb-") as name:
        yield Path(name)


def config(sims: Simulators) -> dict[str, Any]:
    return {
        "providers": [provider("a", sims["a"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": "a", "model": "m"}]}],
    }


def all_dialects() -> list[Ask]:
    return [Ask("chat", dialect, stream) for dialect, stream in CALLS]


def post(pair: Pair, ask: Ask, key: str | None) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.post(f"{pair.url}{PATHS[ask.dialect]}", json=ask.body, headers=headers, timeout=60)


def test_an_envoy_that_outlives_its_control_plane(sims: Simulators, folder: Path) -> None:
    """Whoever calls, with whatever key, gets 503 in their dialect: nobody 401, and nobody through."""
    sims.reset()
    with Pair(folder, config(sims)) as pair:
        assert all(got.is_whole for got in make(pair.url, all_dialects()))
        pair.kill_control()
        sims.reset()
        for key in (KEY, "a-wrong-key", None):
            for ask in all_dialects():
                reply = post(pair, ask, key)
                said = json.loads(reply.content)
                assert (reply.status_code, said["error"]["code"]) == (503, "broker_unavailable"), (
                    reply.content
                )
                assert (said.get("type") == "error") == (ask.dialect == "anthropic-messages")
        assert sims["a"].calls() == []
        # The sockets that it left behind are in the way of nobody, and Envoy finds it again.
        assert (folder / "e.sock").exists()
        pair.start_control()
        wait_until(pair.is_ready)
        assert [str(got) for got in make(pair.url, all_dialects()) if not got.is_whole] == []
        assert {post(pair, ask, "a-wrong-key").status_code for ask in all_dialects()} == {401}


def test_the_liveness_probe_finds_a_control_plane_that_hangs(sims: Simulators, folder: Path) -> None:
    """Calls wait no longer than Envoy waits for a message, and work at once when it goes on."""
    with Pair(folder, config(sims)) as pair:
        assert httpx.get(f"{pair.admin_url}/healthz", timeout=10).text == "ok\n"
        assert pair.control is not None
        os.kill(pair.control.pid, signal.SIGSTOP)
        with pytest.raises(httpx.TimeoutException):
            httpx.get(f"{pair.admin_url}/healthz", timeout=1)
        began_s = time.monotonic()
        got = make(pair.url, all_dialects())
        print(f"serve hangs: {len(got)} calls waited {time.monotonic() - began_s:.1f} s")
        assert {g.status for g in got} == {503}
        assert all(b"broker_unavailable" in g.body for g in got)
        os.kill(pair.control.pid, signal.SIGCONT)
        wait_until(lambda: httpx.get(f"{pair.admin_url}/healthz", timeout=10).status_code == 200)
        assert [str(g) for g in make(pair.url, all_dialects()) if not g.is_whole] == []


class Network:
    """A way to the control plane that can go silent: what is on it then is never answered, and no end is
    told, as when a node is gone. New connections get through."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._silent = 0  # connections that were made before this one are
        self._made = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def leads_to(self, path: Path) -> str:
        """An address from which the unix socket is reached."""

        async def start() -> str:
            server = await asyncio.start_server(lambda r, w: self._connect(path, r, w), "127.0.0.1", 0)
            return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

        return asyncio.run_coroutine_threadsafe(start(), self._loop).result(30)

    def fall_silent(self) -> None:
        self._silent = self._made

    async def _connect(self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._made = self._made, self._made + 1
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_unix_connection(path)
            for source, sink in ((reader, back), (there, writer)):
                task = self._loop.create_task(self._pass(number, source, sink))
                self._tasks.add(task)

    async def _pass(self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if number >= self._silent:
                    sink.write(data)
        if number >= self._silent:
            sink.close()


def test_a_network_that_loses_the_control_plane_without_a_word(sims: Simulators, folder: Path) -> None:
    """TCP alone would wait for a quarter of an hour. Envoy asks its control plane whether it is there."""
    with Network() as network:
        asked = (network.leads_to(folder / "x.sock"), network.leads_to(folder / "e.sock"))
        with Pair(folder, config(sims), envoy_asks=asked) as pair:
            assert all(got.is_whole for got in make(pair.url, asks(5, "chat")))
            network.fall_silent()
            began_s = time.monotonic()
            failed = 0

            def is_well() -> bool:
                nonlocal failed
                (got,) = make(pair.url, [Ask("chat")])
                failed += not got.is_whole
                return got.is_whole

            wait_until(is_well, 90)
            print(f"a silent network: {failed} failed, well after {time.monotonic() - began_s:.1f} s")
            # An edit arrives, too: the stream of configuration has been made anew.
            path = folder / "broker.yaml"
            path.write_text(path.read_text().replace("name: chat", "name: talk"))
            wait_until(lambda: make(pair.url, [Ask("talk")])[0].is_whole, 60)
