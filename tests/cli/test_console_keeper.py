"""The console's keeper, with processes that are no console: each is ended, and said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from modelbroker.cli import console
from modelbroker.cli.background import watched
from modelbroker.cli.console import ConsoleKeeper
from modelbroker.cli.console_door import Unrendered
from modelbroker.console.handover import Handover, taken
from modelbroker.console.login import Access
from modelbroker.console.reports import Settings

BEATS = "import os, time\nwhile True:\n    os.write(1, b'here\\n')\n    time.sleep(0.05)"
ENDS = "import sys\nsys.exit(3)"


class Keeper(ConsoleKeeper):
    def __init__(self, folder: Path, script: str) -> None:
        super().__init__(folder)
        self._settings = Settings(folder=str(folder), admin="127.0.0.1:1")
        self._access = Access(users={"ana": ("x" * 16,)})
        self._script = script

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    def _words(self, wanted: Settings) -> Sequence[str]:
        return "-c", self._script


async def asked(keeper: Keeper) -> str:
    with pytest.raises(Unrendered) as raised:
        await asyncio.to_thread(keeper.render, "/pools", "ana")
    return str(raised.value)


@contextlib.asynccontextmanager
async def running(keeper: Keeper):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(keeper.run())
    try:
        await asyncio.sleep(0)
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await keeper.close()


def test_one_that_lives_but_answers_nothing_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(console, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(console, "_ENDS_WITHIN_S", 0.1)

    async def scenario() -> None:
        async with running(Keeper(tmp_path, BEATS)) as keeper:
            while not (await asked(keeper)).startswith("the console's process gave no page in 1 s"):
                pass
            assert "the console gives no page any more: its process is ended" in caplog.text
            before = keeper.pid
            while keeper.pid in (0, before):
                await asked(keeper)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_who_waits_for_one_that_can_not_begin_is_told_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(Keeper(tmp_path, ENDS)) as keeper:
            for _ in range(3):
                assert await asked(keeper) == "the console's process ended (exit code 3)"
            assert keeper.status() == {"state": "waiting", "error": "ended (exit code 3)"}

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_one_that_can_not_be_started_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))

    async def scenario() -> None:
        async with running(Keeper(tmp_path, BEATS)) as keeper:
            assert "can't be started: [Errno 2]" in await asked(keeper)
            assert keeper.status()["state"] == "waiting"

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_where_no_more_files_can_be_opened_a_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    async def scenario() -> None:
        async with running(Keeper(tmp_path, BEATS)) as keeper:
            with monkeypatch.context() as patch:
                patch.setattr("socket.socketpair", none_left)
                assert "Too many open files" in await asked(keeper)
            assert keeper._handover is None  # and it is tried again

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_connections_are_handed_over_or_let_go() -> None:
    handover = Handover()
    with handover.connect() as ours, taken(handover.there) as theirs:
        ours.sendall(b"question")
        assert theirs.recv(20) == b"question"
    with handover.connect() as first, handover.connect() as second:
        handover.drop()
        handover.drop()  # nobody waits
        assert first.recv(1) == second.recv(1) == b""
    with handover.connect() as waits:
        handover.close()
        assert waits.recv(1) == b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        handover.connect()


def test_a_process_that_takes_nothing_holds_up_nobody() -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    handover, before = Handover(), opened()
    with contextlib.ExitStack() as made, contextlib.suppress(OSError):
        for _ in range(400):  # by far more than may wait
            made.enter_context(handover.connect())
    handover.drop()
    assert opened() == before
    handover.close()


def test_there_is_an_end_of_connections() -> None:
    handover = Handover()
    there = handover.there.dup()
    handover.close()
    with there, pytest.raises(EOFError):
        taken(there)


def test_work_that_fails_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise OSError("there is no such folder")

    async def ends() -> None:
        pass

    async def scenario() -> None:
        tasks = [watched(fails()), watched(ends()), watched(asyncio.sleep(60))]
        await asyncio.wait(tasks[:2])
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())
    (said,) = caplog.records
    assert "fails failed: what it does is not done until" in said.message
    assert "there is no such folder" in caplog.text
