"""Errors that Envoy makes itself, in the client's dialect, with stable codes.

Envoy's own text is never the answer: a client's SDK reads JSON of its dialect or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ..core.causes import BLAMELESS, Cause
from ..core.errors import CallError
from ..core.keys import (
    BLAME_HEADER,
    BLAMELESS_HEADER,
    BROKER_DETAILS,
    CAUSE_HEADER,
    CODE_HEADER,
    LOCAL_REPLY_HEADER,
    MEMBER_HEADER,
)
from ..dialects import dialect_named
from .types import Tree, extension, set_header


@dataclass(frozen=True, slots=True)
class EnvoyError:
    """One kind of Envoy-made error: `flags` (any of them) or `when`, a CEL condition. Status 0: Envoy's."""

    status: int
    code: str
    message: str
    flags: tuple[str, ...] = ()
    when: str = ""


def _details(*parts: str) -> str:
    """CEL: the details of the error hold one of `parts`. Source: Envoy, "Response code details"."""
    holds = " || ".join(f"response.code_details.contains('{part}')" for part in parts)
    return f"has(response.code_details) && ({holds})"


_NOT_OURS = f"!(has(response.code_details) && response.code_details.startsWith('{BROKER_DETAILS}'))"

# Where the member's Lua filter keeps it: the header is stripped before the provider.
_MEMBERS_REQUEST_ID = "%DYNAMIC_METADATA(modelbroker:request_id)%"

