"""Snapshots: resources with versions, and the union of one with those that calls still rest on."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from ..core.keys import content_hash
from ..envoyapi import EnvoyApi
from .build import Resources
from .types import CLUSTER, ENDPOINTS, LISTENER, OUTER_LISTENER, ROUTES, SECRET, Tree, type_name

# Versions of secrets are salted anew in each process: a config dump shows versions, and a plain hash
# of a weak key could be guessed back from it.
_SALT = secrets.token_hex(16)
# Types whose resources stay while calls that were decided before an edit may still need them.
_RETAINED = (SECRET, CLUSTER, ENDPOINTS, LISTENER)


@dataclass(frozen=True, slots=True)
class Versioned:
    """A resource with the hash of its content: equal content is never sent twice."""

    version: str
    tree: Tree


Versions = Mapping[str, Mapping[str, Versioned]]  # type URL → name → resource


@dataclass(frozen=True, slots=True)
class Snapshot:
    generation: str
    revision: str
    resources: Versions


def snapshot(generation: str, revision: str, resources: Resources) -> Snapshot:
    """Raises ValueError where a resource names another that is not there: Envoy would not say so."""
    if missing := missing_references(resources):
        raise ValueError("; ".join(missing))
    versioned = {
        type_url: {name: _versioned(type_url, tree) for name, tree in trees.items()}
        for type_url, trees in resources.items()
    }
    return Snapshot(generation, revision, versioned)


def _versioned(type_url: str, tree: Tree) -> Versioned:
    salt = _SALT if type_url == SECRET else ""
    return Versioned(content_hash(salt, msgspec.json.encode(tree)), tree)


def missing_references(resources: Resources) -> list[str]:
    """Endpoints must point at listeners that are there, and every pool cluster must have endpoints."""
    missing = []
    for name, cluster in resources[CLUSTER].items():
        if cluster["type"] == "EDS" and name not in resources[ENDPOINTS]:
            missing.append(f"cluster {name} has no endpoints")
    for name, tree in resources[ENDPOINTS].items():
        missing += [
            f"endpoints of {name} name the listener {listener}, which is not there"
            for listener in endpoint_names(tree)
            if listener not in resources[LISTENER]
        ]
    return missing


def endpoint_names(tree: Tree) -> Iterable[str]:
    for locality in tree["endpoints"]:
        for host in locality["lb_endpoints"]:
            yield host["endpoint"]["address"]["envoy_internal_address"]["server_listener_name"]


def union(target: Snapshot, retained: Iterable[Snapshot]) -> Versions:
    """`target` and what older snapshots had beside it, newest first in `retained`.

    An older pool's endpoints stay in the classes of its own time only, so they serve calls that were
    decided then and no later ones; weights of what is still there are the target's.
    """
    merged = {type_url: dict(resources) for type_url, resources in target.resources.items()}
    older_endpoints: dict[str, list[Tree]] = {}
    for old in retained:
        for type_url in _RETAINED:
            mine = merged[type_url]
            for name, resource in old.resources[type_url].items():
                if name not in mine:
                    mine[name] = resource
                elif type_url == ENDPOINTS and resource.version != mine[name].version:
                    older_endpoints.setdefault(name, []).append(resource.tree)
    for name, trees in older_endpoints.items():
        merged[ENDPOINTS][name] = _versioned(ENDPOINTS, _merge(merged[ENDPOINTS][name].tree, trees))
    return merged


def _merge(target: Tree, older: Iterable[Tree]) -> Tree:
    """Endpoints of `target` in the classes of all times, then those that only older times had."""
    hosts: dict[str, tuple[int, Tree]] = {}
    classes: dict[str, set[str]] = {}
    for tree in (target, *older):
        for locality in tree["endpoints"]:
            for host in locality["lb_endpoints"]:
                name = host["endpoint"]["address"]["envoy_internal_address"]["server_listener_name"]
                hosts.setdefault(name, (locality["priority"], host))
                classes.setdefault(name, set()).update(
                    host["metadata"]["filter_metadata"]["envoy.lb"]["class"]
                )
    by_level: dict[int, list[Tree]] = {}
    for name, (level, host) in hosts.items():
        metadata = {"filter_metadata": {"envoy.lb": {"class": sorted(classes[name])}}}
        by_level.setdefault(level, []).append({**host, "metadata": metadata})
    localities = [
        {"locality": {"zone": f"level-{level}"}, "priority": level, "lb_endpoints": by_level.get(level, [])}
        for level in range(max(by_level, default=-1) + 1)
    ]
    return {**target, "endpoints": localities}


def listeners_without_outer(resources: Versions) -> set[str]:
    return set(resources[LISTENER]) - {OUTER_LISTENER}


def encode(api: EnvoyApi, type_url: str, resource: Versioned) -> bytes:
    """The resource as the protobuf that Envoy reads."""
    message = api.from_dict(type_name(type_url), resource.tree)
    serialized: bytes = message.SerializeToString(deterministic=True)
    return serialized


def routes_generation(resources: Versions) -> str:
    """Version of the routes: an Envoy that has ACKed it uses this generation."""
    return next((resource.version for resource in resources[ROUTES].values()), "")
