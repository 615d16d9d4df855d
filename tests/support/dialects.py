"""Recorded traffic by dialect, for laws that hold for all of them."""

from __future__ import annotations

import base64
import functools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from modelbroker.dialects.conversation import Upstream

_FOLDER = Path(os.environ.get("MODELBROKER_RECORDINGS", Path(__file__).parents[3] / "shared" / "recordings"))

# Kind of recording → the dialect that it is in.
PROVIDER_KINDS: Mapping[str, str] = {
    "openai-chat": "openai-chat",
    "openai-compatible-chat": "openai-chat",
    "openai-responses": "openai-responses",
    "anthropic-messages": "anthropic-messages",
    "bedrock-converse": "bedrock-converse",
    "bedrock-converse-stream": "bedrock-converse",
    "gemini-generate-content": "gemini",
}
CLIENT_DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages")
PROVIDER_DIALECTS = (*CLIENT_DIALECTS, "bedrock-converse", "gemini")
# A model of each dialect that can do most.
MODELS: Mapping[str, str] = {
    "openai-chat": "gpt-5.1",
    "openai-responses": "gpt-5.1",
    "anthropic-messages": "claude-sonnet-4-5",
    "bedrock-converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "gemini": "gemini-2.5-pro",
}


def upstream(dialect: str, **changes: Any) -> Upstream:
    fields: dict[str, Any] = {"provider": "house", "dialect": dialect, "model": MODELS[dialect]}
    return Upstream(**{**fields, **changes})


@dataclass(frozen=True)
class Recorded:
    """One exchange. `reply` is its body as bytes."""

    id: str
    dialect: str
    request: Any
    request_body: bytes
    status: int
    headers: Mapping[str, str]
    reply: bytes
    streamed: bool


@functools.cache
def recorded() -> tuple[Recorded, ...]:
    return tuple(_all())


def _all() -> Iterator[Recorded]:
    for kind, dialect in PROVIDER_KINDS.items():
        path = _FOLDER / f"{kind}.jsonl"
        if not path.exists():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            body = row["response"]["body"]
            is_binary = isinstance(body, dict) and set(body) == {"base64"}
            if isinstance(body, str):
                raw = body.encode()
            else:
                raw = base64.b64decode(body["base64"]) if is_binary else json.dumps(body).encode()
            yield Recorded(
                id=f"{kind}:{row['id']}",
                dialect=dialect,
                request=row["request"]["body"],
                request_body=json.dumps(row["request"]["body"]).encode(),
                status=row["response"]["status"],
                headers={k.lower(): v for k, v in (row["response"].get("headers") or {}).items()},
                reply=raw,
                streamed=isinstance(body, str) or is_binary,
            )


def parameters(*, streamed: bool | None = None, good: bool | None = True, client: bool = False) -> list[Any]:
    """Recordings as pytest parameters. `client`: only those in a dialect that clients speak."""
    rows = [
        pytest.param(row, id=row.id)
        for row in recorded()
        if (streamed is None or row.streamed is streamed)
        and (good is None or (row.status == 200) is good)
        and (not client or row.dialect in CLIENT_DIALECTS)
    ]
    return rows or [pytest.param(None, marks=pytest.mark.skip(reason="no recordings here"), id="absent")]


def cuts_of(raw: bytes, boundaries: bytes = b"\n") -> list[int]:
    """Where to cut a stream: everywhere in a short one, else around every event's boundary and in between."""
    if len(raw) < 4096:
        return list(range(1, len(raw)))
    near: set[int] = set()
    at = raw.find(boundaries)
    while at >= 0:
        near.update(range(max(1, at - 2), min(len(raw), at + 4)))
        at = raw.find(boundaries, at + 1)
    near.update(range(1, len(raw), max(1, len(raw) // 100)))
    places = sorted(near)
    return places[:: max(1, len(places) // 400)]
