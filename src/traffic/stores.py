"""Opens stores of samples."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.traffic import Sample
from .store import TrafficStore


def open_store(url: str, keys: Sequence[bytes] = (), *, creates: bool = True) -> TrafficStore:
    """`url`: `sqlite:///PATH`, `postgresql://…` or `s3://bucket/prefix`. The first of `keys` (32 bytes each)
    encrypts, all of them decrypt; none: bodies are written as they are. Unless it `creates`, there has to be
    a store already (else Misconfigured)."""
    raise NotImplementedError(url, keys, creates)


__all__ = ["Sample", "TrafficStore", "open_store"]
