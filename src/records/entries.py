"""Access-log entries as Envoy sends them → the values of `join`.

Source: envoy/data/accesslog/v3/accesslog.proto. Each look at a field costs something, and entries are many:
only what a record has is read, and once.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

from ..core.causes import CODES, Cause
from ..core.keys import BROKER_DETAILS, CODE_HEADER
from ..core.record import CANCELLED, CLIENT_GONE, Attempt, Observed, Record
from ..core.usage import EXACT
from ..envoyapi import AnyMessage
from .facts import eligible_of, tell_asked, tell_replay, tell_trace
from .savings import saved_in
from .usage import usage_in

# Dynamic metadata in which ext_proc and the member listeners leave what they know of a call.
NAMESPACE = "modelbroker"
_OF_A_STREAM = "first_event_by"  # that of a call which asked for a stream


def record_of(entry: AnyMessage) -> Record:
    """The outer listener's entry: the whole call. `hedged`: as yet it only may have been."""
    common, request, response = entry.common_properties, entry.request, entry.response
    told = _told(common)
    facts = {name: told[name].string_value for name in told} if told is not None else {}
    details = response.response_code_details
    replied = response.response_headers
    flags = _flags(common)
    status = response.response_code.value
    # A client that resets an HTTP/2 stream without an error leaves no flag.
    is_gone = not _LEFT.isdisjoint(flags) or (status == 0 and not flags)
    record = Record(
        request_id=facts.get("request_id") or id_of(entry),
        started_s=_unix_s(common.start_time),
        duration_ms=_ms(common, "duration") or 0.0,
        first_byte_ms=_ms(common, "time_to_first_downstream_tx_byte"),
        status=status,
        method=_METHODS.get(request.request_method, ""),
        path=(request.original_path or request.path).partition("?")[0],
        stream=facts.get("stream") == "1",
        member=replied.get("x-broker-member", ""),
        code=_code(details) or (CLIENT_GONE if is_gone else replied.get(CODE_HEADER, "")),
        flags=flags,
        details=details,
        # Each attempt that is handed back has the same body counted once more.
        request_bytes=request.request_body_bytes // (_before(facts) + 1),
        response_bytes=response.response_body_bytes,
        attempts_made=common.upstream_request_attempt_count + _before(facts),
        hedged=facts.get("hedge") == "1",
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
        eligible=eligible_of(facts.get("eligible", "")),
        queue_ms=float(facts.get("queue_ms", "0")),
        upload_ms=_ms(common, "time_to_last_rx_byte"),
        degraded_from=facts.get("degraded_from", ""),
        budget=facts.get("budget", ""),
        cache=facts.get("cache", ""),
        cache_reason=facts.get("cache_reason", ""),
        cached_request_id=facts.get("cached_request_id", ""),
        purpose=facts.get("purpose", ""),
        captured=facts.get("captured", ""),
        rollout=facts.get("rollout", ""),
        arm=facts.get("arm", ""),
        stage=facts.get("stage", ""),
        shadow_of=facts.get("shadow_of", ""),
        saved=saved_in(facts) if "cached_request_id" in facts else None,
    )
    tell_asked(record, facts.get("asks", ""))
    if "replay" in facts:
        tell_replay(record, facts["replay"])
    if "trace" in facts:
        tell_trace(record, facts["trace"])
    return record


def reserved_of(entry: AnyMessage) -> str:
    """What was reserved for the call in its budgets; "": nothing."""
    told = _told(entry.common_properties)
    return told["reserved"].string_value if told is not None and "reserved" in told else ""


def goes_on(entry: AnyMessage) -> bool:
    """It tells only that its call is not over."""
    return bool(entry.common_properties.access_log_type == _PERIODIC)


_PERIODIC = 5  # envoy.data.accesslog.v3.AccessLogType.DownstreamPeriodic


def id_of(entry: AnyMessage) -> str:
    """A request's id, as far as Envoy knows it: ext_proc tells it with its first answer. A client that leaves
    between two attempts leaves before that: then the request itself has it."""
    common = entry.common_properties
    told = _told(common)
    said = told["request_id"].string_value if told is not None and "request_id" in told else ""
    return (
        said
        or entry.response.response_headers.get("x-broker-request-id")
        or entry.request.request_headers.get("x-broker-request-id")
        or common.stream_id
    )


