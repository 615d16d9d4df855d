"""Opens stores of samples."""

from __future__ import annotations

from collections.abc import Sequence

from .place import checked
from .store import TrafficStore


def open_store(url: str, keys: Sequence[bytes] = (), *, creates: bool = True) -> TrafficStore:
    """`url`: `sqlite:///PATH`, `postgresql://…` or `s3://BUCKET/PREFIX`. The first of `keys` (32 bytes each)
    encrypts, all of them decrypt; none: bodies are compressed alone. Unless it `creates`, there has to be a
    store already. Misconfigured where that is not so, or where what it needs is not installed; StoreError
    where it can't be reached."""
    if checked(url) == "s3":
        from .s3 import S3Store

        return S3Store(url, keys, creates=creates)
    from .sql import SqlStore

    return SqlStore(url, keys, creates=creates)
