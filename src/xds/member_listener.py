"""A member's listener, internal to Envoy: a whole filter chain for one provider and model."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from importlib import resources
from urllib.parse import urlsplit

import msgspec

from ..core.catalog import Auth, Catalog, Member, Pool, Provider
from ..core.causes import BLAMELESS, Cause
from ..core.errors import Unavailable
from ..core.keys import (
    BLAME_HEADER,
    BLAMELESS_HEADER,
    CACHE_HEADER,
    CAUSE_HEADER,
    CLASS_HEADER,
    FIRST_EVENT_BY,
    HANDBACK,
    HEDGE_HEADER,
    LOCAL_REPLY_HEADER,
    MEMBER_HEADER,
    MOST_MESSAGE_MS,
    TRACE_HEADER,
    listener_name,
    provider_cluster,
    secret_name,
    silence_ms,
)
from ..core.tracing import TRACEPARENT, TRACESTATE
from ..dialects import SURFACES, client_dialect, dialect_named
from ..exchange import HOSTS, identity_dialects, passing_dialects, spoken_of, upstream_of
from ..policy.limits import used_up_headers
from .clusters import buffer_bytes
from .filters import (
    EXT_PROC,
    EXT_PROC_NAME,
    EXT_PROC_PER_ROUTE,
    MESSAGE_TIMEOUT_MS,
    grpc_service,
    internal_manager,
    member_logs,
    router,
)
from .local_replies import member_mappers
from .lua_causes import lua_source, lua_texts
from .types import ADS, Tree, duration, extension, set_header, stat_name, typed

_HEADER_MUTATION = "envoy.filters.http.header_mutation"
_HEADER_MUTATION_PER_ROUTE = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
# What the broker says of a member's reply. An empty value is not sent.
_TOLD = [
    set_header("x-broker-dropped", "%DYNAMIC_METADATA(modelbroker:dropped)%"),
    set_header("x-broker-next", "%DYNAMIC_METADATA(modelbroker:next)%"),
]
_ENVOYS_OWN = (LOCAL_REPLY_HEADER, CAUSE_HEADER, MEMBER_HEADER, BLAME_HEADER, BLAMELESS_HEADER)
_HELD_BYTES = 33 * 1024 * 1024  # of a whole reply, before it goes on

# Headers between the outer listener and the members: never the provider's to see.
INTERNAL_HEADERS = (
    CAUSE_HEADER,
    MEMBER_HEADER,
    "x-broker-attempt",
    CACHE_HEADER,
    "x-broker-call",
    CLASS_HEADER,
    "x-broker-cluster",
    "x-broker-dialect",
    "x-broker-first-event-by",
    "x-broker-guard",
    "x-broker-handback",
    HEDGE_HEADER,
    "x-broker-model-span",
    "x-broker-owned",
    "x-broker-pool",
    "x-broker-request-id",
    "x-broker-revision",
    "x-broker-rewrite",
    "x-broker-stream",
    "x-broker-suffix",
    "x-broker-surface",
    TRACE_HEADER,
    "x-broker-usage",
    "x-broker-wait-ms",
)
# Headers that Envoy itself adds on the way.
ENVOY_HEADERS = (
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-internal",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-ms",
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


def member_listener(pool: Pool, member: Member, key: str, catalog: Catalog, secret: str = "") -> Tree:
    """A whole filter chain for one member, so that each attempt starts from the client's own request.
    `secret` is for providers whose requests are signed; the others' come over SDS."""
    provider = catalog.providers[member.provider]
    name = listener_name(member, key)
    # Whole replies are held here, and a small limit for requests must not be one for them.
    held_bytes = max(buffer_bytes(catalog.limits), _HELD_BYTES)
    ext_proc = extension(
        EXT_PROC_NAME,
        EXT_PROC,
        grpc_service=grpc_service("member"),
        message_timeout=duration(MESSAGE_TIMEOUT_MS),
        max_message_timeout=duration(MOST_MESSAGE_MS),
        failure_mode_allow=False,
        processing_mode={
            "request_header_mode": "SKIP",
            "request_body_mode": "NONE",
            "response_header_mode": "SEND",
            "response_body_mode": "STREAMED",
        },
        send_body_without_waiting_for_header_response=True,
        response_attributes=[FIRST_EVENT_BY, HANDBACK],
        mutation_rules={"allow_all_routing": True},
        metadata_options={"receiving_namespaces": {"untyped": ["modelbroker"]}},
    )
    manager = internal_manager(
        stat_name("member", member.id),
        catalog.limits,
        route_config=_member_routes(provider, member, pool, catalog),
        # Replies pass from the end to the beginning. Decompressors end what they undo with trailers, and a
        # filter that waits for the end behind them would never see it: they come last.
        http_filters=[
            _reply_headers(member),
            *_decompressors(),
            _lua(provider, member, held_bytes),
            ext_proc,
            *_credential(provider, secret),
            router(),
        ],
        access_log=member_logs(provider.dialects),
        local_reply_config={"mappers": member_mappers(provider.name, member.id)},
    )
    return {
        "name": name,
        "stat_prefix": stat_name("member", member.id),
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": held_bytes,
        "filter_chains": [{"filters": [manager]}],
    }


