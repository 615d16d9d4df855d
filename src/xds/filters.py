"""What the outer listener and the members' listeners have in common."""

from __future__ import annotations

from typing import Any

from ..core.catalog import Limits
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


def grpc_service(role: str) -> Tree:
    """The stream's metadata tells the broker which part of Envoy asks."""
    return {
        "envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER},
        "initial_metadata": [{"key": "x-broker-role", "value": role}],
    }


def access_log(name: str, reply_headers: tuple[str, ...]) -> Tree:
    """Entries go to the control plane in batches, off the path of any call."""
    return extension(
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": name,
            "grpc_service": {"envoy_grpc": {"cluster_name": XDS_CLUSTER}},
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.200s",
            "buffer_size_bytes": 65_536,
        },
        additional_response_headers_to_log=list(reply_headers),
    )


def router() -> Tree:
    # x-envoy-* of Envoy's own making would reach the provider: it is added after every filter.
    return extension(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        suppress_envoy_headers=True,
    )
