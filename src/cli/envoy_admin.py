"""Envoy's admin interface over its unix socket, as far as the supervisor needs it."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(2)
        self.sock.connect(str(self._path))


class EnvoyAdmin:
    """Answers are None or False where Envoy does not answer."""

    def __init__(self, path: Path) -> None:
        self.path = path

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
        return int(number) if number.isdigit() else 0

    def _ask(self, method: str, path: str) -> str | None:
        connection = _UnixConnection(self.path)
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