def _member_routes(provider: Provider, member: Member, pool: Pool, catalog: Catalog) -> Tree:
    """Same dialect, whole reply: no Python at all. A stream: ext_proc holds it up to the commit point. All
    else passes through Python: another dialect, tags to be taken off, a provider with ways of its own."""
    url = urlsplit(provider.base_url)
    route = {
        "cluster": provider_cluster(provider, member, catalog.limits, pool.timeouts.connect_ms),
        "timeout": "0s",  # each call says its own: x-broker-wait-ms
        "host_rewrite_literal": url.netloc,
    }
    # A whole reply is silent while its model thinks, and Envoy's clock of silence runs before a reply's first
    # byte as it does behind it: whole replies are bounded to their end by x-broker-wait-ms alone.
    streamed = route | {"idle_timeout": duration(silence_ms(catalog.limits, pool.timeouts))}
    request_headers = [set_header(header, value) for header, value in provider.headers]
    if "anthropic-messages" in provider.dialects and provider.variant not in HOSTS:
        version = {"key": "anthropic-version", "value": provider.api_version or _ANTHROPIC_VERSION}
        request_headers.append({"header": version, "append_action": "ADD_IF_ABSENT"})
    passing = passing_dialects(provider)
    rewrite, stream = _present("x-broker-rewrite"), _present("x-broker-stream")
    spoken = _spoken_text(provider, member)
    whole_reply = _through_python(route, _python_override(spoken, "BUFFERED"))
    each_piece = _through_python(streamed, _python_override(spoken, "STREAMED"))
    no_python = {EXT_PROC_NAME: typed(EXT_PROC_PER_ROUTE, disabled=True)}
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
                # Envoy adds it behind this, to what it says itself: a provider can't.
                "response_headers_to_remove": list(_ENVOYS_OWN),
                "routes": [
                    *([_matching(each_piece, rewrite, stream)] if passing else []),
                    *([_matching(whole_reply, rewrite)] if passing else []),
                    *(
                        _matching(
                            _passing(streamed, _stream_override(dialect, provider, *guard)),
                            _is("x-broker-stream", dialect),
                            *map(_present, guard),
                        )
                        for guard in (("x-broker-guard",), ())
                        for dialect in passing
                    ),
                    *(
                        _matching(_passing(route, no_python), _is("x-broker-dialect", dialect))
                        for dialect in passing
                    ),
                    _matching(each_piece, stream),
                    _matching(whole_reply),
                ],
            }
        ],
    }


def _passing(route: Tree, filters: Tree) -> Tree:
    return {"route": route, "typed_per_filter_config": filters}


def _through_python(route: Tree, filters: Tree) -> Tree:
    """Only here is there more to tell of a reply than the member: asking the call's metadata for it costs as
    much as all else that Envoy does with headers, so calls that pass are spared it."""
    mutations = {"response_mutations": [{"append": header} for header in _TOLD]}
    told = {_HEADER_MUTATION: typed(_HEADER_MUTATION_PER_ROUTE, mutations=mutations)}
    return {**_passing(route, {**filters, **told}), "response_headers_to_add": _TOLD}


def _matching(route: Tree, *headers: Tree) -> Tree:
    return {"match": {"prefix": "/", "headers": list(headers)}, **route}


def _is(header: str, value: str) -> Tree:
    return {"name": header, "string_match": {"exact": value}}


def _present(header: str) -> Tree:
    return {"name": header, "present_match": True}


def _stream_override(dialect: str, provider: Provider, *guard: str) -> Tree:
    """`x-broker-stream` holds the dialect of the stream that the client waits for. `guard`: ext_proc watches
    it to its end, and may have to say whose stream it is."""
    told = [("x-broker-dialect", dialect), ("x-broker-provider", provider.name)]
    if guard:
        told += [(guard[0], "1"), ("x-broker-request-id", "%DYNAMIC_METADATA(modelbroker:request_id)%")]
    metadata = {"grpc_initial_metadata": [{"key": key, "value": value} for key, value in told]}
    return {EXT_PROC_NAME: typed(EXT_PROC_PER_ROUTE, overrides=metadata)}


def _python_override(spoken: str, reply_mode: str) -> Tree:
    """All that ext_proc has to know of this member comes with the call: a listener outlives catalogs."""
    overrides = {
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "response_header_mode": "SEND",
            "response_body_mode": reply_mode,
        },
        "grpc_initial_metadata": [{"key": "x-broker-member", "value": spoken}],
    }
    return {EXT_PROC_NAME: typed(EXT_PROC_PER_ROUTE, overrides=overrides)}


def _spoken_text(provider: Provider, member: Member) -> str:
    """A Spoken as ASCII JSON."""
    return json.dumps(msgspec.to_builtins(spoken_of(provider, member)), separators=(",", ":"))


