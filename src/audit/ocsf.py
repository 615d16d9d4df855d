"""Events in the words of the Open Cybersecurity Schema Framework (schema.ocsf.io). Pure.

A call is API Activity (6003) with the profile `ai_operation`, which has the model and what it read and wrote.
An act is of the class that fits it best. What OCSF has no word for is in `unmapped`, by the broker's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ..core import acts
from ..core.outcomes import LOST, OK, REFUSED
from ..core.record import CLIENT_GONE
from .events import CALL, Event

VERSION = "1.8.0"
PRODUCT = "modelbroker"
API_ACTIVITY = 6003
_OTHER = 99
_INVOKE = "Invoke"
_PROFILES = ("ai_operation", "security_control")
_SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
# (category, class, activity, what the activity is called where it is none of OCSF's own)
ENTITY, LIFECYCLE, DATASTORE, EVENT_LOG = (3, 3004), (6, 6002), (6, 6005), (1, 1008)
AUTHENTICATION = (3, 3002)
_CLASSES: Mapping[str, tuple[tuple[int, int], int, str]] = MappingProxyType(
    {
        acts.STARTED: (LIFECYCLE, 3, ""),
        acts.STOPPED: (LIFECYCLE, 4, ""),
        acts.CONFIG_LOADED: (ENTITY, 3, ""),
        acts.CONFIG_REFUSED: (ENTITY, 3, ""),
        acts.CONFIG_NACKED: (ENTITY, 3, ""),
        acts.CONFIG_ROLLED_BACK: (ENTITY, 3, ""),
        acts.SECRET_ROTATED: (ENTITY, 3, ""),
        acts.SECRET_OVERLAP_OVER: (ENTITY, 11, ""),
        acts.CALLER_KEY_ROTATED: (ENTITY, 3, ""),
        acts.ROLLOUT_BEGAN: (ENTITY, 1, ""),
        acts.ROLLOUT_PROMOTED: (ENTITY, 3, ""),
        acts.ROLLOUT_ROLLED_BACK: (ENTITY, 11, ""),
        acts.ROLLOUT_PAUSED: (ENTITY, 12, ""),
        acts.ROLLOUT_RESUMED: (ENTITY, 13, ""),
        acts.ROLLOUT_DONE: (ENTITY, 10, ""),
        acts.MEMBERS_FORGOTTEN: (ENTITY, 8, ""),
        acts.LEDGER_REPRICED: (DATASTORE, 2, ""),
        acts.TRAFFIC_EXPORTED: (DATASTORE, 1, ""),
        acts.TRAFFIC_IMPORTED: (DATASTORE, 5, ""),
        acts.COMMAND_REFUSED: (AUTHENTICATION, 1, ""),
        acts.CONSOLE_LOGIN: (AUTHENTICATION, 1, ""),
        acts.CONSOLE_LOGOUT: (AUTHENTICATION, 2, ""),
        acts.AUDIT_CHECKPOINT: (EVENT_LOG, _OTHER, "Sign"),
        acts.AUDIT_EXPIRED: (EVENT_LOG, 2, ""),
    }
)
_ENTITIES = {"config": "Configuration", "secret": "Secret", "caller": "Caller", "rollout": "Rollout"}
# What a call's event has a place for in OCSF; the rest is `unmapped`.
_MAPPED = frozenset(
    [
        "kind",
        "id",
        "at_ms",
        "severity",
        "request_id",
        "duration_ms",
        "user",
        "agent",
        "method",
        "path",
        "rule",
        "provider",
        "model",
        "code",
        "status",
        "trace_id",
        "span_id",
        "details",
        "act",
        "actor",
        "result",
    ]
)
_ENCODER = msgspec.json.Encoder()


def ocsf(event: Event, seq: int, version: str) -> dict[str, Any]:
    """`seq`: its place in the chain; `version`: the broker's."""
    made = _call(event) if event.kind == CALL else _act(event)
    category, class_uid, activity = made["category_uid"], made["class_uid"], made["activity_id"]
    rest = {name: value for name, value in _fields(event).items() if name not in _MAPPED}
    return {
        **made,
        "category_uid": category,
        "type_uid": class_uid * 100 + activity,
        "time": event.at_ms,
        "severity_id": event.severity,
        "severity": _SEVERITIES.get(event.severity, "Unknown"),
        "metadata": {
            "version": VERSION,
            "uid": event.id,
            "sequence": seq,
            "event_code": event.act or CALL,
            "log_name": "modelbroker audit",
            "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": version},
            **made["metadata"],
        },
        **({"unmapped": rest} if rest else {}),
    }


