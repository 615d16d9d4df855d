"""`up` from its start to its end: what it refuses, how it drains, what it leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from modelbroker.revisions.kept import Revisions
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, call, client, make
from support.kills import is_alive
from support.simulators import Simulators
from support.waiting import wait_until

Config = dict[str, Any]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        yield simulators


@pytest.fixture(autouse=True)
def pace(sims: Simulators) -> None:
    """A streamed reply takes about two seconds."""
    sims["a"].script(replies=[{"chunks": 40}], faults=[{"match": {"stream": True}, "token_delay_ms": 50}])


def config(sims: Simulators, **more: Any) -> Config:
    return {
        "providers": [provider("a", sims["a"].port, "openai-chat")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": "a", "model": "m"}]}],
        **more,
    }


def run_up(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`modelbroker up`, to its end."""
    command = [sys.executable, "-m", "modelbroker.cli.main", "up", *arguments]
    environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)


# -- starts that end at once


def test_a_bad_configuration_ends_it_with_all_problems(sims: Simulators, tmp_path: Path) -> None:
    path = tmp_path / "broker.yaml"
    bad = config(sims, rules=[{"match": {}, "pool": "nowhere"}], limits={"concurrency": "many"}, surprise=1)
    path.write_text(yaml.safe_dump(bad, sort_keys=False))
    done = run_up("--config", str(path), folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    for word in ("nowhere", "concurrency", "surprise", f"{path}:"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    done = run_up("--config", str(tmp_path / "none.yaml"), folder=tmp_path)
    assert done.returncode == 1
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("--config",), ("--config", "x", "--port", "70000"), ("--config", "x", "--no-such-flag"),
     ("--config", "x", "--drain-timeout", "soon"), ("--config", "x", "--log-level", "loud")],
)  # fmt: skip
def test_bad_flags(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run_up(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert "usage: modelbroker" in done.stderr


def test_a_folder_whose_name_is_too_long_for_sockets(sims: Simulators, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with Broker(tmp_path, config(sims), environ={"TMPDIR": str(folder)}) as broker:
        (got,) = make(broker.url, [Ask("chat")])
        assert got.is_whole, str(got)
    assert broker.left_behind() == []


@pytest.mark.parametrize("flag", ["--port", "--admin-port"])
def test_a_port_that_is_taken(sims: Simulators, tmp_path: Path, flag: str) -> None:
    path = tmp_path / "broker.yaml"
    path.write_text(yaml.safe_dump(config(sims)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--port": "0", "--admin-port": "0"} | {flag: port}
        done = run_up(
            "--config", str(path), *(word for item in ports.items() for word in item), folder=tmp_path
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_certificates_that_are_not_there_end_it_at_once(sims: Simulators, tmp_path: Path) -> None:
    path = tmp_path / "broker.yaml"
    tls = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    path.write_text(yaml.safe_dump(config(sims, listen={"tls": tls})))
    done = run_up("--config", str(path), "--port", "0", "--admin-port", "0", folder=tmp_path)
    assert done.returncode == 1
    assert "cert.pem" in done.stderr


# -- ends


def terminate(broker: Broker, then: Callable[[], None] = lambda: None) -> int:
    """SIGTERM; `then` is done meanwhile. The exit code."""
    assert broker.process is not None
    broker.process.send_signal(signal.SIGTERM)
    then()
    return broker.process.wait(30)


def stream_while(broker: Broker, act: Callable[[], Any]) -> tuple[Got, Any]:
    """A streamed call, and `act` from its first byte on: (what came, what `act` gave)."""

    async def run() -> tuple[Got, Any]:
        async with client(broker.url) as http:
            ask, body = Ask("chat", stream=True), bytearray()
            acting: asyncio.Future[Any] | None = None
            broken = ""
            async with http.stream("POST", "/v1/chat/completions", json=ask.body) as reply:
                try:
                    async for chunk in reply.aiter_raw():
                        body += chunk
                        acting = acting or asyncio.ensure_future(asyncio.to_thread(act))
                except httpx.HTTPError as error:
                    broken = repr(error)
            assert acting is not None
            return Got(ask, reply.status_code, dict(reply.headers), bytes(body), broken), await acting

    return asyncio.run(run())


def is_refused(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz", timeout=2, trust_env=False)
    except httpx.ConnectError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_drains(sims: Simulators, tmp_path: Path, number: signal.Signals) -> None:
    """A stream under way ends as it should, new connections are refused, and nothing is left."""
    with Broker(tmp_path, config(sims), arguments=("--drain-timeout", "20")) as running:

        def end() -> None:
            assert running.process is not None
            running.process.send_signal(number)
            wait_until(lambda: is_refused(running.url), 10)

        got, _ = stream_while(running, end)
        assert got.is_whole, got
        assert running.process is not None
        assert running.process.wait(30) == 0
        assert running.left_behind() == []
        assert "drain time is over" not in running.log()
        records = (tmp_path / "state" / "calls.jsonl").read_text()
        assert got.headers["x-broker-request-id"] in records, "a call that ends last is recorded too"


def test_the_drain_time_ends(sims: Simulators, tmp_path: Path) -> None:
    """What is still under way is cut, and looks cut."""
    with Broker(tmp_path, config(sims), arguments=("--drain-timeout", "0.3")) as running:
        got, code = stream_while(running, lambda: terminate(running))
        assert code == 0
        assert got.broken
        assert not got.is_whole
        assert "the drain time is over" in running.log()
        assert running.left_behind() == []


def test_a_kept_connection_is_told_to_close(sims: Simulators, tmp_path: Path) -> None:
    """A call on a connection that is there already is served while it drains, with `connection: close`."""
    with Broker(tmp_path, config(sims), arguments=("--drain-timeout", "20")) as running:

        async def run() -> Got:
            async with client(running.url) as http:
                assert (await call(http, Ask("chat"))).is_whole

                def end() -> Got:
                    assert running.process is not None
                    running.process.send_signal(signal.SIGTERM)
                    wait_until(lambda: is_refused(running.url), 10)
                    return asyncio.run_coroutine_threadsafe(call(http, Ask("chat")), loop).result(10)

                loop = asyncio.get_running_loop()
                streamed = asyncio.create_task(asyncio.to_thread(stream_while, running, end))
                return (await streamed)[1]

        got = asyncio.run(run())
        assert got.is_whole, got
        assert got.headers.get("connection") == "close"
        assert running.process is not None
        assert running.process.wait(30) == 0


def test_a_signal_before_it_is_ready(sims: Simulators, tmp_path: Path) -> None:
    """It ends with nothing left, whenever the signal comes."""
    path = tmp_path / "broker.yaml"
    path.write_text(yaml.safe_dump(config(sims)))
    command = [sys.executable, "-m", "modelbroker.cli.main", "up", "--config", str(path), "--port", "0"]
    command += ["--admin-port", "0", "--state-dir", str(tmp_path / "state"), "--log-level", "debug"]
    environ = {**os.environ, "KEY_OF_PROVIDERS": "k"}
    for word in ("starting control plane", "starting Envoy"):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as process:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if word in line:
                    process.send_signal(signal.SIGTERM)
                    break
            threading.Thread(target=process.stderr.read, daemon=True).start()
            assert process.wait(30) == 0, said


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """An `up` whose control plane (its pid) reads the configuration for as long as nobody writes it."""
    path = tmp_path / "broker.yaml"
    os.mkfifo(path)
    command = [sys.executable, "-m", "modelbroker.cli.main", "up", "--config", str(path), "--port", "0"]
    command += ["--admin-port", "0", "--state-dir", str(tmp_path / "state")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: bool(children.read_text()), 20)
        (pid,) = map(int, children.read_text().split())
        descriptor = wait_until(lambda: opened(path), 20)
        yield process, pid
        process.kill()
        os.close(descriptor)


def opened(path: Path) -> int | None:
    """Opened for writing, once somebody waits to read it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_signal_while_the_configuration_is_read(reading: tuple[subprocess.Popen[str], int]) -> None:
    process, pid = reading
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert not is_alive(pid)


def test_a_control_plane_that_dies_while_it_reads(reading: tuple[subprocess.Popen[str], int]) -> None:
    process, pid = reading
    os.kill(pid, signal.SIGKILL)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert "control plane ended (signal SIGKILL) before it had read the configuration" in said


def test_a_supervisor_that_dies_while_it_is_read(reading: tuple[subprocess.Popen[str], int]) -> None:
    process, pid = reading
    process.kill()
    wait_until(lambda: not is_alive(pid), 20)


# -- a second start


def test_a_second_start_on_the_same_state_folder(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(sims)) as running:
        first = running.status()["revision"]
        wait_until(lambda: bool(Revisions(tmp_path / "state").all()), 10)
    running.write(config(sims, limits={"concurrency": 77}))
    with running:  # what is on the disk is good: the last good one is not needed
        status = running.wait_for(lambda s: s["serving"] == s["revision"])
        assert status["revision"] != first
        assert status["error"] is None
        (got,) = make(running.url, [Ask("chat")])
        assert got.headers["x-broker-revision"] == status["revision"]
    running.write("pools: [")
    with pytest.raises(AssertionError, match=r"broker\.yaml:"):  # a person who starts it has to see that
        running.start()


# -- two on one machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_serve(running: Broker, state: Path, run_dir: Path) -> subprocess.CompletedProcess[str]:
    """Another control plane on the first one's sockets."""
    command = [sys.executable, "-m", "modelbroker.cli.main", "serve", "--config", str(running.config_dir)]
    command += ["--state-dir", str(state), "--admin", "127.0.0.1:0"]
    command += ["--xds", f"unix:{run_dir}/xds.sock", "--ext-proc", f"unix:{run_dir}/ext-proc.sock"]
    environ = {**os.environ, "KEY_OF_PROVIDERS": "k"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)


def test_a_second_control_plane_is_refused_and_harms_nothing(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path / "first", config(sims)) as running:
        run_dir = run_dir_of(running)
        on_sockets = run_serve(running, tmp_path / "other-state", run_dir)
        assert on_sockets.returncode == 1
        assert "another control plane listens on" in on_sockets.stderr
        on_state = run_serve(running, running.folder / "state", tmp_path)
        assert on_state.returncode == 1
        assert "is in use by another broker" in on_state.stderr
        second = run_up(
            *("--config", str(running.config_dir), "--port", "0", "--admin-port", "0"),
            *("--state-dir", str(running.folder / "state")),
            folder=tmp_path,
        )
        assert second.returncode == 1
        assert "is in use by another broker" in second.stderr
        assert all(
            got.is_whole for got in make(running.url, [Ask("chat", question=str(n)) for n in range(8)])
        )


def run_dir_of(running: Broker) -> Path:
    (pid,) = running.child_pids("envoy")
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return Path(words[words.index("-c") + 1]).parent


def test_the_port_is_the_configurations_to_change(sims: Simulators, tmp_path: Path) -> None:
    before, after = free_port(), free_port()
    with Broker(tmp_path, config(sims, listen={"port": before}), keeps_port=True) as running:
        assert running.url.endswith(f":{before}")
        running.edit(config(sims, listen={"port": after}))
        url = f"http://127.0.0.1:{after}"
        wait_until(lambda: not is_refused(url), 10)
        (got,) = make(url, [Ask("chat", question="hello")])
        assert got.is_whole
