"""Errors that Envoy makes itself, in the client's dialect, with stable codes.

Envoy's own text is never the answer: a client's SDK reads JSON of its dialect or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ..core.errors import CallError
from ..core.keys import BROKER_DETAILS
from ..dialects import dialect_named
from .types import Tree, extension


@dataclass(frozen=True, slots=True)
class EnvoyError:
    """One kind of Envoy-made error: `flags` (any of them) or a CEL condition over its details."""

    status: int
    code: str
    message: str
    flags: tuple[str, ...] = ()
    details: str = ""


# First match wins. Flags: Envoy's access log documentation, %RESPONSE_FLAGS%.
OUTER_ERRORS: tuple[EnvoyError, ...] = (
    EnvoyError(
        413,
        "request_too_large",
        "the request body is larger than this broker takes (limits.request_bytes)",
        details="payload_too_large",
    ),
    EnvoyError(
        431, "request_headers_too_large", "the request's headers are too large", details="headers_too_large"
    ),
    EnvoyError(
        426, "upgrade_not_supported", "upgrades are not supported: use HTTP", details="upgrade_failed"
    ),
    EnvoyError(
        408, "request_timeout", "the request did not arrive in time", details="request_header_timeout"
    ),
    EnvoyError(
        408, "request_timeout", "the request did not arrive in time", details="request_overall_timeout"
    ),
    EnvoyError(
        503, "broker_unavailable", "the broker's policy server did not answer: try again", details="ext_proc"
    ),
    EnvoyError(
        503,
        "broker_overloaded",
        "the broker is at its limit: try again later",
        flags=("OM", "UO", "DO"),
    ),
    EnvoyError(
        503, "no_healthy_member", "no member of the pool is healthy right now: try again later", flags=("UH",)
    ),
    EnvoyError(
        504, "upstream_timeout", "no provider answered within the pool's timeouts", flags=("UT", "SI")
    ),
    EnvoyError(
        503,
        "upstream_connect_failed",
        "the connection to the provider failed",
        flags=("UF",),
    ),
    EnvoyError(
        503,
        "upstream_reset",
        "the provider broke the connection before it answered",
        flags=("UC", "UR", "LR", "URX", "UPE"),
    ),
    EnvoyError(
        503,
        "broker_reloading",
        "the broker has no route for this call right now: try again",
        flags=("NR", "NC", "NFCF"),
    ),
    EnvoyError(400, "invalid_http", "the request is not valid HTTP", flags=("DPE",)),
)


def outer_mappers() -> list[Tree]:
    """Path tells the dialect: the error may come before anything else is known of the call."""
    anthropic = {"name": ":path", "string_match": {"prefix": "/v1/messages"}}
    shapes = (("anthropic-messages", anthropic), ("openai-chat", {**anthropic, "invert_match": True}))
    mappers = [
        _mapper(dialect, header, error, _condition(error))
        for error in OUTER_ERRORS
        for dialect, header in shapes
    ]
    other = EnvoyError(0, "broker_error", "the broker could not handle this call (%RESPONSE_CODE_DETAILS%)")
    ours = _cel(f"!(has(response.code_details) && response.code_details.startsWith('{BROKER_DETAILS}'))")
    return mappers + [_mapper(dialect, header, other, ours) for dialect, header in shapes]


def member_mapper(dialect: str) -> Tree:
    """A member's own failures become 503 in the dialect, so that the outer route fails over."""
    message = "the provider could not be reached or broke off (%RESPONSE_CODE_DETAILS%)"
    error = EnvoyError(503, "upstream_unavailable", message)
    any_request = {"name": ":path", "present_match": True}
    ours = _cel(f"!(has(response.code_details) && response.code_details.startsWith('{BROKER_DETAILS}'))")
    return _mapper(dialect, any_request, error, ours)


def _condition(error: EnvoyError) -> Tree:
    if error.flags:
        return {"response_flag_filter": {"flags": list(error.flags)}}
    return _cel(f"has(response.code_details) && response.code_details.contains('{error.details}')")


def _cel(expression: str) -> Tree:
    return {
        "extension_filter": extension(
            "envoy.access_loggers.extension_filters.cel",
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression=expression,
        )
    }


def _mapper(dialect: str, header: Tree, error: EnvoyError, condition: Tree) -> Tree:
    status = error.status or 500
    rendered = dialect_named(dialect).error_body(
        CallError(status, error.code, error.message), "%REQ(X-BROKER-REQUEST-ID)%"
    )
    body: dict[str, Any] = msgspec.json.decode(rendered)
    mapper: Tree = {
        "filter": {"and_filter": {"filters": [{"header_filter": {"header": header}}, condition]}},
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }
    if error.status:
        mapper["status_code"] = error.status
    return mapper
