"""Failures of providers, and how clients are told of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelbroker.dialects.openai_responses import OpenAiResponses
from modelbroker.dialects.replies import Cause, Fault
from modelbroker.dialects.translation import Context

DIALECT = OpenAiResponses()
CONTEXT = Context("0" * 32, 0)


def error(message: str, code: Any = None, kind: str = "invalid_request_error", param: Any = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "cause", "param"),
    [
        (400, error("no such model", "model_not_found", param="model"), Cause.MODEL_NOT_FOUND, "model"),
        (
            400,
            error("bad", "invalid_value", param="input[4].content[0].file_data"),
            Cause.BAD_REQUEST,
            "messages",
        ),
        (400, error("bad", param="text.format.schema"), Cause.BAD_REQUEST, "output"),
        (400, error("bad", param="reasoning.effort"), Cause.BAD_REQUEST, "effort"),
        (
            400,
            error("Your input exceeds the context window", "context_length_exceeded"),
            Cause.CONTEXT_OVERFLOW,
            "",
        ),
        (401, error("Incorrect API key provided: sk-1", "invalid_api_key"), Cause.CREDENTIAL, ""),
        (429, error("Rate limit reached", "rate_limit_exceeded", "requests"), Cause.RATE_LIMIT, ""),
        (
            429,
            error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
            Cause.BILLING,
            "",
        ),
        (500, error("The server had an error", None, "server_error"), Cause.SERVER, ""),
        (502, b"<html>bad gateway</html>", Cause.SERVER, ""),
        (404, b"", Cause.GARBAGE, ""),
    ],
)
def test_error_replies(status: int, body: bytes, cause: Cause, param: str) -> None:
    fault = DIALECT.decode_fault(status, {"x-request-id": "r1", "retry-after": "7"}, body)
    assert (fault.cause, fault.param) == (cause, param)
    assert (fault.request_id, fault.retry_after) == ("r1", "7")
    assert fault.message


@pytest.mark.parametrize(
    ("fault", "status", "fields"),
    [
        (
            Fault(Cause.BAD_REQUEST, 400, "bad", "odd", "messages[1].parts[0]"),
            400,
            {"message": "bad", "type": "invalid_request_error", "param": "input", "code": "odd"},
        ),
        (
            Fault(Cause.CONTEXT_OVERFLOW, 413, "prompt is too long"),
            400,
            {"type": "invalid_request_error", "code": "context_length_exceeded"},
        ),
        (Fault(Cause.RATE_LIMIT, 429, "slow"), 429, {"code": "rate_limit_exceeded"}),
        (Fault(Cause.CREDENTIAL, 401, "key sk-1"), 502, {"code": "upstream_credential_refused"}),
        (Fault(Cause.BILLING, 402, "pay"), 503, {"code": "upstream_billing"}),
        (Fault(Cause.BAD_REQUEST, 400, "bad", param="effort"), 400, {"param": "reasoning"}),
    ],
)
def test_what_the_client_is_told(fault: Fault, status: int, fields: Any) -> None:
    told, body = DIALECT.encode_fault(fault, CONTEXT)
    said = json.loads(body)["error"]
    assert told == status
    assert {name: said[name] for name in fields} == fields
    assert fault.cause not in (Cause.CREDENTIAL, Cause.BILLING) or fault.message not in said["message"]
