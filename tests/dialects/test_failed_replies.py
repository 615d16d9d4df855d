"""A reply with the status of a good one that says that its provider failed: told as what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from modelbroker.dialects import client_dialect, provider_dialect
from modelbroker.dialects.replies import Cause, ProviderFailed
from modelbroker.dialects.translation import Context
from modelbroker.exchange import Answer, Move, Translated, TranslatedStream, WholeReply
from support.dialects import CLIENT_DIALECTS, upstream

CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000, "some-model")
HEADERS = [(":status", "200"), ("content-type", "application/json"), ("x-request-id", "req-7")]

FAILED: list[tuple[str, Any, Cause, int]] = [
    # OpenRouter's, once it has begun to keep the connection alive.
    (
        "openai-chat",
        {"error": {"code": 429, "message": "Slow down"}, "user_id": "u"},
        Cause.RATE_LIMIT,
        429,
    ),
    (
        "openai-chat",
        {"choices": [{"message": {"content": ""}, "error": {"code": 502, "message": "Slow down"}}]},
        Cause.SERVER,
        502,
    ),
    (
        "openai-chat",
        {"choices": [{"message": {"content": ""}, "finish_reason": "error"}]},
        Cause.SERVER,
        502,
    ),
    (
        "openai-responses",
        {
            "object": "response",
            "status": "failed",
            "output": [],
            "error": {"code": "rate_limit_exceeded", "message": "Slow down"},
        },
        Cause.RATE_LIMIT,
        429,
    ),
    ("openai-responses", {"error": {"code": 429, "message": "Slow down"}}, Cause.RATE_LIMIT, 429),
    (
        "anthropic-messages",
        {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}},
        Cause.RATE_LIMIT,
        429,
    ),
    (
        "gemini",
        [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Slow down"}}],
        Cause.RATE_LIMIT,
        429,
    ),
    (
        "gemini",
        {"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL"}]},
        Cause.SERVER,
        502,
    ),
    (
        "bedrock-converse",
        {"output": {"message": {"content": []}}, "stopReason": "malformed_model_output"},
        Cause.SERVER,
        502,
    ),
]


@pytest.mark.parametrize(("dialect", "body", "cause", "status"), FAILED)
def test_the_cause_is_the_providers(dialect: str, body: Any, cause: Cause, status: int) -> None:
    with pytest.raises(ProviderFailed) as failed:
        provider_dialect(dialect).decode_reply(json.dumps(body).encode(), upstream(dialect))
    assert failed.value.fault.cause is cause
    words = failed.value.fault.message
    for client in CLIENT_DIALECTS:
        for answer in (_whole(client, dialect, body), _of_a_stream(client, dialect, body)):
            assert answer.status == status
            assert words in json.loads(answer.body)["error"]["message"]
            assert "req-7" in dict(answer.headers).values()


def _whole(client: str, dialect: str, body: Any) -> Answer:
    provider = provider_dialect(dialect)

    def translate(raw: bytes, headers: Mapping[str, str]) -> Translated:
        reply = provider.decode_reply(raw, upstream(dialect))
        return Translated(client_dialect(client).encode_reply(reply, CONTEXT))

    reply = WholeReply(client_dialect(client), provider, CONTEXT, translate)
    assert reply.on_headers(HEADERS, False) is None
    answer = reply.on_body(json.dumps(body).encode())
    assert answer is not None
    return answer


def _of_a_stream(client: str, dialect: str, body: Any) -> Answer:
    """The client asks for a stream, and the provider answers in one piece."""
    stream = TranslatedStream(client_dialect(client), provider_dialect(dialect), upstream(dialect), CONTEXT)
    assert stream.on_headers(HEADERS, False) is Move.HOLD
    assert stream.on_body(json.dumps(body).encode(), True) is Move.FAIL
    return stream.failure()
