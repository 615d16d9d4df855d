"""A child is kept alive whatever ends it, is heard, gets what it is to be told, and ends in its own time
or is ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from subprocess import Popen

import pytest
from modelbroker.cli import children
from modelbroker.cli.children import ChildKeeper

# Says what it is told, and ends with its input; nobody hears it by then.
ECHO = """
import sys
print("begun", flush=True)
for line in sys.stdin:
    print(line.strip(), flush=True)
open(sys.argv[1], "a").write("ended\\n")
"""
DEAF = "import sys, time\nprint('begun', flush=True)\nwhile True: time.sleep(60)"
SHORT = "print('begun', flush=True)"
LONG = "import sys\nprint('x' * 200_000, flush=True)\nprint('behind', flush=True)\nsys.stdin.read()"
MUTE = "import os, sys\nprint('begun', flush=True)\nos.close(1)\nsys.stdin.read()"
PATIENCE_S = 60


class Keeper(ChildKeeper[str]):
    """`script`: what it is; "": nothing is wanted."""

    def __init__(self, folder: Path, script: str, ends_within_s: float = 30) -> None:
        super().__init__("the echo", logging.getLogger("modelbroker.test"), ends_within_s)
        self.end = folder / "end"
        self.script = script
        self.heard: list[str] = []
        self.losses = self.begins = 0
        self.stays = self.is_stuck = False

    def be(self, script: str) -> None:
        self.script = script
        self._changed.set()

    def tell(self, text: str) -> None:
        assert self._child is not None and self._child.stdin is not None
        self._child.stdin.write(text.encode() + b"\n")

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    def _wanted(self) -> str | None:
        return self.script or None

    def _words(self, wanted: str) -> Sequence[str]:
        return "-c", wanted, str(self.end)

    async def _begun(self, child: Popen[bytes], wanted: str) -> None:
        self.begins += 1

    def _hear(self, line: bytes) -> None:
        if line == b"nonsense\n":
            raise ValueError
        self.heard.append(line.decode().strip())

    def _lost(self) -> None:
        self.losses += 1

    def _is_outdated(self) -> bool:
        return not self.stays or not self.script

    def _is_stuck(self) -> bool:
        return self.is_stuck

    def _look_s(self) -> float:
        return 0.01


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.01)


def keep(keeper: Keeper, work: Callable[[Keeper], Awaitable[None]]) -> None:
    async def run() -> None:
        running = asyncio.create_task(keeper.run())
        try:
            await work(keeper)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await keeper.close()

    asyncio.run(run())


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_it_is_heard_and_ends_in_its_own_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(keeper: Keeper) -> None:
        await until(lambda: keeper.heard == ["begun"])
        for word in ("one", "nonsense", "two"):
            keeper.tell(word)
        await until(lambda: keeper.heard == ["begun", "one", "two"])

    keep(keeper := Keeper(tmp_path, ECHO), work)
    assert keeper.end.read_text() == "ended\n" and keeper.losses == 0
    assert "the echo says what is no report: b'nonsense" in caplog.text


def test_a_line_without_end_is_no_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And what comes behind it is heard."""

    async def work(keeper: Keeper) -> None:
        await until(lambda: "behind" in keeper.heard)
        assert keeper.begins == 1

    keep(Keeper(tmp_path, LONG), work)
    assert "the echo says what is no report" in caplog.text


def test_one_that_is_heard_no_more_gives_way_to_another(tmp_path: Path) -> None:
    async def work(keeper: Keeper) -> None:
        await until(lambda: keeper.begins > 1)

    keep(keeper := Keeper(tmp_path, MUTE, 0.1), work)
    assert keeper.losses >= 1


def test_a_bug_of_ours_is_one_reports_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Fragile(Keeper):
        def _hear(self, line: bytes) -> None:
            super()._hear(line)
            if line == b"one\n":
                raise RuntimeError("a bug")

    async def work(keeper: Keeper) -> None:
        await until(lambda: keeper.heard)
        keeper.tell("one")
        keeper.tell("two")
        await until(lambda: keeper.heard == ["begun", "one", "two"])

    keep(Fragile(tmp_path, ECHO), work)
    assert "a report of the echo was not heard" in caplog.text


def test_one_that_does_not_end_is_ended(tmp_path: Path) -> None:
    pids: list[int] = []

    async def work(keeper: Keeper) -> None:
        await until(lambda: keeper.heard)
        pids.append(keeper.pid)

    keep(Keeper(tmp_path, DEAF, ends_within_s=0.05), work)
    assert not is_there(pids[0])


def test_whatever_ends_it_another_one_is_started(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(keeper: Keeper) -> None:
        for number in range(1, 4):
            await until(lambda number=number: keeper.heard == ["begun"] * number)  # type: ignore[misc]
            pid = keeper.pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda number=number: keeper.losses == number)  # type: ignore[misc]
            assert keeper.pid != pid

    keep(Keeper(tmp_path, ECHO), work)
    assert caplog.text.count("the echo ended (exit code -9): starting it again") == 3


def test_one_that_ends_at_once_is_started_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    slept = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)
        await slept(0)

    async def work(keeper: Keeper) -> None:
        monkeypatch.setattr(children.asyncio, "sleep", sleep)
        async with asyncio.timeout(PATIENCE_S):
            while keeper.losses < 8:
                await slept(0.01)
        monkeypatch.setattr(children.asyncio, "sleep", slept)

    keep(Keeper(tmp_path, SHORT), work)
    assert waits[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_one_that_says_nothing_any_more_is_ended(tmp_path: Path) -> None:
    async def work(keeper: Keeper) -> None:
        await until(lambda: keeper.heard)
        old = keeper.pid
        keeper.is_stuck = True
        await until(lambda: keeper.losses)
        keeper.is_stuck = False
        await until(lambda: keeper.pid not in (0, old))
        assert not is_there(old)

    keep(Keeper(tmp_path, DEAF), work)


def test_another_one_is_wanted_or_none(tmp_path: Path) -> None:
    async def work(keeper: Keeper) -> None:
        await until(lambda: keeper.heard == ["begun"])
        keeper.be(ECHO + "# as another one")
        await until(lambda: keeper.heard == ["begun", "begun"])
        assert keeper.end.read_text() == "ended\n"
        old = keeper.pid
        keeper.be("")
        await until(lambda: not is_there(old))
        keeper.be(ECHO)
        await until(lambda: keeper.begins == 3)

    keep(keeper := Keeper(tmp_path, ECHO), work)
    assert keeper.losses == 0


def test_what_does_not_concern_it_leaves_it(tmp_path: Path) -> None:
    """And it is still looked after."""

    async def work(keeper: Keeper) -> None:
        keeper.stays = True
        await until(lambda: keeper.heard == ["begun"])
        old = keeper.pid
        for _ in range(3):
            keeper.be(DEAF)
            await until(lambda: not keeper._changed.is_set())
        assert keeper.pid == old
        keeper.tell("still here")
        await until(lambda: "still here" in keeper.heard)
        keeper.be("")
        await until(lambda: not is_there(old))

    keep(Keeper(tmp_path, ECHO), work)


def test_one_that_is_gone_before_it_is_told_anything(tmp_path: Path) -> None:
    class Unlucky(Keeper):
        async def _begun(self, child: Popen[bytes], wanted: str) -> None:
            await super()._begun(child, wanted)
            if self.begins == 1:
                raise BrokenPipeError(32, "Broken pipe")

    async def work(keeper: Keeper) -> None:
        await until(lambda: keeper.heard == ["begun"])
        assert (keeper.losses, keeper.begins) == (1, 2)

    keep(Unlucky(tmp_path, ECHO), work)
