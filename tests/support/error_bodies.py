"""Error replies of providers: in words that are known, out of the simulators, and recorded."""

from __future__ import annotations

import functools
import http.client
import json
from typing import Any, NamedTuple, get_args

from modelbroker.core.causes import Cause
from modelbroker.simulator.script import Trouble

from .recordings import recordings
from .simulators import Simulators

CHAT, RESPONSES, EMBEDDINGS = "openai-chat", "openai-responses", "openai-embeddings"
MESSAGES, BEDROCK, GEMINI = "anthropic-messages", "bedrock-converse", "gemini"
DIALECTS = (CHAT, RESPONSES, EMBEDDINGS, MESSAGES, BEDROCK, GEMINI)


class ErrorReply(NamedTuple):
    """`kind`: the header x-amzn-errortype. `cause`: what it has to be, where that is known by other means."""

    dialect: str
    status: int
    body: bytes
    kind: str = ""
    cause: Cause | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"x-amzn-errortype": self.kind} if self.kind else {}


def openai_error(message: str, code: Any = None, kind: str = "invalid_request_error", **more: Any) -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def anthropic_error(kind: str, message: str, **more: Any) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


def google_error(status: int, name: str, message: str, reason: str = "") -> Any:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}
    error = {"code": status, "message": message, "status": name}
    return {"error": {**error, "details": [info]} if reason else error}


# What each simulated trouble is.
TROUBLES: dict[str, Cause] = {
    "context_overflow": Cause.CONTEXT_OVERFLOW,
    "rate_limit": Cause.RATE_LIMIT,
    "overloaded": Cause.OVERLOADED,
    "invalid_key": Cause.CREDENTIAL,
    "forbidden": Cause.CREDENTIAL,
    "billing": Cause.BILLING,
    "content_policy": Cause.CONTENT_POLICY,
    "bad_field": Cause.BAD_REQUEST,
    "model_not_found": Cause.MODEL_NOT_FOUND,
    "unknown_id": Cause.NOT_FOUND,
    "conflict": Cause.CONFLICT,
    "server_error": Cause.SERVER,
    "too_large": Cause.TOO_LARGE,
    "timeout": Cause.TIMEOUT,
}
_STATUSES = (*range(400, 418), 422, 424, 425, 429, 451, 498, 499, 500, 501, 502, 503, 504, 520, 524, 529)
_SURFACES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (CHAT, "/v1/chat/completions", {"model": "gpt-4.1", "messages": []}),
    (CHAT, "/openai/deployments/d/chat/completions?api-version=2024-10-21", {"messages": []}),
    (RESPONSES, "/v1/responses", {"model": "gpt-4.1", "input": "x"}),
    (EMBEDDINGS, "/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"}),
    (MESSAGES, "/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": []}),
    (MESSAGES, "/model/anthropic.claude-sonnet-4-5/invoke", {"max_tokens": 9, "messages": []}),
    (
        MESSAGES,
        "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5:rawPredict",
        {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": []},
    ),
    (BEDROCK, "/model/amazon.nova-pro-v1:0/converse", {"messages": []}),
    (GEMINI, "/v1beta/models/gemini-2.5-pro:generateContent", {"contents": []}),
)


@functools.cache
def simulated() -> tuple[ErrorReply, ...]:
    """Each trouble and each status at each surface, as the simulated providers say it."""
    assert set(TROUBLES) == set(get_args(Trouble))
    replies = []
    with Simulators("provider") as sims:
        (sim,) = sims
        sim.script(require_key=False, require_version=False)
        connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=30)
        for dialect, path, fields in _SURFACES:
            faults: list[tuple[dict[str, Any], Cause | None]] = [
                *(({"trouble": trouble}, cause) for trouble, cause in TROUBLES.items()),
                *(({"status": status}, None) for status in _STATUSES),
            ]
            for fault, cause in faults:
                status, body, kind = _told(connection, path, fields, fault)
                replies.append(ErrorReply(dialect, status, body, kind, cause))
        connection.close()
    return tuple(replies)


def _told(
    connection: http.client.HTTPConnection, path: str, fields: Any, fault: dict[str, Any]
) -> tuple[int, bytes, str]:
    headers = {"content-type": "application/json", "x-mock-fault": json.dumps(fault)}
    connection.request("POST", path, json.dumps(fields), headers)
    response = connection.getresponse()
    return response.status, response.read(), response.headers.get("x-amzn-errortype", "")


_KINDS = {
    "openai-chat": CHAT,
    "openai-compatible-chat": CHAT,
    "openai-responses": RESPONSES,
    "openai-embeddings": EMBEDDINGS,
    "anthropic-messages": MESSAGES,
    "anthropic-count-tokens": MESSAGES,
    "bedrock-converse": BEDROCK,
    "gemini-generate-content": GEMINI,
}


@functools.cache
def recorded() -> tuple[ErrorReply, ...]:
    """Real error replies; none where there are no recordings."""
    rows = [(kind, row.values[0]) for kind in _KINDS for row in recordings(kind)]
    return tuple(
        ErrorReply(
            _KINDS[kind],
            row["response"]["status"],
            json.dumps(row["response"]["body"]).encode(),
            row["response"]["headers"].get("x-amzn-errortype", ""),
        )
        for kind, row in rows
        if row is not None and row["response"]["status"] >= 400
    )
