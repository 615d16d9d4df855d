"""Listeners and routes: the outer listener that clients meet, and one internal listener a member."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ..core.catalog import Auth, Catalog, Limits, Listen, Member, Pool, Provider
from ..core.errors import Unavailable
from ..core.keys import levels, listener_name, provider_cluster, secret_name
from ..dialects import BUILT, dialect_named
from ..exchange.outer import MOST_OVER_LIMIT
from .clusters import buffer_bytes
from .local_replies import member_mappers, outer_mappers
from .types import (
    ADS,
    EXT_PROC_CLUSTER,
    OUTER_LISTENER,
    OUTER_ROUTES,
    XDS_CLUSTER,
    Tree,
    duration,
    extension,
    set_header,
    typed,
)

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_EXT_PROC = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
_EXT_PROC_PER_ROUTE = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_EXT_PROC_NAME = "envoy.filters.http.ext_proc"
_REQUEST_HEADERS_MS = 10_000
# How long Python may take for one message: a 30 MB body takes a second on a busy machine.
_MESSAGE_TIMEOUT_MS = 10_000
_MAX_MESSAGE_TIMEOUT_MS = 3_600_000
_HELD_BYTES = 33 * 1024 * 1024  # of a whole reply, before it goes on

# Headers between the outer listener and the members: never the provider's to see.
INTERNAL_HEADERS = (
    "x-broker-cluster",
    "x-broker-dialect",
    "x-broker-levels",
    "x-broker-model-span",
    "x-broker-pool",
    "x-broker-request-id",
    "x-broker-revision",
    "x-broker-stream",
    "x-broker-suffix",
)
# Headers that Envoy itself adds on the way.
ENVOY_HEADERS = (
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-internal",
    "x-envoy-max-retries",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-forwarded-proto",
    "x-forwarded-for",
    "x-request-id",
)
# What a provider says to its own clients and not to ours.
_PROVIDER_HEADERS = ("alt-svc", "set-cookie", "strict-transport-security")
# What only the broker and its own Envoy may say: an `x-envoy-ratelimited` would even keep the outer route
# from failing over.
_OUR_REPLY_HEADERS = ("x-broker-", "x-envoy-", "x-forwarded-")
# Of requests that name no version to providers that have none configured; the only one there is so far.
_ANTHROPIC_VERSION = "2023-06-01"


def outer_listener(listen: Listen, limits: Limits) -> Tree:
    ext_proc = extension(
        _EXT_PROC_NAME,
        _EXT_PROC,
        grpc_service=_grpc_service("outer"),
        message_timeout=duration(_MESSAGE_TIMEOUT_MS),
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
    manager = _connection_manager(
        "outer",
        limits,
        rds={"route_config_name": OUTER_ROUTES, "config_source": ADS},
        http_filters=[ext_proc, _router()],
        access_log=[_access_log("outer", ("x-broker-request-id", "x-broker-member"))],
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
                "typed_per_filter_config": {
                    _EXT_PROC_NAME: typed(_EXT_PROC_PER_ROUTE, overrides=per_stream),
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
                "retry_on": "5xx,reset,connect-failure,refused-stream,retriable-status-codes",
                "retriable_status_codes": [429, 529],
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


def member_listener(pool: Pool, member: Member, key: str, catalog: Catalog) -> Tree:
    """A whole filter chain for one member, so that each attempt starts from the client's own request."""
    provider = catalog.providers[member.provider]
    name = listener_name(member, key)
    # Whole replies are held here, and a small limit for requests must not be one for them.
    held_bytes = max(buffer_bytes(catalog.limits), _HELD_BYTES)
    ext_proc = extension(
        _EXT_PROC_NAME,
        _EXT_PROC,
        grpc_service=_grpc_service("member"),
        message_timeout=duration(_MESSAGE_TIMEOUT_MS),
        max_message_timeout=duration(_MAX_MESSAGE_TIMEOUT_MS),
        failure_mode_allow=False,
        processing_mode={
            "request_header_mode": "SKIP",
            "request_body_mode": "NONE",
            "response_header_mode": "SEND",
            "response_body_mode": "STREAMED",
        },
        send_body_without_waiting_for_header_response=True,
        mutation_rules={"allow_all_routing": True},
    )
    manager = _connection_manager(
        f"member.{member.id}",
        catalog.limits,
        route_config=_member_routes(provider, member, pool, catalog),
        # Replies pass from the end to the beginning. Decompressors end what they undo with trailers, and a
        # filter that waits for the end behind them would never see it: they come last.
        http_filters=[
            _reply_headers(member),
            *_decompressors(),
            _lua(provider, member, held_bytes),
            ext_proc,
            *_credential(provider),
            _router(),
        ],
        access_log=[_access_log("member", ())],
        local_reply_config={"mappers": member_mappers(provider.dialects)},
        # Whatever the outer listener took fits here, with the broker's own headers beside it: a refusal would
        # look like the member's failure, and eject it.
        common_http_protocol_options={"max_headers_count": 300},
        max_request_headers_kb=96,
        server_header_transformation="PASS_THROUGH",
        generate_request_id=False,
        # Its only client is Envoy itself: a broken reply need not wait for that one to notice.
        delayed_close_timeout="0s",
    )
    return {
        "name": name,
        "stat_prefix": f"member.{member.id}",
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": held_bytes,
        "filter_chains": [{"filters": [manager]}],
    }


