"""Ports that this process chooses, or that it is told to take."""

from __future__ import annotations

import socket

from ..core.errors import Misconfigured


def free_port(address: str) -> int:
    with held_port(address) as probe:
        port: int = probe.getsockname()[1]
        return port


def held_port(address: str) -> socket.socket:
    """Has a free port as long as it is open: nobody else is given it, and who sets SO_REUSEPORT, as Envoy
    does, can listen there all the same."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind((address, 0))
    except OSError:
        probe.close()
        raise
    return probe


def port_of(held: socket.socket | None) -> int:
    port: int = held.getsockname()[1] if held is not None else 0
    return port


def refuse_taken(address: str, port: int, flag: str) -> None:
    """Say a taken port at once: Envoy would only log it. 0 is any free one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            message = f"can't listen on {address}:{port}: {error.strerror}; give another {flag}"
            raise Misconfigured(500, "address_in_use", message) from None