def encoded(event: Event, seq: int, version: str, raw: bytes) -> bytes:
    """`raw`: of a checkpoint the chain's own line, which shows later what was signed; else empty."""
    told = ocsf(event, seq, version)
    return _ENCODER.encode({**told, "raw_data": raw.decode()} if raw else told)


def _fields(event: Event) -> dict[str, Any]:
    """Those that are not empty; `cost_nano` of a call always."""
    told: dict[str, Any] = msgspec.to_builtins(event)
    return told


def _call(event: Event) -> dict[str, Any]:
    is_read = event.method == "GET"
    denied = event.outcome == REFUSED
    named = _user(event)
    who = event.agent or event.caller or "unknown"
    profiles = [*_PROFILES, *(["trace"] if event.trace_id else [])]
    return {
        "category_uid": 6,
        "class_uid": API_ACTIVITY,
        "activity_id": 2 if is_read else _OTHER,
        "activity_name": "Read" if is_read else _INVOKE,
        "metadata": {"profiles": profiles, "correlation_uid": event.request_id},
        "start_time": event.at_ms,
        "end_time": event.at_ms + round(event.duration_ms),
        "duration": round(event.duration_ms),
        "message": _sentence(event),
        **_status(event),
        "action_id": 2 if denied else 1,
        "action": "Denied" if denied else "Allowed",
        "disposition_id": 2 if denied else 1,
        "disposition": "Blocked" if denied else "Allowed",
        "actor": {"app_name": who, **({"user": named} if named else {})},
        "src_endpoint": {"name": who},
        "api": {
            "operation": f"{event.method} {event.path}".strip() or "unknown",
            "request": {"uid": event.request_id},
            "response": {"code": event.status, **({"error": event.code} if event.code else {})},
            "service": {"name": PRODUCT},
        },
        **_http(event),
        **_model(event),
        **({"policy": {"name": event.rule, "type": "rule", "is_applied": True}} if event.rule else {}),
        **({"resources": [{"name": event.pool, "type": "pool"}]} if event.pool else {}),
        **({"trace": _trace(event)} if event.trace_id else {}),
    }


def _sentence(event: Event) -> str:
    whom = event.agent or event.caller or "somebody unknown"
    what = event.member or event.pool or event.asked or "nothing that is known"
    code = f" ({event.code})" if event.code else ""
    return f"{whom} called {what}: {event.outcome or 'unknown'}{code}"


def _status(event: Event) -> dict[str, Any]:
    """Success is what the client got; of a call that is lost, or that its client left, nobody knows."""
    unknown = event.outcome in (LOST, CLIENT_GONE, "")
    status = 0 if unknown else 1 if event.outcome == OK else 2
    told: dict[str, Any] = {"status_id": status, "status": ("Unknown", "Success", "Failure")[status]}
    if event.outcome:
        told["status_detail"] = event.outcome
    return {**told, "status_code": event.code} if event.code else told


def _user(event: Event) -> dict[str, Any]:
    """Who called: the user, or the caller itself."""
    if not event.user and not event.caller:
        return {}
    user: dict[str, Any] = {"name": event.user or event.caller, "type_id": 1 if event.user else 4}
    if event.caller:
        user["credential_uid"] = event.caller
    if event.team:
        user["groups"] = [{"name": event.team, "type": "team"}]
    if event.customer:
        user["org"] = {"name": event.customer}
    return user