def _member_routes(provider: Provider, member: Member, pool: Pool, catalog: Catalog) -> Tree:
    """Same dialect, whole reply: no Python at all. A stream: ext_proc holds it up to the commit point."""
    url = urlsplit(provider.base_url)
    route = {
        "cluster": provider_cluster(provider, catalog.limits, pool.timeouts.connect_ms),
        "timeout": "0s",
        "host_rewrite_literal": url.netloc,
    }
    request_headers = [set_header(header, value) for header, value in provider.headers]
    if "anthropic-messages" in provider.dialects:
        version = {"key": "anthropic-version", "value": provider.api_version or _ANTHROPIC_VERSION}
        request_headers.append({"header": version, "append_action": "ADD_IF_ABSENT"})
    no_python = {_EXT_PROC_NAME: typed(_EXT_PROC_PER_ROUTE, disabled=True)}
    streams = [_stream_route(dialect, route) for dialect in provider.dialects]
    return {
        "name": "member",
        "virtual_hosts": [
            {
                "name": "member",
                "domains": ["*"],
                "request_headers_to_add": request_headers,
                "request_headers_to_remove": [*INTERNAL_HEADERS, *ENVOY_HEADERS],
                # Of Envoy's own replies, that no filter sees; the others are named by `_reply_headers`.
                "response_headers_to_add": [set_header("x-broker-member", member.id)],
                "routes": [
                    *streams,
                    {"match": {"prefix": "/"}, "route": route, "typed_per_filter_config": no_python},
                ],
            }
        ],
    }


def _stream_route(dialect: str, route: Tree) -> Tree:
    """`x-broker-stream` holds the dialect of the stream that the client waits for."""
    header = {"name": "x-broker-stream", "string_match": {"exact": dialect}}
    metadata = {"grpc_initial_metadata": [{"key": "x-broker-dialect", "value": dialect}]}
    return {
        "match": {"prefix": "/", "headers": [header]},
        "route": route,
        "typed_per_filter_config": {_EXT_PROC_NAME: typed(_EXT_PROC_PER_ROUTE, overrides=metadata)},
    }


def _connection_manager(stat_prefix: str, limits: Limits, **fields: Any) -> Tree:
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


def _grpc_service(role: str) -> Tree:
    """The stream's metadata tells the broker which part of Envoy asks."""
    return {
        "envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER},
        "initial_metadata": [{"key": "x-broker-role", "value": role}],
    }


def _access_log(name: str, reply_headers: tuple[str, ...]) -> Tree:
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


def _router() -> Tree:
    # x-envoy-* of Envoy's own making would reach the provider: it is added after every filter.
    return extension(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        suppress_envoy_headers=True,
    )


def _reply_headers(member: Member) -> Tree:
    """A reply names the member, and no provider speaks in the broker's name."""
    ours = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in _OUR_REPLY_HEADERS]
    theirs = [{"remove": name} for name in _PROVIDER_HEADERS]
    return extension(
        "envoy.filters.http.header_mutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={
            "response_mutations": [*ours, *theirs, {"append": set_header("x-broker-member", member.id)}]
        },
    )


def _lua(provider: Provider, member: Member, held_bytes: int) -> Tree:
    refused = Unavailable(
        502,
        "upstream_credential_refused",
        f"the provider {provider.name} refused the broker's own credential: its operator has to mend it",
    )
    garbage = Unavailable(
        502, "upstream_garbage", f"the provider {provider.name} answered with a status that is none"
    )
    lines = [
        f"local MODEL = {lua_string(msgspec.json.encode(provider.own_model(member.model)))}",
        f"local BASE_PATH = {lua_string(urlsplit(provider.base_url).path.encode())}",
        f"local REFUSED = {_lua_bodies(provider, refused)}",
        f"local GARBAGE = {_lua_bodies(provider, garbage)}",
        f"local HELD_BYTES = {held_bytes}",
    ]
    return extension(
        "envoy.filters.http.lua",
        "envoy.extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": "\n".join([*lines, _lua_source()])},
    )


def _lua_bodies(provider: Provider, error: Unavailable) -> str:
    """A Lua table: the error's body in each dialect in which it may be asked for."""
    fields = (
        f"[{lua_string(name.encode())}] = {lua_string(dialect_named(name).error_body(error, '{REQUEST_ID}'))}"
        for name in provider.dialects
        if name in BUILT
    )
    return "{" + ", ".join(fields) + "}"


def lua_string(value: bytes) -> str:
    """A Lua string literal for any bytes."""
    plain = b" !#$%&'()*+,-./:;<=>?@[]^_`{|}~"
    return (
        '"'
        + "".join(
            chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in plain else f"\\{byte:03d}"
            for byte in value
        )
        + '"'
    )


@functools.cache
def _lua_source() -> str:
    return resources.files(__package__).joinpath("member.lua").read_text()


def _decompressors() -> list[Tree]:
    """A provider that compresses although nobody asked would hide usage and errors from the broker."""
    kinds = (("gzip", "gzip", "Gzip"), ("brotli", "brotli", "Brotli"), ("zstd", "zstd", "Zstd"))
    return [
        extension(
            f"envoy.filters.http.decompressor.{name}",
            "envoy.extensions.filters.http.decompressor.v3.Decompressor",
            decompressor_library=extension(
                name, f"envoy.extensions.compression.{package}.decompressor.v3.{message}"
            ),
            request_direction_config={
                "common_config": {"enabled": {"default_value": False, "runtime_key": "modelbroker.none"}},
                "advertise_accept_encoding": False,
            },
            response_direction_config={"common_config": {"ignore_no_transform_header": True}},
        )
        for name, package, message in kinds
    ]


def _credential(provider: Provider) -> list[Tree]:
    if provider.auth is Auth.NONE:
        return []
    return [
        extension(
            "envoy.filters.http.credential_injector",
            "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
            overwrite=True,
            credential=extension(
                "envoy.http.injected_credentials.generic",
                "envoy.extensions.http.injected_credentials.generic.v3.Generic",
                credential={"name": secret_name(provider), "sds_config": ADS},
                header=provider.auth.header,
            ),
        )
    ]
