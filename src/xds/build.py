"""Catalog → Envoy's resources, as trees. Pure: what `tests/xds/golden` holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.call import Surface
from ..core.catalog import Auth, Catalog, Member, Pool, Provider
from ..core.errors import Misconfigured
from ..core.keys import (
    JWT_FILTER,
    content_hash,
    hedge_name,
    listener_name,
    member_key,
    pool_cluster,
    provider_cluster,
    secret_name,
)
from ..policy import State, class_members
from .clusters import endpoints_tree, pool_cluster_tree, provider_cluster_tree
from .hedge import hedge_cluster, hedge_listener
from .identity import jwks_cluster, jwks_cluster_tree, jwt_resource
from .listeners import outer_listener, outer_routes
from .member_listener import member_listener
from .types import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    OUTER_LISTENER,
    OUTER_ROUTES,
    ROUTES,
    SECRET,
    Tree,
)

Resources = Mapping[str, Mapping[str, Tree]]  # type URL → name → tree
MAX_CLASSES = 64


def generation_of(catalog: Catalog, state: State) -> str:
    """A revision together with what could be used when it was pushed: `revision.state`."""
    certificates = (catalog.listen.tls_digest, sorted(p.ca_digest for p in catalog.providers.values()))
    known: tuple[object, ...] = (sorted(state.providers_out), sorted(state.signing.items()))
    if catalog.issuers:
        known += tuple((issuer.jwks.keys, issuer.jwks.ca_digest) for issuer in catalog.issuers)
    return f"{catalog.revision}.{content_hash(known, certificates)[:6]}"


@dataclass(frozen=True, slots=True)
class _PoolParts:
    """What one pool needs. Trees are shared with other pools and later builds: they are never changed."""

    cluster: str
    endpoints: Tree
    listeners: Mapping[str, Tree]
    clusters: Mapping[str, Tree]
    providers: tuple[Provider, ...]  # of members that some call can reach


class Memory:
    """What the build before this one made: most edits concern a few pools out of many."""

    def __init__(self) -> None:
        self.pools: dict[object, _PoolParts] = {}
        self.trees: dict[str, Tree] = {}  # names of listeners and clusters carry a hash of their content


def build(
    catalog: Catalog,
    state: State,
    surfaces: Iterable[Surface],
    secrets: Mapping[str, str],
    memory: Memory | None = None,
) -> Resources:
    """All that an Envoy needs to serve `catalog`. `secrets`: provider name → credential value; a provider
    that has none gets an empty one, since a missing secret would stall its listeners (and is ruled out by
    `state`). `memory` is that of an earlier build, and becomes that of this one."""
    memory = memory or Memory()
    kept: dict[object, _PoolParts] = {}
    surfaces = tuple(surfaces)
    shapes = {name: repr(provider) for name, provider in catalog.providers.items()}
    clusters: dict[str, Tree] = {}
    endpoints: dict[str, Tree] = {}
    listeners: dict[str, Tree] = {OUTER_LISTENER: outer_listener(catalog)}
    used: dict[str, Provider] = {}
    for pool in catalog.pools.values():
        names = {member.provider for member in pool.members}
        out = frozenset(names & state.providers_out.keys())
        signing = tuple(sorted((n, d) for n, d in state.signing.items() if n in names))
        key = (pool, tuple(shapes[name] for name in sorted(names)), out, signing, catalog.limits, surfaces)
        parts = memory.pools.get(key) or _pool_parts(pool, catalog, state, surfaces, secrets, memory)
        kept[key] = parts
        clusters |= parts.clusters
        endpoints[parts.cluster] = parts.endpoints
        listeners |= parts.listeners
        used |= {provider.name: provider for provider in parts.providers}
    for issuer in catalog.issuers:
        if issuer.jwks.url:
            clusters[jwks_cluster(issuer)] = jwks_cluster_tree(issuer)
    memory.pools, memory.trees = kept, {**listeners, **clusters}
    return {
        SECRET: {
            secret_name(p): _secret(secret_name(p), p.auth, secrets.get(p.name, ""))
            for p in used.values()
            if p.auth.header
        },
        CLUSTER: clusters,
        ENDPOINTS: endpoints,
        EXTENSION: {JWT_FILTER: jwt_resource(catalog.issuers)} if catalog.issuers else {},
        LISTENER: listeners,
        ROUTES: {OUTER_ROUTES: outer_routes(generation_of(catalog, state), catalog)},
    }


def _pool_parts(
    pool: Pool,
    catalog: Catalog,
    state: State,
    surfaces: tuple[Surface, ...],
    secrets: Mapping[str, str],
    memory: Memory,
) -> _PoolParts:
    classes = list(class_members(pool, catalog, state, surfaces))
    if len(classes) > MAX_CLASSES:
        raise Misconfigured(
            500,
            "too_many_classes",
            f"pool {pool.name}: its members can serve {len(classes)} different kinds of call; more than "
            f"{MAX_CLASSES} are too many for Envoy: split the pool",
        )
    keys = keys_of(pool, catalog, state)
    connect_ms = pool.timeouts.connect_ms
    cluster = pool_cluster(pool, catalog.limits)
    clusters = {cluster: memory.trees.get(cluster) or pool_cluster_tree(pool, catalog.limits)}
    listeners: dict[str, Tree] = {}
    if pool.hedge is not None:
        hedge = hedge_name(pool, catalog.limits)
        clusters[hedge] = hedge_cluster(pool, catalog.limits)
        listeners[hedge] = hedge_listener(pool, pool.hedge, catalog.limits)
    used = {member: catalog.providers[member.provider] for members in classes for member in members}
    for member, provider in used.items():
        name = listener_name(member, keys[member])
        upstream = provider_cluster(provider, member, catalog.limits, connect_ms)
        listeners[name] = memory.trees.get(name) or member_listener(
            pool, member, keys[member], catalog, secrets.get(member.provider, "")
        )
        clusters[upstream] = memory.trees.get(upstream) or provider_cluster_tree(
            provider, member, catalog, connect_ms
        )
        # For the pools that come after this one.
        memory.trees[name], memory.trees[upstream] = listeners[name], clusters[upstream]
    endpoints = endpoints_tree(pool, catalog.limits, keys, classes)
    return _PoolParts(cluster, endpoints, listeners, clusters, tuple(used.values()))


def keys_of(pool: Pool, catalog: Catalog, state: State) -> dict[Member, str]:
    return {
        member: member_key(
            catalog.providers[member.provider],
            member,
            catalog.limits,
            pool.timeouts,
            state.signing.get(member.provider, ""),
        )
        for member in pool.members
    }


def _secret(name: str, auth: Auth, value: str) -> Tree:
    return {"name": name, "generic_secret": {"secret": {"inline_string": auth.prefix + value}}}
