"""docs/tutorial.md, from its first line to its last: an empty folder, its files, its commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from modelbroker.cli.ports import free_port
from support.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.(?:yaml|py))`")


def steps(page: str) -> Iterator[tuple[str, str]]:
    """(the file that a block is, "" for commands; the block)"""
    behind = 0
    for fence in FENCE.finditer(page):
        names = NAMED.findall(page[behind : fence.start()])
        yield "" if fence[1] == "sh" else names[-1], fence[2]
        behind = fence.end()


class Shell:
    """One shell for all commands, as a reader has it. The first that fails ends it."""

    def __init__(self, folder: Path, errors: IO[str]) -> None:
        programs = folder / "bin"
        programs.mkdir()
        for name, words in (("python", ""), ("modelbroker", " -m modelbroker.cli.main")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
            (programs / name).chmod(0o755)
        environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            ["bash", "-e"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )

    def run(self, commands: str) -> str:
        """What they print."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(f"{commands}\necho --end--\n")
        stdin.flush()
        lines: list[str] = []
        while (line := stdout.readline()) and line != "--end--\n":
            lines.append(line)
        assert line == "--end--\n", f"ended in:\n{commands}\n{''.join(lines)}"
        return "".join(lines)

    def close(self) -> None:
        os.killpg(self._process.pid, 15)
        self._process.wait(30)


def revision(admin: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/status", timeout=30) as reply:
        return str(json.load(reply)["revision"])


@pytest.mark.timeout(600)
def test_the_walk_of_a_switch(tmp_path: Path) -> None:
    page = PAGE.read_text()
    ports = {name: free_port("127.0.0.1") for name in ("8080", "8081", "9001")}
    for name, port in ports.items():
        page = page.replace(name, str(port))
    folder, printed = tmp_path / "walk", list[str]()
    folder.mkdir()
    with (tmp_path / "errors.txt").open("w+") as errors:
        shell = Shell(folder, errors)
        try:
            for name, block in steps(page):
                if not name:
                    printed.append(shell.run(block))
                    continue
                is_edit = (folder / name).exists()
                before = revision(ports["8081"]) if is_edit else ""
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(block)
                if is_edit:
                    wait_until(lambda before=before: revision(ports["8081"]) != before, 60)
        except AssertionError as error:
            errors.seek(0)
            log = (folder / "broker.log").read_text()[-4_000:]
            raise AssertionError(f"{error}\n{errors.read()[-4_000:]}\n{log}") from None
        finally:
            shell.close()
    first, change, shadowed, judged, rolled, last = printed
    assert re.search(r"search +claude-sonnet-4-6 +36 ", first) and re.search(
        r"chat +claude-sonnet-4-6 +24 ", first
    )
    assert "not enough overlap" in change and re.search(r"calls that move +60 ", change)
    assert re.search(r"shadow +gpt-5-mini ", shadowed) and "calls that both had" in shadowed
    assert "reckoned from copies" in shadowed
    assert re.search(r"today +60 +100.0 %", judged) and re.search(r"mini +60 +100.0 %", judged)
    assert (folder / "report.html").stat().st_size > 10_000
    assert re.search(r"support>openai/gpt-5-mini +done", rolled) and re.search(r"candidate +100% ", rolled)
    assert re.search(r"gpt-5-mini ", last)
