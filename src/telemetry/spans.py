"""Records → spans and log records, as OpenTelemetry's semantic conventions have them. Pure.

Names: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (gen_ai.*), …/http/ (http.*, url.*), …/general/
(server.*, error.type); what they have no name for is `modelbroker.*`. No value is text of a call's own: there
is none in a record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..core.outcomes import ERROR, LOST, OK, REFUSED
from ..core.prices import Cost
from ..core.record import CANCELLED, CLIENT_GONE, Attempt, Record
from ..core.tracing import attempt_span
from ..core.usage import Usage

Value = str | int | float | bool | tuple[str, ...]
Attributes = dict[str, Value]
# Span.SpanKind, and SeverityNumber.
SERVER, CLIENT = 2, 3
INFO, WARN, FAILED = 9, 13, 17
SEVERITIES = {INFO: "INFO", WARN: "WARN", FAILED: "ERROR"}
EVENT = "modelbroker.call"
_MOST_TEXT = 256  # of what clients chose
# Fields of a record that are attributes of its span, where they say something.
_OF_CALL = (
    *("pool", "rule", "member", "revision", "caller", "agent", "user", "team", "customer", "feature", "tier"),
    *("outcome", "error_source", "code", "usage_state", "cache", "cache_reason", "cached_request_id"),
    *("degraded_from", "budget", "purpose", "rollout", "arm", "stage", "shadow_of", "queue_ms", "added_ms"),
    *("context_tokens", "captured", "conversation"),
)
_OF_ATTEMPT = ("member", "code", "cause", "usage_state", "service_tier", "dropped", "first_byte_ms")


class Place(NamedTuple):
    """Where a provider is, and what the conventions call it."""

    name: str
    address: str = ""
    port: int = 0


class Span(NamedTuple):
    """`error` "": it went well, or was no error of this side's. `is_remote`: its parent is another's."""

    trace_id: str
    span_id: str
    parent_id: str
    is_remote: bool
    name: str
    kind: int
    start_ns: int
    end_ns: int
    error: str
    attributes: Attributes


class LogLine(NamedTuple):
    """`trace_id` "": the call was not traced."""

    at_ns: int
    severity: int
    body: str
    trace_id: str
    span_id: str
    sampled: bool
    attributes: Attributes


def spans_of(record: Record, places: Mapping[str, Place]) -> list[Span]:
    """The call's, and one for each attempt; none where it is not sampled."""
    if not record.sampled or not record.trace_id:
        return []
    start_ns = _ns(record.started_s)
    call = Span(
        record.trace_id,
        record.span_id,
        record.parent_span_id,
        bool(record.parent_span_id),
        _name(record),
        SERVER,
        start_ns,
        start_ns + _lasts_ns(record.duration_ms),
        _error_of(record),
        call_attributes(record, places),
    )
    attempts = enumerate(record.attempts, 1)
    return [call, *(_attempt(record, attempt, number, places) for number, attempt in attempts)]


def log_of(record: Record, places: Mapping[str, Place]) -> LogLine:
    """One for each call, with what its span says."""
    start_ns = _ns(record.started_s)
    to = f" at {record.member}" if record.member else ""
    code = f" ({record.code})" if record.code else ""
    return LogLine(
        start_ns + _lasts_ns(record.duration_ms),
        _severity(record),
        f"{_name(record)}{to}: {record.outcome}{code}, status {record.status}",
        record.trace_id,
        record.span_id,
        record.sampled,
        call_attributes(record, places),
    )


def call_attributes(record: Record, places: Mapping[str, Place]) -> Attributes:
    provider, _, model = record.member.partition("/")
    found: Attributes = {
        "gen_ai.operation.name": operation_of(record),
        "gen_ai.request.model": record.model[:_MOST_TEXT],
        "gen_ai.response.model": model,
        "gen_ai.request.stream": record.stream,
        "gen_ai.agent.name": record.agent,
        "http.request.method": record.method,
        "url.path": record.path[:_MOST_TEXT],
        "modelbroker.request_id": record.request_id,
        "modelbroker.dialect": record.dialect,
        "modelbroker.attempts": record.attempts_made,
        "modelbroker.hedged": record.hedged,
    }
    if provider:
        found["gen_ai.provider.name"] = _place(provider, places).name
    if record.status:
        found["http.response.status_code"] = record.status
    if record.max_output_tokens is not None:
        found["gen_ai.request.max_tokens"] = record.max_output_tokens
    if record.choices != 1:
        found["gen_ai.request.choice.count"] = record.choices
    if record.stream and record.first_byte_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = record.first_byte_ms / 1000
    if record.outcome != OK:
        found["error.type"] = record.code or str(record.status or record.outcome)
    found |= _said(record, _OF_CALL)
    found |= _usage(record.usage)
    found |= _cost(record.cost)
    if record.saved is not None and record.saved.cost is not None and record.saved.cost.total is not None:
        found["modelbroker.saved.nano_dollars"] = record.saved.cost.total
    return _without_empty(found)


