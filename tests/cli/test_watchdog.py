"""When a process that lives is given up, and what the admin port says of an event loop that does not turn."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.cli.admin import AdminServer, Pulse, Served
from modelbroker.cli.watchdog import Patience, cpu_time_s, is_hung, until_hung

PATIENCE = Patience(idle_s=5, busy_s=20, start_s=60)
seconds = st.floats(0, 1000)


@pytest.mark.parametrize(
    ("silent_s", "cpu_s", "has_answered", "hung"),
    [
        (4.9, 0.0, True, False),
        (5.0, 0.0, True, True),
        (5.0, 0.05, True, True),  # what probes cost
        (19.0, 1.0, True, False),  # it works
        (20.0, 20.0, True, True),  # for nothing, it seems
        (19.0, None, True, False),  # nobody knows
        (20.0, None, True, True),
        (59.0, 0.0, False, False),  # it starts
        (60.0, 0.0, False, True),
    ],
)
def test_patience(silent_s: float, cpu_s: float | None, has_answered: bool, hung: bool) -> None:
    assert is_hung(PATIENCE, silent_s, cpu_s, has_answered) is hung


@given(seconds, st.none() | seconds, st.booleans(), seconds)
def test_nobody_is_saved_by_more_silence(
    silent_s: float, cpu_s: float | None, has_answered: bool, more_s: float
) -> None:
    if is_hung(PATIENCE, silent_s, cpu_s, has_answered):
        assert is_hung(PATIENCE, silent_s + more_s, cpu_s, has_answered)


def test_a_process_that_is_stopped_takes_no_time_of_the_processor() -> None:
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        patience = Patience(idle_s=0.5, busy_s=2.0, start_s=0.1)
        answers = iter([True])

        def says() -> bool:
            return next(answers, False)

        busy_s = asyncio.run(until_hung(child.pid, says, patience))
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        answers = iter([True])
        idle_s = asyncio.run(until_hung(child.pid, says, patience))
        child.kill()
    assert busy_s >= patience.busy_s > idle_s >= patience.idle_s
    assert cpu_time_s(child.pid) is None  # it is gone


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


def get(admin: AdminServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{admin.address}{path}", timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_healthz_tells_the_truth_about_the_event_loop(loop: asyncio.AbstractEventLoop) -> None:
    served = Served(
        lambda **_: {"in_effect": True},
        lambda names, user: names,
        Pulse(loop),
        dict,
        lambda query: (404, "text/plain", b""),
    )
    admin = AdminServer("127.0.0.1:0", served)
    admin.start()
    go_on = threading.Event()
    try:
        assert get(admin, "/healthz") == (200, "ok\n")
        loop.call_soon_threadsafe(go_on.wait)
        status, text = get(admin, "/healthz")
        assert (status, "the event loop has not turned" in text) == (503, True)
        assert get(admin, "/status")[0] == 200  # what needs no loop is said all the same
        go_on.set()
        assert get(admin, "/healthz") == (200, "ok\n")
    finally:
        go_on.set()
        admin.stop()
