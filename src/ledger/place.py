"""Where a ledger is: URLs. Without SQLAlchemy, which the control plane need not load."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from ..core.errors import Misconfigured

FILE_NAME = "ledger.db"
_RIGHT = "give sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def default_url(state_dir: Path) -> str:
    return f"sqlite:///{(state_dir / FILE_NAME).absolute()}"


def checked(url: str) -> SplitResult:
    """Misconfigured where it is no database that can be a ledger here. The URL is never repeated: it may hold
    a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Misconfigured(500, "ledger_url", f"the ledger's URL is none: {_RIGHT}") from None
    kind = parts.scheme.partition("+")[0]
    if kind == "sqlite":
        if not url.removeprefix(f"{parts.scheme}:///") or not url.startswith(f"{parts.scheme}:///"):
            raise Misconfigured(500, "ledger_url", f"the ledger's URL names no file: {_RIGHT}")
        return parts
    if kind not in ("postgresql", "postgres"):
        what = f"can't be in {kind!r}" if kind and "@" not in kind else "has no URL"
        raise Misconfigured(500, "ledger_url", f"the ledger {what}: {_RIGHT}")
    if importlib.util.find_spec("psycopg") is None:
        message = "a ledger in PostgreSQL needs the extra `postgres`: pip install 'modelbroker[postgres]'"
        raise Misconfigured(500, "ledger_driver", message)
    return parts


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def file_of(url: str) -> Path:
    """The file of a ledger in SQLite."""
    return Path(unquote(url.partition(":///")[2].partition("?")[0]))


def with_driver(url: str) -> str:
    """The same with the driver that is used here."""
    rest = url.partition(":")[2]
    return f"{'sqlite+pysqlite' if is_sqlite(url) else 'postgresql+psycopg'}:{rest}"


def place_of(url: str) -> str:
    """For people: without the password."""
    parts = checked(url)
    if is_sqlite(url):
        return f"SQLite {file_of(url)}"
    host = parts.hostname or next(iter(parse_qs(parts.query).get("host", ())), "localhost")
    return f"PostgreSQL {host}{f':{parts.port}' if parts.port else ''}{parts.path}"
