"""The outer listener that clients meet, and its routes."""

from __future__ import annotations

from ..core.catalog import Catalog, Listen
from ..core.keys import (
    ATTEMPTS_HEADER,
    BLAME_HEADER,
    BLAMELESS_HEADER,
    CACHE_HEADER,
    CAPTURE_FILTER,
    CAUSE_HEADER,
    CERTIFICATE_URI,
    CODE_HEADER,
    HEDGE_HEADER,
    JWT_FILTER,
    MEMBER_HEADER,
    MOST_MESSAGE_MS,
    REPLY_SEEN,
    TRACE_HEADER,
)
from ..core.logs import HEARTBEAT_S, OUTER_LOG
from ..core.tracing import TRACERESPONSE
from ..exchange.outer import MOST_OVER_LIMIT
from ..policy.attempts import MOST_ATTEMPTS
from .clusters import buffer_bytes
from .filters import (
    EXT_PROC,
    EXT_PROC_NAME,
    EXT_PROC_PER_ROUTE,
    MESSAGE_TIMEOUT_MS,
    access_log,
    connection_manager,
    grpc_service,
    retries,
    router,
    undecided_log,
)
from .identity import jwt_filter
from .local_replies import outer_mappers
from .types import ADS, OUTER_LISTENER, OUTER_ROUTES, Tree, duration, extension, set_header, typed

_REQUEST_HEADERS_MS = 10_000
# What Envoy tries again by itself: a hop to a member's listener that was not there. All else is handed back.
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"
_BETWEEN_LISTENERS = (CAUSE_HEADER, MEMBER_HEADER, ATTEMPTS_HEADER, BLAME_HEADER, BLAMELESS_HEADER)


