"""Where a store of samples is: URLs. Without SQLAlchemy and boto3, which the control plane need not load."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from ..core.errors import Misconfigured

FILE_NAME = "traffic.db"
RIGHT = "give sqlite:///PATH, postgresql://USER:PASSWORD@HOST:PORT/DATABASE or s3://BUCKET/PREFIX"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OF_S3 = ("endpoint", "region", "profile")


class Bucket(NamedTuple):
    """`prefix` ends with a slash, or is empty. Credentials are found as AWS's tools find them."""

    name: str
    prefix: str
    endpoint: str = ""
    region: str = ""
    profile: str = ""


def default_url(state_dir: Path) -> str:
    return f"sqlite:///{(state_dir / FILE_NAME).absolute()}"


def kind_of(url: str) -> str:
    return url.partition(":")[0].partition("+")[0]


def checked(url: str) -> str:
    """The kind: `sqlite`, `postgresql` or `s3`. Misconfigured where it is no place for samples, or what it
    needs is not installed. The URL is never repeated: it may hold a password."""
    kind = kind_of(url)
    if kind == "s3":
        bucket_of(url)
        _needs("boto3", "a store in S3", "s3")
        return kind
    if kind == "sqlite":
        if not url.partition(":///")[2]:
            raise Misconfigured(500, "traffic_url", f"the store's URL names no file: {RIGHT}")
        return kind
    if kind not in ("postgresql", "postgres"):
        raise Misconfigured(500, "traffic_url", f"the store's URL is none: {RIGHT}")
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise Misconfigured(500, "traffic_url", f"the store's URL is none: {RIGHT}") from None
    _needs("psycopg", "a store in PostgreSQL", "postgres")
    return "postgresql"


def _needs(module: str, what: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        message = f"{what} needs the extra `{extra}`: pip install 'modelbroker[{extra}]'"
        raise Misconfigured(500, "traffic_driver", message)


def bucket_of(url: str) -> Bucket:
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise Misconfigured(500, "traffic_url", f"the store's URL is none: {RIGHT}") from None
    if not _BUCKET.fullmatch(parts.netloc):
        message = "the store's URL names no bucket: give s3://BUCKET/PREFIX, without credentials in it"
        raise Misconfigured(500, "traffic_url", message)
    if wrong := [name for name in query if name not in _OF_S3]:
        message = f"the store's URL says {wrong[0]!r}, and may say {', '.join(_OF_S3)} alone"
        raise Misconfigured(500, "traffic_url", message)
    prefix = unquote(parts.path).strip("/")
    return Bucket(parts.netloc, f"{prefix}/" if prefix else "", **query)


def file_of(url: str) -> Path:
    """The file of a store in SQLite."""
    return Path(unquote(url.partition(":///")[2].partition("?")[0]))


def place_of(url: str) -> str:
    """For people: without the password."""
    kind = kind_of(url)
    if kind == "sqlite":
        return f"SQLite {file_of(url)}"
    parts = urlsplit(url)
    if kind == "s3":
        return f"s3://{parts.netloc}{parts.path}"
    return f"PostgreSQL {parts.hostname or 'localhost'}{f':{parts.port}' if parts.port else ''}{parts.path}"
