"""Ports that `up` chooses stay its own until its children listen there."""

from __future__ import annotations

import socket

import pytest
from modelbroker.cli.up import held_port


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