def _http(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if event.method:
        told["http_request"] = {
            "http_method": event.method,
            "uid": event.request_id,
            "body_length": event.request_bytes,
            **({"url": {"path": event.path}} if event.path else {}),
        }
    if event.status:
        told["http_response"] = {"code": event.status, "body_length": event.response_bytes}
    return told


def _model(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if event.provider and event.model:
        told["ai_model"] = {"ai_provider": event.provider, "name": event.model}
        told["dst_endpoint"] = {"name": event.provider, "svc_name": event.provider}
    if event.input_tokens is not None and event.output_tokens is not None:
        read = event.input_tokens + (event.cache_read_tokens or 0) + (event.cache_write_tokens or 0)
        told["message_context"] = {
            "application": {"name": event.agent or event.caller or "unknown"},
            "prompt_tokens": read,
            "completion_tokens": event.output_tokens,
            "total_tokens": read + event.output_tokens,
        }
    return told


def _trace(event: Event) -> dict[str, Any]:
    trace: dict[str, Any] = {"uid": event.trace_id}
    if event.span_id:
        end_ms = event.at_ms + round(event.duration_ms)
        trace["span"] = {"uid": event.span_id, "start_time": event.at_ms, "end_time": end_ms}
    return trace


def _act(event: Event) -> dict[str, Any]:
    other = ((0, 0), _OTHER, event.act)
    (category, class_uid), activity, name = _CLASSES.get(event.act, other)
    failed = event.result == acts.FAILED
    details = {key: value for key, value in event.details.items() if value is not None}
    told: dict[str, Any] = {
        "category_uid": category,
        "class_uid": class_uid,
        "activity_id": activity,
        **({"activity_name": name} if name else {}),
        # The profile by which these two have an actor.
        "metadata": {"profiles": ["host"]} if class_uid in (LIFECYCLE[1], 0) else {},
        "status_id": 2 if failed else 1,
        "status": "Failure" if failed else "Success",
        "status_detail": event.act,
        "message": f"{event.act}: {acts.WORDS.get(event.act, 'an act on the broker')}",
        "actor": _who(event),
        # Flat, as OCSF has no words for them.
        "enrichments": [{"name": key, "value": str(value), "data": value} for key, value in details.items()],
    }
    if not details:
        del told["enrichments"]
    return {**told, **_object(event, class_uid)}


def _who(event: Event) -> dict[str, Any]:
    """`actor.invoked_by` has our word. A command that shows no token of its user's has no credential."""
    user: dict[str, Any] = {"name": event.user, "type_id": 2} if event.user else {}
    if user and event.actor == acts.TOKEN:
        user["programmatic_credentials"] = [{"type": "Access Token", "uid": f"admin.users/{event.user}"}]
    return {"app_name": PRODUCT, "invoked_by": event.actor, **({"user": user} if user else {})}


def _object(event: Event, class_uid: int) -> dict[str, Any]:
    """What was acted on."""
    if class_uid == LIFECYCLE[1]:
        return {"app": {"name": PRODUCT, "vendor_name": PRODUCT}}
    if class_uid == DATASTORE[1]:
        what = event.act.partition(".")[0]
        return {
            "database": {"name": what, "type_id": _OTHER, "type": what},
            "src_endpoint": {"name": PRODUCT},
        }
    if class_uid == AUTHENTICATION[1]:
        known = {"name": event.user, "type_id": 1} if event.user else {"name": "unknown", "type_id": 0}
        peer = {"src_endpoint": {"ip": str(event.details["peer"])}} if event.details.get("peer") else {}
        at = "admin port" if event.act == acts.COMMAND_REFUSED else "console"
        return {"user": known, "service": {"name": f"{PRODUCT} {at}"}, **peer}
    if class_uid == EVENT_LOG[1]:
        return {"log_name": "modelbroker audit"}
    if class_uid == ENTITY[1]:
        kind = event.act.partition(".")[0]
        name = event.details.get("name") or event.revision or kind
        shown = _ENTITIES.get(kind, "Other")
        return {"entity": {"name": str(name), "type_id": _OTHER, "type": shown}}
    return {}
