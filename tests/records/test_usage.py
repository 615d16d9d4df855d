"""What is known of an attempt's usage, by what its reply left in the access log's entry."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.core.record import Attempt, Record
from modelbroker.core.usage import Usage
from modelbroker.dialects import Used, used_text
from modelbroker.envoyapi import AnyMessage, api
from modelbroker.records.entries import attempt_of
from modelbroker.records.join import Joiner

ENTRY = api().message_class("envoy.data.accesslog.v3.HTTPAccessLogEntry")
CHAT = {"dialect": "openai-chat"}
MESSAGES = {"dialect": "anthropic-messages"}
START = '{"input_tokens": 9, "output_tokens": 1, "service_tier": "batch"}'
CUT = {"cause": "cut", "code": "upstream_truncated"}


def entry(
    left: dict[str, Any], status: int = 200, details: str = "via_upstream", flag: str = ""
) -> AnyMessage:
    made = ENTRY()
    for name, value in left.items():
        field = made.common_properties.metadata.filter_metadata["modelbroker"].fields[name]
        if isinstance(value, str):
            field.string_value = value
        else:
            field.bool_value = value
    if flag:
        setattr(made.common_properties.response_flags, flag, True)
    address = made.common_properties.downstream_local_address.envoy_internal_address
    address.server_listener_name = "member/a/m/0123456789ab"
    made.response.response_code.value = status
    made.response.response_code_details = details
    return made


def told(left: dict[str, Any], **more: Any) -> tuple[Usage | None, str, str]:
    _, attempt = attempt_of(entry(left, **more))
    return attempt.usage, attempt.usage_state, attempt.service_tier


LAST = '{"prompt_tokens": 3, "completion_tokens": 4}'
CASES: list[tuple[dict[str, Any], dict[str, Any], tuple[Usage | None, str, str]]] = [
    (CHAT | {"usage": "flex" + LAST}, {}, (Usage(3, output=4), "exact", "flex")),
    (CHAT | {"usage_so_far": LAST}, {}, (Usage(3, output=4), "exact", "")),
    (CHAT | {"usage_so_far": LAST, "usage": ""} | CUT, {}, (Usage(3, output=4), "partial", "")),
    (CHAT | {"usage_so_far": LAST} | CUT, {}, (Usage(3, output=4), "partial", "")),
    (CHAT | {"usage_so_far": "flex" + LAST} | CUT, {}, (Usage(3, output=4), "partial", "flex")),
    (
        CHAT | {"usage_so_far": LAST},
        {"flag": "downstream_connection_termination"},
        (Usage(3, output=4), "partial", ""),
    ),
    (CHAT | {"usage_so_far": LAST}, {"flag": "upstream_remote_reset"}, (Usage(3, output=4), "partial", "")),
    # All was told before it broke.
    (CHAT | {"usage": LAST} | CUT, {}, (Usage(3, output=4), "exact", "")),
    (MESSAGES | {"usage_so_far": START}, {}, (Usage(9, output=1), "partial", "batch")),
    (
        MESSAGES | {"usage_so_far": START, "usage": '{"output_tokens": 7}'},
        {},
        (Usage(9, output=7), "exact", "batch"),
    ),
    # Where Python has read the reply, its word counts.
    (CHAT | {"used": used_text(Used(Usage(1), "t")), "usage": LAST}, {}, (Usage(1), "exact", "t")),
    (CHAT | {"used": used_text(Used(Usage(1), "t", False))}, {}, (Usage(1), "partial", "t")),
    (CHAT, {}, (None, "unknown", "")),
    (CHAT | {"usage": "x{"}, {}, (None, "unknown", "")),
    (CHAT | {"usage": '{"prompt_tokens": 0, "completion_tokens": 0}'}, {}, (None, "unknown", "")),
    (CHAT | {"usage": "{}"}, {}, (None, "unknown", "")),
    (MESSAGES | {"usage_so_far": "{}"}, {}, (None, "unknown", "")),
    (CHAT | {"counts": True}, {}, (None, "none", "")),
    (CHAT, {"status": 400}, (None, "none", "")),
    (CHAT | {"provider_status": "429", "cause": "rate-limit"}, {"status": 307}, (None, "none", "")),
    # A 200 before the error: it may have worked.
    (CHAT | {"provider_status": "200", "cause": "overloaded"}, {"status": 307}, (None, "unknown", "")),
    (CHAT, {"status": 503, "details": "connect", "flag": "upstream_connection_failure"}, (None, "none", "")),
    (CHAT | {"cause": "not-carried"}, {"status": 400, "details": "modelbroker_x"}, (None, "none", "")),
    (
        CHAT,
        {"status": 504, "details": "response_timeout", "flag": "upstream_request_timeout"},
        (None, "unknown", ""),
    ),
    (CHAT, {"status": 503, "details": "reset", "flag": "upstream_remote_reset"}, (None, "unknown", "")),
]


@pytest.mark.parametrize(("left", "more", "expected"), CASES)
def test_what_is_known(
    left: dict[str, Any], more: dict[str, Any], expected: tuple[Usage | None, str, str]
) -> None:
    assert told(left, **more) == expected


def record(**fields: Any) -> Record:
    return Record("r", 0.0, 1.0, None, fields.pop("status", 200), "POST", "/v1/x", **fields)


def attempt(member: str, status: int, tokens: int, started_s: float) -> Attempt:
    return Attempt(member, status, 1.0, started_s=started_s, usage=Usage(tokens), usage_state=f"of {tokens}")


def joined(whole: Record, *attempts: Attempt) -> tuple[Usage | None, str]:
    joiner = Joiner()
    for one in attempts:
        joiner.attempt("r", one, 0.0)
    done = joiner.outer(whole, 0.0)
    assert done is not None
    return done.usage, done.usage_state


def test_a_calls_usage_is_that_of_the_attempt_that_answered() -> None:
    failed, good = attempt("a/m", 500, 1, 1.0), attempt("b/m", 200, 2, 2.0)
    assert joined(record(member="b/m", attempts_made=2), good, failed) == (Usage(2), "of 2")
    late = attempt("c/m", 200, 3, 3.0)  # of a hedge: it lost
    assert joined(record(member="b/m", attempts_made=3), failed, late, good) == (Usage(2), "of 2")
    again = attempt("a/m", 200, 4, 4.0)
    assert joined(record(member="a/m", attempts_made=2), failed, again) == (Usage(4), "of 4")
    assert joined(record(status=0, attempts_made=1), failed) == (Usage(1), "of 1")
    assert joined(record(status=401)) == (None, "none")
