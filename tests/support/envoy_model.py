"""How Envoy behaves on the other side of a session, as far as a session can see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from modelbroker.xds.session import DeltaRequest, DeltaResponse, Session
from modelbroker.xds.snapshot import Versioned, Versions, endpoint_names
from modelbroker.xds.types import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    OUTER_LISTENER,
    OUTER_ROUTES,
    ROUTES,
    SECRET,
)

TYPES = (SECRET, CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES)


@dataclass
class EnvoyModel:
    """Takes responses one by one and queues its requests; acknowledgements go before subscriptions."""

    has: dict[str, dict[str, Versioned]] = field(default_factory=lambda: {of: {} for of in TYPES})
    asked: dict[str, set[str]] = field(default_factory=lambda: {of: set() for of in TYPES})
    acknowledgements: list[DeltaRequest] = field(default_factory=list)
    held: list[DeltaRequest] = field(default_factory=list)  # of clusters, until all of them are warm
    answered: set[str] = field(default_factory=set)  # endpoints that there are none of
    requests: list[DeltaRequest] = field(default_factory=list)
    received: list[tuple[DeltaResponse, Versions]] = field(default_factory=list)
    taken: list[DeltaResponse] = field(default_factory=list)

    def connect(self) -> Session:
        """A stream anew: it says what it has."""
        self.acknowledgements.clear()
        self.held.clear()
        self.received.clear()
        self.requests = [
            DeltaRequest(
                of,
                subscribe=() if of in (CLUSTER, LISTENER) else tuple(sorted(self.asked[of])),
                initial_versions={name: resource.version for name, resource in self.has[of].items()},
            )
            for of in TYPES
            if of in (CLUSTER, LISTENER) or self.asked[of]
        ]
        return Session()

    def next_request(self) -> DeltaRequest | None:
        queue = self.acknowledgements or self.requests
        return queue.pop(0) if queue else None

    def take(self, bad: set[tuple[str, str]]) -> DeltaResponse:
        """The next response. `bad`: (type, version) of resources that it refuses; it takes the rest."""
        response, target = self.received.pop(0)
        self.taken.append(response)
        of, errors = response.type_url, []
        for name in response.changed:
            resource = target[of][name]
            if (of, resource.version) in bad:
                errors.append(f"{name}: is bad")
            else:
                self.has[of][name] = resource
        for name in response.removed:
            self.has[of].pop(name, None)
            if of == ENDPOINTS:
                self.answered.add(name)
        acknowledgement = DeltaRequest(of, nonce=response.nonce, error="\n".join(errors))
        (self.held if of == CLUSTER else self.acknowledgements).append(acknowledgement)
        self._follow()
        if not self.asked[ENDPOINTS] - self.has[ENDPOINTS].keys() - self.answered:
            self.acknowledgements += self.held
            self.held.clear()
        return response

    def _follow(self) -> None:
        """What clusters and listeners need is asked for, and no longer when they are gone."""
        pools = {name for name, cluster in self.has[CLUSTER].items() if cluster.tree["type"] == "EDS"}
        self._ask(ENDPOINTS, pools)
        self._ask(SECRET, {name for r in self.has[LISTENER].values() for name in secrets_of(r.tree)})
        self._ask(EXTENSION, {name for r in self.has[LISTENER].values() for name in filters_of(r.tree)})
        self._ask(ROUTES, {OUTER_ROUTES} if OUTER_LISTENER in self.has[LISTENER] else set())

    def _ask(self, of: str, names: set[str]) -> None:
        more, less = names - self.asked[of], self.asked[of] - names
        if more or less:
            self.requests.append(
                DeltaRequest(of, subscribe=tuple(sorted(more)), unsubscribe=tuple(sorted(less)))
            )
        self.asked[of] = names
        for name in less:
            self.has[of].pop(name, None)

    def dangling(self) -> list[str]:
        """What it has and lacks something that it names (in endpoints that a cluster of its own has)."""
        missing = [
            f"{pool} → {listener}"
            for pool, resource in self.has[ENDPOINTS].items()
            for listener in endpoint_names(resource.tree)
            if listener not in self.has[LISTENER]
        ]
        for name, resource in self.has[LISTENER].items():
            clusters = {route["cluster"] for route in routes_of(resource.tree)}
            missing += [f"{name} → {cluster}" for cluster in clusters if cluster not in self.has[CLUSTER]]
        for name, resource in self.has[EXTENSION].items():
            clusters = {part["cluster"] for part in walk(resource.tree) if "cluster" in part}
            missing += [f"{name} → {cluster}" for cluster in clusters if cluster not in self.has[CLUSTER]]
        return missing


def walk(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from walk(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from walk(value)


def secrets_of(listener: Any) -> set[str]:
    return {part["name"] for part in walk(listener) if "sds_config" in part}


def filters_of(listener: Any) -> set[str]:
    """Those that come over ADS."""
    return {part["name"] for part in walk(listener) if "config_discovery" in part}


def routes_of(listener: Any) -> Iterator[dict[str, Any]]:
    return (part for part in walk(listener) if "cluster" in part and "host_rewrite_literal" in part)
