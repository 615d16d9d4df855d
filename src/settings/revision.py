"""The name of a configuration: the hash of what it means, whatever its spelling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec


def revision(parts: Mapping[str, Any]) -> str:
    """12 hex digits over all compiled values in JSON with sorted keys. Lists keep their order: that of
    rules and members means something, and all that is named comes sorted by name."""
    # Two steps, for msgspec encodes only enums whose values are text or numbers.
    plain = msgspec.to_builtins(parts, order="sorted", enc_hook=_plain, builtin_types=())
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Enum):
        return value.name
    raise TypeError(f"a catalog holds no {type(value).__name__}")
