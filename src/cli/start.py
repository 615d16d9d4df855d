"""How `up` and its first control plane begin: that one reads the configuration and tells what `up` has to
know of it; `up`, which has then chosen ports and begun simulators, lets it go on. So the configuration is
read by one process, and `up` imports little."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

_CHUNK = 64 * 1024


class Wanted(msgspec.Struct, frozen=True):
    """`up` → control plane. `port`: the one that the command line names; `greet_sha256`: of the key that
    users are greeted with, "" where they are not."""

    port: int | None
    mock_providers: bool
    greet_sha256: str


class Start(msgspec.Struct, frozen=True):
    """Control plane → `up`: what the configuration says. `port` 0: any free one; `mocks`: name → script of
    each simulator."""

    address: str
    port: int
    tls_files: tuple[str, ...]
    greets: bool
    a_pool: str
    mocks: Mapping[str, Mapping[str, Any]]

    @property
    def is_tls(self) -> bool:
        return bool(self.tls_files)


class Chosen(msgspec.Struct, frozen=True):
    """`up` → control plane: go on. `port` None: the configuration's own; `mocks`, `controls`: simulator →
    `host:port`, of its provider's side and of its control."""

    port: int | None
    mocks: Mapping[str, str] | None
    controls: Mapping[str, str]


Message = TypeVar("Message", Wanted, Start, Chosen)


def encoded(message: Wanted | Start | Chosen) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def received(connection: socket.socket, kind: type[Message]) -> Message | None:
    """None where the other side has ended."""
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = connection.recv(_CHUNK)
        if not chunk:
            return None
        line += chunk
    return msgspec.json.decode(bytes(line), type=kind)
