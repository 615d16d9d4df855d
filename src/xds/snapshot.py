"""Snapshots: resources with versions, and the union of one with those that calls still rest on."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from ..core.keys import content_hash
from ..envoyapi import EnvoyApi
from .build import Resources
from .types import CLUSTER, ENDPOINTS, LISTENER, SECRET, Tree, type_name

# Versions of secrets are salted anew in each process: a config dump shows versions, and a plain hash
# of a weak key could be guessed back from it.
_SALT = secrets.token_hex(16)
# Types whose resources stay while calls that were decided before an edit may still need them.
_RETAINED = (SECRET, CLUSTER, ENDPOINTS, LISTENER)


@dataclass(eq=False, slots=True)
class Versioned:
    """A resource with the hash of its content: equal content is never sent twice. Never changed; the
    protobuf that Envoy reads is made when it is first sent, and kept."""

    version: str
    tree: Tree = field(repr=False)  # may hold a secret
    _encoded: bytes | None = field(default=None, repr=False)

    def encoded(self, api: EnvoyApi, type_url: str) -> bytes:
        if self._encoded is None:
            message = api.from_dict(type_name(type_url), self.tree)
            self._encoded = message.SerializeToString(deterministic=True)
        return self._encoded

    @property
    def is_encoded(self) -> bool:
        return self._encoded is not None


Versions = Mapping[str, Mapping[str, Versioned]]  # type URL → name → resource


@dataclass(frozen=True, slots=True)
class Snapshot:
    generation: str
    revision: str
    resources: Versions = field(repr=False)


def snapshot(
    generation: str, revision: str, resources: Resources, before: Snapshot | None = None
) -> Snapshot:
    """Raises ValueError where a resource names another that is not there: Envoy would not say so.

    What is the same tree in `before` is taken over from there, with its hash and its protobuf.
    """
    if missing := missing_references(resources):
        raise ValueError("; ".join(missing))
    known = before.resources if before else {}
    versioned = {
        type_url: {
            name: old
            if (old := known.get(type_url, {}).get(name)) is not None and old.tree is tree
            else as_versioned(type_url, tree)
            for name, tree in trees.items()
        }
        for type_url, trees in resources.items()
    }
    return Snapshot(generation, revision, versioned)


def as_versioned(type_url: str, tree: Tree) -> Versioned:
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


class Union:
    """Snapshots merged, with a memory: most pools are the same in the next union."""

    def __init__(self) -> None:
        self._merged: dict[tuple[str, ...], Versioned] = {}  # versions, newest first → all in one

    def __call__(self, target: Snapshot, retained: Iterable[Snapshot]) -> Versions:
        """`target` and what older snapshots had beside it, newest first in `retained`.

        An older pool's endpoints stay in the classes of its own time only, so they serve calls that were
        decided then and no later ones; weights of what is still there are the target's.
        """
        union = {type_url: dict(resources) for type_url, resources in target.resources.items()}
        versions: dict[str, list[Versioned]] = {}  # cluster → its endpoints in every time, newest first
        for old in retained:
            for type_url in _RETAINED:
                mine = union[type_url]
                for name, resource in old.resources[type_url].items():
                    newest = mine.setdefault(name, resource)
                    if newest is not resource and type_url == ENDPOINTS:
                        versions.setdefault(name, [newest]).append(resource)
        all_merged: dict[tuple[str, ...], Versioned] = {}
        for name, alternatives in versions.items():
            # By content and not by object: an edit and its opposite bring the same back.
            different = {resource.version: resource for resource in alternatives}
            if len(different) > 1:
                key = tuple(different)
                merged = self._merged.get(key) or as_versioned(ENDPOINTS, _merge(*different.values()))
                union[ENDPOINTS][name] = all_merged[key] = merged
        self._merged = all_merged
        return union


def _merge(target: Versioned, *older: Versioned) -> Tree:
    """Endpoints of `target` in the classes of all times, then those that only older times had."""
    hosts: dict[str, tuple[int, Tree]] = {}
    classes: dict[str, set[str]] = {}
    for resource in (target, *older):
        for locality in resource.tree["endpoints"]:
            for host in locality["lb_endpoints"]:
                name = host["endpoint"]["address"]["envoy_internal_address"]["server_listener_name"]
                hosts.setdefault(name, (locality["priority"], host))
                classes.setdefault(name, set()).update(
                    host["metadata"]["filter_metadata"]["envoy.lb"]["class"]
                )
    by_level: dict[int, list[Tree]] = {}
    for name, (level, host) in hosts.items():
        told = host["metadata"]["filter_metadata"]["envoy.lb"]
        metadata = {"filter_metadata": {"envoy.lb": {**told, "class": sorted(classes[name])}}}
        by_level.setdefault(level, []).append({**host, "metadata": metadata})
    localities = [
        {"locality": {"zone": f"level-{level}"}, "priority": level, "lb_endpoints": by_level.get(level, [])}
        for level in range(max(by_level, default=-1) + 1)
    ]
    return {**target.tree, "endpoints": localities}
