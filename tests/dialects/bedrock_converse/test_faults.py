"""Bedrock's errors as faults."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects.bedrock_converse import BedrockConverse
from modelbroker.dialects.replies import Cause, Fault
from support.bedrock import operation
from support.recordings import recordings

DIALECT = BedrockConverse()


def fault(status: int, kind: str, message: str, **headers: str) -> Fault:
    given = {"x-amzn-errortype": kind, "x-amzn-requestid": "r-1", **headers} if kind else headers
    return DIALECT.decode_fault(status, given, json.dumps({"message": message}).encode())


@pytest.mark.parametrize(
    ("status", "kind", "message", "cause"),
    [
        (400, "ValidationException", "The provided model identifier is invalid.", Cause.MODEL_NOT_FOUND),
        (400, "ValidationException", "Input is too long for requested model.", Cause.CONTEXT_OVERFLOW),
        (
            400,
            "ValidationException",
            "The model returned the following errors: prompt is too long: 200049 tokens > 200000 maximum",
            Cause.CONTEXT_OVERFLOW,
        ),
        (
            400,
            "ValidationException",
            "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds "
            "maximum length. Please update the input to try again.",
            Cause.CONTEXT_OVERFLOW,
        ),
        (
            400,
            "ValidationException",
            "This model's maximum context length is 131072 tokens. Please reduce the length of the prompt",
            Cause.CONTEXT_OVERFLOW,
        ),
        (
            400,
            "ValidationException",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            Cause.CONTEXT_OVERFLOW,
        ),
        (400, "ValidationException", "Output blocked by content filtering policy", Cause.CONTENT_POLICY),
        (
            403,
            "AccessDeniedException",
            "You don't have access to the model with the specified model ID.",
            Cause.CREDENTIAL,
        ),
        (
            403,
            "AccessDeniedException",
            "Model access is denied due to INVALID_PAYMENT_INSTRUMENT: A valid one must be provided.",
            Cause.BILLING,
        ),
        (
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            Cause.CREDENTIAL,
        ),
        (
            403,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            Cause.CREDENTIAL,
        ),
        (
            403,
            "InvalidSignatureException",
            "The request signature we calculated does not match",
            Cause.CREDENTIAL,
        ),
        (403, "MissingAuthenticationTokenException", "Missing Authentication Token", Cause.CREDENTIAL),
        (400, "IncompleteSignature", "The request signature does not conform", Cause.CREDENTIAL),
        (429, "ThrottlingException", "Too many requests, please wait before trying again.", Cause.RATE_LIMIT),
        (
            429,
            "ThrottlingException",
            "Too many tokens per day, please wait before trying again.",
            Cause.RATE_LIMIT,
        ),
        (400, "ServiceQuotaExceededException", "Your request exceeds the service quota", Cause.RATE_LIMIT),
        (429, "ModelNotReadyException", "The model is not ready for inference.", Cause.OVERLOADED),
        (408, "ModelTimeoutException", "The request took too long to process.", Cause.TIMEOUT),
        (424, "ModelErrorException", "The model failed", Cause.SERVER),
        (404, "ResourceNotFoundException", "The specified resource ARN was not found", Cause.MODEL_NOT_FOUND),
        (
            404,
            "ResourceNotFoundException",
            "Model use case details have not been submitted for this account.",
            Cause.CREDENTIAL,
        ),
        (500, "InternalServerException", "An internal server error occurred", Cause.SERVER),
        (503, "ServiceUnavailableException", "Too many connections", Cause.OVERLOADED),
        (413, "RequestEntityTooLargeException", "Request too large", Cause.TOO_LARGE),
        (409, "ConflictException", "conflict", Cause.CONFLICT),
        (418, "WhatIsNewException", "new", Cause.BAD_REQUEST),
        (599, "", "new", Cause.SERVER),
        (400, "", "new", Cause.BAD_REQUEST),
    ],
)
def test_causes(status: int, kind: str, message: str, cause: Cause) -> None:
    found = fault(status, kind, message)
    assert (found.cause, found.status, found.message, found.code) == (cause, status, message, kind)
    assert found.request_id == ("r-1" if kind else "")


@pytest.mark.parametrize("name", ["Converse", "ConverseStream", "CountTokens", "InvokeModel"])
def test_every_error_of_the_service_model_is_known(name: str) -> None:
    for shape in operation(name).error_shapes:
        status = shape.metadata["error"]["httpStatusCode"]
        found = fault(status, shape.name, "words")
        assert found.code == shape.name
        assert (found.cause is Cause.BAD_REQUEST) == (shape.name == "ValidationException")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (
            "1 validation error detected: Value '1.5' at 'inferenceConfig.temperature' failed to satisfy: "
            "Member must have value less than or equal to 1",
            "temperature",
        ),
        (
            "1 validation error detected: Value '0' at 'inferenceConfig.maxTokens' failed to satisfy",
            "max_output_tokens",
        ),
        (
            "1 validation error detected: Value 'a' at 'toolConfig.tools.1.member.toolSpec.name' failed to",
            "tools",
        ),
        (
            "1 validation error detected: Value at 'messages.1.member.content' failed to satisfy constraint",
            "messages",
        ),
        (
            "This model doesn't support the toolConfig.toolChoice.any field. Remove it and try again.",
            "tool_choice",
        ),
        ("The maximum tokens you requested exceeds the model limit of 4096.", "max_output_tokens"),
        (
            "The model returned the following errors: `temperature` may only be 1 when thinking",
            "temperature",
        ),
        ("messages.2.content: Conversation blocks and tool result blocks cannot be provided", "messages"),
        ("The provided model identifier is invalid.", "model"),
        ("Something else", ""),
    ],
)
def test_params_by_their_canonical_names(message: str, param: str) -> None:
    assert fault(400, "ValidationException", message).param == param


def test_where_the_type_may_stand() -> None:
    far = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"
    assert fault(429, far, "slow").code == "ThrottlingException"
    body = b'{"__type": "com.amazon.coral.service#ExpiredTokenException", "Message": "gone"}'
    found = DIALECT.decode_fault(403, {}, body)
    assert (found.code, found.cause, found.message) == ("ExpiredTokenException", Cause.CREDENTIAL, "gone")


@pytest.mark.parametrize(
    ("original", "cause"), [(429, Cause.RATE_LIMIT), (503, Cause.OVERLOADED), (403, Cause.SERVER)]
)
def test_a_models_own_status_counts(original: int, cause: Cause) -> None:
    body = json.dumps({"originalStatusCode": original, "originalMessage": "busy"}).encode()
    found = DIALECT.decode_fault(424, {"x-amzn-errortype": "ModelErrorException"}, body)
    assert (found.cause, found.message) == (cause, "busy")


def test_headers() -> None:
    found = fault(429, "ThrottlingException", "slow", **{"retry-after": "7"})
    assert (found.retry_after, found.request_id) == ("7", "r-1")


@pytest.mark.parametrize(
    ("status", "body", "cause", "told"),
    [
        (500, b"", Cause.SERVER, 502),
        (500, b"<html>", Cause.SERVER, 502),
        (503, b"<html>", Cause.OVERLOADED, 503),
        (413, b"", Cause.TOO_LARGE, 413),
        (403, b"\xff", Cause.CREDENTIAL, 403),
        (400, b"[1]", Cause.GARBAGE, 502),
        (200, b"{}", Cause.GARBAGE, 502),
        (400, b'{"message": 7}', Cause.GARBAGE, 502),
    ],
)
def test_rubbish_is_a_fault_too(status: int, body: bytes, cause: Cause, told: int) -> None:
    found = DIALECT.decode_fault(status, {}, body)
    assert (found.cause, found.status) == (cause, told)
    assert found.message


@given(st.integers(100, 599), st.binary(max_size=40))
def test_never_a_traceback(status: int, body: bytes) -> None:
    assert DIALECT.decode_fault(status, {}, body).message


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in recordings("bedrock-converse")
        if row.values[0] and row.values[0]["response"]["status"] != 200
    ],
)
def test_recorded_errors(row: Any) -> None:
    reply = row["response"]
    found = DIALECT.decode_fault(reply["status"], reply["headers"], json.dumps(reply["body"]).encode())
    about_the_model = "model identifier" in found.message
    assert found.cause is (Cause.MODEL_NOT_FOUND if about_the_model else Cause.BAD_REQUEST)
    assert found.status == 400
    assert found.message == reply["body"]["message"]
