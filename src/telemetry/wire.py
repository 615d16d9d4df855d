"""Spans, log records and events → requests of OTLP. Needs the extra `otlp`.

Source: https://opentelemetry.io/docs/specs/otlp/, and the messages of `opentelemetry-proto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from .. import __version__
from ..core.tracing import SAMPLED
from .content import EVENT as CONTENT
from .content import Event
from .spans import EVENT, INFO, SEVERITIES, LogLine, Span, Value
from .texts import Nested

_SCOPE = InstrumentationScope(name="modelbroker", version=__version__)
# SpanFlags: the parent is known to be this process's own, or another's.
_KNOWN, _REMOTE = 0x100, 0x200
_MOST_INT = 2**63 - 1


def resource_of(attributes: Mapping[str, Value]) -> Resource:
    return Resource(attributes=_attributes(attributes))


def traces_request(resource: Resource, spans: Iterable[Span]) -> bytes:
    scope = ScopeSpans(scope=_SCOPE, spans=map(_span, spans))
    request = ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])]
    )
    serialized: bytes = request.SerializeToString()
    return serialized


def logs_request(resource: Resource, lines: Iterable[LogLine]) -> bytes:
    return _logs_request(resource, map(_log, lines))


def events_request(resource: Resource, events: Iterable[Event]) -> bytes:
    return _logs_request(resource, map(_event, events))


def _logs_request(resource: Resource, records: Iterable[LogRecord]) -> bytes:
    scope = ScopeLogs(scope=_SCOPE, log_records=records)
    request = ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope])])
    serialized: bytes = request.SerializeToString()
    return serialized


def rejected_in(kind: str, reply: bytes) -> tuple[int, str]:
    """(how many of a request the collector did not take, why). DecodeError where it is no reply."""
    if kind == "traces":
        spans = ExportTraceServiceResponse.FromString(reply).partial_success
        return spans.rejected_spans, spans.error_message
    logs = ExportLogsServiceResponse.FromString(reply).partial_success
    return logs.rejected_log_records, logs.error_message


def _span(span: Span) -> SpanMessage:
    message = SpanMessage(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        flags=SAMPLED | _KNOWN | (_REMOTE if span.is_remote else 0),
        name=span.name,
        kind=span.kind,  # type: ignore[arg-type]
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_attributes(span.attributes),
    )
    if span.error:
        message.status.code = Status.STATUS_CODE_ERROR
        message.status.message = span.error
    return message


def _log(line: LogLine) -> LogRecord:
    return LogRecord(
        time_unix_nano=line.at_ns,
        observed_time_unix_nano=line.at_ns,
        severity_number=line.severity,  # type: ignore[arg-type]
        severity_text=SEVERITIES[line.severity],
        body=AnyValue(string_value=line.body),
        event_name=EVENT,
        trace_id=bytes.fromhex(line.trace_id),
        span_id=bytes.fromhex(line.span_id),
        flags=SAMPLED if line.sampled else 0,
        attributes=_attributes(line.attributes),
    )


def _event(event: Event) -> LogRecord:
    """Its attributes say all of it."""
    return LogRecord(
        time_unix_nano=event.at_ns,
        observed_time_unix_nano=event.at_ns,
        severity_number=INFO,  # type: ignore[arg-type]
        severity_text=SEVERITIES[INFO],
        event_name=CONTENT,
        trace_id=bytes.fromhex(event.trace_id),
        span_id=bytes.fromhex(event.span_id),
        flags=SAMPLED if event.sampled else 0,
        attributes=[KeyValue(key=name, value=_nested(value)) for name, value in event.attributes.items()],
    )


def _nested(value: Nested) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case list():
            return AnyValue(array_value=ArrayValue(values=map(_nested, value)))
        case dict():
            pairs = [KeyValue(key=name, value=_nested(inner)) for name, inner in value.items()]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))
    return _any(value)


def _attributes(attributes: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_any(value)) for name, value in attributes.items()]


def _any(value: Value) -> AnyValue:
    if isinstance(value, bool):  # which is an int, too
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=max(-_MOST_INT, min(value, _MOST_INT)))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(array_value=ArrayValue(values=map(_any, value)))
