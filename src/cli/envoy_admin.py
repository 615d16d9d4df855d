"""Envoy's admin interface, as far as the supervisor and the status need it."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from pathlib import Path

import msgspec


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(2)
        self.sock.connect(str(self._path))


class EnvoyHost(msgspec.Struct):
    """What Envoy itself says of a member in a pool: its weight there, whether the broker told it that the
    member is healthy, and whether Envoy took it out."""

    weight: int
    healthy: bool
    ejected: bool


class _Internal(msgspec.Struct):
    endpoint_id: str = ""


class _Address(msgspec.Struct):
    envoy_internal_address: _Internal | None = None


class _Health(msgspec.Struct):
    eds_health_status: str = "HEALTHY"
    failed_outlier_check: bool = False


class _Host(msgspec.Struct):
    address: _Address
    health_status: _Health
    weight: int = 1


class _Cluster(msgspec.Struct):
    name: str
    host_statuses: list[_Host] = []


class _Clusters(msgspec.Struct):
    cluster_statuses: list[_Cluster] = []


class TooLarge(Exception):
    """An answer that is larger than whoever asked wants."""


class NotTaken(Exception):
    """Envoy does not take the question. The text is its own."""


class EnvoyAdmin:
    """At `address`, `unix:/path` or `host:port`. Answers are None or False where Envoy does not answer."""

    def __init__(self, address: str) -> None:
        self.address = address

    def hosts(self) -> dict[tuple[str, str], EnvoyHost] | None:
        """(pool's cluster, member id) → what Envoy says of it."""
        text = self._ask("GET", "/clusters?format=json")
        if text is None:
            return None
        try:
            clusters = msgspec.json.decode(text, type=_Clusters).cluster_statuses
        except msgspec.DecodeError:
            return None
        return {
            (cluster.name, host.address.envoy_internal_address.endpoint_id): EnvoyHost(
                host.weight,
                host.health_status.eds_health_status == "HEALTHY",
                host.health_status.failed_outlier_check,
            )
            for cluster in clusters
            for host in cluster.host_statuses
            if host.address.envoy_internal_address is not None
        }

    def answers(self) -> bool:
        """Whatever it says: it answers while it waits for its first configuration, too."""
        return self._ask("GET", "/stats?filter=^server.live$") is not None

    def start_drain(self) -> bool:
        """Stop accepting, and close each connection after the call that it carries."""
        return self._ask("POST", "/healthcheck/fail") is not None and (
            self._ask("POST", "/drain_listeners?inboundonly") is not None
        )

    def active_calls(self) -> int | None:
        text = self._ask("GET", "/stats?filter=^http.outer.downstream_rq_active$")
        if text is None:
            return None
        _, _, number = text.strip().rpartition(": ")
        return int(number) if number.isdecimal() else 0

    def read(self, path: str, most_bytes: int, until_s: float) -> bytes:
        """What Envoy answers to GET; TooLarge, NotTaken, OSError (TimeoutError at `until_s` of the monotonic
        clock) or HTTPException."""
        connection = self._connection()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            text = bytearray()
            while piece := response.read1(1 << 16):
                text += piece
                if len(text) > most_bytes:
                    raise TooLarge
                if time.monotonic() > until_s:
                    raise TimeoutError("it took too long")
            if response.status == 400:
                raise NotTaken(text.decode("utf-8", "replace").strip())
            if response.status != 200:
                raise http.client.HTTPException(f"status {response.status}")
            return bytes(text)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.address.startswith("unix:"):
            return _UnixConnection(Path(self.address.removeprefix("unix:")))
        host, _, port = self.address.rpartition(":")
        return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=2)

    def _ask(self, method: str, path: str) -> str | None:
        connection = self._connection()
        try:
            connection.request(method, path, headers={"content-length": "0"})
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
            return text if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def http_get_status(host: str, port: int, path: str, is_tls: bool) -> int | None:
    """The status of one GET, or None. Certificates are not checked: this asks whether a port answers."""
    connection: http.client.HTTPConnection
    if is_tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=2, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
