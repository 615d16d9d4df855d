"""A Vault that follows the HTTP contract of the real one, as far as its KV engine and logins go. Its answers
are checked by hvac, which is written for the real one.

Source: Vault's HTTP API ("KV secrets engine - version 2", "AppRole", "Kubernetes", "Token").
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Token:
    """`until_s`: of the monotonic clock. `left`: so many renewals are allowed."""

    ttl_s: float = 0.0
    until_s: float = float("inf")
    renewable: bool = False
    left: int = 1_000_000


@dataclass
class SimulatedVault:
    """`state` is `up`, `sealed`, `forbids`, `busy` or `hangs`. `asked` are the paths of all requests."""

    state: str = "up"
    namespace: str = ""
    tokens: dict[str, Token] = field(default_factory=lambda: {"root": Token()})
    secrets: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)  # path → its versions
    approles: dict[str, str] = field(default_factory=dict)  # role id → secret id
    pods: dict[str, str] = field(default_factory=dict)  # role → the service account's token
    forbidden: set[str] = field(default_factory=set)  # paths that no token may read
    token_ttl_s: float = 3_600.0
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        vault = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_all(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(size) or b"{}") if size else {}
                status, answer = vault._answer(self.command, self.path, dict(self.headers.items()), body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = handle_all

            def log_message(self, *_: object) -> None: ...

        self._hanging = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def put(self, path: str, **fields: Any) -> None:
        self.secrets.setdefault(path, []).append(fields)

    def delete(self, path: str) -> None:
        """Its newest version."""
        self.secrets[path][-1] = None

    def answer_all(self) -> None:
        """To those that hang."""
        self._hanging.set()

    def close(self) -> None:
        self.answer_all()
        self._server.shutdown()
        self._server.server_close()

    # -- answers

    def _answer(
        self, method: str, target: str, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(target)
        path = parts.path.removeprefix("/v1/")
        self.asked.append(path)
        match self.state:
            case "sealed":
                return 503, {"errors": ["Vault is sealed"]}
            case "busy":
                return 429, {"errors": ["request path: rate limit quota exceeded"]}
            case "hangs":
                self._hanging.wait(30)
        if headers.get("X-Vault-Namespace", "").strip("/") != self.namespace:
            return 404, {"errors": ["no handler for route"]}
        if path.startswith("auth/") and path.endswith("/login"):
            return self._login(path.split("/")[1], body)
        token = self.tokens.get(headers.get("X-Vault-Token", ""))
        if self.state == "forbids" or token is None or token.until_s < time.monotonic():
            return 403, {"errors": ["permission denied"]}
        if path == "auth/token/lookup-self":
            return 200, {"data": {"ttl": int(token.ttl_s), "renewable": token.renewable}}
        if path == "auth/token/renew-self":
            return self._renew(headers["X-Vault-Token"], token)
        if path.removeprefix("secret/data/") in self.forbidden:
            return 403, {"errors": ["permission denied"]}
        if path.startswith("secret/data/") and method == "GET":
            return self._read(path.removeprefix("secret/data/"), parse_qs(parts.query))
        return 404, {"errors": []}

    def _read(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        versions = self.secrets.get(path)
        number = int((query.get("version") or ["0"])[0]) or len(versions or ())
        if not versions or number > len(versions):
            return 404, {"errors": []}
        fields = versions[number - 1]
        metadata = {
            "created_time": "2026-01-01T00:00:00Z",
            "deletion_time": "" if fields is not None else "2026-01-02T00:00:00Z",
            "destroyed": False,
            "version": number,
        }
        return (200 if fields is not None else 404), {"data": {"data": fields, "metadata": metadata}}

    def _login(self, mount: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if mount == "approle":
            good = self.approles.get(body.get("role_id", "")) == body.get("secret_id", "")
        else:
            good = self.pods.get(body.get("role", "")) == body.get("jwt", "")
        if not good:
            return 400, {"errors": ["invalid role or secret ID"]}
        name = f"hvs.{len(self.tokens)}"
        until_s = time.monotonic() + self.token_ttl_s
        self.tokens[name] = Token(self.token_ttl_s, until_s, renewable=True, left=1)
        return 200, {"auth": self._told(name)}

    def _renew(self, name: str, token: Token) -> tuple[int, dict[str, Any]]:
        if not token.renewable or not token.left:
            return 400, {"errors": ["lease is not renewable"]}
        token.left -= 1
        token.until_s = time.monotonic() + token.ttl_s
        return 200, {"auth": self._told(name)}

    def _told(self, name: str) -> dict[str, Any]:
        token = self.tokens[name]
        return {"client_token": name, "lease_duration": int(token.ttl_s), "renewable": token.renewable}