def operation_of(record: Record) -> str:
    """`gen_ai.operation.name`; counting tokens has none of the conventions'."""
    if record.path.endswith("/embeddings") or record.dialect == "openai-embeddings":
        return "embeddings"
    return "count_tokens" if record.path.endswith(("/count_tokens", "/input_tokens")) else "chat"


def _attempt(record: Record, attempt: Attempt, number: int, places: Mapping[str, Place]) -> Span:
    provider, _, model = attempt.member.partition("/")
    place = _place(provider, places)
    operation = operation_of(record)
    failed = bool(attempt.cause) or attempt.code not in ("", CANCELLED)
    status = attempt.provider_status or attempt.status
    found: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": place.name,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": record.stream,
        "http.request.method": record.method,
        "server.address": place.address,
        "modelbroker.request_id": record.request_id,
        "modelbroker.pool": record.pool,
        "modelbroker.attempt": number,
        "modelbroker.hedge": attempt.hedge,
    }
    if place.address and place.port:
        found["server.port"] = place.port
    if status and attempt.first_byte_ms is not None:
        found["http.response.status_code"] = status
    if number > 1:
        found["http.request.resend_count"] = number - 1
    if attempt.first_event_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = attempt.first_event_ms / 1000
    error = (attempt.code or attempt.cause) if failed else ""
    if failed:
        found["error.type"] = attempt.cause or attempt.code
    found |= _said(attempt, _OF_ATTEMPT)
    found |= _usage(attempt.usage)
    found |= _cost(attempt.cost)
    start_ns = _ns(attempt.started_s)
    return Span(
        record.trace_id,
        attempt.span_id or attempt_span(record.span_id, number),
        record.span_id,
        False,
        f"{operation} {model}",
        CLIENT,
        start_ns,
        start_ns + _lasts_ns(attempt.duration_ms),
        error,
        _without_empty(found),
    )


def _name(record: Record) -> str:
    """`chat reasoning-tier`. A model that nobody is configured for can be called anything, and names of spans
    are to be few."""
    operation = operation_of(record)
    return f"{operation} {record.model[:_MOST_TEXT]}" if record.pool and record.model else operation


def _error_of(record: Record) -> str:
    """What the caller did wrong, or chose, is no error of the service's."""
    if record.outcome not in (ERROR, LOST) or record.error_source == "client":
        return ""
    return record.code or str(record.status or record.outcome)


def _severity(record: Record) -> int:
    if record.outcome in (OK, CLIENT_GONE):
        return INFO
    return WARN if record.outcome == REFUSED or record.error_source == "client" else FAILED


def _place(provider: str, places: Mapping[str, Place]) -> Place:
    """Of one that is no longer configured its own name is all that is known."""
    return places.get(provider) or Place(provider)


def _usage(usage: Usage | None) -> Attributes:
    """The conventions' input tokens are all that was read; those of the cache are parts of them."""
    if usage is None:
        return {}
    found: Attributes = {
        "gen_ai.usage.input_tokens": usage.prompt,
        "gen_ai.usage.output_tokens": usage.output,
    }
    if usage.cache_read:
        found["gen_ai.usage.cache_read.input_tokens"] = usage.cache_read
    if written := usage.cache_write_5m + usage.cache_write_1h:
        found["gen_ai.usage.cache_write.input_tokens"] = written
    if usage.reasoning is not None:
        found["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning
    if usage.audio_input is not None:
        found["gen_ai.usage.audio.input_tokens"] = usage.audio_input
    return found


def _cost(cost: Cost | None) -> Attributes:
    """Unknown is never 0."""
    if cost is None:
        return {}
    if cost.total is not None:
        return {"modelbroker.cost.nano_dollars": cost.total}
    return {"modelbroker.cost.unknown": tuple(cost.unknown)}


def _said(what: Record | Attempt, names: tuple[str, ...]) -> Attributes:
    return {f"modelbroker.{name}": value for name in names if (value := getattr(what, name)) is not None}


def _without_empty(attributes: Attributes) -> Attributes:
    """An empty text or list is what is not known."""
    return dict(_full(attributes))


def _full(attributes: Attributes) -> Iterator[tuple[str, Value]]:
    for name, value in attributes.items():
        if value not in ("", ()):
            yield name, value


def _ns(unix_s: float) -> int:
    """Of a clock that tells µs."""
    return round(unix_s * 1e6) * 1000


def _lasts_ns(duration_ms: float) -> int:
    return max(0, round(duration_ms * 1e3) * 1000)
