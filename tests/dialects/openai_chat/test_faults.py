"""Failures of providers in all the shapes that are met, and how clients are told of them."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects import client_dialect, provider_dialect
from modelbroker.dialects.replies import Cause, Failed, Fault
from modelbroker.dialects.translation import Context

CLIENT, PROVIDER = client_dialect("openai-chat"), provider_dialect("openai-chat")
CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000)


def error(message: str, code: Any = None, kind: str = "invalid_request_error", param: Any = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


ERRORS: list[tuple[int, Any, Cause, str]] = [
    # OpenAI's
    (
        400,
        error("Unsupported parameter: 'max_tokens'", "unsupported_parameter"),
        Cause.BAD_REQUEST,
        "Unsupported",
    ),
    (404, error("The model `x` does not exist", "model_not_found"), Cause.MODEL_NOT_FOUND, "does not exist"),
    (
        400,
        error("This model's maximum context length is 128000 tokens", "context_length_exceeded"),
        Cause.CONTEXT_OVERFLOW,
        "maximum context length",
    ),
    (400, error("flagged", "content_policy_violation"), Cause.CONTENT_POLICY, "flagged"),
    (
        401,
        error("Incorrect API key provided: sk-SECRET", "invalid_api_key"),
        Cause.CREDENTIAL,
        "own credential",
    ),
    (403, error("You are not allowed: sk-SECRET"), Cause.CREDENTIAL, "own credential"),
    (429, error("Rate limit reached for x", "rate_limit_exceeded", "tokens"), Cause.RATE_LIMIT, "Rate limit"),
    (
        429,
        error("You exceeded your current quota, SECRET", "insufficient_quota", "insufficient_quota"),
        Cause.BILLING,
        "bill",
    ),
    (500, error("The server had an error", None, "server_error"), Cause.SERVER, "server had"),
    (503, error("The engine is currently overloaded", None, "server_error"), Cause.OVERLOADED, "overloaded"),
    (413, error("too large"), Cause.TOO_LARGE, "too large"),
    (409, error("conflict"), Cause.CONFLICT, "conflict"),
    # Azure's
    (
        400,
        error("The response was filtered due to Azure OpenAI's content management policy", "content_filter"),
        Cause.CONTENT_POLICY,
        "filtered",
    ),
    (401, {"statusCode": 401, "message": "Access denied due to SECRET"}, Cause.CREDENTIAL, "own credential"),
    # OpenRouter's
    (
        429,
        {
            "error": {
                "message": "Provider returned error",
                "code": 429,
                "metadata": {"raw": "slow down", "provider_name": "Google"},
            }
        },
        Cause.RATE_LIMIT,
        "Provider returned error: slow down",
    ),
    (402, {"error": {"message": "Insufficient credits SECRET", "code": 402}}, Cause.BILLING, "bill"),
    (
        403,
        {"error": {"message": "x requires moderation and your input was flagged", "code": 403}},
        Cause.CONTENT_POLICY,
        "flagged",
    ),
    # Mistral's
    (
        422,
        {
            "object": "error",
            "message": {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]},
        },
        Cause.BAD_REQUEST,
        "x: Extra inputs are not permitted",
    ),
    (
        400,
        {
            "object": "error",
            "message": "prompt is too long",
            "type": "invalid_request_message_order",
            "code": "3230",
        },
        Cause.CONTEXT_OVERFLOW,
        "too long",
    ),
    # FastAPI's, vLLM's, xAI's, Ollama's, Google's
    (
        400,
        {"object": "error", "message": "context length is only 4096", "type": "BadRequestError", "code": 400},
        Cause.CONTEXT_OVERFLOW,
        "4096",
    ),
    (
        400,
        {"code": "Client specified an invalid argument", "error": "Invalid x"},
        Cause.BAD_REQUEST,
        "Invalid x",
    ),
    (400, {"code": "x", "error": "Incorrect API key provided: SECRET"}, Cause.CREDENTIAL, "own credential"),
    (500, {"error": "model runner has stopped"}, Cause.SERVER, "runner"),
    (
        400,
        [{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}],
        Cause.BAD_REQUEST,
        "bad",
    ),
    # DeepSeek's
    (402, error("Insufficient Balance", "invalid_request_error"), Cause.BILLING, "bill"),
]


@pytest.mark.parametrize(("status", "body", "cause", "words"), ERRORS)
def test_error_replies(status: int, body: Any, cause: Cause, words: str) -> None:
    headers = {"x-request-id": "r1", "retry-after": "7"}
    fault = PROVIDER.decode_fault(status, headers, json.dumps(body).encode())
    assert fault.cause is cause and fault.status == status
    assert words in fault.message
    assert (fault.request_id, fault.retry_after) == ("r1", "7")
    _, told = CLIENT.encode_fault(fault, CONTEXT)
    assert b"SECRET" not in told


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (502, b"<html>bad gateway</html>", Cause.SERVER),
        (500, b"", Cause.SERVER),
        (418, b"\xff\xfe", Cause.BAD_REQUEST),
        (408, b"null", Cause.TIMEOUT),
        (504, b"[]", Cause.TIMEOUT),
        (529, b"5", Cause.OVERLOADED),
        (301, b"", Cause.GARBAGE),
        (404, b'{"detail": "Not Found"}', Cause.GARBAGE),
        (404, b"404 page not found", Cause.GARBAGE),
        (404, b"", Cause.GARBAGE),
        (403, b"<!DOCTYPE html><title>Just a moment...</title>", Cause.GARBAGE),
    ],
)
def test_garbage(status: int, body: bytes, cause: Cause) -> None:
    fault = PROVIDER.decode_fault(status, {}, body)
    assert fault.cause is cause and fault.message and fault.status >= 400
    assert (fault.status == 502) == (status == 502 or cause is Cause.GARBAGE)


@given(status=st.integers(100, 999), body=st.binary(max_size=60))
def test_any_bytes_are_a_fault(status: int, body: bytes) -> None:
    told, _ = CLIENT.encode_fault(PROVIDER.decode_fault(status, {}, body), CONTEXT)
    assert 400 <= told < 600 and told not in (401, 402, 403)


@pytest.mark.parametrize(
    ("param", "canonical"),
    [
        ("max_tokens", "max_output_tokens"),
        ("max_completion_tokens", "max_output_tokens"),
        ("reasoning_effort", "effort"),
        ("response_format", "output"),
        ("messages[3].content", "messages"),
        ("temperature", "temperature"),
        ("tools[0].function.name", "tools[0].function.name"),
    ],
)
def test_params(param: str, canonical: str) -> None:
    body = json.dumps(error("bad", param=param)).encode()
    assert PROVIDER.decode_fault(400, {}, body).param == canonical


FAULTS: list[tuple[Fault, int, str, str | None, str | None]] = [
    (
        Fault(Cause.BAD_REQUEST, 400, "m", "x", "effort"),
        400,
        "invalid_request_error",
        "x",
        "reasoning_effort",
    ),
    (Fault(Cause.BAD_REQUEST, 422, "m"), 422, "invalid_request_error", None, None),
    (Fault(Cause.CONTEXT_OVERFLOW, 413, "m"), 400, "invalid_request_error", "context_length_exceeded", None),
    (Fault(Cause.CONTENT_POLICY, 403, "m"), 400, "invalid_request_error", "content_policy_violation", None),
    (Fault(Cause.TOO_LARGE, 413, "m"), 413, "invalid_request_error", "request_too_large", None),
    (Fault(Cause.CREDENTIAL, 401, "SECRET"), 502, "server_error", "upstream_credential_refused", None),
    (Fault(Cause.BILLING, 402, "SECRET"), 503, "server_error", "upstream_billing", None),
    (
        Fault(Cause.MODEL_NOT_FOUND, 404, "SECRET", "not_found_error", "model"),
        502,
        "server_error",
        "upstream_model_not_found",
        None,
    ),
    (Fault(Cause.NOT_FOUND, 404, "m"), 404, "invalid_request_error", None, None),
    (Fault(Cause.GARBAGE, 502, "m"), 502, "server_error", "upstream_garbage", None),
    (
        Fault(Cause.RATE_LIMIT, 429, "m", "rate_limit_error"),
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
        None,
    ),
    (Fault(Cause.OVERLOADED, 529, "m"), 529, "server_error", "overloaded", None),
    (Fault(Cause.TIMEOUT, 504, "m"), 504, "server_error", "timeout", None),
    (Fault(Cause.SERVER, 501, "m"), 502, "server_error", "server_error", None),
    (Fault(Cause.SERVER, 502, "m", "upstream_garbage"), 502, "server_error", "upstream_garbage", None),
]


@pytest.mark.parametrize(("fault", "status", "kind", "code", "param"), FAULTS)
def test_what_clients_are_told(
    fault: Fault, status: int, kind: str, code: str | None, param: str | None
) -> None:
    told, body = CLIENT.encode_fault(fault, CONTEXT)
    said = json.loads(body)["error"]
    assert (told, said["type"], said["code"], said["param"]) == (status, kind, code, param)
    assert "SECRET" not in said["message"] and said["message"]


@pytest.mark.parametrize(
    ("cause", "status", "raised"),
    [
        (Cause.BAD_REQUEST, 400, openai.BadRequestError),
        (Cause.NOT_FOUND, 404, openai.NotFoundError),
        (Cause.RATE_LIMIT, 429, openai.RateLimitError),
        (Cause.CREDENTIAL, 401, openai.InternalServerError),
        (Cause.BILLING, 402, openai.InternalServerError),
        (Cause.OVERLOADED, 529, openai.InternalServerError),
        (Cause.CONFLICT, 409, openai.ConflictError),
    ],
)
def test_the_sdk_raises_its_own_class(cause: Cause, status: int, raised: type[Exception]) -> None:
    httpx = pytest.importorskip("httpx2")
    told, body = CLIENT.encode_fault(Fault(cause, status, "words"), CONTEXT)
    transport = httpx.MockTransport(lambda request: httpx.Response(told, content=body))
    client = httpx.Client(transport=transport)
    with openai.OpenAI(api_key="k", http_client=client, max_retries=0) as sdk, pytest.raises(raised) as seen:
        sdk.chat.completions.create(model="m", messages=[])
    assert isinstance(seen.value, openai.APIStatusError) and seen.value.body


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"max_tokens": 9}, "max_tokens"),
        ({"max_completion_tokens": 9}, "max_completion_tokens"),
        ({"max_completion_tokens": 9, "max_tokens": 8}, "max_completion_tokens"),
        ({}, "max_completion_tokens"),
    ],
)
def test_a_field_is_named_as_this_client_said_it(said: dict[str, int], named: str) -> None:
    """Whole and in a stream."""
    chat = CLIENT.decode_request(json.dumps({"model": "m", "messages": [], **said}).encode())
    context = Context(CONTEXT.request_id, CONTEXT.now_s, said_as=chat.said_as)
    fault = Fault(Cause.BAD_REQUEST, 400, "too large", param="max_output_tokens")
    assert json.loads(CLIENT.encode_fault(fault, context)[1])["error"]["param"] == named
    told = CLIENT.stream_encoder(context).encode([Failed(fault)])
    assert json.loads(told.removeprefix(b"data: "))["error"]["param"] == named