def _reply_headers(member: Member) -> Tree:
    """A reply names the member, and no provider speaks in the broker's name."""
    ours = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in _OUR_REPLY_HEADERS]
    theirs = [{"remove": name} for name in _PROVIDER_HEADERS]
    return extension(
        _HEADER_MUTATION,
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
        502, "upstream_garbage", f"the provider {provider.name} answered with a status that is no answer"
    )
    billing = Unavailable(
        503,
        "upstream_billing",
        f"the provider {provider.name} refuses the broker's account for its bill or quota",
    )
    no_model = Unavailable(
        502,
        "upstream_model_not_found",
        f"the provider {provider.name} does not have the model {member.model} for the broker's account: "
        "its operator has to mend the pool",
    )
    own, passing = identity_dialects(provider), passing_dialects(provider)
    lines = [
        f"local MODEL = {lua_string(msgspec.json.encode(provider.own_model(member.model)))}",
        f"local BASE_PATH = {lua_string(urlsplit(provider.base_url).path.encode())}",
        f"local REFUSED = {_lua_bodies(provider, refused)}",
        f"local GARBAGE = {_lua_bodies(provider, garbage)}",
        f"local BILLING = {_lua_bodies(provider, billing)}",
        f"local NO_MODEL = {_lua_bodies(provider, no_model)}",
        f"local MEMBER = {lua_string(member.id.encode())}",
        f"local BLAMELESS = {_lua_table((cause.value, b'1') for cause in _in_order(BLAMELESS))}",
        f"local LIMITS = {_lua_table((n, reset.encode()) for n, reset in used_up_headers(own))}",
        f"local HELD_BYTES = {held_bytes}",
        lua_source(),
        _lua_file("usage.lua"),
        _lua_file("stream_end.lua"),
        f"local CAUSES = {lua_texts(own)}",
        f"local OWN = {_lua_table((name, b'1') for name in own)}",
        f"local PASSING = {_lua_table((name, b'1') for name in passing)}",
        f"local COUNTS = {_lua_table((s.name, b'1') for s in SURFACES if s.operation == 'count')}",
        f"local GIVES_USAGE = {str(provider.deviations.get('stream_usage') is not False).lower()}",
        f"local PATHS = {_lua_table(own_paths(provider, member))}",
    ]
    return extension(
        "envoy.filters.http.lua",
        "envoy.extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": "\n".join([*lines, _lua_file("member.lua")])},
    )


def _in_order(causes: Iterable[Cause]) -> list[Cause]:
    return sorted(causes, key=lambda cause: cause.value)


def _lua_bodies(provider: Provider, error: Unavailable) -> str:
    """A Lua table: the error's body in each dialect in which it may be asked for."""
    return _lua_table(
        (name, dialect_named(name).error_body(error, "{REQUEST_ID}")) for name in identity_dialects(provider)
    )


def own_paths(provider: Provider, member: Member) -> list[tuple[str, bytes]]:
    """Suffixes of the dialects' operations that this provider has elsewhere → where."""
    if provider.variant != "azure":
        return []
    upstream = upstream_of(provider, member)
    paths = []
    for surface in SURFACES:
        if surface.dialect in provider.dialects:
            path = client_dialect(surface.dialect).same_dialect_path(upstream, surface, stream=False)
            paths.append((surface.suffix, path.encode()))
    return paths


def _lua_table(entries: Iterable[tuple[str, bytes]]) -> str:
    fields = (f"[{lua_string(name.encode())}] = {lua_string(value)}" for name, value in entries)
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
def _lua_file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text()


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


def _credential(provider: Provider, secret: str) -> list[Tree]:
    if provider.auth is Auth.NONE:
        return []
    if provider.auth is Auth.AWS_SIGV4:
        return [_signing(provider, secret)]
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


def _signing(provider: Provider, secret: str) -> Tree:
    """AWS's signature over the body as it was rewritten. `secret`: KEY_ID:SECRET[:SESSION_TOKEN]; Envoy's
    config dump redacts it. Headers that are taken away behind this filter must not be signed."""
    key_id, _, rest = secret.partition(":")
    secret_key, _, token = rest.partition(":")
    inline = {"access_key_id": key_id, "secret_access_key": secret_key}
    if token:
        inline["session_token"] = token
    # A proxy on the way may have spans of its own.
    later = [{"exact": name} for name in (*INTERNAL_HEADERS, *ENVOY_HEADERS, TRACEPARENT, TRACESTATE)]
    added = [{"exact": name} for name, _ in provider.headers]
    return extension(
        "envoy.filters.http.aws_request_signing",
        "envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning",
        service_name="bedrock",
        region=provider.region,
        host_rewrite=urlsplit(provider.base_url).netloc,
        match_excluded_headers=[*later, *added, {"prefix": "x-broker-"}, {"exact": "user-agent"}],
        credential_provider={"inline_credential": inline},
    )
