"""What a page is asked, and what it gives: the words between the server and its pages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

NO_WORDS: Mapping[str, str] = MappingProxyType({})


class Asked(NamedTuple):
    """`path` is what stands behind `/console`, `/` for the first page; `query` has the first value of each
    name. `now_s`: unix time."""

    path: str
    query: Mapping[str, str] = NO_WORDS
    user: str = ""
    now_s: float = 0.0


class Page(NamedTuple):
    """`template` is rendered with `data`. `every_s`: how often the browser asks for it again; 0: it does
    not."""

    template: str
    data: Mapping[str, Any]
    status: int = 200
    every_s: int = 0


class Download(NamedTuple):
    """What is no page, but a file."""

    content_type: str
    body: bytes


class Missing(LookupError):
    """There is no such page, pool, call …: its text says what there is not."""
