"""The console's process, whatever becomes of it, of folders for temporary files and of the broker."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.broker import KEY_SHA256, Broker, provider
from support.control import Control, children_of, control
from support.waiting import wait_until

CONFIG: dict[str, Any] = {
    "providers": [provider("a", 1, "openai-chat", "/v1")],
    "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
    "pools": [{"name": "chat", "members": [{"provider": "a", "model": "m"}]}],
}
MODULE = "modelbroker.console.serve"


class Looking:
    """Somebody who has logged in with the token of the state folder."""

    def __init__(self, admin_url: str, state: Path) -> None:
        self._where = urllib.parse.urlsplit(admin_url)
        token = (state / "console-token").read_text().strip()
        form = urllib.parse.urlencode({"token": token})
        _, headers, _ = self.ask("POST", "/console/login", form)
        self._cookie = headers["set-cookie"].partition(";")[0]

    def ask(self, method: str, path: str, form: str = "") -> tuple[int, dict[str, str], str]:
        made = http.client.HTTPConnection(str(self._where.hostname), self._where.port, timeout=90)
        with contextlib.closing(made):
            made.request(method, path, form or None, {"cookie": getattr(self, "_cookie", "")})
            answer = made.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read().decode()

    def raw(self, path: str) -> int:
        """Of a path in UTF-8, as it stands."""
        where = (str(self._where.hostname), int(self._where.port or 0))
        with socket.create_connection(where, timeout=90) as made:
            head = f"GET {path} HTTP/1.1\r\nhost: {self._where.netloc}\r\ncookie: {self._cookie}\r\n"
            made.sendall(f"{head}connection: close\r\n\r\n".encode())
            return int(made.makefile("rb").read().split()[1])

    def page(self, path: str = "/console/pools") -> int:
        return self.ask("GET", path)[0]


def looking(broker: Control) -> Looking:
    return Looking(broker.admin_url, broker.state)


def is_there(pid: int) -> bool:
    """Not, where it only waits to be counted."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("where", ["nowhere", "x" * 150])
def test_it_needs_no_folder_for_temporary_files(tmp_path: Path, where: str) -> None:
    folder = tmp_path / where
    if where != "nowhere":
        folder.mkdir()
    with control(tmp_path, CONFIG, environ={"TMPDIR": str(folder)}) as broker:
        assert looking(broker).page() == 200
        assert not folder.exists() or not list(folder.iterdir())  # what is not there can't be cleared away


def test_a_process_that_hangs_is_ended_and_another_one_answers(tmp_path: Path) -> None:
    with control(tmp_path, CONFIG) as broker:
        somebody = looking(broker)
        assert somebody.page() == 200
        (before,) = broker.children(MODULE)
        os.kill(before, signal.SIGSTOP)
        assert somebody.page() in (200, 503)  # the one that hangs had it already, or not
        assert somebody.page() == 200
        (after,) = broker.children(MODULE)
        assert after != before and not is_there(before)
        assert "the console says nothing any more: it is ended" in broker.log()


def test_who_waits_for_pages_is_bounded(tmp_path: Path) -> None:
    with control(tmp_path, CONFIG) as broker:
        somebody = looking(broker)
        assert somebody.page() == 200
        (child,) = broker.children(MODULE)
        os.kill(child, signal.SIGSTOP)
        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(lambda _: somebody.ask("GET", "/console/pools"), range(50)))
        refused = [headers for status, headers, said in answers if "are being waited for" in said]
        assert len(refused) >= 50 - 32 and all(int(headers["retry-after"]) > 0 for headers in refused)
        assert wait_until(lambda: somebody.page() == 200)


