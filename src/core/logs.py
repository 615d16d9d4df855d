"""Access logs by which Envoy tells of calls: what their writers (xds) and their reader (records) agree on."""

from __future__ import annotations

from collections.abc import Collection

# Access logs: of the outer listener, of each member's, of failed attempts, which are told at once, and of
# hedges.
OUTER_LOG = "outer"
MEMBER_LOG = "member"
FAILURES_LOG = "member-failures"
HEDGE_LOG = "hedge"
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
