"""Type URLs and small trees that several resources share. Trees are proto3 JSON as Python dicts."""

from __future__ import annotations

from typing import Any

Tree = dict[str, Any]

_PREFIX = "type.googleapis.com/"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
EXTENSION = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

ADS: Tree = {"ads": {}, "resource_api_version": "V3"}

# Static clusters of the bootstrap: the way to the control plane. Two, so that a large push of
# configuration does not stand in a call's way.
XDS_CLUSTER = "modelbroker-xds"
EXT_PROC_CLUSTER = "modelbroker-ext-proc"

OUTER_LISTENER = "outer"
OUTER_ROUTES = "outer-routes"


def stat_name(kind: str, name: str) -> str:
    """By which Envoy's stats name one of a kind. Its metrics have what stands before the first dot as a
    label (`envoy_cluster_name="pool/chat"`), and the rest in their own names."""
    return f"{kind}/{name}".replace(".", "_")


def typed(type_name: str, **fields: Any) -> Tree:
    """A tree for a protobuf Any."""
    return {"@type": _PREFIX + type_name, **fields}


def extension(name: str, type_name: str, **fields: Any) -> Tree:
    """A named extension with its typed configuration."""
    return {"name": name, "typed_config": typed(type_name, **fields)}


def duration(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}s"


def type_name(type_url: str) -> str:
    return type_url.removeprefix(_PREFIX)


def circuit_breakers(concurrency: int, cap: int = 0) -> Tree:
    """Envoy's defaults (3 parallel retries) turn a rate-limit storm into client errors. `cap`: what is more
    is refused at once; fewer connections would only let it wait."""
    limit = {
        "max_connections": concurrency,
        "max_pending_requests": concurrency,
        "max_requests": cap or concurrency,
        "max_retries": concurrency,
    }
    return {"thresholds": [{"priority": "DEFAULT", **limit}, {"priority": "HIGH", **limit}]}


def set_header(name: str, value: str) -> Tree:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