def test_a_process_that_can_not_run_says_why(tmp_path: Path) -> None:
    """On the page, in `/status` and in the log; and it is tried again."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "jinja2.py").write_text("raise SystemExit('no jinja2 today')\n")
    with control(tmp_path, CONFIG, environ=with_modules(broken)) as broker:
        somebody = looking(broker)
        status, headers, said = somebody.ask("GET", "/console")
        assert status == 503 and "the console's process ended (exit code 1)" in said
        assert int(headers["retry-after"]) > 0
        told = status_of(broker)["console"]
        assert told["state"] == "waiting" and told["error"] == "ended (exit code 1)"
        assert "the console ended (exit code 1): starting it again" in broker.log()
        (broken / "jinja2.py").unlink()
        wait_until(lambda: somebody.page() == 200)
        assert status_of(broker)["console"] == {"state": "rendering", "error": None}


def test_status_says_how_it_is(tmp_path: Path) -> None:
    with control(tmp_path, CONFIG) as broker:
        assert status_of(broker)["console"] == {"state": "idle", "error": None}
        (broker.state / "console-token").write_text("short")
        told = status_of(broker)["console"]
        assert told["state"] == "waiting" and "5 characters of at least 16" in told["error"]
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"{broker.admin_url}/console/login", timeout=30)
        assert "5 characters of at least 16" in raised.value.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_goes_with_the_control_plane(tmp_path: Path, number: int) -> None:
    with control(tmp_path, CONFIG) as broker:
        assert looking(broker).page() == 200
        (child,) = broker.children(MODULE)
        if number == signal.SIGINT:
            os.killpg(broker.process.pid, number)  # as Ctrl-C at a terminal does
        else:
            broker.process.send_signal(number)
        broker.process.wait(30)
        wait_until(lambda: not is_there(child))
        assert "Traceback" not in broker.log()


def test_one_that_hangs_goes_with_the_control_plane_too(tmp_path: Path) -> None:
    with control(tmp_path, CONFIG) as broker:
        assert looking(broker).page() == 200
        (child,) = broker.children(MODULE)
        os.kill(child, signal.SIGSTOP)
        broker.process.send_signal(signal.SIGTERM)
        broker.process.wait(30)
        wait_until(lambda: not is_there(child))


def test_it_goes_with_up_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    with Broker(tmp_path, CONFIG, environ={"TMPDIR": str(folder)}) as broker:
        assert Looking(broker.admin_url, tmp_path / "state").page() == 200
        (serving,) = broker.child_pids("serve")
        (child,) = children_of(serving, MODULE)
    wait_until(lambda: not is_there(child))
    assert list(folder.iterdir()) == [] and broker.left_behind() == []


def test_a_page_whose_path_is_not_ascii(tmp_path: Path) -> None:
    with control(tmp_path, CONFIG) as broker:
        somebody = looking(broker)
        assert somebody.raw("/console/pools/日本") == 404  # there is no such pool, and that is said
        assert "Traceback" not in broker.log()


@pytest.mark.parametrize("address", ["[::1]:0", "[::]:0"])
def test_an_admin_port_of_ipv6(tmp_path: Path, address: str) -> None:
    with control(tmp_path, CONFIG, admin=address) as broker:
        assert broker.admin_url.startswith("http://[::1]:")
        assert looking(broker).page("/console") == 200
        page = looking(broker).ask("GET", "/console")[2]
        assert "does not answer" not in page  # the process asks there, too
        link = command("console", "--config", tmp_path / "broker.yaml", "--state-dir", broker.state)
        assert link.stdout.startswith(f"{broker.admin_url}/console/login#")
        told = command("status", "--admin", broker.admin_url, "--format", "json")
        assert json.loads(told.stdout)["console"]["state"] == "rendering"
        assert command("forget", "--admin", broker.admin_url).returncode == 0
        assert command("budgets", "--admin", broker.admin_url).returncode == 0


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    said = command("console", "--config", tmp_path / "nowhere")
    assert said.returncode == 1 and f"{tmp_path}/nowhere: there is no such file or folder" in said.stderr
    (tmp_path / "broker.yaml").write_text(yaml.safe_dump(CONFIG))
    state = tmp_path / "state"
    state.mkdir()
    arguments = ("console", "--config", tmp_path / "broker.yaml", "--state-dir", state)
    for kept, words in ((None, "can't be read"), ("", "is empty"), ("hunter2", "7 characters of at least")):
        if kept is not None:
            (state / "console-token").write_text(kept)
        said = command(*arguments)
        assert (said.returncode, said.stdout) == (1, "") and words in said.stderr
        assert "hunter2" not in said.stderr


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "modelbroker.cli.main", *map(str, words)]
    return subprocess.run(program, capture_output=True, text=True, timeout=60)


def with_modules(folder: Path) -> dict[str, str]:
    """What is imported from this folder before all else."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def status_of(broker: Control) -> dict[str, Any]:
    with urllib.request.urlopen(f"{broker.admin_url}/status", timeout=30) as reply:
        told: dict[str, Any] = json.load(reply)
        return told