def outer_listener(catalog: Catalog) -> Tree:
    listen, limits = catalog.listen, catalog.limits
    receives = {"untyped": ["envoy.lb", "modelbroker"]}
    metadata: Tree = {"receiving_namespaces": receives}
    told: Tree = {}
    if catalog.issuers:
        metadata["forwarding_namespaces"] = {"untyped": [JWT_FILTER]}
    if any(entry.spiffe for entry in catalog.callers):
        told["request_attributes"] = [CERTIFICATE_URI]
    ext_proc = extension(
        EXT_PROC_NAME,
        EXT_PROC,
        grpc_service=grpc_service("outer"),
        message_timeout=duration(MESSAGE_TIMEOUT_MS),
        max_message_timeout=duration(MOST_MESSAGE_MS),
        failure_mode_allow=False,
        processing_mode={
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "response_header_mode": "SKIP",
            "response_body_mode": "NONE",
        },
        # Of calls that may be cached ext_proc wants to see the reply, too.
        allow_mode_override=True,
        mutation_rules={"allow_all_routing": True, "allow_envoy": True},
        metadata_options=metadata,
        **told,
    )
    manager = connection_manager(
        "outer",
        limits,
        rds={"route_config_name": OUTER_ROUTES, "config_source": ADS},
        http_filters=[
            *([jwt_filter()] if catalog.issuers else ()),
            ext_proc,
            *([_capture_filter()] if catalog.sees_replies else ()),
            router(),
        ],
        access_log=[
            access_log(
                OUTER_LOG, ("x-broker-request-id", "x-broker-member", CODE_HEADER), ("x-broker-request-id",)
            ),
            *([undecided_log(listen.undecided_file)] if listen.undecided_file else []),
        ],
        access_log_options={"access_log_flush_interval": f"{HEARTBEAT_S}s"},
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
        chain["transport_socket"] = _downstream_tls(listen)
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


def _capture_filter() -> Tree:
    """Shows replies of captured and of scored calls to a stream of their own. Envoy waits for nothing from
    it, and a broker that is gone fails no call. Of all others it sees nothing: their routes do not ask for
    it."""
    return extension(
        CAPTURE_FILTER,
        EXT_PROC,
        grpc_service=grpc_service("capture"),
        stat_prefix="capture",
        observability_mode=True,
        failure_mode_allow=True,
        processing_mode={
            "request_header_mode": "SKIP",
            "request_body_mode": "NONE",
            "response_header_mode": "SKIP",
            "response_body_mode": "NONE",
        },
    )


def _captured(route: Tree) -> Tree:
    """The same route for calls whose reply is captured, or scored."""
    said = {"string_match": {"exact": "yes"}}
    chosen = {"filter": "modelbroker", "path": [{"key": REPLY_SEEN}], "value": said}
    overrides = {
        "processing_mode": {
            "request_header_mode": "SKIP",
            "request_body_mode": "NONE",
            "response_header_mode": "SEND",
            "response_body_mode": "STREAMED",
        },
        "grpc_initial_metadata": [
            {"key": "x-broker-request-id", "value": "%DYNAMIC_METADATA(modelbroker:request_id)%"}
        ],
    }
    return {
        **route,
        "match": {**route["match"], "dynamic_metadata": [chosen]},
        "typed_per_filter_config": {CAPTURE_FILTER: typed(EXT_PROC_PER_ROUTE, overrides=overrides)},
    }


def _downstream_tls(listen: Listen) -> Tree:
    certificate = {
        "certificate_chain": {"filename": listen.tls_cert_file},
        "private_key": {"filename": listen.tls_key_file},
    }
    context: Tree = {"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]}
    required: Tree = {}
    if listen.client_ca_file:
        # Who sends a certificate that is not good can't connect; who sends none can, unless it is required.
        context["validation_context"] = {"trusted_ca": {"filename": listen.client_ca_file}}
        required = {"require_client_certificate": listen.require_client_cert}
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=context,
        **required,
    )


def outer_routes(generation: str, catalog: Catalog) -> Tree:
    """One route for calls that are decided, and one for those among them that may be hedged. The broker's
    ext_proc names the cluster in a header.

    `generation` tells ext_proc which catalog this Envoy has in full.
    """
    broker_headers = [
        set_header("x-broker-request-id", "%REQ(X-BROKER-REQUEST-ID)%"),
        set_header("x-broker-pool", "%REQ(X-BROKER-POOL)%"),
        set_header("x-broker-revision", "%REQ(X-BROKER-REVISION)%"),
        set_header(CACHE_HEADER, "%REQ(X-BROKER-CACHE)%"),
    ]
    if catalog.telemetry.traces is not None:
        broker_headers.append(set_header(TRACERESPONSE, f"%REQ({TRACE_HEADER})%"))
    unrouted = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": "no such operation"}},
        "response_headers_to_add": [set_header("x-broker-attempts", "0")],
    }
    decided = [_hedged_route(catalog), _pool_route(catalog)]
    captured = [_captured(route) for route in decided] if catalog.sees_replies else []
    per_stream = {"grpc_initial_metadata": [{"key": "x-broker-generation", "value": generation}]}
    return {
        "name": OUTER_ROUTES,
        "virtual_hosts": [
            {
                "name": "broker",
                "domains": ["*"],
                "routes": [*captured, *decided, unrouted],
                "response_headers_to_add": broker_headers,
                "response_headers_to_remove": list(_BETWEEN_LISTENERS),
                "typed_per_filter_config": {
                    EXT_PROC_NAME: typed(EXT_PROC_PER_ROUTE, overrides=per_stream),
                },
            }
        ],
    }


def _pool_route(catalog: Catalog) -> Tree:
    decided = {"name": "x-broker-cluster", "present_match": True}
    return _decided(catalog, decided, set_header("x-broker-attempts", "%REQ(X-BROKER-ATTEMPT)%"))


def _hedged_route(catalog: Catalog) -> Tree:
    """The hedge's listener says how many attempts it made."""
    hedged = {"name": HEDGE_HEADER, "present_match": True}
    attempts = set_header("x-broker-attempts", "%REQ(X-BROKER-ATTEMPT)%")
    return _decided(catalog, hedged, {**attempts, "append_action": "ADD_IF_ABSENT"})


def _decided(catalog: Catalog, match: Tree, attempts: Tree) -> Tree:
    """An attempt that fails is handed back: the member's listener answers with a redirect, Envoy runs the
    same request through the filters again, and ext_proc decides what is tried next."""
    handed_back = {
        "max_internal_redirects": MOST_ATTEMPTS - 1,
        "redirect_response_codes": [307],
        "response_headers_to_copy": [CAUSE_HEADER, MEMBER_HEADER, ATTEMPTS_HEADER],
        "allow_cross_scheme_redirect": True,
    }
    return {
        "match": {"prefix": "/", "headers": [match]},
        "request_body_buffer_limit": buffer_bytes(catalog.limits),
        "route": {
            "cluster_header": "x-broker-cluster",
            "timeout": "0s",
            "internal_redirect_policy": handed_back,
            "retry_policy": retries(_RETRY_ON),
        },
        "response_headers_to_add": [attempts],
    }
