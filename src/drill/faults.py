"""The faults of a drill: what a simulated member is told to do, and what that means for a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..core.causes import Cause

# What every simulated member answers: long enough to be cut in the middle, and known by heart, so that half
# an answer is never taken for a whole one.
TEXT = " ".join(f"word-{number}" for number in range(24))
CHUNKS = 24
_MIDDLE = 12  # events: behind the first real one in every dialect, and before the last
_PACE_MS = 5
RETRY_AFTER_S = 2
# Longer than most that is drilled and shorter than what would be a fault by itself.
_SLOW_SHARE = 0.4
_SLOW_MOST_MS = 2_000


class Kind(Enum):
    """When a fault strikes, and so what is promised."""

    BEFORE = "before"  # nothing of an answer has reached the client: another member answers
    AFTER = "after"  # a stream has begun to reach the client: it breaks, and looks like it
    HARMLESS = "harmless"  # odd or slow, and an answer all the same


@dataclass(frozen=True, slots=True)
class Fault:
    """`script` is a rule of the simulator's (docs/simulator.md). `causes` are what the broker may make of it.

    `whole`, `stream`: which calls it strikes. `whole_provider`: the connection fails, whatever model is asked
    for. `arrives`: the provider has read the request, so that its journal has the attempt. `waits`: it is
    noticed when a timeout has passed.
    """

    name: str
    script: Mapping[str, Any]
    causes: tuple[Cause, ...] = ()
    kind: Kind = Kind.BEFORE
    whole: bool = True
    stream: bool = True
    whole_provider: bool = False
    arrives: bool = True
    waits: bool = False

    def strikes(self, is_stream: bool) -> bool:
        return self.stream if is_stream else self.whole


def _status(name: str, cause: Cause, **script: Any) -> Fault:
    return Fault(name, script, (cause,))


def _streamed(name: str, *causes: Cause, **script: Any) -> Fault:
    """Only a stream can show it, before its first real event."""
    return Fault(name, script, causes, whole=False)


def _after(name: str, *, waits: bool = False, **script: Any) -> Fault:
    """A stream that has reached the client when it breaks: its events take their time."""
    rule = {**script, "after_events": _MIDDLE, "token_delay_ms": _PACE_MS}
    return Fault(name, rule, (), Kind.AFTER, whole=False, waits=waits)


FAULTS: tuple[Fault, ...] = (
    _status("status-429", Cause.RATE_LIMIT, status=429),
    _status("status-429-retry-after", Cause.RATE_LIMIT, status=429, retry_after_s=RETRY_AFTER_S),
    _status("status-500", Cause.SERVER, status=500),
    _status("status-503", Cause.OVERLOADED, status=503),
    _status("status-529", Cause.OVERLOADED, status=529),
    _status("status-401", Cause.CREDENTIAL, status=401),
    _status("status-403", Cause.CREDENTIAL, status=403),
    _status("status-402", Cause.BILLING, status=402),
    _status("billing", Cause.BILLING, trouble="billing"),
    _status("model-gone", Cause.MODEL_NOT_FOUND, trouble="model_not_found"),
    _status("status-408", Cause.TIMEOUT, status=408),
    _status("status-409", Cause.CONFLICT, status=409),
    Fault("refused", {"refuse": True}, (Cause.CONNECT,), whole_provider=True, arrives=False),
    Fault(
        "reset-on-accept",
        {"reset": "on-accept"},
        (Cause.CONNECT, Cause.RESET),
        whole_provider=True,
        arrives=False,
    ),
    Fault("reset-before-headers", {"reset": "before-headers"}, (Cause.RESET,)),
    Fault("reset-after-headers", {"reset": "after-headers"}, (Cause.RESET,)),
    Fault("reset-mid-body", {"reset": "mid-body"}, (Cause.RESET,), stream=False),
    Fault("cut-mid-body", {"cut": "close"}, (Cause.CUT, Cause.RESET), stream=False),
    Fault("stall-before-headers", {"stall": "before-headers"}, (Cause.TIMEOUT,), waits=True),
    Fault(
        "stall-after-headers",
        {"stall": "after-headers"},
        (Cause.FIRST_EVENT, Cause.STALL, Cause.TIMEOUT),
        waits=True,
    ),
    Fault("not-http", {"garbage": "not-http"}, (Cause.GARBAGE, Cause.RESET)),
    _streamed("garbage-events", Cause.GARBAGE, garbage="body"),
    _streamed("error-event", Cause.SERVER, error_event=True),
    _streamed("error-event-behind-pings", Cause.SERVER, error_event=True, pings=2),
    _streamed("overloaded-event", Cause.OVERLOADED, trouble="overloaded", error_event=True),
    _streamed("stream-ends-empty", Cause.CUT, cut="end", after_events=0),
    _streamed("stream-cut-behind-ping", Cause.CUT, Cause.RESET, cut="close", after_events=0, pings=1),
    _streamed("stream-reset-behind-ping", Cause.RESET, reset="mid-stream", after_events=0, pings=1),
    Fault("slow-headers", {"delay_headers_ms": None}, kind=Kind.HARMLESS),
    Fault("slow-first-event", {"delay_first_event_ms": None, "pings": 1}, kind=Kind.HARMLESS, whole=False),
    Fault("slow-tokens", {"token_delay_ms": 20}, kind=Kind.HARMLESS, whole=False),
    Fault("compressed", {"compress": "gzip"}, kind=Kind.HARMLESS),
    _after("mid-stream-reset", reset="mid-stream"),
    _after("mid-stream-end", cut="end"),
    _after("mid-stream-close", cut="close"),
    _after("mid-stream-error-event", error_event=True),
    _after("mid-stream-garbage", garbage="body"),
    _after("mid-stream-stall", stall="mid-stream", waits=True),
    # In one piece with what came before it: whether it strikes before the first event or behind it is chance.
    Fault("reset-in-a-burst", {"reset": "mid-stream", "after_events": _MIDDLE}, (), Kind.AFTER, whole=False),
)
NAMED: Mapping[str, Fault] = {fault.name: fault for fault in FAULTS}


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulator by itself: what it is told when nothing is wrong with it."""

    provider: str
    needs_key: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)

    def healthy(self) -> dict[str, Any]:
        """The whole script."""
        script: dict[str, Any] = {
            "replies": [{"text": TEXT, "chunks": CHUNKS}],
            "journal": {"entries": 50_000, "body_bytes": 2_000},
            **self.more,
        }
        return script if self.needs_key else {**script, "require_key": False}

    def failing(self, fault: Fault, models: tuple[str, ...], shortest_ms: int) -> dict[str, Any]:
        """The whole script with `fault` for these of the provider's own model names. `shortest_ms` is the
        shortest time after which the broker gives an answer up: what is only slow takes less."""
        script = self.healthy()
        if fault.script.get("refuse"):
            return {**script, "refuse": True}
        rule = dict(fault.script)
        for name, value in rule.items():
            if value is None:
                rule[name] = int(min(_SLOW_MOST_MS, _SLOW_SHARE * shortest_ms))
        if fault.whole_provider:
            return {**script, "faults": [rule]}
        return {**script, "faults": [{**rule, "match": _match(fault, model)} for model in models]}


def _match(fault: Fault, model: str) -> dict[str, Any]:
    # `*`, `?` and `[` in a model's own name are themselves.
    match: dict[str, Any] = {"model": "".join(f"[{c}]" if c in "*?[" else c for c in model)}
    if not (fault.whole and fault.stream):
        match["stream"] = fault.stream
    return match
