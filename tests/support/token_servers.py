"""Services that give tokens which expire: AWS's STS, Google's token endpoints and its metadata server. Their
answers are checked by the clients that are written for the real ones.

Source: AWS STS API Reference, "AssumeRole" and "AssumeRoleWithWebIdentity"; RFC 7523 and "Using OAuth 2.0 for
Server to Server Applications" (service accounts); RFC 8693 (workload identity federation); IAM Service
Account Credentials API, "generateAccessToken"; Compute Engine, "View and query VM metadata"; "Container
credential provider" of AWS's SDKs; EC2, "Instance metadata and user data".
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .secret_servers import Answer, SimulatedStore

STATIC = ("AKIASTATIC", "static-secret-canary")
WEB_TOKEN = "web-identity-canary"
SUBJECT_TOKEN = "subject-token-canary"
_AUDIENCE = "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/p/providers/x"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
# Who an assertion is for, wherever it is sent.
_GOOGLES_ENDPOINT = "https://oauth2.googleapis.com/token"
_XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"


class Issued(NamedTuple):
    """What was given to whom. `key` is what the provider finds in a request; `secret` and `token` are AWS's.
    Unix seconds."""

    key: str
    expires_s: float
    secret: str = ""
    token: str = ""


def _drawn(what: str) -> str:
    return f"{what}-canary-{secrets.token_hex(8)}"


def _is_good(scope: str) -> bool:
    """For Vertex, or to act as another account."""
    return scope.removeprefix("https://www.googleapis.com/auth/") in ("cloud-platform", "iam")


class TokenServer(SimulatedStore):
    """What it gives is good for `lives_s`. `told` hears of each before whoever asked for it. `state` is `up`,
    `forbids` or `fails`."""

    def __init__(self, lives_s: float, told: Callable[[Issued], None] = lambda issued: None) -> None:
        self.lives_s = lives_s
        self.issued: list[Issued] = []
        self._told = told
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()
        super().__init__()

    def issue(self, prefix: str, **more: str) -> Issued:
        with self._turn:
            # Whole seconds, as the real ones tell.
            made = Issued(f"{prefix}{next(self._numbers)}", float(int(time.time() + self.lives_s)), **more)
            self._told(made)
            self.issued.append(made)
            return made


class SimulatedSts(TokenServer):
    """Knows STATIC, the keys that it has given itself, and WEB_TOKEN. `external_id`: what roles ask for."""

    external_id = ""

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        path = urlsplit(target).path
        if path == "/container":
            return self._container(headers)
        if path.startswith("/latest/"):
            return self._instance(path)
        said = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if self.state == "fails":
            return self._error(503, "ServiceUnavailable", "Receiver")
        if self.state == "forbids":
            return self._error(403, "AccessDenied")
        if said["Action"] == "AssumeRole":
            if not self._signed_by_one_it_knows(headers):
                return self._error(403, "InvalidClientTokenId")
            if said.get("ExternalId", "") != self.external_id:
                return self._error(403, "AccessDenied")
        elif said.get("WebIdentityToken") != WEB_TOKEN:
            return self._error(400, "InvalidIdentityToken")
        made = self.issue("ASIACANARY", secret=_drawn("secret"), token=_drawn("session/"))
        until = datetime.fromtimestamp(made.expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name, role = said["RoleSessionName"], said["RoleArn"]
        action = said["Action"]
        return 200, (
            f'<{action}Response xmlns="{_XMLNS}"><{action}Result><AssumedRoleUser>'
            f"<AssumedRoleId>AROA:{escape(name)}</AssumedRoleId><Arn>{escape(role)}/{escape(name)}</Arn>"
            f"</AssumedRoleUser><Credentials><AccessKeyId>{made.key}</AccessKeyId>"
            f"<SecretAccessKey>{made.secret}</SecretAccessKey><SessionToken>{made.token}</SessionToken>"
            f"<Expiration>{until}</Expiration></Credentials></{action}Result>"
            f"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
        )

    def _container(self, headers: dict[str, str]) -> Answer:
        """What ECS's agent and EKS's pod identity answer."""
        if headers.get("authorization") != WEB_TOKEN:
            return 401, {"code": "AccessDenied", "message": "no"}
        return 200, self._as_json()

    def _instance(self, path: str) -> Answer:
        """What an instance's metadata service answers, in its second version."""
        if path == "/latest/api/token":
            return 200, "a-session"
        folder = "/latest/meta-data/iam/security-credentials/"
        if path == folder:
            return 200, "role"
        return (200, {"Code": "Success", **self._as_json()}) if path == f"{folder}role" else (404, "")

    def _as_json(self) -> dict[str, str]:
        made = self.issue("ASIACANARY", secret=_drawn("secret"), token=_drawn("session/"))
        return {
            "AccessKeyId": made.key,
            "SecretAccessKey": made.secret,
            "Token": made.token,
            "Expiration": datetime.fromtimestamp(made.expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _signed_by_one_it_knows(self, headers: dict[str, str]) -> bool:
        key = re.search(r"Credential=([^/]+)/", headers.get("authorization", ""))
        if key is None:
            return False
        own = [one for one in self.issued if one.key == key[1] and time.time() < one.expires_s]
        return key[1] == STATIC[0] or [one.token for one in own] == [headers.get("x-amz-security-token")]

    def _error(self, status: int, code: str, kind: str = "Sender") -> Answer:
        return status, (
            f'<ErrorResponse xmlns="{_XMLNS}"><Error><Type>{kind}</Type><Code>{code}</Code>'
            f"<Message>no</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        )


class SimulatedGoogle(TokenServer):
    """`/token` is for the service account of `account_file`, `/sts` for federation by SUBJECT_TOKEN, the rest
    is impersonation and the metadata server of an instance."""

    account = "broker@my-project.iam.gserviceaccount.com"

    def __init__(self, lives_s: float, told: Callable[[Issued], None] = lambda issued: None) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        super().__init__(lives_s, told)

    def account_file(self) -> str:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "my-project",
                "private_key_id": "k1",
                "private_key": self._key.private_bytes(*form).decode(),
                "client_email": self.account,
                "token_uri": f"{self.url}/token",
            }
        )

    def federation_file(self, subject_file: str, *, impersonated: str = "") -> str:
        said = {
            "type": "external_account",
            "audience": _AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/sts",
            "credential_source": {"file": subject_file},
        }
        if impersonated:
            said["service_account_impersonation_url"] = self._impersonation(impersonated)
        return json.dumps(said)

    def _impersonation(self, account: str) -> str:
        return f"{self.url}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        path = urlsplit(target).path
        if path == "/" or path.startswith("/computeMetadata/"):
            return self._metadata(path)
        if self.state != "up":
            return (
                (400, {"error": "unauthorized_client", "error_description": "no"})
                if self.state == "forbids"
                else (503, {"error": "temporarily_unavailable"})
            )
        if path.endswith(":generateAccessToken"):
            bearer = headers.get("authorization", "").removeprefix("Bearer ")
            if bearer not in [one.key for one in self.issued]:
                return 403, {"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}}
            made = self.issue("ya29.canary-acting-")
            until = datetime.fromtimestamp(made.expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return 200, {"accessToken": made.key, "expireTime": until}
        said = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        wrong = self._wrong_assertion(said) if path == "/token" else self._wrong_subject(said)
        if wrong:
            return 400, {"error": wrong, "error_description": "no"}
        return 200, {**self._token("ya29.canary-"), "issued_token_type": _ACCESS_TOKEN}

    def _reply(self, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        status, answer = self.answer(target, headers, body)
        return status, answer, {"metadata-flavor": "Google"}

    def _token(self, prefix: str) -> dict[str, Any]:
        made = self.issue(prefix)
        left_s = max(int(made.expires_s - time.time()), 1)
        return {"access_token": made.key, "expires_in": left_s, "token_type": "Bearer"}

    def _wrong_assertion(self, said: dict[str, str]) -> str:
        try:
            found = jwt.decode(
                said["assertion"], self._key.public_key(), algorithms=["RS256"], audience=_GOOGLES_ENDPOINT
            )
        except jwt.PyJWTError:
            return "invalid_grant"
        return "" if found["iss"] == self.account and _is_good(found["scope"]) else "invalid_scope"

    def _wrong_subject(self, said: dict[str, str]) -> str:
        if said.get("subject_token") != SUBJECT_TOKEN:
            return "invalid_grant"
        return "" if _is_good(said.get("scope", "")) else "invalid_scope"

    def _metadata(self, path: str) -> Answer:
        if path.endswith("/token"):
            return 200, self._token("ya29.canary-instance-")
        account = {"aliases": ["default"], "email": self.account, "scopes": []}
        return 200, account
