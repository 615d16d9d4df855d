"""The broker's own identities in clouds, as stores that have one secret: a token, or keys to sign with."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core.catalog import Identity, SecretRef, StoredSecret
from ..core.secrets import AWS, GCP, StorePlace
from ..policy import holding
from ..policy.holding import Value

# The kind of such a store is the cloud with this behind it.
SUFFIX = "-identity"


def places(refs: Iterable[SecretRef]) -> list[StorePlace]:
    """The stores of those among `refs` that are identities."""
    identities = {ref.store: ref for ref in refs if isinstance(ref, Identity)}
    return [StorePlace(name, ref.kind + SUFFIX, dict(ref.options)) for name, ref in identities.items()]


def files_of(cloud: str, options: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Files that say who the broker is. Not those of web identities: the cluster replaces these, and they
    are read when a token is got."""
    home = Path(environ.get("HOME") or Path.home())
    if cloud == AWS:
        return (
            Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials"),
            Path(environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config"),
        )
    given = options.get("credential_file") or environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    return (Path(given),) if cloud == GCP and given else ()


class Renewing:
    """A store that gets its one secret where the last one has come near its end, or where one of `files` is
    another one; else it gives the last one again, however often it is asked."""

    def __init__(self, get: Callable[[], Value], files: Collection[Path]) -> None:
        self._get = get
        self._files = files
        self._stamps: tuple[Any, ...] = ()  # of the files, when it was got
        self._last: Value | None = None
        self._renew_s = 0.0

    def fetch(self, ref: StoredSecret) -> Value:
        stamps = self._seen()
        if self._last is None or stamps != self._stamps or time.time() >= self._renew_s:
            # What is asked for in vain is asked for again.
            self._stamps, self._renew_s = stamps, 0.0
            self._last = self._get()
            self._renew_s = holding.renewed_s(self._last, time.time()) if _expires(self._last) else 0.0
        return self._last

    def has_changed(self) -> bool:
        """What says who the broker is says something else."""
        return self._seen() != self._stamps

    def close(self) -> None: ...

    def _seen(self) -> tuple[Any, ...]:
        return tuple(map(_stamp, self._files))


def _expires(value: Value) -> bool:
    return value.expires_s != float("inf")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
