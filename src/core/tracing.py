"""A call's place in a trace: W3C Trace Context, level 2 (https://www.w3.org/TR/trace-context-2/).

No ids are minted that would have to be carried: a call's own follow from its request id, whose last 15 hex
digits are random, and its attempts' from its own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .telemetry import RANDOM_DIGITS, Traces

TRACEPARENT, TRACESTATE, TRACERESPONSE = "traceparent", "tracestate", "traceresponse"
SAMPLED, RANDOM = 1, 2
_VERSION = "00"
_KNOWN_FLAGS = SAMPLED | RANDOM
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
# What a begun trace says: of level 2's flags, that the end of its id is random.
_BEGUN = {True: f"{SAMPLED | RANDOM:02x}", False: f"{RANDOM:02x}"}


class Parent(NamedTuple):
    """The caller's span, as its `traceparent` has it."""

    trace_id: str
    span_id: str
    flags: int


class Trace(NamedTuple):
    """Of one call. `parent_id` "": the trace begins here. `flags`: two hex digits."""

    trace_id: str
    span_id: str
    parent_id: str
    flags: str

    @property
    def header(self) -> str:
        """The call's own span as `traceparent`, and as `traceresponse`, would name it."""
        return f"{_VERSION}-{self.trace_id}-{self.span_id}-{self.flags}"

    @property
    def text(self) -> str:
        """For the record, and from one attempt to the next: `trace_in` reads it."""
        return ",".join(self)

    @property
    def is_sampled(self) -> bool:
        return bool(int(self.flags, 16) & SAMPLED)


def trace_in(text: str) -> Trace | None:
    """What `Trace.text` says."""
    return Trace(*text.split(",")) if text else None


def parent_in(value: str) -> Parent | None:
    """None where it is no traceparent. Of a later version the four fields that it shares with this one."""
    found = _TRACEPARENT.fullmatch(value)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN or (more and version == _VERSION):
        return None
    return Parent(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


def traced(traces: Traces, traceparent: str, request_id: str) -> Trace:
    """The agent's trace goes on, sampled or not as the agent says; where it has none, one begins."""
    span_id = request_id[16:30] + "00"
    if traceparent and traces.from_agents and (parent := parent_in(traceparent)) is not None:
        return Trace(parent.trace_id, span_id, parent.span_id, f"{parent.flags:02x}")
    sampled = int(request_id[-RANDOM_DIGITS:], 16) >= traces.threshold
    return Trace(request_id, span_id, "", _BEGUN[sampled])


def attempt_span(span_id: str, number: int) -> str:
    """Of a call's attempt; `number` counts from 1. member.lua has the same rule."""
    return f"{span_id[:14]}{number:02x}"
