"""A real rsyslog that listens for syslog over TCP or TLS, and writes what it got, parsed, a line each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from .servers import _STARTER, program
from .waiting import wait_until

_TEMPLATE = """
template(name="parsed" type="list") {
    constant(value="{")
    property(name="pri" outname="pri" format="jsonf") constant(value=",")
    property(name="timereported" dateFormat="rfc3339" outname="at" format="jsonf") constant(value=",")
    property(name="hostname" outname="host" format="jsonf") constant(value=",")
    property(name="app-name" outname="app" format="jsonf") constant(value=",")
    property(name="procid" outname="process" format="jsonf") constant(value=",")
    property(name="msgid" outname="kind" format="jsonf") constant(value=",")
    property(name="structured-data" outname="data" format="jsonf") constant(value=",")
    property(name="msg" outname="message" format="jsonf")
    constant(value="}\\n")
}
"""
_START_S = 60


class Rsyslog:
    """`cert`: (certificate, key, authority) as files, for TLS; `client_name`: only a client whose certificate
    has this name may write. It keeps its port over `kill` and `start`."""

    def __init__(self, folder: Path, cert: tuple[str, str, str] | None = None, client_name: str = "") -> None:
        self._folder = folder
        self._cert, self._client_name = cert, client_name
        self._out = folder / "out.jsonl"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        port_file = self._folder / "port"
        for left in (port_file, self._folder / "pid"):  # of one that was killed
            left.unlink(missing_ok=True)
        config = self._folder / "rsyslog.conf"
        config.write_text(self._config(port_file))
        # It ends with the test run. What `_popen` does for that is Python between fork and exec, which gRPC's
        # threads in this process can make hang.
        command = [program("setpriv", "util-linux"), "--pdeathsig", "KILL"]
        command += [program("rsyslogd", "rsyslog rsyslog-openssl"), "-n", "-f", str(config)]
        command += ["-i", str(self._folder / "pid")]
        with (self._folder / "log").open("ab") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": self._folder}
            started = _STARTER.submit(lambda: subprocess.Popen(command, **options))
            self._process = started.result()
        if not self.port:  # it says which one it has chosen, but not one that it was told
            wait_until(lambda: port_file.exists() and port_file.read_text().strip(), _START_S)
            self.port = int(port_file.read_text())
        wait_until(self._answers, _START_S)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self, *, thaws: bool = False) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT if thaws else signal.SIGSTOP)

    def got(self) -> list[dict[str, Any]]:
        text = self._out.read_text() if self._out.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def ids(self) -> list[str]:
        return [entry["data"].split('id="')[1].split('"')[0] for entry in self.got()]

    def _config(self, port_file: Path) -> str:
        port = self.port or 0
        common = f'port="{port}" address="127.0.0.1" listenPortFileName="{port_file}"'
        module = 'module(load="imtcp")'
        drivers = ""
        if self._cert is not None:
            certificate, key, authority = self._cert
            drivers = (
                f'global(defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{authority}" '
                f'defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")'
            )
            peers = f' permittedPeer=["{self._client_name}"]' if self._client_name else ""
            mode = "x509/name" if self._client_name else "anon"
            module = (
                f'module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" '
                f'streamDriver.authMode="{mode}"{peers})'
            )
        return (
            f'global(workDirectory="{self._folder}" net.enableDNS="off" maxMessageSize="64k")\n{drivers}\n'
            f"{module}\n{_TEMPLATE}\n"
            f'input(type="imtcp" {common})\n'
            f'action(type="omfile" file="{self._out}" template="parsed" asyncWriting="off" ioBufferSize="4k" '
            f'flushOnTXEnd="on")\n'
        )
