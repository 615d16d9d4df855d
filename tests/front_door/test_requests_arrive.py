"""What reaches a provider: every feature of each client dialect, through the real Envoy to each provider.

The body in the simulator's journal must be one of the provider's own: its official SDK's types know every
field, and miss none; and what the client said is in it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from anthropic.types import message_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from support import calls
from support.bedrock import checked, serialized
from support.broker import Broker, one_pool_each
from support.dialects import recorded
from support.gemini import check_request
from support.request_tables import ALL, BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES, ROWS
from support.simulators import Simulators
from support.typed_dicts import violations

MODELS = {
    CHAT: "gpt-4.1",
    RESPONSES: "gpt-5.1",
    MESSAGES: "claude-sonnet-4-5",
    BEDROCK: "anthropic.claude-sonnet-4-5-20250929-v1:0",
    GEMINI: "gemini-3-pro-preview",
}
# Every so many recordings of a client's dialect are sent again.
STRIDE = 5
# The Messages API takes them, but the SDK's types no longer name them.
SAMPLING = ("temperature", "top_p", "top_k")
_TYPES: Mapping[str, tuple[Any, Any]] = {
    CHAT: (
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
    RESPONSES: (
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ),
    MESSAGES: (
        message_create_params.MessageCreateParamsNonStreaming,
        message_create_params.MessageCreateParamsStreaming,
    ),
}


@dataclass(frozen=True)
class Arrived:
    """The client's reply, and the provider's journal of the call (None: it got none)."""

    status: int
    reply: str
    call: Any


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*ALL) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = one_pool_each(sims, MODELS)
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


def send(
    broker: Broker, sims: Simulators, client: str, dialect: str, bodies: Mapping[str, Any], **script: Any
) -> dict[str, Arrived]:
    """All of the bodies, some at a time; by their names."""
    sims[dialect].script(journal={"entries": 2000, "body_bytes": 10_000_000}, **script)
    sims[dialect].forget()

    async def all_of_them() -> dict[str, tuple[int, str]]:
        turns = asyncio.Semaphore(6)

        async def one(http: httpx.AsyncClient, number: int, body: Any) -> tuple[int, str]:
            headers = {"x-row": str(number), "anthropic-version": "2023-06-01"}
            async with turns:
                asked = {**body, "model": f"pool-{dialect}"}
                reply = await http.post(calls.PATHS[client], json=asked, headers=headers)
                return reply.status_code, reply.text

        async with calls.client(broker.url) as http:
            sent = await asyncio.gather(*(one(http, n, body) for n, body in enumerate(bodies.values())))
            return dict(zip(bodies, sent, strict=True))

    replies = asyncio.run(all_of_them())
    journal = {dict(call["headers"])["x-row"]: call for call in sims[dialect].settled_calls()}
    return {name: Arrived(*replies[name], journal.get(str(n))) for n, name in enumerate(bodies)}


def problems(dialect: str, call: Any) -> str:
    """What the provider's official types find wrong with what arrived; "" if nothing."""
    body = json.loads(call["body"])
    stream = call["stream"]
    try:
        if dialect == BEDROCK:
            operation = "ConverseStream" if stream else "Converse"
            params = checked(operation, MODELS[dialect], call["body"].encode())
            assert serialized(operation, params) == (call["path"], body)
        elif dialect == GEMINI:
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            assert call["path"] == f"/v1beta/models/{MODELS[dialect]}:{method}"
            check_request(body, vertex=False)
        else:
            assert body["model"] == MODELS[dialect]
            if dialect == MESSAGES:
                body = {name: value for name, value in body.items() if name not in SAMPLING}
            assert violations(body, _TYPES[dialect][stream]) == []
    except (AssertionError, ValueError) as wrong:
        return f"{type(wrong).__name__}: {wrong}"[:2000]
    return ""


def lost(body: Any, arrived: str) -> list[str]:
    """Marks of the client's content that are not in what arrived."""
    there = " ".join(_texts(json.loads(arrived)))
    return sorted(set(re.findall(r"\bM\d+\b", " ".join(_texts(body)))) - set(re.findall(r"\bM\d+\b", there)))


def _texts(value: Any) -> Iterator[str]:
    """Every text in it, also those inside of JSON and of documents in base64."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
        if value.startswith("data:text/plain;base64,"):
            yield base64.b64decode(value.partition(",")[2]).decode()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("client", ROWS)
def test_requests_arrive_as_the_providers_own(
    broker: Broker, sims: Simulators, client: str, dialect: str, stream: bool
) -> None:
    rows = ROWS[client]
    bodies = {name: {**body, "stream": True} if stream else body for name, body, _ in rows}
    assert len(bodies) == len(rows) > 30
    arrived = send(broker, sims, client, dialect, bodies, strict=True)
    wrong = {}
    for name, body, only in rows:
        if amiss := judged(dialect, body, dialect in only, arrived[name]):
            wrong[name] = amiss
    assert not wrong, "\n".join(f"{name}: {amiss}" for name, amiss in wrong.items())


def judged(dialect: str, body: Any, is_served: bool, got: Arrived) -> str:
    """What is amiss; "" if nothing."""
    if not is_served:
        refused = got.status == 400 and got.call is None
        return "" if refused else f"it should be refused, but {got.status} {got.reply[:300]}"
    if got.status != 200 or got.call is None:
        return f"{got.status} {got.reply[:400]}"
    if problem := problems(dialect, got.call):
        return f"{problem} in {got.call['body']}"
    missing = lost(body, got.call["body"])
    return f"{missing} lost in {got.call['body']}" if missing else ""


@pytest.mark.parametrize("client", ROWS)
def test_the_rows_are_requests_of_the_official_sdk(client: str) -> None:
    for name, body, _ in ROWS[client]:
        known = {key: value for key, value in body.items() if client != MESSAGES or key not in SAMPLING}
        assert violations(known, _TYPES[client][0]) == [], name


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("client", ROWS)
def test_recorded_requests_arrive_as_the_providers_own(
    broker: Broker, sims: Simulators, client: str, dialect: str
) -> None:
    """Of the same dialect bytes pass, whatever they hold; others get their own or nothing."""
    rows = [row for row in recorded() if row.dialect == client and "model" in row.request]
    bodies = {row.id: row.request for row in rows[:: STRIDE if dialect != client else 4 * STRIDE]}
    arrived = send(broker, sims, client, dialect, bodies)
    wrong: dict[str, Any] = {}
    for name, got in arrived.items():
        if got.call is None:
            error = json.loads(got.reply)["error"]
            if got.status != 400 or not error["message"]:
                wrong[name] = got
        elif dialect == client:
            sent = {**bodies[name], "model": MODELS[dialect]}
            if json.loads(got.call["body"]) != sent:
                wrong[name] = got.call["body"]
        elif problem := problems(dialect, got.call):
            wrong[name] = (problem, got.call["body"])
    assert not wrong
