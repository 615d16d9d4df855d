"""What YAML may say of the ledger, the database of all calls."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import PlainValidator

from ..core.catalog import LedgerPlace, SecretRef
from . import values
from .fields import Model, field
from .problems import refuse, show

_RIGHT = "give sqlite:///PATH, {env: NAME} or {file: PATH} that hold a URL, or none"
_DAYS = re.compile(r"([0-9]{1,5})\s*d")
_DAY_S = 86_400
_MOST_DAYS = 36_500


def ledger_url(value: Any) -> str | SecretRef:
    """A URL without a password, or where it is to be found; `none`."""
    if not isinstance(value, str):
        return values.stored(value, ("env", "file"), _RIGHT)
    if value == "none":
        return value
    try:
        parts = urlsplit(value)
        has_password = parts.password is not None or "password" in parts.query
    except ValueError:
        refuse("is no URL", _RIGHT)
    if has_password:
        refuse("holds a password in plain text", "give {env: NAME} or {file: PATH} that hold the URL")
    scheme = parts.scheme.partition("+")[0]
    if scheme not in ("sqlite", "postgresql", "postgres"):
        refuse(f"{show(value)} is no database that a ledger can be in", _RIGHT)
    if scheme == "sqlite" and not (value.startswith("sqlite:///") and len(value) > len("sqlite:///")):
        refuse(
            f"{show(value)} names no file", "give sqlite:///relative/path or sqlite:////path/from/the/root"
        )
    return value


def days_s(value: Any) -> int:
    """Seconds; 0: for ever."""
    if value in ("forever", "none"):
        return 0
    found = _DAYS.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found or not 1 <= int(found[1]) <= _MOST_DAYS:
        refuse(f"{show(value)} is no number of days", f"give 1d to {_MOST_DAYS}d, e.g. 400d, or forever")
    return int(found[1]) * _DAY_S


class LedgerIn(Model):
    """The database of all calls, which `modelbroker spend` asks: docs/ledger.md. Without this section it is a
    file of SQLite in the state folder."""

    url: Annotated[str | SecretRef, PlainValidator(ledger_url)] = field(
        "Where it is: `sqlite:///PATH`, or PostgreSQL, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, "
        "which many brokers may share. With a password: `{env: NAME}` or `{file: PATH}` that hold it. "
        "`none`: no ledger. Left out: `ledger.db` in the state folder.",
        "URL, reference to a secret or `none`",
        _RIGHT,
        "",
    )
    retention: Annotated[int, PlainValidator(days_s)] = field(
        "How long calls are kept: days, or `forever`.",
        "days or `forever`",
        "give e.g. 400d, or forever",
        LedgerPlace().retention_s,
    )

    def place(self) -> LedgerPlace:
        url, secret = (self.url, None) if isinstance(self.url, str) else ("", self.url)
        return LedgerPlace("" if url == "none" else url, secret, url != "none", self.retention)
