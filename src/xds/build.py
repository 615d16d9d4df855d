"""Catalog → Envoy's resources, as trees. Pure: what `tests/xds/golden` holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..core.call import Surface
from ..core.catalog import Auth, Catalog, Member, Pool
from ..core.errors import Misconfigured
from ..core.keys import (
    content_hash,
    listener_name,
    member_key,
    pool_cluster,
    provider_cluster,
    secret_name,
)
from ..policy import State, class_members
from .clusters import endpoints_tree, pool_cluster_tree, provider_cluster_tree
from .listeners import member_listener, outer_listener, outer_routes
from .types import (
    CLUSTER,
    ENDPOINTS,
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
    return f"{catalog.revision}.{content_hash(sorted(state.providers_out))[:6]}"


def build(
    catalog: Catalog, state: State, surfaces: Iterable[Surface], secrets: Mapping[str, str]
) -> Resources:
    """All that an Envoy needs to serve `catalog`. `secrets`: provider name → credential value; a provider
    that has none gets an empty one, since a missing secret would stall its listeners (and is ruled out by
    `state`)."""
    surfaces = tuple(surfaces)
    clusters: dict[str, Tree] = {}
    endpoints: dict[str, Tree] = {}
    listeners: dict[str, Tree] = {OUTER_LISTENER: outer_listener(catalog.listen, catalog.limits)}
    for pool in catalog.pools.values():
        classes = list(class_members(pool, catalog, state, surfaces))
        if len(classes) > MAX_CLASSES:
            raise Misconfigured(
                500,
                "too_many_classes",
                f"pool {pool.name}: its members can serve {len(classes)} different kinds of call; more than "
                f"{MAX_CLASSES} are too many for Envoy: split the pool",
            )
        keys = keys_of(pool, catalog)
        used = {member for members in classes for member in members}
        name = pool_cluster(pool, catalog.limits)
        clusters[name] = pool_cluster_tree(pool, catalog.limits)
        endpoints[name] = endpoints_tree(pool, catalog.limits, keys, classes)
        for member in used:
            _add_member(pool, member, keys[member], catalog, clusters, listeners)
    providers = [catalog.providers[m.provider] for pool in catalog.pools.values() for m in pool.members]
    return {
        SECRET: {
            secret_name(p): _secret(secret_name(p), p.auth, secrets.get(p.name, ""))
            for p in providers
            if p.auth is not Auth.NONE and p.built
        },
        CLUSTER: clusters,
        ENDPOINTS: endpoints,
        LISTENER: listeners,
        ROUTES: {OUTER_ROUTES: outer_routes(generation_of(catalog, state), catalog)},
    }


def keys_of(pool: Pool, catalog: Catalog) -> dict[Member, str]:
    connect_ms = pool.timeouts.connect_ms
    return {
        member: member_key(catalog.providers[member.provider], member.model, catalog.limits, connect_ms)
        for member in pool.members
    }


def _add_member(
    pool: Pool,
    member: Member,
    key: str,
    catalog: Catalog,
    clusters: dict[str, Tree],
    listeners: dict[str, Tree],
) -> None:
    """Its listener and its provider's cluster, unless another pool brought them already."""
    name = listener_name(member, key)
    if name in listeners:
        return
    listeners[name] = member_listener(pool, member, key, catalog)
    provider = catalog.providers[member.provider]
    cluster = provider_cluster(provider, catalog.limits, pool.timeouts.connect_ms)
    if cluster not in clusters:
        clusters[cluster] = provider_cluster_tree(provider, catalog, pool.timeouts.connect_ms)


def _secret(name: str, auth: Auth, value: str) -> Tree:
    return {"name": name, "generic_secret": {"secret": {"inline_string": auth.prefix + value}}}
