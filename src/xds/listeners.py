"""The outer listener that clients meet, and its routes."""

from __future__ import annotations

from ..core.catalog import Catalog, Limits, Listen
from ..core.keys import levels
from ..exchange.outer import MOST_OVER_LIMIT
from .clusters import buffer_bytes
from .filters import (
    EXT_PROC,
    EXT_PROC_NAME,
    EXT_PROC_PER_ROUTE,
    MESSAGE_TIMEOUT_MS,
    access_log,
    connection_manager,
    grpc_service,
    router,
)
from .local_replies import outer_mappers
from .types import ADS, OUTER_LISTENER, OUTER_ROUTES, Tree, duration, extension, set_header, typed

_REQUEST_HEADERS_MS = 10_000
_RETRY_ON = "5xx,reset,connect-failure,refused-stream,retriable-status-codes,retriable-headers"


def outer_listener(listen: Listen, limits: Limits) -> Tree:
    ext_proc = extension(
        EXT_PROC_NAME,
        EXT_PROC,
        grpc_service=grpc_service("outer"),
        message_timeout=duration(MESSAGE_TIMEOUT_MS),
        failure_mode_allow=False,
        processing_mode={
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "response_header_mode": "SKIP",
            "response_body_mode": "NONE",
        },
        mutation_rules={"allow_all_routing": True, "allow_envoy": True},
        metadata_options={"receiving_namespaces": {"untyped": ["envoy.lb", "modelbroker"]}},
    )
    manager = connection_manager(
        "outer",
        limits,
        rds={"route_config_name": OUTER_ROUTES, "config_source": ADS},
        http_filters=[ext_proc, router()],
        access_log=[access_log("outer", ("x-broker-request-id", "x-broker-member"))],
        local_reply_config={"mappers": outer_mappers()},
        use_remote_address=True,
        request_headers_timeout=duration(_REQUEST_HEADERS_MS),
        common_http_protocol_options={
            "idle_timeout": "3600s",
            "headers_with_underscores_action": "ALLOW",
            "max_headers_count": 200,
        },
        server_name="modelbroker",
        server_header_transformation="APPEND_IF_ABSENT",
    )
    chain: Tree = {"filters": [manager]}
    if listen.tls_cert_file:
        certificate = {
            "certificate_chain": {"filename": listen.tls_cert_file},
            "private_key": {"filename": listen.tls_key_file},
        }
        chain["transport_socket"] = extension(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]},
        )
    address = "127.0.0.1" if listen.address == "localhost" else listen.address
    return {
        "name": OUTER_LISTENER,
        "traffic_direction": "INBOUND",  # what `drain_listeners?inboundonly` stops: members go on
        # Envoy reads certificates when it takes a listener: another content has to be another listener.
        "metadata": {"filter_metadata": {"modelbroker": {"certificates": listen.tls_digest}}},
        "address": {"socket_address": {"address": address, "port_value": listen.port}},
        "per_connection_buffer_limit_bytes": limits.request_bytes * (MOST_OVER_LIMIT - 1)
        + buffer_bytes(limits),
        "filter_chains": [chain],
    }


def outer_routes(generation: str, catalog: Catalog) -> Tree:
    """One route a number of members on a pool's first level: so many attempts stay on it before the
    next level is tried. The broker's ext_proc names the cluster and the number in headers.

    `generation` tells ext_proc which catalog this Envoy has in full.
    """
    largest = max(
        (len(level) for pool in catalog.pools.values() for level in levels(pool.members)), default=1
    )
    broker_headers = [
        set_header("x-broker-request-id", "%REQ(X-BROKER-REQUEST-ID)%"),
        set_header("x-broker-pool", "%REQ(X-BROKER-POOL)%"),
        set_header("x-broker-revision", "%REQ(X-BROKER-REVISION)%"),
        set_header("x-broker-attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ]
    unrouted = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": "no such operation"}},
    }
    per_stream = {"grpc_initial_metadata": [{"key": "x-broker-generation", "value": generation}]}
    return {
        "name": OUTER_ROUTES,
        "virtual_hosts": [
            {
                "name": "broker",
                "domains": ["*"],
                "routes": [*(_pool_route(size, catalog) for size in range(1, largest + 1)), unrouted],
                "response_headers_to_add": broker_headers,
                "response_headers_to_remove": ["x-broker-next"],
                "typed_per_filter_config": {
                    EXT_PROC_NAME: typed(EXT_PROC_PER_ROUTE, overrides=per_stream),
                },
            }
        ],
    }


def _pool_route(size: int, catalog: Catalog) -> Tree:
    level = {"name": "x-broker-levels", "string_match": {"exact": str(size)}}
    return {
        "match": {"prefix": "/", "headers": [level]},
        "request_body_buffer_limit": buffer_bytes(catalog.limits),
        "route": {
            "cluster_header": "x-broker-cluster",
            "timeout": "0s",
            "retry_policy": {
                "retry_on": _RETRY_ON,
                "retriable_status_codes": [429, 529],
                # A member that can't carry this call's content says so: another one may.
                "retriable_headers": [{"name": "x-broker-next", "present_match": True}],
                "num_retries": 1,  # ext_proc says how many for each call: x-envoy-max-retries
                "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
                "retry_host_predicate": [
                    extension(
                        "envoy.retry_host_predicates.previous_hosts",
                        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                    )
                ],
                # Draws by weight until one is met that was not tried yet: at 10 a member with 5 % of the
                # weight is missed. Settings warn of members that are rarer than this can find.
                "host_selection_retry_max_attempts": 1000,
                "retry_priority": extension(
                    "envoy.retry_priorities.previous_priorities",
                    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                    update_frequency=size,
                ),
            },
        },
    }