def hedge_of(entry: AnyMessage) -> tuple[str, int]:
    """(request id, attempts) from the entry of a hedge's listener."""
    request_id = entry.request.request_headers.get("x-broker-request-id") or ""
    return request_id, entry.common_properties.upstream_request_attempt_count


def _before(facts: dict[str, str]) -> int:
    """Attempts that were made and handed back."""
    attempt = facts.get("attempt", "")
    return int(attempt) - 1 if attempt.isdecimal() else 0


def is_handed_back(record: Record) -> bool:
    """It is not the end of a call: a further attempt follows."""
    return record.details == "internal_redirect"


def attempt_of(entry: AnyMessage) -> tuple[str, Attempt]:
    """(request id, attempt) from a member listener's entry."""
    common, response = entry.common_properties, entry.response
    told = _told(common)
    left = {name: told[name] for name in told} if told is not None else {}
    listener = common.downstream_local_address.envoy_internal_address.server_listener_name
    details = response.response_code_details
    code, status, dropped = left.get("code"), left.get("provider_status"), left.get("dropped")
    request_id, span_id = left.get("request_id"), left.get("span_id")
    flags = _flags(common)
    told_status = response.response_code.value
    cause = _cause_named(left) or cause_of(told_status, flags, details)
    if cause is Cause.GARBAGE and told_status == 200 and "cause" not in left:
        cause = Cause.RESET  # what Envoy calls a breach of protocol is a reply without its end
    if details.startswith(_OUR_OWN):
        own, cause = "broker_unavailable", None  # the member is not to blame
    else:
        own = _code(details) or ("" if _LEFT.isdisjoint(flags) else CANCELLED)
        own = own or (CODES[cause] if cause is not None else "")
    is_whole = cause is None and not own
    usage, usage_state, service_tier = usage_in(left, told_status, cause, is_whole, details)
    if own == CANCELLED and usage_state == EXACT and _OF_A_STREAM in left:
        own = ""  # of a stream: its client left behind the last word of usage, and had its answer
    return request_id.string_value if request_id is not None else "", Attempt(
        member=_member(listener),
        status=_status_of_attempt(told_status, left, cause),
        started_s=_unix_s(common.start_time),
        duration_ms=_ms(common, "duration") or 0.0,
        first_byte_ms=_ms(common, "time_to_first_upstream_rx_byte"),
        first_event_ms=_ms(common, "time_to_first_downstream_tx_byte") if _OF_A_STREAM in left else None,
        flags=flags,
        details=details,
        code=code.string_value if code is not None else own,
        cause=cause.value if cause is not None else "",
        provider_status=int(status.string_value) if status is not None else 0,
        dropped=tuple(dropped.string_value.split(", ")) if dropped is not None else (),
        usage=usage,
        usage_state=usage_state,
        service_tier=service_tier,
        span_id=span_id.string_value if span_id is not None else "",
    )


def observed_of(entry: AnyMessage, request_id: str, attempt: Attempt, now_s: float) -> Observed | None:
    """What a member listener's entry, read as `attempt`, tells of its member; None where nobody waited for
    the attempt's end, or it was the broker itself that failed. `now_s` is unix time, at which the entry is
    read."""
    if not _LEFT.isdisjoint(attempt.flags) or attempt.details.startswith(_OUR_OWN):
        return None
    status = attempt.provider_status or attempt.status
    cause = _CAUSES.get(attempt.cause)
    is_broken_off = cause is not None and attempt.status < 300
    waited_ms = attempt.first_byte_ms
    if waited_ms is None or is_broken_off:  # it went well until its end
        waited_ms = attempt.duration_ms
    at_s = _answered_s(attempt.started_s, waited_ms / 1000, attempt.duration_ms / 1000, now_s)
    return Observed(
        member=attempt.member,
        status=status,
        cause=cause,
        # What was said of limits at the beginning is not news at the end.
        headers={} if is_broken_off else dict(entry.response.response_headers),
        at_s=at_s,
        request_id=request_id,
        is_broken=is_broken_off and attempt.status >= 200,
        is_stream=(told := _told(entry.common_properties)) is not None and _OF_A_STREAM in told,
        began_s=at_s - waited_ms / 1000,
    )


_LATEST_ENTRY_S = 60.0


def _answered_s(started_s: float, waited_s: float, duration_s: float, now_s: float) -> float:
    """When the answer came, by the clock that is read now: an entry is written when its attempt is over, and
    read soon. Where the two do not fit, a clock was set in between: then only how long it all took is known.
    """
    latest_s = now_s - max(0.0, duration_s - waited_s)
    answered_s = started_s + waited_s
    return answered_s if latest_s - _LATEST_ENTRY_S <= answered_s <= latest_s else latest_s


