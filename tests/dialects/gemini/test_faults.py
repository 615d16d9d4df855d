"""Google's errors, as they are met."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects.gemini import Gemini
from modelbroker.dialects.replies import Cause, Fault
from support.conversations import JSON

GEMINI = Gemini()
RPC = "type.googleapis.com/google.rpc."


def fault(status: int, name: str, message: str = "words", *details: Any) -> Fault:
    error = {"code": status, "message": message, "status": name, "details": list(details)}
    return GEMINI.decode_fault(status, {}, json.dumps({"error": error}).encode())


def reason(name: str) -> dict[str, str]:
    return {"@type": RPC + "ErrorInfo", "reason": name, "domain": "googleapis.com"}


QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on "
    "this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)


@pytest.mark.parametrize(
    ("status", "name", "message", "details", "cause"),
    [
        (400, "INVALID_ARGUMENT", "Bad.", [], Cause.BAD_REQUEST),
        (
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass one.",
            [reason("API_KEY_INVALID")],
            Cause.CREDENTIAL,
        ),
        (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", [], Cause.CREDENTIAL),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
            [],
            Cause.CONTEXT_OVERFLOW,
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "Unable to submit request because the input token count is 1100000 but model only supports up to "
            "1048576.",
            [],
            Cause.CONTEXT_OVERFLOW,
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "Request payload size exceeds the limit: 20971520 bytes.",
            [],
            Cause.TOO_LARGE,
        ),
        (400, "INVALID_ARGUMENT", "The prompt was blocked due to safety.", [], Cause.CONTENT_POLICY),
        (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", [], Cause.CREDENTIAL),
        (
            400,
            "FAILED_PRECONDITION",
            "Gemini API free tier is not available in your country. Please enable billing on your project.",
            [],
            Cause.BILLING,
        ),
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", [], Cause.CREDENTIAL),
        (403, "PERMISSION_DENIED", "Permission denied on resource project x.", [], Cause.CREDENTIAL),
        (403, "PERMISSION_DENIED", "This API method requires billing to be enabled.", [], Cause.BILLING),
        (403, "PERMISSION_DENIED", "Off.", [reason("BILLING_DISABLED")], Cause.BILLING),
        (404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta.", [], Cause.MODEL_NOT_FOUND),
        (409, "ABORTED", "Concurrent.", [], Cause.CONFLICT),
        (429, "RESOURCE_EXHAUSTED", QUOTA, [], Cause.RATE_LIMIT),
        (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", [], Cause.BILLING),
        (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", [], Cause.RATE_LIMIT),
        (499, "CANCELLED", "Cancelled.", [], Cause.TIMEOUT),
        (500, "INTERNAL", "An internal error has occurred.", [], Cause.SERVER),
        (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", [], Cause.OVERLOADED),
        (504, "DEADLINE_EXCEEDED", "Deadline expired.", [], Cause.TIMEOUT),
        (501, "UNIMPLEMENTED", "No such method.", [], Cause.SERVER),
    ],
)
def test_causes(status: int, name: str, message: str, details: list[Any], cause: Cause) -> None:
    found = fault(status, name, message, *details)
    assert (found.cause, found.status) == (cause, status)
    if cause is Cause.CREDENTIAL:
        assert message not in found.message and found.code == "upstream_credential_refused"
    elif cause is Cause.BILLING:
        assert message not in found.message and found.code == "upstream_billing"
    else:
        assert (found.message, found.code) == (message, name)


def test_details() -> None:
    found = fault(
        429,
        "RESOURCE_EXHAUSTED",
        QUOTA,
        {"@type": RPC + "QuotaFailure", "violations": [{"quotaId": "PerDay"}]},
        {"@type": RPC + "RetryInfo", "retryDelay": "34.074824224s"},
        {"@type": RPC + "RequestInfo", "requestId": "abc"},
    )
    assert (found.retry_after, found.request_id) == ("35", "abc")
    assert (
        fault(429, "RESOURCE_EXHAUSTED", "x", {"@type": RPC + "RetryInfo", "retryDelay": "soon"}).retry_after
        == ""
    )
    body = json.dumps({"error": {"code": 503, "status": "UNAVAILABLE"}}).encode()
    assert GEMINI.decode_fault(503, {"retry-after": "7"}, body).retry_after == "7"


@pytest.mark.parametrize(
    ("message", "field", "param"),
    [
        (
            "* GenerateContentRequest.generation_config.temperature: must be in the range [0.0, 2.0]",
            "",
            "temperature",
        ),
        ("Bad.", "generation_config.max_output_tokens", "max_output_tokens"),
        (
            "Unable to submit request because it has a maxOutputTokens value of 655360 but the supported "
            "range is from 1 (inclusive) to 65537 (exclusive).",
            "",
            "max_output_tokens",
        ),
        ("Bad.", "generationConfig.responseJsonSchema", "output"),
        ("Bad.", "generation_config.thinking_config.thinking_budget", "effort"),
        (
            "* GenerateContentRequest.tools[0].function_declarations[0].name: Invalid function name.",
            "",
            "tools",
        ),
        ("Bad.", "system_instruction", "system"),
        ("Something else.", "", ""),
    ],
)
def test_fields_are_named_as_in_the_conversation(message: str, field: str, param: str) -> None:
    violations = {"@type": RPC + "BadRequest", "fieldViolations": [{"field": field, "description": "x"}]}
    assert fault(400, "INVALID_ARGUMENT", message, *([violations] if field else [])).param == param


def test_an_array_of_one_and_other_spellings() -> None:
    error = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}
    one = GEMINI.decode_fault(429, {}, json.dumps([error]).encode())
    assert one == GEMINI.decode_fault(429, {}, json.dumps(error).encode())
    assert GEMINI.decode_fault(403, {}, b'{"error": "no"}').cause is Cause.CREDENTIAL
    assert GEMINI.decode_fault(400, {}, b'{"error": "no"}').message == "no"


@pytest.mark.parametrize(
    ("status", "cause", "told"),
    [
        (400, Cause.GARBAGE, 502),
        (401, Cause.CREDENTIAL, 401),
        (404, Cause.GARBAGE, 502),
        (413, Cause.TOO_LARGE, 413),
        (429, Cause.RATE_LIMIT, 429),
        (500, Cause.SERVER, 502),
        (503, Cause.OVERLOADED, 503),
        (302, Cause.GARBAGE, 502),
    ],
)
def test_garbage_is_judged_by_its_status(status: int, cause: Cause, told: int) -> None:
    for body in (b"", b"<html>Error</html>", b"\xff", b"[]", b"[1]", b"{}", b"null"):
        found = GEMINI.decode_fault(status, {}, body)
        assert (found.cause, found.status) == (cause, told)


@given(st.dictionaries(st.sampled_from(["code", "message", "status", "details"]), JSON), st.integers(0, 599))
def test_odd_errors_are_faults_too(error: dict[str, Any], status: int) -> None:
    for body in ({"error": error}, [{"error": error}], error):
        found = GEMINI.decode_fault(status, {}, json.dumps(body).encode())
        assert found.status >= 400 and found.message
