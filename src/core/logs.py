"""Access logs by which Envoy tells of calls: what their writers (xds) and their reader (records) agree on."""

from __future__ import annotations

from collections.abc import Collection

# Access logs: of the outer listener, of each member's, of failed attempts, which are told at once, and of
# hedges.
OUTER_LOG = "outer"
MEMBER_LOG = "member"
FAILURES_LOG = "member-failures"
HEDGE_LOG = "hedge"
# What Envoy writes into a file of each call for which no member was to be asked: the only witness of those
# that came while the control plane was away. Source: Envoy's access-log command operators.
UNDECIDED_FORMAT = {
    "request_id": "%DYNAMIC_METADATA(modelbroker:request_id)%",
    "asked_id": "%REQ(X-BROKER-REQUEST-ID)%",
    "stream_id": "%STREAM_ID%",
    "started_s": "%START_TIME(%s.%6f)%",
    "duration_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    "first_byte_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_BEG:us)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS_LONG%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "code": "%RESP(X-BROKER-CODE)%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
    "facts": "%DYNAMIC_METADATA(modelbroker)%",
}
# How often the outer listener tells of a call that goes on.
HEARTBEAT_S = 10
# What is nearly always about the call itself is not urgent.
SETTLED_STATUSES = (400, 404, 413, 422)
# Envoy's flags of attempts that broke on the member's side → the names of their fields in its access log.
UPSTREAM_FLAGS = {
    "UF": "upstream_connection_failure",
    "DF": "dns_resolution_failure",
    "UC": "upstream_connection_termination",
    "UR": "upstream_remote_reset",
    "UT": "upstream_request_timeout",
    "UPE": "upstream_protocol_error",
    "UO": "upstream_overflow",
    "SI": "stream_idle_timeout",
}
_BROKEN = frozenset(UPSTREAM_FLAGS.values())


def is_urgent(status: int, flags: Collection[str]) -> bool:
    """Is an attempt told by the log of failures too? As its filter has it; `flags` are names of fields."""
    return (status >= 300 and status not in SETTLED_STATUSES) or not _BROKEN.isdisjoint(flags)
