"""A call's trace on its way: from its agent, to its provider, and back."""

from __future__ import annotations

import dataclasses

from ..core.keys import TRACE_HEADER
from ..core.telemetry import Traces
from ..core.tracing import TRACEPARENT, TRACERESPONSE, TRACESTATE, Trace, trace_in, traced
from .commands import Reply
from .course import Course
from .inbound import Inbound

Headers = tuple[tuple[str, str], ...]
# What goes on beside what a target names: the trace, and what of the agent's is not taken off.
_SILENT = (TRACE_HEADER,)
_BEGUN = (TRACE_HEADER, TRACEPARENT)
_CONTINUED = (TRACE_HEADER, TRACEPARENT, TRACESTATE)


def trace_of(traces: Traces | None, inbound: Inbound, request_id: str, course: Course | None) -> Trace | None:
    """None: the call is not traced. One that was handed back is where it was."""
    if traces is None:
        return None
    if course is not None:
        return trace_in(course.trace)
    return traced(traces, inbound.first(TRACEPARENT), request_id)


def passed_on(traces: Traces | None, trace: Trace) -> tuple[Headers, tuple[str, ...]]:
    """(headers, names of all that may go on). The member's listener puts the attempt's span in the place of
    the call's, and takes off what is the broker's own."""
    header = trace.header
    if traces is None or not traces.to_providers:
        return ((TRACE_HEADER, header),), _SILENT
    names = _CONTINUED if trace.parent_id else _BEGUN
    return ((TRACE_HEADER, header), (TRACEPARENT, header)), names


def answered(reply: Reply, trace: Trace | None) -> Reply:
    """The broker's own answer says which trace it is of, to the agent and to the record."""
    if trace is None:
        return reply
    headers = (*reply.headers, (TRACERESPONSE, trace.header))
    return dataclasses.replace(reply, headers=headers, facts=(*reply.facts, ("trace", trace.text)))
