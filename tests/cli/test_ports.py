"""Ports that `up` chooses stay its own until its children listen there; who can't have one is told why."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from modelbroker.cli.ports import held_port
from modelbroker.cli.servers import serve_grpc
from modelbroker.core.errors import Misconfigured


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_is_held_is_nobody_elses(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with held_port(address) as held:
        port = held.getsockname()[1]
        with socket.socket(family) as other, pytest.raises(OSError, match="in use"):
            other.bind((address, port))
        with socket.socket(family) as envoys:
            envoys.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            envoys.bind((address, port))
            envoys.listen()
            with socket.create_connection((address, port), timeout=10) as client:
                accepted, _ = envoys.accept()
                accepted.close()
                assert client.recv(1) == b""


def test_why_nobody_can_listen_there(tmp_path: Path) -> None:
    lacking = f"unix:{tmp_path}/run/xds.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = f"127.0.0.1:{taken.getsockname()[1]}"
        for address, why in ((lacking, "No such file or directory"), (used, "Address already in use")):
            with pytest.raises(Misconfigured) as caught:
                asyncio.run(serve_grpc(address))
            assert caught.value.message == f"can't listen on {address}: {why}"