# First match wins. Flags: Envoy's access log documentation, %RESPONSE_FLAGS%.
OUTER_ERRORS: tuple[EnvoyError, ...] = (
    EnvoyError(
        413,
        "request_too_large",
        "the request body is larger than this broker takes (limits.request_bytes)",
        when=_details("payload_too_large"),
    ),
    EnvoyError(
        431,
        "request_headers_too_large",
        "the request's headers are too large or too many",
        when=f"response.code == 431 && {_NOT_OURS}",
    ),
    # What the broker adds does not fit beside what the client sent.
    EnvoyError(
        431,
        "request_headers_too_large",
        "the request's headers are too large or too many",
        when=_details("header_mutation_result_exceeds_limit"),
    ),
    EnvoyError(
        426, "upgrade_not_supported", "upgrades are not supported: use HTTP", when=_details("upgrade_failed")
    ),
    EnvoyError(
        426,
        "http_version_not_supported",
        "this HTTP version is not supported: use HTTP/1.1 or HTTP/2",
        when=_details("low_version"),
    ),
    # Also the idle timeout, where it is the client that is idle.
    EnvoyError(
        408,
        "request_timeout",
        "the request did not arrive in time",
        when=f"response.code == 408 && {_NOT_OURS}",
    ),
    EnvoyError(
        503,
        "broker_unavailable",
        "the broker's policy server did not answer: try again",
        when=_details("ext_proc"),
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
    EnvoyError(
        503,
        "broker_reloading",
        "the broker has no route for this call right now: try again",
        when=_details("direct_response"),
    ),
    EnvoyError(
        400,
        "invalid_path",
        "the path of the request is not valid: use one such as /v1/chat/completions",
        when=_details("path_normalization_failed", "absolute_path_rejected", "invalid_path"),
    ),
    # Envoy's own codes here are 400, 404 for what is no path, and 501 for a transfer-encoding.
    EnvoyError(
        400,
        "invalid_http",
        "the request is not valid HTTP (%RESPONSE_CODE_DETAILS%)",
        when=f"(response.code < 500 || response.code == 501) && {_NOT_OURS}",
    ),
    EnvoyError(
        0, "broker_error", "the broker could not handle this call (%RESPONSE_CODE_DETAILS%)", when=_NOT_OURS
    ),
)


def outer_mappers() -> list[Tree]:
    """The path tells the dialect: the error may come before anything else is known of the call. A request
    that is no HTTP has not even a path: then the dialect is OpenAI's."""
    anthropic = {"name": ":path", "string_match": {"prefix": "/v1/messages"}}
    shapes = (("anthropic-messages", anthropic), ("openai-chat", None))
    return [
        _mapper(dialect, header, error, "%REQ(X-BROKER-REQUEST-ID)%")
        for error in OUTER_ERRORS
        for dialect, header in shapes
    ]


_MARKED = set_header(LOCAL_REPLY_HEADER, "1")
_CALL = "metadata.filter_metadata['modelbroker']"
# What Envoy itself meets on the way to a provider. First match wins; flags as above.
_TROUBLES: tuple[tuple[Cause, tuple[str, ...], str], ...] = (
    (Cause.TLS, ("UF",), _details("TLS_error")),
    (Cause.CONNECT, ("UF",), ""),
    (Cause.DNS, ("UH", "DF"), ""),
    (Cause.CAPACITY, ("UO",), ""),
    (Cause.TIMEOUT, ("UT",), ""),
    (Cause.STALL, ("SI",), ""),
    # A connection that breaks inside a chunk of the body: that is no valid HTTP either.
    (Cause.RESET, ("UPE",), _details("after_response_started")),
    (Cause.GARBAGE, ("UPE",), ""),
    (Cause.RESET, ("UC", "UR", "LR"), ""),
)


def member_mappers(provider: str, member: str) -> list[Tree]:
    """A member's own failures are handed back where the call says so (`x-broker-handback`, kept in metadata
    by the Lua filter); else they are the client's, in its dialect. The path may be the provider's by then:
    the dialect stands where the Lua filter has kept it. All are marked, for they pass ext_proc, which would
    take them for the provider's words and translate them once more."""
    handed_back = [_handed_back(member, *trouble) for trouble in _TROUBLES]
    # ext_proc has said what the cause is: with an answer of its own in the place of the provider's.
    named = f"{_CALL}['handback'].contains({_CALL}['cause'])"
    told = [
        set_header(CAUSE_HEADER, "%DYNAMIC_METADATA(modelbroker:cause)%"),
        set_header(BLAME_HEADER, "%DYNAMIC_METADATA(modelbroker:blame)%"),
    ]
    handed_back.append(_redirect(member, _cel(named), told))
    return [*handed_back, *_last_words(provider)]


def _handed_back(member: str, cause: Cause, flags: tuple[str, ...], details: str) -> Tree:
    conditions = [{"response_flag_filter": {"flags": list(flags)}}]
    conditions += [_cel(details)] if details else []
    conditions.append(_cel(f"{_CALL}['handback'].contains('{cause.value}')"))
    told = [set_header(CAUSE_HEADER, cause.value)]
    if cause not in BLAMELESS:
        told.append(set_header(BLAME_HEADER, "1"))
    return _redirect(member, {"and_filter": {"filters": conditions}}, told)


def _redirect(member: str, condition: Tree, told: list[Tree]) -> Tree:
    where = set_header("location", "http://broker%DYNAMIC_METADATA(modelbroker:path)%")
    return {
        "filter": condition,
        "status_code": 307,
        "body": {"inline_string": ""},
        "headers_to_add": [_MARKED, where, set_header(MEMBER_HEADER, member), *told],
    }


def _last_words(provider: str) -> list[Tree]:
    """What the client gets where there is nobody left to try."""
    full = f"the provider {provider} has as many calls under way as it may have (concurrency)"
    late = f"the provider {provider} did not answer within the pool's timeouts"
    dead = "the broker's policy server did not answer: try again"
    message = f"the provider {provider} could not be reached or broke off (%RESPONSE_CODE_DETAILS%)"
    blameless = [set_header(BLAMELESS_HEADER, "1")]
    kinds: tuple[tuple[EnvoyError, list[Tree]], ...] = (
        (EnvoyError(503, "broker_unavailable", dead, when=_details("ext_proc")), blameless),
        (EnvoyError(503, "upstream_at_capacity", full, flags=("UO",)), blameless),
        (EnvoyError(504, "upstream_timeout", late, flags=("UT", "SI")), []),
        (EnvoyError(503, "upstream_unavailable", message, when=_NOT_OURS), []),
    )
    dialects = (("anthropic-messages", f"{_CALL}['dialect'] == 'anthropic-messages'"), ("openai-chat", ""))
    mappers = []
    for error, extra in kinds:
        for dialect, spoken in dialects:
            flags = {"response_flag_filter": {"flags": list(error.flags)}}
            condition = flags if error.flags else _cel(error.when)
            if spoken:
                condition = {"and_filter": {"filters": [condition, _cel(spoken)]}}
            mapper = _mapper(dialect, None, error, _MEMBERS_REQUEST_ID)
            mappers.append({**mapper, "filter": condition, "headers_to_add": [_MARKED, *extra]})
    return mappers


def _condition(error: EnvoyError) -> Tree:
    if error.flags:
        return {"response_flag_filter": {"flags": list(error.flags)}}
    return _cel(error.when)


def _cel(expression: str) -> Tree:
    return {
        "extension_filter": extension(
            "envoy.access_loggers.extension_filters.cel",
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression=expression,
        )
    }


def _mapper(dialect: str, header: Tree | None, error: EnvoyError, request_id: str) -> Tree:
    rendered = dialect_named(dialect).error_body(
        CallError(error.status or 500, error.code, error.message), request_id
    )
    body: dict[str, Any] = msgspec.json.decode(rendered)
    condition = _condition(error)
    if header is not None:
        condition = {"and_filter": {"filters": [{"header_filter": {"header": header}}, condition]}}
    mapper: Tree = {
        "filter": condition,
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }
    mapper["headers_to_add"] = [set_header(CODE_HEADER, error.code)]
    if error.status:
        mapper["status_code"] = error.status
    return mapper
