"""Access-log entries as Envoy sends them → the values of `join`.

Source: envoy/data/accesslog/v3/accesslog.proto.
"""

from __future__ import annotations

from typing import Any

from ..core.keys import BROKER_DETAILS
from ..core.record import Attempt, Record
from ..envoyapi import AnyMessage

OUTER_LOG = "outer"
MEMBER_LOG = "member"
# Dynamic metadata in which ext_proc and the member listeners leave what they know of a call.
NAMESPACE = "modelbroker"


def record_of(entry: AnyMessage) -> Record:
    """The outer listener's entry: the whole call."""
    common, request, response = entry.common_properties, entry.request, entry.response
    facts = _facts(common)
    details = response.response_code_details
    member = response.response_headers.get("x-broker-member", "")
    request_id = facts.get("request_id") or response.response_headers.get("x-broker-request-id", "")
    return Record(
        request_id=request_id or common.stream_id,
        started_s=common.start_time.ToMicroseconds() / 1e6,
        duration_ms=_ms(common, "duration") or 0.0,
        first_byte_ms=_ms(common, "time_to_first_downstream_tx_byte"),
        status=response.response_code.value,
        method=_METHODS.get(request.request_method, ""),
        path=(request.original_path or request.path).partition("?")[0],
        stream=facts.get("stream") == "1",
        member=member,
        code=details.removeprefix(BROKER_DETAILS + "_") if details.startswith(BROKER_DETAILS) else "",
        flags=_flags(common),
        details=details,
        request_bytes=request.request_body_bytes,
        response_bytes=response.response_body_bytes,
        attempts_made=common.upstream_request_attempt_count,
        caller=facts.get("caller", ""),
        agent=facts.get("agent", ""),
        user=facts.get("user", ""),
        team=facts.get("team", ""),
        customer=facts.get("customer", ""),
        feature=facts.get("feature", ""),
        tier=facts.get("tier", ""),
        dialect=facts.get("dialect", ""),
        model=facts.get("model", ""),
        rule=facts.get("rule", ""),
        pool=facts.get("pool", ""),
        revision=facts.get("revision", ""),
    )


def attempt_of(entry: AnyMessage) -> tuple[str, Attempt]:
    """(request id, attempt) from a member listener's entry."""
    common, response = entry.common_properties, entry.response
    listener = common.downstream_local_address.envoy_internal_address.server_listener_name
    # member/<provider>/<model>/<hash>
    member = listener.removeprefix("member/").rpartition("/")[0]
    return _facts(common).get("request_id", ""), Attempt(
        member=member,
        status=response.response_code.value,
        duration_ms=_ms(common, "duration") or 0.0,
        first_byte_ms=_ms(common, "time_to_first_upstream_rx_byte"),
        flags=_flags(common),
        details=response.response_code_details,
    )


def _facts(common: AnyMessage) -> dict[str, str]:
    namespaces = common.metadata.filter_metadata
    if NAMESPACE not in namespaces:
        return {}
    fields = namespaces[NAMESPACE].fields
    return {name: value.string_value for name, value in fields.items()}


def _ms(common: AnyMessage, name: str) -> float | None:
    if not common.HasField(name):
        return None
    duration: Any = getattr(common, name)
    return float(duration.ToMicroseconds()) / 1000


def _flags(common: AnyMessage) -> tuple[str, ...]:
    return tuple(field.name for field, value in common.response_flags.ListFields() if value is True)


# envoy.config.core.v3.RequestMethod
_METHODS = {
    1: "GET",
    2: "HEAD",
    3: "POST",
    4: "PUT",
    5: "DELETE",
    6: "CONNECT",
    7: "OPTIONS",
    8: "TRACE",
    9: "PATCH",
}
