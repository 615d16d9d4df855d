"""Errors: a provider's → Fault, and Fault → what Anthropic's SDK raises."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from modelbroker.dialects.anthropic_messages import AnthropicMessages
from modelbroker.dialects.replies import Cause, Fault
from modelbroker.dialects.translation import Context

DIALECT = AnthropicMessages()
CONTEXT = Context("0123456789abcdef0123456789abcdef", 0)


def ours(kind: str, message: str, **more: Any) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "cause", "param"),
    [
        (400, ours("invalid_request_error", "max_tokens: too large"), Cause.BAD_REQUEST, "max_output_tokens"),
        (400, ours("invalid_request_error", "messages.0.content: odd"), Cause.BAD_REQUEST, "messages"),
        (400, ours("invalid_request_error", "tools.1.custom.name: odd"), Cause.BAD_REQUEST, "tools"),
        (400, ours("invalid_request_error", "thinking.budget_tokens: odd"), Cause.BAD_REQUEST, "effort"),
        (400, ours("invalid_request_error", "something else"), Cause.BAD_REQUEST, ""),
        (
            400,
            ours("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            Cause.CONTEXT_OVERFLOW,
            "",
        ),
        (
            400,
            ours("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
            Cause.CONTEXT_OVERFLOW,
            "",
        ),
        (
            400,
            ours("invalid_request_error", "Output blocked by content filtering policy"),
            Cause.CONTENT_POLICY,
            "",
        ),
        (400, ours("invalid_request_error", "Your credit balance is too low"), Cause.BILLING, ""),
        (
            400,
            ours("invalid_request_error", "You have reached your specified API usage limits."),
            Cause.BILLING,
            "",
        ),
        (401, ours("authentication_error", "invalid x-api-key"), Cause.CREDENTIAL, ""),
        (402, ours("billing_error", "pay"), Cause.BILLING, ""),
        (403, ours("permission_error", "no"), Cause.CREDENTIAL, ""),
        (404, ours("not_found_error", "model: claude-9"), Cause.MODEL_NOT_FOUND, ""),
        (404, ours("not_found_error", "File not found: file_011"), Cause.NOT_FOUND, ""),
        (409, ours("conflict_error", "twice"), Cause.CONFLICT, ""),
        (413, ours("request_too_large", "Request exceeds the maximum size"), Cause.TOO_LARGE, ""),
        (429, ours("rate_limit_error", "slow down"), Cause.RATE_LIMIT, ""),
        (
            429,
            ours("rate_limit_error", "limit", details={"error_code": "contract_spend_limit_reached"}),
            Cause.BILLING,
            "",
        ),
        (500, ours("api_error", "oops"), Cause.SERVER, ""),
        (504, ours("timeout_error", "late"), Cause.TIMEOUT, ""),
        (529, ours("overloaded_error", "busy"), Cause.OVERLOADED, ""),
        # Google's
        (
            400,
            {"error": {"code": 400, "message": "odd", "status": "INVALID_ARGUMENT"}},
            Cause.BAD_REQUEST,
            "",
        ),
        (
            429,
            [{"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}],
            Cause.RATE_LIMIT,
            "",
        ),
        (403, {"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}}, Cause.CREDENTIAL, ""),
        # Amazon's
        (403, {"message": "The security token is expired"}, Cause.CREDENTIAL, ""),
        (400, {"message": "Input is too long for requested model."}, Cause.CONTEXT_OVERFLOW, ""),
        (503, {"message": "busy"}, Cause.OVERLOADED, ""),
        # Of a proxy
        (418, {"error": "teapot"}, Cause.BAD_REQUEST, ""),
        (599, {"message": "odd"}, Cause.SERVER, ""),
    ],
)
def test_faults_of_providers(status: int, body: Any, cause: Cause, param: str) -> None:
    fault = DIALECT.decode_fault(
        status, {"retry-after": "7", "request-id": "req_2"}, json.dumps(body).encode()
    )
    assert (fault.cause, fault.status, fault.param) == (cause, status, param)
    assert fault.message in json.dumps(body)
    assert (fault.retry_after, fault.request_id) == ("7", "req_2")


def test_googles_words_about_limits() -> None:
    """Its answer over any limit speaks of billing, and tells in the body how long to wait."""
    error = {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"},
            {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "g-1"},
        ],
    }
    fault = DIALECT.decode_fault(429, {}, json.dumps({"error": error}).encode())
    assert (fault.cause, fault.retry_after, fault.request_id) == (Cause.RATE_LIMIT, "35", "g-1")
    unpaid = {**error, "message": "This API method requires billing to be enabled."}
    assert DIALECT.decode_fault(429, {}, json.dumps([{"error": unpaid}]).encode()).cause is Cause.BILLING


def test_request_ids() -> None:
    body = json.dumps(ours("api_error", "oops")).encode()
    assert DIALECT.decode_fault(500, {}, body).request_id == "req_1"
    assert DIALECT.decode_fault(500, {"x-amzn-requestid": "a"}, b"{}").request_id == "a"


@pytest.mark.parametrize(
    ("header", "status", "cause"),
    [
        ("ThrottlingException:http://internal.amazon.com/", 429, Cause.RATE_LIMIT),
        ("ValidationException", 400, Cause.BAD_REQUEST),
        ("ModelTimeoutException", 408, Cause.TIMEOUT),
        ("ServiceUnavailableException", 503, Cause.OVERLOADED),
        ("UnrecognizedClientException", 403, Cause.CREDENTIAL),
    ],
)
def test_amazons_exceptions_are_named_in_a_header(header: str, status: int, cause: Cause) -> None:
    fault = DIALECT.decode_fault(status, {"x-amzn-errortype": header}, b'{"message":"words"}')
    assert (fault.cause, fault.status, fault.message) == (cause, status, "words")


@pytest.mark.parametrize(
    ("status", "body", "cause", "shown"),
    [
        (502, b"<html>bad gateway</html>", Cause.SERVER, "<html>"),
        (500, b"", Cause.SERVER, "gave no reason"),
        (400, b"\xff\xfe", Cause.BAD_REQUEST, "not of the dialect"),
        (429, b"slow", Cause.RATE_LIMIT, "slow"),
        (401, b"[]", Cause.CREDENTIAL, "[]"),
    ],
)
def test_garbage(status: int, body: bytes, cause: Cause, shown: str) -> None:
    fault = DIALECT.decode_fault(status, {}, body)
    assert fault.cause is cause
    assert shown in fault.message


ERRORS = {
    400: anthropic.BadRequestError,
    404: anthropic.NotFoundError,
    409: anthropic.ConflictError,
    422: anthropic.UnprocessableEntityError,
    429: anthropic.RateLimitError,
}


@pytest.mark.parametrize(
    ("fault", "status", "kind", "words"),
    [
        (Fault(Cause.BAD_REQUEST, 400, "odd"), 400, "invalid_request_error", "odd"),
        (Fault(Cause.BAD_REQUEST, 422, "odd"), 422, "invalid_request_error", "odd"),
        (Fault(Cause.BAD_REQUEST, 401, "odd"), 400, "invalid_request_error", "odd"),
        (
            Fault(Cause.CONTEXT_OVERFLOW, 400, "n > m"),
            400,
            "invalid_request_error",
            "prompt is too long: n > m",
        ),
        (
            Fault(Cause.CONTEXT_OVERFLOW, 413, "Prompt is too long"),
            400,
            "invalid_request_error",
            "Prompt is too long",
        ),
        (Fault(Cause.CONTENT_POLICY, 403, "no"), 400, "invalid_request_error", "no"),
        (Fault(Cause.TOO_LARGE, 413, "big"), 413, "request_too_large", "big"),
        (Fault(Cause.CREDENTIAL, 401, "sk-ant-secret"), 502, "api_error", "operator"),
        (Fault(Cause.BILLING, 402, "pay 5 $"), 503, "api_error", "bill"),
        (Fault(Cause.NOT_FOUND, 404, "gone"), 404, "not_found_error", "gone"),
        (Fault(Cause.NOT_FOUND, 400, "gone"), 400, "invalid_request_error", "gone"),
        (Fault(Cause.CONFLICT, 409, "twice"), 409, "invalid_request_error", "twice"),
        (Fault(Cause.RATE_LIMIT, 400, "slow"), 429, "rate_limit_error", "slow"),
        (Fault(Cause.OVERLOADED, 503, "busy"), 529, "overloaded_error", "busy"),
        (Fault(Cause.TIMEOUT, 408, "late"), 504, "timeout_error", "late"),
        (Fault(Cause.SERVER, 500, "oops"), 500, "api_error", "oops"),
        (Fault(Cause.SERVER, 424, "oops"), 502, "api_error", "oops"),
    ],
)
def test_what_the_client_gets(fault: Fault, status: int, kind: str, words: str) -> None:
    found, body = DIALECT.encode_fault(fault, CONTEXT)
    assert found == status
    error = json.loads(body)
    assert (error["type"], error["request_id"]) == ("error", CONTEXT.request_id)
    assert error["error"]["type"] == kind
    assert words in error["error"]["message"]
    if fault.cause in (Cause.CREDENTIAL, Cause.BILLING):
        assert fault.message not in error["error"]["message"]
        assert error["error"]["code"].startswith("upstream_")

    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=body))
    http_client = httpx2.Client(transport=transport)
    with (
        anthropic.Anthropic(api_key="k", http_client=http_client, max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "hi"}])
    assert isinstance(raised.value, ERRORS.get(status, anthropic.APIStatusError))


@pytest.mark.parametrize(
    ("canonical", "own"),
    [
        ("max_output_tokens", "max_tokens"),
        ("stop", "stop_sequences"),
        ("effort", "thinking"),
        ("output", "output_config.format"),
        ("output.schema", "output_config.format.schema"),
        ("user", "metadata.user_id"),
        ("cached", "cache_control"),
        ("parallel_tools", "tool_choice.disable_parallel_tool_use"),
        ("messages[2].parts[0].parts[1]", "messages[2].content[0].content[1]"),
        ("tools[1].schema", "tools[1].input_schema"),
        ("tools[1].name", "tools[1].name"),
        ("temperature", "temperature"),
        ("", ""),
    ],
)
def test_own_field(canonical: str, own: str) -> None:
    assert DIALECT.own_field(canonical) == own
    fault = Fault(Cause.BAD_REQUEST, 400, "odd", param=canonical)
    assert json.loads(DIALECT.encode_fault(fault, CONTEXT)[1])["error"].get("param", "") == own
