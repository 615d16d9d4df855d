"""HashiCorp Vault and OpenBao: the KV engine, version 2.

Source: Vault's HTTP API, "KV secrets engine - version 2", "AppRole", "Kubernetes" and "Token" auth methods.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import requests

from ..core.away import why_away
from ..core.catalog import StoredSecret
from ..core.secrets import StorePlace
from ..policy.holding import Value
from .store import TIMEOUT_S, Away, Denied, Gone, Opener, SecretStore, field_of

# A token is renewed, or got anew, once so much of its life is over.
_RENEWED_AT = 0.6
# What a login is answered with that will not do.
_NOT_IN = (
    hvac.exceptions.Forbidden,
    hvac.exceptions.Unauthorized,
    hvac.exceptions.InvalidRequest,
    hvac.exceptions.InvalidPath,
)
# Way to log in → what to look at.
_OPENED_BY = {
    "token": "`auth.token`, which is wrong or over",
    "approle": "the role id and the secret id of `auth.approle`",
    "kubernetes": "the role of `auth.kubernetes`, and which accounts Vault binds it to",
}


class Vault:
    """One session: a token that is got, renewed and got anew as its kind of login allows."""

    def __init__(self, place: StorePlace, opener: Opener) -> None:
        options = place.options
        self._place, self._options, self._opener = place, options, opener
        self._client = hvac.Client(
            url=options["address"],
            namespace=options.get("namespace") or None,
            verify=options.get("ca_file") or True,
            timeout=TIMEOUT_S,
            # What the environment of some other tool says is not meant for the broker.
            token="",
            allow_redirects=False,
        )
        self._opened_with = ""  # the token that was given
        self._renewed_s = 0.0  # of the monotonic clock: when to renew it, or log in again
        self._is_renewable = False
        self._is_in = False

    def fetch(self, ref: StoredSecret) -> Value:
        try:
            self._enter()
            return self._read(ref)
        except hvac.exceptions.InvalidPath:
            raise Gone(f"{ref.name} is not there, in the mount {self._options['mount']}") from None
        except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
            self._is_in = False  # the token may have been taken back
            raise Denied(f"the broker may not read {ref.name}") from None
        except hvac.exceptions.VaultDown:
            raise Away("it is sealed, or in maintenance") from None
        except hvac.exceptions.RateLimitExceeded:
            raise Away("it has had too many requests") from None
        except hvac.exceptions.VaultError as error:
            raise Away(f"it answers with {type(error).__name__}") from None
        except requests.exceptions.Timeout:
            raise Away(f"it did not answer within {TIMEOUT_S} s") from None
        except requests.exceptions.SSLError as error:
            raise Away(_why_no_tls(error)) from None
        except requests.exceptions.RequestException:
            raise Away(f"{self._options['address']} can't be reached") from None
        except OSError as error:  # requests looks for the file itself
            if (path := self._options.get("ca_file")) and not Path(path).exists():
                raise Away(f"ca_file {path} is not there") from None
            raise Away(why_away(error)) from None

    def close(self) -> None:
        self._client.adapter.close()

    def _read(self, ref: StoredSecret) -> Value:
        if ref.version and not ref.version.isdecimal():
            raise Gone(f"{ref.version} is no version: Vault counts from 1")
        answer = self._client.secrets.kv.v2.read_secret_version(
            path=ref.name,
            version=int(ref.version) if ref.version else None,
            mount_point=self._options["mount"],
            raise_on_deleted_version=True,
        )
        found = answer.get("data") if isinstance(answer, dict) else None
        fields = found.get("data") if isinstance(found, dict) else None
        if not isinstance(found, dict) or not isinstance(fields, dict):
            raise Gone(f"{self._options['mount']} is no KV engine of version 2")
        return Value(field_of(fields, ref), str((found.get("metadata") or {}).get("version", "")))

    # -- the token

    def _enter(self) -> None:
        """Away where Vault does not let the broker in at all."""
        try:
            self._log_in()
        except hvac.exceptions.VaultDown:
            raise
        except _NOT_IN as error:
            way, self._is_in = self._options["auth"], False
            if isinstance(error, hvac.exceptions.InvalidPath):
                raise Away(f"it has no login by {way} there: see `address`, `namespace`, `auth`") from None
            raise Away(f"it does not let the broker in: see {_OPENED_BY[way]}") from None

    def _log_in(self) -> None:
        way = self._options["auth"]
        if way == "token" and self._opener("token") != self._opened_with:
            self._is_in = False  # another one was put in its place
        if self._is_in and time.monotonic() < self._renewed_s:
            return
        if self._is_in and self._is_renewable:
            try:
                self._taken(self._client.auth.token.renew_self().get("auth") or {})
                return
            except hvac.exceptions.VaultError:
                pass  # it has come to the end of what it may live
        self._is_in = False
        if way == "token":
            self._use_token()
        elif way == "approle":
            self._taken(
                self._client.auth.approle.login(
                    role_id=self._options["role_id"],
                    secret_id=self._opener("secret_id"),
                    mount_point=self._options["auth_mount"],
                ).get("auth")
                or {}
            )
        else:
            self._taken(
                self._client.auth.kubernetes.login(
                    role=self._options["role"],
                    jwt=self._pods_token(),
                    mount_point=self._options["auth_mount"],
                ).get("auth")
                or {}
            )

    def _use_token(self) -> None:
        self._opened_with = self._client.token = self._opener("token")
        told = self._client.auth.token.lookup_self().get("data") or {}
        self._lives(float(told.get("ttl") or 0), bool(told.get("renewable")))

    def _taken(self, auth: dict[str, Any]) -> None:
        token = auth.get("client_token")
        if token:  # a renewal may leave it out
            self._client.token = token
        self._lives(float(auth.get("lease_duration") or 0), bool(auth.get("renewable")))

    def _lives(self, ttl_s: float, is_renewable: bool) -> None:
        """0: for ever."""
        self._is_in, self._is_renewable = True, is_renewable
        self._renewed_s = time.monotonic() + ttl_s * _RENEWED_AT if ttl_s else float("inf")

    def _pods_token(self) -> str:
        path = Path(self._options["token_file"])
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise Away(f"the service account's token {path} can't be read") from None


def _why_no_tls(error: requests.exceptions.SSLError) -> str:
    """What the system says is at the bottom of it."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLError):
            return why_away(inner)
        inner = inner.__cause__ or inner.__context__
    return "TLS fails"


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return Vault(place, opener)
