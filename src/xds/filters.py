"""What the outer listener and the members' listeners have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.catalog import Limits
from ..core.logs import FAILURES_LOG, MEMBER_LOG, SETTLED_STATUSES, UNDECIDED_FORMAT, UPSTREAM_FLAGS
from ..policy.limits import limit_headers
from .types import EXT_PROC_CLUSTER, XDS_CLUSTER, Tree, duration, extension

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
EXT_PROC = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
EXT_PROC_PER_ROUTE = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
EXT_PROC_NAME = "envoy.filters.http.ext_proc"
# How long Python may take for one message: a 30 MB body takes a second on a busy machine.
MESSAGE_TIMEOUT_MS = 10_000


def connection_manager(stat_prefix: str, limits: Limits, **fields: Any) -> Tree:
    return extension(
        "envoy.filters.network.http_connection_manager",
        _HCM,
        stat_prefix=stat_prefix,
        stream_idle_timeout=duration(limits.idle_ms),
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        **fields,
    )


def internal_manager(stat_prefix: str, limits: Limits, **fields: Any) -> Tree:
    """Of a listener within Envoy. Whatever the outer listener took fits there, with the broker's own headers
    beside it: a refusal would look like the member's failure, and eject it."""
    return connection_manager(
        stat_prefix,
        limits,
        common_http_protocol_options={"max_headers_count": 300},
        max_request_headers_kb=96,
        server_header_transformation="PASS_THROUGH",
        generate_request_id=False,
        # Its only client is Envoy itself: a broken reply need not wait for that one to notice.
        delayed_close_timeout="0s",
        **fields,
    )


def retries(retry_on: str, **fields: Any) -> Tree:
    """One more attempt, at another host."""
    return {
        "retry_on": retry_on,
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        # Draws by weight until one is met that was not tried yet: at 10 a member with 5 % of the weight is
        # missed. Settings warn of members that are rarer than this can find.
        "host_selection_retry_max_attempts": 1000,
        **fields,
    }


def grpc_service(role: str) -> Tree:
    """The stream's metadata tells the broker which part of Envoy asks."""
    return {
        "envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER},
        "initial_metadata": [{"key": "x-broker-role", "value": role}],
    }


def access_log(
    name: str, reply_headers: tuple[str, ...], request_headers: tuple[str, ...] = (), *, at_once: bool = False
) -> Tree:
    """Entries go to the control plane, off the path of any call: in batches, or each by itself."""
    return extension(
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": name,
            "grpc_service": {"envoy_grpc": {"cluster_name": XDS_CLUSTER}},
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.200s",
            "buffer_size_bytes": 0 if at_once else 65_536,
        },
        additional_request_headers_to_log=list(request_headers),
        additional_response_headers_to_log=list(reply_headers),
    )


def undecided_log(path: str) -> Tree:
    """A line in a file for each call that has ended with no member to be asked: ext_proc names a pool for all
    others."""
    decided = {"filter": "modelbroker", "path": [{"key": "pool"}], "value": {"string_match": {"exact": "-"}}}
    log = extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=path,
        log_format={"json_format": UNDECIDED_FORMAT},
    )
    ended = {"log_type_filter": {"types": ["DownstreamEnd"]}}
    undecided = {"metadata_filter": {"matcher": decided, "match_if_key_not_found": True}}
    probe = {"name": ":path", "string_match": {"prefix": "/healthz"}, "invert_match": True}
    log["filter"] = {"and_filter": {"filters": [ended, undecided, {"header_filter": {"header": probe}}]}}
    return log


def member_logs(dialects: Iterable[str]) -> list[Tree]:
    """What a member's listener tells of each attempt, with its provider's words about limits. Failures go out
    a second time and at once: the next call should know of them (`core.logs.is_urgent`)."""
    headers = limit_headers(dialects)
    comparisons = [{"op": "GE", "value": _number(300)}]
    comparisons += [{"op": "NE", "value": _number(status)} for status in SETTLED_STATUSES]
    failed = {"and_filter": {"filters": [{"status_code_filter": {"comparison": c}} for c in comparisons]}}
    broken = {"response_flag_filter": {"flags": list(UPSTREAM_FLAGS)}}
    urgent = access_log(FAILURES_LOG, headers, at_once=True)
    urgent["filter"] = {"or_filter": {"filters": [failed, broken]}}
    return [access_log(MEMBER_LOG, headers), urgent]


def _number(value: int) -> Tree:
    return {"default_value": value, "runtime_key": "modelbroker.none"}


def router() -> Tree:
    # x-envoy-* of Envoy's own making would reach the provider: it is added after every filter.
    return extension(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        suppress_envoy_headers=True,
    )
