"""Stores of secrets that follow the HTTP contracts of GCP's, Azure's and Kubernetes's. Their answers are
checked by the clients that are written for the real ones.

Source: Secret Manager API, "projects.secrets.versions.access"; Key Vault REST API, "Get Secret", and Entra
ID's token endpoint; Kubernetes API, "Secret".
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

# A text is XML, anything else JSON.
Answer = tuple[int, Any]


class SimulatedStore:
    """`state` is `up`, `forbids`, `fails` or `hangs`: it takes what is asked and says nothing, not when it is
    up again either. `secrets`: name → its versions, None for one that was deleted. `cert`: (certificate, key)
    as files, for HTTPS."""

    def __init__(self, cert: tuple[str, str] | None = None) -> None:
        self.state = "up"
        self.secrets: dict[str, list[Any]] = {}
        self.tokens = {"good-token"}
        self.asked: list[str] = []
        self._closed = threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_all(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                store.asked.append(self.path)
                if store.state == "hangs":
                    store._closed.wait()
                    self.close_connection = True
                    return
                status, answer, more = store._reply(self.path, headers, body)
                kind = "text/xml" if isinstance(answer, str) else "application/json"
                data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                for name, value in {"content-type": kind, **more}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = handle_all

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if cert is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*cert)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if cert else ''}://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def version(self, name: str, number: str) -> tuple[int, Any] | None:
        """(number, value) of one; the newest for "" and `latest`."""
        versions = self.secrets.get(name, [])
        place = len(versions) if number in ("", "latest") else int(number) if number.isdecimal() else 0
        return (place, versions[place - 1]) if 0 < place <= len(versions) else None

    def _reply(self, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        status, answer = self.answer(target, headers, body)
        return status, answer, {}

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        raise NotImplementedError

    def is_known(self, headers: dict[str, str]) -> bool:
        return headers.get("authorization", "").removeprefix("Bearer ") in self.tokens


class SimulatedGcp(SimulatedStore):
    def answer(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        if not self.is_known(headers):
            return self._error(401, "UNAUTHENTICATED")
        if self.state != "up":
            return (
                self._error(403, "PERMISSION_DENIED")
                if self.state == "forbids"
                else self._error(503, "UNAVAILABLE")
            )
        words = urlsplit(target).path.removesuffix(":access").split("/")
        found = self.version(words[5], words[7])
        if found is None:
            return self._error(404, "NOT_FOUND")
        number, value = found
        if value is None:
            return self._error(400, "FAILED_PRECONDITION")
        name = f"projects/123/secrets/{words[5]}/versions/{number}"
        data = base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
        return 200, {"name": name, "payload": {"data": data}}

    def _error(self, status: int, name: str) -> Answer:
        return status, {"error": {"code": status, "message": name.lower(), "status": name}}


class SimulatedAzure(SimulatedStore):
    """The vault, and the tenant's token endpoint beside it, which knows `client_secret`."""

    client_secret = "azure-secret"

    def _reply(
        self, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        status, answer = self.answer(target, headers, body)
        if status != 401:
            return status, answer, {}
        challenge = f'Bearer authorization="{self.url}/tenant", resource="https://vault.azure.net"'
        return status, answer, {"www-authenticate": challenge}

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        path = urlsplit(target).path
        if path.endswith("/.well-known/openid-configuration"):
            base = f"{self.url}/tenant"
            return 200, {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "issuer": f"{base}/v2.0",
            }
        if path.endswith("/token"):
            said = parse_qs(body.decode()).get("client_secret", [""])[0]
            if said != self.client_secret:
                return 401, {
                    "error": "invalid_client",
                    "error_description": "AADSTS7000215: Invalid client secret",
                }
            return 200, {"token_type": "Bearer", "expires_in": 3600, "access_token": "good-token"}
        if not self.is_known(headers):
            return 401, {"error": {"code": "Unauthorized", "message": "no token"}}
        if self.state != "up":
            return (403 if self.state == "forbids" else 503), {
                "error": {"code": "Forbidden", "message": "no"}
            }
        words = path.strip("/").split("/")
        found = self.version(words[1], words[2] if len(words) > 2 else "")
        if found is None or found[1] is None:
            return 404, {"error": {"code": "SecretNotFound", "message": "not found"}}
        number, value = found
        now = int(time.time())
        attributes = {"enabled": True, "created": now, "updated": now}
        return 200, {
            "value": value,
            "id": f"{self.url}/secrets/{words[1]}/{number}",
            "attributes": attributes,
        }


class SimulatedCluster(SimulatedStore):
    """`secrets`: `namespace/name` → its versions, each a mapping of fields."""

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        if not self.is_known(headers):
            return self._status(401, "Unauthorized")
        if self.state != "up":
            return (
                self._status(403, "Forbidden")
                if self.state == "forbids"
                else self._status(500, "InternalError")
            )
        words = urlsplit(target).path.strip("/").split("/")  # api v1 namespaces NS secrets NAME
        found = self.version(f"{words[3]}/{words[5]}", "")
        if found is None or found[1] is None:
            return self._status(404, "NotFound")
        number, fields = found
        data = {name: base64.b64encode(value.encode()).decode() for name, value in fields.items()}
        metadata = {"name": words[5], "namespace": words[3], "resourceVersion": str(number)}
        return 200, {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "data": data,
            "type": "Opaque",
        }

    def _status(self, code: int, reason: str) -> Answer:
        return code, {
            "apiVersion": "v1",
            "kind": "Status",
            "status": "Failure",
            "code": code,
            "reason": reason,
        }