_HANDED_BACK = 307
_LATE = frozenset((Cause.TIMEOUT, Cause.STALL))


def _status_of_attempt(status: int, left: dict[str, AnyMessage], cause: Cause | None) -> int:
    """As the client would have got it: between the listeners an attempt that is handed back has another
    one."""
    if status != _HANDED_BACK:
        return status
    if (told := left.get("status")) is not None and told.string_value.isdecimal():
        return int(told.string_value)
    return 504 if cause in _LATE else 503


def _cause_named(left: dict[str, AnyMessage]) -> Cause | None:
    named = left.get("cause")
    return _CAUSES.get(named.string_value) if named is not None else None


_CAUSES = {cause.value: cause for cause in Cause}
# The client went away, or a twin was quicker.
_LEFT = frozenset(("downstream_connection_termination", "downstream_remote_reset"))
_NOT_HTTP, _MID_BODY = "upstream_protocol_error", "after_response_started"
_OUR_OWN = "ext_proc"  # Envoy's details where the control plane went away, or was too slow
_NOT_CONNECTED, _NO_TLS = "upstream_connection_failure", "TLS_error"
_CAUSE_OF_FLAG = {
    "upstream_overflow": Cause.CAPACITY,
    "dns_resolution_failure": Cause.DNS,
    "no_healthy_upstream": Cause.DNS,  # a provider's cluster is empty only while its name is not found
    _NOT_CONNECTED: Cause.CONNECT,
    "upstream_connection_termination": Cause.RESET,
    "upstream_remote_reset": Cause.RESET,
    "upstream_request_timeout": Cause.TIMEOUT,
    _NOT_HTTP: Cause.GARBAGE,
    "stream_idle_timeout": Cause.STALL,
}
_CAUSE_OF_STATUS = {
    401: Cause.CREDENTIAL,
    402: Cause.BILLING,
    403: Cause.CREDENTIAL,
    404: Cause.NOT_FOUND,
    408: Cause.TIMEOUT,
    409: Cause.CONFLICT,
    413: Cause.TOO_LARGE,
    429: Cause.RATE_LIMIT,
    503: Cause.OVERLOADED,
    504: Cause.TIMEOUT,
    529: Cause.OVERLOADED,
}


def cause_of(status: int, flags: Collection[str], details: str = "") -> Cause | None:
    """By Envoy's own words and the status alone, where nobody looked closer. None: it went well."""
    if flags:
        if _MID_BODY in details and _NOT_HTTP in flags:
            return Cause.RESET  # what broke off inside a chunk is no valid HTTP either
        if _NO_TLS in details and _NOT_CONNECTED in flags:
            return Cause.TLS
        for flag, cause in _CAUSE_OF_FLAG.items():
            if flag in flags:
                return cause
    if status < 400:
        return Cause.GARBAGE if status >= 300 else None
    return _CAUSE_OF_STATUS.get(status, Cause.SERVER if status >= 500 else Cause.BAD_REQUEST)


def _code(details: str) -> str:
    """The broker's own answers name their code in Envoy's details."""
    prefix = BROKER_DETAILS + "_"
    return details.removeprefix(prefix) if details.startswith(prefix) else ""


@functools.lru_cache(maxsize=4096)
def _member(listener: str) -> str:
    """`member/<provider>/<model>/<hash>` → `<provider>/<model>`"""
    return listener.removeprefix("member/").rpartition("/")[0]


def _told(common: AnyMessage) -> AnyMessage | None:
    """The fields that ext_proc and the member listeners left. `get`, since `[…]` adds what is not there."""
    namespace = common.metadata.filter_metadata.get(NAMESPACE)
    return namespace.fields if namespace is not None else None


def _unix_s(time: AnyMessage) -> float:
    return float(time.seconds * 1_000_000 + time.nanos // 1000) / 1e6


def _ms(common: AnyMessage, name: str) -> float | None:
    if not common.HasField(name):
        return None
    duration = getattr(common, name)
    return float(duration.seconds * 1_000_000 + duration.nanos // 1000) / 1000


def _flags(common: AnyMessage) -> tuple[str, ...]:
    return tuple([field.name for field, value in common.response_flags.ListFields() if value is True])


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
