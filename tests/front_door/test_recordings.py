"""Real traffic, replayed by a member: nothing but the model's name changes on the way through the broker.

Each recording is pinned by its id, so that the request's bytes are free.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.recordings import recordings
from support.simulators import Simulators
from support.spelling import Speller
from support.wire import BEARER, CHAT, COUNT_TOKENS, EMBEDDINGS, MESSAGES, RESPONSES, X_API_KEY, ask

# Kind of recording → the dialect it is served in, and the path that clients call.
KINDS: Mapping[str, tuple[str, str]] = {
    "openai-chat": ("openai-chat", CHAT),
    "openai-compatible-chat": ("openai-chat", CHAT),
    "openai-responses": ("openai-responses", RESPONSES),
    "openai-embeddings": ("openai-embeddings", EMBEDDINGS),
    "anthropic-messages": ("anthropic-messages", MESSAGES),
    "anthropic-count-tokens": ("anthropic-messages", COUNT_TOKENS),
}
OWN_MODEL = 'the "member\'s" own'.replace(" ", "-")
ROWS = [
    pytest.param(kind, *row.values, id=f"{kind}:{row.id}", marks=row.marks)
    for kind in KINDS
    for row in recordings(kind)
]
_FOLDER = Path(os.environ.get("MODELBROKER_RECORDINGS", Path(__file__).parents[3] / "shared" / "recordings"))


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*KINDS) as simulators:
        for kind in KINDS:
            path = _FOLDER / f"{kind}.jsonl"
            if path.exists():
                simulators[kind].script(
                    recordings=[str(path.resolve())], recordings_only=True, journal={"entries": 100}
                )
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [
            provider(kind, sims[kind].port, dialect, "" if dialect.startswith("anthropic") else "/v1")
            for kind, (dialect, _) in KINDS.items()
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": f"pool-{kind}",
                "failover": "none",
                "ejection": "off",
                "usage_event": "pass",
                "members": [{"provider": kind, "model": OWN_MODEL}],
            }
            for kind in KINDS
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


def with_usage(kind: str, row: Any, expected: bytes) -> bytes:
    """A chat stream that does not say whether it wants usage is asked for it."""
    body = row["request"]["body"]
    if not kind.endswith("-chat") or body.get("stream") is not True or "stream_options" in body:
        return expected
    return expected.replace(b"{", b'{"stream_options":{"include_usage":true},', 1)


def pin(row: Any) -> dict[str, str]:
    return {"x-mock-reply": json.dumps({"recording": row["id"]})}


def of_our_own(row: Any) -> str | None:
    """The code of what the client gets instead, where the reply speaks of the broker's key or models."""
    if row["response"]["status"] in (401, 403):
        return "upstream_credential_refused"
    body = row["response"]["body"]
    error = body.get("error") if isinstance(body, dict) else None
    is_model = isinstance(error, dict) and error.get("code") == "model_not_found"
    return "upstream_model_not_found" if is_model else None


@pytest.mark.parametrize(("kind", "row"), ROWS)
def test_bytes(broker: Broker, sims: Simulators, kind: str, row: Any) -> None:
    path = KINDS[kind][1]
    keys = X_API_KEY if "anthropic" in kind else BEARER
    headers = [*keys, *pin(row).items(), ("content-type", "application/json")]
    asked, expected = Speller(row["id"]).request(row["request"]["body"], f"pool-{kind}", OWN_MODEL)
    expected = with_usage(kind, row, expected)
    sims[kind].forget()
    through = ask(broker.url, path, asked, headers)
    (received,) = sims[kind].settled_calls()
    assert received["body_sha256"] == hashlib.sha256(expected).hexdigest(), (received["body"], expected)
    direct = ask(f"http://127.0.0.1:{sims[kind].port}", path, expected, headers)
    if (code := of_our_own(row)) is not None:
        assert (through.status, through.code) == (502, code)
        return
    assert through.status == direct.status == row["response"]["status"]
    assert through.body == direct.body and not through.broken
    if isinstance(row["response"]["body"], str):
        assert through.body == row["response"]["body"].encode()
    for name in ("content-type", *(name.lower() for name in row["response"]["headers"])):
        if name not in ("content-length", "content-encoding", "transfer-encoding", "connection", "date"):
            assert through.all(name) == direct.all(name)


@pytest.mark.parametrize(("kind", "row"), ROWS)
def test_sdks(broker: Broker, sims: Simulators, kind: str, row: Any) -> None:
    """What the SDK makes of the reply through the broker is what it makes of it directly."""
    if of_our_own(row) is not None:
        pytest.skip(
            "what a provider says of the broker's key and of members' models is not the client's to read"
        )
    through = outcome(kind, broker.url, f"pool-{kind}", row)
    direct = outcome(kind, f"http://127.0.0.1:{sims[kind].port}", OWN_MODEL, row)
    assert through == direct


def outcome(kind: str, url: str, model: str, row: Any) -> Any:
    """Every object that the SDK gives out, or its exception."""
    body = {**row["request"]["body"], "model": model}
    known = {name: body.pop(name) for name in _PARAMETERS[kind] if name in body}
    try:
        return shown(_CALLS[kind](client(kind, url))(**known, extra_body=body, extra_headers=pin(row)))
    except (openai.APIError, anthropic.APIError) as error:
        return type(error), getattr(error, "status_code", None), error.body, str(error)


@functools.cache
def client(kind: str, url: str) -> Any:
    if "anthropic" in kind:
        return anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=60)
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60)


def shown(result: Any) -> Any:
    if isinstance(result, (openai.Stream, anthropic.Stream)):
        return [shown(event) for event in result]
    return type(result), result.model_dump(warnings=False)


_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "openai-chat": ("model", "messages", "stream"),
    "openai-compatible-chat": ("model", "messages", "stream"),
    "openai-responses": ("model", "input", "stream"),
    "openai-embeddings": ("model", "input"),
    "anthropic-messages": ("model", "messages", "max_tokens", "stream"),
    "anthropic-count-tokens": ("model", "messages"),
}
_CALLS: Mapping[str, Callable[[Any], Callable[..., Any]]] = {
    "openai-chat": lambda client: client.chat.completions.create,
    "openai-compatible-chat": lambda client: client.chat.completions.create,
    "openai-responses": lambda client: client.responses.create,
    "openai-embeddings": lambda client: client.embeddings.create,
    "anthropic-messages": lambda client: client.messages.create,
    "anthropic-count-tokens": lambda client: client.messages.count_tokens,
}
