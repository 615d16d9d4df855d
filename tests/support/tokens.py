"""Issuers of tokens, as tests need them: keys, tokens of every kind, and a server of keys."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://login.example.com"
AUDIENCE = "modelbroker"


class SigningKey:
    """A key pair of an issuer's; `alg` is RS256, ES256 or EdDSA."""

    def __init__(self, kid: str = "k1", alg: str = "RS256") -> None:
        self.kid, self.alg = kid, alg
        self._key: Any
        if alg == "RS256":
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        elif alg == "ES256":
            self._key = ec.generate_private_key(ec.SECP256R1())
        else:
            self._key = ed25519.Ed25519PrivateKey.generate()

    @property
    def public(self) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name(self.alg)
        tree: dict[str, Any] = algorithm.to_jwk(self._key.public_key(), as_dict=True)
        tree.pop("key_ops", None)
        return {**tree, "kid": self.kid, "alg": self.alg, "use": "sig"}

    def token(self, issuer: str = ISSUER, *, lasts_s: float | None = 600, **claims: Any) -> str:
        now_s = time.time()
        said: dict[str, Any] = {"iss": issuer, "aud": AUDIENCE, "sub": "alice", "iat": int(now_s), **claims}
        if lasts_s is not None:
            said.setdefault("exp", int(now_s + lasts_s))
        return jwt.encode(said, self._key, self.alg, headers={"kid": self.kid})


def jwks(*keys: SigningKey) -> str:
    return json.dumps({"keys": [key.public for key in keys]})


def unsigned(claims: Mapping[str, Any], **header: Any) -> str:
    """`alg: none`, which PyJWT does not make with a `kid`."""
    parts = (json.dumps(part).encode() for part in ({"typ": "JWT", "alg": "none", **header}, dict(claims)))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def claims_of(token: str) -> dict[str, Any]:
    read: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return read


class KeyServer:
    """`with KeyServer() as server:` serves `server.text` at `server.url`; `fails`: it answers 500. With `tls`
    it is at `https://localhost`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.text, self.fails, self.asked = "", False, 0
        handler = self._handler()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        place = f"{'http://127.0.0.1' if tls is None else 'https://localhost'}:{self._server.server_port}"
        self.url = f"{place}/keys?of=tests"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = outer.text.encode()
                self.send_response(500 if outer.fails or self.path != "/keys?of=tests" else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler

    def __enter__(self) -> KeyServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
