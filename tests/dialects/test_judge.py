"""What the first events of a stream say: preamble, a piece of the answer, or a fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.causes import Cause
from modelbroker.dialects import SseEvent, SseSplitter, Stage, dialect_named, provider_dialect
from modelbroker.dialects.conversation import Upstream
from modelbroker.dialects.replies import Failed
from support.recordings import recordings

CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"

TABLE: list[tuple[str, str, Stage, int]] = [
    (CHAT, '{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}', Stage.PREAMBLE, 0),
    (CHAT, '{"choices":[],"prompt_filter_results":[]}', Stage.PREAMBLE, 0),
    (CHAT, '{"choices":[{"delta":{"content":"hi"}}]}', Stage.REAL, 0),
    (CHAT, '{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}', Stage.REAL, 0),
    (CHAT, '{"choices":[{"delta":{"reasoning_content":"hm"}}]}', Stage.REAL, 0),
    (CHAT, '{"choices":[{"delta":{},"finish_reason":"stop"}]}', Stage.REAL, 0),
    (CHAT, "[DONE]", Stage.REAL, 0),
    (CHAT, '{"error":{"message":"Overloaded","type":"overloaded_error"}}', Stage.FAULT, 529),
    (CHAT, '{"error":{"message":"slow down","code":"rate_limit_exceeded"}}', Stage.FAULT, 429),
    (CHAT, '{"error":{"message":"boom","type":"server_error"}}', Stage.FAULT, 503),
    (CHAT, '{"error":"boom"}', Stage.FAULT, 503),
    # Answers about this very request, whatever the dialect: another member would say the same.
    (CHAT, '{"error":{"message":"o","type":"invalid_request_error","code":null}}', Stage.REAL, 0),
    (CHAT, '{"error":{"message":"o","type":"invalid_request_error","code":"invalid_prompt"}}', Stage.REAL, 0),
    (
        CHAT,
        '{"error":{"message":"o","type":"invalid_request_error","code":"invalid_api_key"}}',
        Stage.FAULT,
        502,
    ),
    (RESPONSES, '{"type":"error","error":{"type":"invalid_request_error","code":"x"}}', Stage.REAL, 0),
    (RESPONSES, '{"type":"error","code":"context_length_exceeded","message":"o"}', Stage.REAL, 0),
    (CHAT, "<html>", Stage.FAULT, 502),
    (CHAT, "[1]", Stage.FAULT, 502),
    (RESPONSES, '{"type":"response.created"}', Stage.PREAMBLE, 0),
    (RESPONSES, '{"type":"response.in_progress"}', Stage.PREAMBLE, 0),
    (RESPONSES, '{"type":"response.output_item.added"}', Stage.REAL, 0),
    (RESPONSES, '{"type":"error","code":"server_error","message":"boom"}', Stage.FAULT, 503),
    (RESPONSES, '{"type":"response.failed","response":{"error":{"code":"server_error"}}}', Stage.FAULT, 503),
    (
        RESPONSES,
        '{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded"}}}',
        Stage.FAULT,
        429,
    ),
    # An answer about this very request: another member would say the same.
    (RESPONSES, '{"type":"response.failed","response":{"error":{"code":"invalid_prompt"}}}', Stage.REAL, 0),
    (MESSAGES, '{"type":"ping"}', Stage.PREAMBLE, 0),
    (MESSAGES, '{"type":"message_start","message":{}}', Stage.PREAMBLE, 0),
    (MESSAGES, '{"type":"content_block_start","content_block":{"type":"text","text":""}}', Stage.PREAMBLE, 0),
    (MESSAGES, '{"type":"content_block_start","content_block":{"type":"tool_use"}}', Stage.REAL, 0),
    (MESSAGES, '{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}', Stage.REAL, 0),
    (MESSAGES, '{"type":"error","error":{"type":"overloaded_error","message":"o"}}', Stage.FAULT, 529),
    (MESSAGES, '{"type":"error","error":{"type":"rate_limit_error","message":"o"}}', Stage.FAULT, 429),
    (MESSAGES, '{"type":"error","error":{"type":"api_error","message":"o"}}', Stage.FAULT, 503),
    (MESSAGES, '{"type":"error"}', Stage.FAULT, 503),
    (MESSAGES, '{"type":"error","error":{"type":"invalid_request_error","message":"o"}}', Stage.REAL, 0),
]


@pytest.mark.parametrize(("dialect", "data", "stage", "status"), TABLE)
def test_what_an_event_says(dialect: str, data: str, stage: Stage, status: int) -> None:
    start = dialect_named(dialect).judge(SseEvent("", data.encode()))
    assert start.stage is stage
    assert (start.fault.status if start.fault else 0) == status


ERRORS: list[tuple[str, str, Stage, Cause]] = [
    (CHAT, '{"error":{"message":"Overloaded","type":"overloaded_error"}}', Stage.FAULT, Cause.OVERLOADED),
    (CHAT, '{"error":{"message":"x","code":"rate_limit_exceeded"}}', Stage.FAULT, Cause.RATE_LIMIT),
    (CHAT, '{"error":{"message":"x","code":"insufficient_quota"}}', Stage.FAULT, Cause.BILLING),
    (
        CHAT,
        '{"error":{"message":"x","code":"model_not_found","status":404}}',
        Stage.FAULT,
        Cause.MODEL_NOT_FOUND,
    ),
    (CHAT, '{"error":{"message":"x","code":401}}', Stage.FAULT, Cause.CREDENTIAL),
    (CHAT, '{"error":{"message":"Provider returned error","code":502}}', Stage.FAULT, Cause.SERVER),
    (CHAT, '{"error":{"message":"x","code":504}}', Stage.FAULT, Cause.TIMEOUT),
    (CHAT, '{"error":{"message":"maximum context length","code":400}}', Stage.REAL, Cause.CONTEXT_OVERFLOW),
    (CHAT, '{"error":{"type":"invalid_request_error","code":"x"}}', Stage.REAL, Cause.BAD_REQUEST),
    (CHAT, '{"error":{"code":"content_filter","status":400}}', Stage.REAL, Cause.CONTENT_POLICY),
    (CHAT, "<html>", Stage.FAULT, Cause.GARBAGE),
    (RESPONSES, '{"type":"error","code":"context_length_exceeded"}', Stage.REAL, Cause.CONTEXT_OVERFLOW),
    (RESPONSES, '{"type":"error","error":{"code":"server_is_overloaded"}}', Stage.FAULT, Cause.OVERLOADED),
    (
        RESPONSES,
        '{"type":"response.failed","response":{"error":{"code":"context_length_exceeded"}}}',
        Stage.REAL,
        Cause.CONTEXT_OVERFLOW,
    ),
    (
        RESPONSES,
        '{"type":"response.failed","response":{"error":{"code":"insufficient_quota","message":"x"}}}',
        Stage.FAULT,
        Cause.BILLING,
    ),
    (
        RESPONSES,
        '{"type":"response.failed","response":{"error":{"code":"invalid_prompt","message":"x"}}}',
        Stage.REAL,
        Cause.CONTENT_POLICY,
    ),
    (
        RESPONSES,
        '{"type":"response.failed","response":{"error":{"code":"vector_store_timeout"}}}',
        Stage.FAULT,
        Cause.TIMEOUT,
    ),
    (MESSAGES, '{"type":"error","error":{"type":"overloaded_error"}}', Stage.FAULT, Cause.OVERLOADED),
    (MESSAGES, '{"type":"error","error":{"type":"billing_error"}}', Stage.FAULT, Cause.BILLING),
    (MESSAGES, '{"type":"error","error":{"type":"authentication_error"}}', Stage.FAULT, Cause.CREDENTIAL),
    (MESSAGES, '{"type":"error","error":{"type":"timeout_error"}}', Stage.FAULT, Cause.TIMEOUT),
    (
        MESSAGES,
        '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 2 > 1"}}',
        Stage.REAL,
        Cause.CONTEXT_OVERFLOW,
    ),
    (
        MESSAGES,
        '{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}',
        Stage.FAULT,
        Cause.MODEL_NOT_FOUND,
    ),
]


@pytest.mark.parametrize(("dialect", "data", "stage", "cause"), ERRORS)
def test_why_a_stream_begins_with_an_error(dialect: str, data: str, stage: Stage, cause: Cause) -> None:
    start = dialect_named(dialect).judge(SseEvent("", data.encode()))
    assert (start.stage, start.cause) == (stage, cause)
    assert start.fault is None or start.fault.cause is cause
    assert (start.fault is None) == (stage is Stage.REAL)
    # The same event in a translated stream has the same cause.
    decoder = provider_dialect(dialect).stream_decoder(Upstream("house", dialect, "m"))
    failures = [event for event in decoder.feed(f"data: {data}\n\n".encode()) if isinstance(event, Failed)]
    assert [failure.fault.cause for failure in failures] == [cause]


def test_an_account_that_has_to_pay_is_not_told_in_the_providers_words() -> None:
    data = b'{"error":{"message":"You exceeded your quota, SECRET","code":"insufficient_quota"}}'
    fault = dialect_named(CHAT).judge(SseEvent("", data)).fault
    assert fault is not None and (fault.status, fault.code) == (503, "upstream_billing")
    assert "SECRET" not in fault.message


@pytest.mark.parametrize("kind", [CHAT, RESPONSES, MESSAGES, "openai-compatible-chat"])
def test_every_recorded_stream_reaches_a_real_event_without_a_fault(kind: str) -> None:
    dialect = dialect_named(kind.replace("-compatible", ""))
    for parameter in recordings(kind):
        row: Any = parameter.values[0]
        if row is None or not isinstance(row["response"]["body"], str):
            continue
        events = SseSplitter().feed(row["response"]["body"].encode())
        stages = [dialect.judge(event).stage for event in events]
        assert Stage.REAL in stages, row["id"]
        assert Stage.FAULT not in stages[: stages.index(Stage.REAL)], row["id"]


@given(data=st.binary(max_size=60), dialect=st.sampled_from([CHAT, RESPONSES, MESSAGES]))
def test_any_bytes_are_judged(data: bytes, dialect: str) -> None:
    assert isinstance(dialect_named(dialect).judge(SseEvent("x", data)).stage, Stage)


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "error", "choices", "delta", "response", "content_block", "code", "message"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(value=SHAPES, dialect=st.sampled_from([CHAT, RESPONSES, MESSAGES]))
def test_any_json_is_judged(value: Any, dialect: str) -> None:
    import msgspec

    start = dialect_named(dialect).judge(SseEvent("", msgspec.json.encode(value)))
    assert isinstance(start.stage, Stage)


@pytest.mark.parametrize("kind", [{}, [], 5, None, {"a": []}])
def test_a_block_whose_type_is_no_word(kind: Any) -> None:
    data = {"type": "content_block_start", "content_block": {"type": kind}}
    assert dialect_named(MESSAGES).judge(SseEvent("", json.dumps(data).encode())).stage is Stage.REAL
