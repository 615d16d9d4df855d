"""Who gets in to the console, and its process: with the broker as a user runs it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.browser import browsing, visit, words
from support.simulators import Simulators
from support.waiting import wait_until

OLD, NEW = "the-old-token-of-ana", "the-new-token-of-ana"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("main") as running:
        yield running


def config(sims: Simulators, **more: Any) -> dict[str, Any]:
    return {
        "providers": [provider("main", sims["main"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "pool", "members": [{"provider": "main", "model": "m"}]}],
        **more,
    }


def asked(
    broker: Broker, method: str, path: str, form: str = "", cookie: str = ""
) -> tuple[int, dict[str, str]]:
    """(status, headers) of a request as it stands: redirects are not followed."""
    where = urllib.parse.urlsplit(broker.admin_url)
    with contextlib.closing(http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)) as made:
        headers = {"content-type": "application/x-www-form-urlencoded"} if form else {}
        made.request(method, path, form or None, {**headers, **({"cookie": cookie} if cookie else {})})
        answer = made.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def logged_in(broker: Broker, token: str) -> str:
    """The cookie; "" where it is no token."""
    _, headers = asked(broker, "POST", "/console/login", urllib.parse.urlencode({"token": token}))
    return headers.get("set-cookie", "").partition(";")[0]


def acts(broker: Broker) -> list[dict[str, Any]]:
    lines = (broker.folder / "state" / "acts.jsonl").read_text().splitlines()
    told = (json.loads(line) for line in lines)
    return [one for one in told if one["act"].startswith("console.")]


def renderers(broker: Broker) -> list[int]:
    """Processes that render pages: grandchildren of `up`."""
    found = []
    for control in broker.child_pids("serve"):
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == control and "modelbroker.console.serve" in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
    return found


def test_the_link_logs_in_and_the_process_is_there_while_somebody_looks(
    sims: Simulators, tmp_path: Path
) -> None:
    with Broker(tmp_path, config(sims)) as broker:
        assert renderers(broker) == []  # it costs nothing where nobody looks
        command = [
            sys.executable,
            "-m",
            "modelbroker.cli.main",
            "console",
            "--config",
            str(broker.config_dir),
        ]
        command += ["--state-dir", str(tmp_path / "state")]
        link = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert link.startswith(f"{broker.admin_url}/console/login#")
        with browsing(broker) as page:
            page.click("text=Log out")
            page.wait_for_url("**/console/login")
            assert visit(page, "/pools", {"q": "pool"}) == 200 and "/console/login?to=" in page.url
            page.goto(link)  # by itself, without a click
            page.wait_for_url(f"{broker.admin_url}/console")
            assert link.partition("#")[2] not in page.content() and "#" not in page.url
            (before,) = renderers(broker)
            os.kill(before, signal.SIGKILL)
            assert visit(page, "/pools") == 200  # another one has it
            assert "pool well" in words(page)
            log = broker.log()
            assert link.partition("#")[2] not in log and "the console ended" in log
        (after,) = renderers(broker)
        assert after != before
        logins = [(one["act"], one["user"], one["actor"], one["result"]) for one in acts(broker)]
        assert ("console.login", "state-folder", "console", "ok") in logins
        assert ("console.logout", "state-folder", "console", "ok") in logins
    wait_until(lambda: not Path(f"/proc/{after}").exists())


def test_tokens_of_users_rotate_with_an_overlap(sims: Simulators, tmp_path: Path) -> None:
    ana, bob = tmp_path / "ana", tmp_path / "bob"
    ana.write_text(OLD)
    bob.write_text("too-short")
    users = [{"name": name, "token": {"file": str(path)}} for name, path in (("ana", ana), ("bob", bob))]
    with Broker(tmp_path, config(sims, console={"users": users})) as broker:
        assert any("console.users[1].token" in line and "16" in line for line in broker.status()["warnings"])
        assert logged_in(broker, "too-short") == ""
        began = logged_in(broker, OLD)
        assert asked(broker, "GET", "/console", cookie=began)[0] == 200
        ana.write_text(NEW)
        wait_until(lambda: logged_in(broker, NEW))
        assert logged_in(broker, OLD) and asked(broker, "GET", "/console", cookie=began)[0] == 200
        users[:] = users[1:]
        broker.edit(config(sims, console={"users": users}))
        wait_until(lambda: asked(broker, "GET", "/console", cookie=began)[0] == 303)
        state_token = tmp_path / "state" / "console-token"
        assert not state_token.exists()  # nobody has that one where users have their own
        told = [(one["user"], one["result"]) for one in acts(broker)]
        assert ("ana", "ok") in told and ("", "failed") in told
        text = (tmp_path / "state" / "acts.jsonl").read_text() + broker.log()
        assert OLD not in text and NEW not in text


def test_a_console_that_is_off_and_on_again(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(sims, console={"enabled": False})) as broker:
        assert asked(broker, "GET", "/console")[0] == 404
        broker.edit(config(sims))
        wait_until(lambda: asked(broker, "GET", "/console")[0] == 303)
        assert asked(broker, "GET", "/")[1]["location"] == "/console"
        assert asked(broker, "POST", "/console/login", "x" * 100_000)[0] == 413
        with browsing(broker, java_script_enabled=False) as page:
            assert visit(page, "/nowhere") == 404 and "There is no page" in words(page)
