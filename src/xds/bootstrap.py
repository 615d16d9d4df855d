"""The bootstrap of an Envoy that the broker configures: everything else comes over ADS."""

from __future__ import annotations

from dataclasses import dataclass

from .types import EXT_PROC_CLUSTER, XDS_CLUSTER, Tree, circuit_breakers, extension, typed

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# Envoy's --drain-time-s. A listener that an edit removed keeps its open streams so long, and all its memory:
# a stream of an hour must live through an edit, and edits of a day must not fill the heap.
DRAIN_S = 7_200
_CONCURRENCY = 1_000_000  # calls in flight to the broker are bounded by the broker

# A control plane that is back is found within so long; by default it may take half a minute.
_AGAIN: Tree = {"retry_back_off": {"base_interval": "0.100s", "max_interval": "2s"}}


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """`xds` and `ext_proc`: where the control plane listens, `unix:/path` or `host:port`; `admin`: where
    Envoy's own admin interface is to listen, likewise; `ejections`: the file in which Envoy is to write whom
    it takes out of pools, "" for none."""

    xds: str
    ext_proc: str
    admin: str
    node_id: str = "modelbroker-envoy"
    max_heap_bytes: int = 4 * 1024**3
    ejections: str = ""


def bootstrap(options: BootstrapOptions) -> Tree:
    """Raises ValueError where an address is none."""
    followed = {"cluster_manager": {"outlier_detection": {"event_log_path": options.ejections}}}
    return {
        **(followed if options.ejections else {}),
        "node": {"id": options.node_id, "cluster": "modelbroker"},
        "admin": {"address": address(options.admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": _AGAIN}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [_control(XDS_CLUSTER, options.xds), _control(EXT_PROC_CLUSTER, options.ext_proc)]
        },
        "bootstrap_extensions": [
            extension(
                "envoy.bootstrap.internal_listener",
                "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            )
        ],
        # Bodies in flight live in Envoy's heap: above this it refuses new calls with 503 instead of dying.
        "overload_manager": {
            "refresh_interval": "0.250s",
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.fixed_heap",
                    "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    max_heap_size_bytes=options.max_heap_bytes,
                )
            ],
            "actions": [
                {
                    "name": "envoy.overload_actions.stop_accepting_requests",
                    "triggers": [
                        {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": 0.95}}
                    ],
                }
            ],
        },
    }


def _control(name: str, where: str) -> Tree:
    endpoint = {"endpoint": {"address": address(where)}}
    host = where.rpartition(":")[0]
    is_name = not where.startswith("unix:") and not _is_literal(host)
    return {
        "name": name,
        "type": "STRICT_DNS" if is_name else "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": circuit_breakers(_CONCURRENCY),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: typed(
                _HTTP_OPTIONS,
                explicit_http_config={
                    "http2_protocol_options": {
                        # One connection carries every call's conversation with the broker.
                        "max_concurrent_streams": 1_000_000,
                        "initial_stream_window_size": 16 * 1024 * 1024,
                        "initial_connection_window_size": 256 * 1024 * 1024,
                        # A peer that is gone without a word (a node, a network) would be waited for until
                        # TCP gives up. One that is only slow is given as much time as for a call.
                        "connection_keepalive": {"interval": "5s", "timeout": "10s"},
                    }
                },
            )
        },
    }


def address(where: str) -> Tree:
    """`unix:/path/of/socket` or `host:port` as Envoy writes it."""
    if where.startswith("unix:"):
        return {"pipe": {"path": where.removeprefix("unix:")}}
    host, separator, port = where.rpartition(":")
    if not separator or not port.isdecimal() or not host:
        raise ValueError(f"{where!r} is no address: give HOST:PORT or unix:/PATH")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _is_literal(host: str) -> bool:
    return host.replace(".", "").isdecimal() or ":" in host
