"""Error replies as hypothesis draws them: the table's own words in the shapes that are met, and rubbish."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from modelbroker.dialects.cause_rules import RULES

from .error_bodies import DIALECTS, ErrorReply

_NEEDLES = sorted(
    {needle for table in RULES.values() for rule in table for needle in (*rule.needles, *rule.also)}
)
# A needle as a value would hold it: `"code":"x"` → `x`.
_WORDS = sorted({needle.rstrip('"').rpartition('"')[2].strip("\n") or needle for needle in _NEEDLES})
_TYPES = (
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "api_error",
    "overloaded_error",
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "NOT_FOUND",
    "UNAVAILABLE",
    "insufficient_quota",
    "rate_limit_exceeded",
    "model_not_found",
)
_KINDS = (
    "",
    "ThrottlingException:http://internal.amazon.com/",
    "ValidationException",
    "AccessDeniedException",
    "ResourceNotFoundException",
    "ModelNotReadyException",
    "ServiceQuotaExceededException",
    "modelErrorException",
)
STATUSES = (*range(399, 432), 451, 498, 499, *range(500, 506), 520, 522, 524, 529, 599, 600, 0, 200, 302)
_message = st.builds(
    lambda head, word, tail: f"{head}{word}{tail}",
    st.sampled_from(("", "", "The ", "x: ", "→ ")),
    st.sampled_from(_WORDS),
    st.sampled_from(("", "", " does not exist", " not found.", ': "x"', "\n", " é")),
)
_word = st.sampled_from(_TYPES) | st.sampled_from(_WORDS) | st.integers(0, 600) | st.none()
_fields = st.fixed_dictionaries(
    {},
    optional={
        "message": _message,
        "type": _word,
        "code": _word,
        "status": _word,
        "param": st.sampled_from(_WORDS) | st.none(),
        "detail": _message,
        "details": st.lists(
            st.fixed_dictionaries({"@type": st.just("google.rpc.ErrorInfo"), "reason": _word}), max_size=1
        ),
        "__type": _word,
        "originalStatusCode": st.sampled_from((400, 429, 503, 529)),
        "innererror": st.fixed_dictionaries({"code": _word}),
    },
)
_shape: st.SearchStrategy[Any] = st.one_of(
    _fields,
    _fields.map(lambda fields: {"error": fields}),
    _fields.map(lambda fields: [{"error": fields}]),
    _fields.map(lambda fields: {"type": "error", "error": fields, "request_id": "r"}),
    _message.map(lambda words: {"error": words}),
    _message.map(lambda words: {"code": words, "error": words}),
)
_dumped = st.builds(
    lambda value, indent, ascii_only: json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(),
    _shape,
    st.sampled_from((None, None, 2)),
    st.booleans(),
)
_bodies = st.one_of(
    _dumped,
    _dumped,
    _dumped,
    st.binary(max_size=60),
    st.sampled_from(_NEEDLES).map(str.encode),
    st.sampled_from((b"", b"null", b"[]", b"{}", b"<html>", b"Not Found", b"[1]")),
)


def error_replies() -> st.SearchStrategy[ErrorReply]:
    """Of any dialect, without a known cause."""
    return st.builds(
        ErrorReply, st.sampled_from(DIALECTS), st.sampled_from(STATUSES), _bodies, st.sampled_from(_KINDS)
    )
