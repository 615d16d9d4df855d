"""Events in the words of the Elastic Common Schema. Pure. What it has no word for is under `modelbroker`, by
the broker's names: ECS keeps names of products for that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from ..core import acts
from ..core.outcomes import LOST, OK, REFUSED
from ..core.record import CLIENT_GONE
from .events import CALL, Event

VERSION = "9.4.0"
PRODUCT = "modelbroker"
_ENCODER = msgspec.json.Encoder()
_CONFIGURATION = ("configuration",)
_CATEGORIES: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        acts.STARTED: (("process",), "start"),
        acts.STOPPED: (("process",), "end"),
        acts.SECRET_ROTATED: (("iam",), "change"),
        acts.SECRET_OVERLAP_OVER: (("iam",), "deletion"),
        acts.CALLER_KEY_ROTATED: (("iam",), "change"),
        acts.LEDGER_REPRICED: (("database",), "change"),
        acts.TRAFFIC_EXPORTED: (("database",), "access"),
        acts.TRAFFIC_IMPORTED: (("database",), "change"),
        acts.COMMAND_REFUSED: (("authentication",), "start"),
        acts.CONSOLE_LOGIN: (("authentication",), "start"),
        acts.CONSOLE_LOGOUT: (("authentication",), "end"),
        acts.AUDIT_CHECKPOINT: (_CONFIGURATION, "info"),
        acts.AUDIT_EXPIRED: (_CONFIGURATION, "deletion"),
        acts.ROLLOUT_BEGAN: (_CONFIGURATION, "creation"),
    }
)
# The dialects' operations, as OpenTelemetry names them.
_OPERATIONS = {"openai-embeddings": "embeddings", "": ""}
_MAPPED = frozenset(
    [
        "kind",
        "id",
        "at_ms",
        "severity",
        "user",
        "team",
        "request_id",
        "duration_ms",
        "method",
        "path",
        "rule",
        "provider",
        "code",
        "error_source",
        "status",
        "request_bytes",
        "response_bytes",
        "output_tokens",
        "trace_id",
        "span_id",
        "act",
        "result",
        "agent",
    ]
)


def ecs(event: Event, seq: int, version: str) -> dict[str, Any]:
    """`seq`: its place in the chain; `version`: the broker's."""
    told: dict[str, Any] = {
        "@timestamp": _time(event.at_ms),
        "ecs": {"version": VERSION},
        "service": {"name": PRODUCT, "type": PRODUCT, "version": version},
        "event": {
            "kind": "event",
            "id": event.id,
            "sequence": seq,
            "severity": event.severity,
            "module": PRODUCT,
            "dataset": "modelbroker.audit",
            "provider": PRODUCT,
            **(_call_event(event) if event.kind == CALL else _act_event(event)),
        },
        **({"user": _user(event)} if event.user or event.team else {}),
        **(_call(event) if event.kind == CALL else _act(event)),
    }
    fields: dict[str, Any] = msgspec.to_builtins(event)
    rest = {name: value for name, value in fields.items() if name not in _MAPPED}
    return {**told, PRODUCT: rest} if rest else told


def encoded(event: Event, seq: int, version: str, raw: bytes) -> bytes:
    """`raw`: of a checkpoint the chain's own line, which shows later what was signed; else empty."""
    told = ecs(event, seq, version)
    if raw:
        told["event"]["original"] = raw.decode()
    return _ENCODER.encode(told)


def _time(at_ms: int) -> str:
    """`2026-11-29T20:53:20.125Z`"""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{at_ms % 1000:03d}Z"


def _call_event(event: Event) -> dict[str, Any]:
    denied = event.outcome == REFUSED
    unknown = event.outcome in (LOST, CLIENT_GONE, "")
    return {
        "category": ["api"],
        "type": ["access", "denied" if denied else "allowed"],
        "action": CALL,
        "outcome": "unknown" if unknown else "success" if event.outcome == OK else "failure",
        "start": _time(event.at_ms),
        "end": _time(event.at_ms + round(event.duration_ms)),
        "duration": round(event.duration_ms * 1_000_000),
        **({"reason": event.code} if event.code else {}),
    }


def _act_event(event: Event) -> dict[str, Any]:
    category, kind = _CATEGORIES.get(event.act, (_CONFIGURATION, "change"))
    outcome = "failure" if event.result == acts.FAILED else "success"
    return {"category": list(category), "type": [kind], "action": event.act, "outcome": outcome}


def _act(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {"message": f"{event.act} by {event.actor}"}
    peer = event.details.get("peer")
    return {**told, "source": {"ip": str(peer)}} if peer else told


def _user(event: Event) -> dict[str, Any]:
    name = {"name": event.user} if event.user else {}
    return {**name, "group": {"name": event.team}} if event.team else name


def _call(event: Event) -> dict[str, Any]:
    what = event.member or event.pool or event.asked or "nothing that is known"
    told: dict[str, Any] = {
        "message": f"{event.agent or event.caller or 'somebody unknown'} called {what}: {event.outcome}",
        "http": _http(event),
        "gen_ai": _gen_ai(event),
    }
    if event.path:
        told["url"] = {"path": event.path}
    if event.rule:
        told["rule"] = {"name": event.rule}
    if event.code:
        told["error"] = {"code": event.code, **({"type": event.error_source} if event.error_source else {})}
    if event.trace_id:
        told["trace"] = {"id": event.trace_id}
    if event.span_id:
        told["span"] = {"id": event.span_id}
    return {name: value for name, value in told.items() if value}


def _http(event: Event) -> dict[str, Any]:
    request: dict[str, Any] = {"id": event.request_id, "body": {"bytes": event.request_bytes}}
    if event.method:
        request["method"] = event.method
    if not event.status:
        return {"request": request}
    answered = {"status_code": event.status, "body": {"bytes": event.response_bytes}}
    return {"request": request, "response": answered}


def _gen_ai(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if operation := _OPERATIONS.get(event.dialect, "chat"):
        told["operation"] = {"name": operation}
    if event.agent:
        told["agent"] = {"name": event.agent}
    if event.provider:
        told["system"] = event.provider
    if event.asked:
        told["request"] = {"model": event.asked}
    if event.model:
        told["response"] = {"model": event.model}
    if event.input_tokens is not None and event.output_tokens is not None:
        read = event.input_tokens + (event.cache_read_tokens or 0) + (event.cache_write_tokens or 0)
        told["usage"] = {"input_tokens": read, "output_tokens": event.output_tokens}
    return told
