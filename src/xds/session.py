"""One Envoy's delta-ADS subscription as plain state: requests in, responses out, no I/O.

Source: xDS protocol, "Incremental xDS". The order of a push keeps every call served: what is new goes
out first; routes, which carry the generation that calls are decided by, follow when all of it is
acknowledged; what is no longer needed goes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .snapshot import Versions
from .types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET

_BEFORE_ROUTES = (SECRET, CLUSTER, ENDPOINTS, EXTENSION, LISTENER)
_ORDER = (*_BEFORE_ROUTES, ROUTES)


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """What of a DeltaDiscoveryRequest matters. `error` is "" but for a NACK."""

    type_url: str
    nonce: str = ""
    error: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeltaResponse:
    type_url: str
    nonce: str
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def summary(self) -> str:
        kind = self.type_url.rpartition(".")[2]
        return f"{kind} {self.nonce}: {len(self.changed)} changed, {len(self.removed)} removed"


@dataclass(frozen=True, slots=True)
class Nack:
    """What an Envoy would not take. `versions`: name → the version that it was sent, "" for one unknown."""

    type_url: str
    versions: Mapping[str, str]
    error: str


@dataclass(slots=True)
class _Subscription:
    """`known`: name → version that this Envoy was sent (or told us that it has)."""

    wildcard: bool = False
    started: bool = False
    names: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)  # subscribed to and not answered yet
    in_flight: DeltaResponse | None = None


class Session:
    def __init__(self) -> None:
        self._subscriptions = {type_url: _Subscription() for type_url in _ORDER}
        self._nonce = 0
        self._refused: set[tuple[str, str, str]] = set()  # (type, name, version) that this Envoy NACKed
        self._target: Versions = {type_url: {} for type_url in _ORDER}
        self._wanted: dict[str, dict[str, str]] = {type_url: {} for type_url in _ORDER}

    def receive(self, request: DeltaRequest) -> Nack | None:
        """Take a request; a NACK is told once."""
        subscription = self._subscriptions.get(request.type_url)
        if subscription is None:
            return None
        nack = self._acknowledge(subscription, request)
        names = set(request.subscribe) - {"*"}
        asked = names
        if not subscription.started:
            subscription.started = True
            # A first request that names nothing asks for everything (clusters and listeners).
            subscription.wildcard = not request.subscribe or "*" in request.subscribe
            subscription.known.update(request.initial_versions)
            # An Envoy that comes back names what it has: that is no question.
            asked = names - request.initial_versions.keys()
        subscription.names |= names
        subscription.asked |= asked  # a name asked for again is answered again
        subscription.names -= set(request.unsubscribe)
        subscription.asked -= set(request.unsubscribe)
        for name in request.unsubscribe:
            if not subscription.wildcard:
                subscription.known.pop(name, None)
        return nack

    def _acknowledge(self, subscription: _Subscription, request: DeltaRequest) -> Nack | None:
        sent = subscription.in_flight
        if sent is None or request.nonce != sent.nonce:
            return None
        subscription.in_flight = None
        if not request.error:
            return None
        # Envoy applies the rest of a push: refused is what its error names, or all if it names none.
        names = [name for name in sent.changed if name in request.error] or sent.changed
        versions = {name: subscription.known.get(name, "") for name in names}
        self._refused |= {(request.type_url, name, version) for name, version in versions.items()}
        return Nack(request.type_url, versions, request.error)

    def forgive(self) -> None:
        """Try what was refused once more: the reason may have been elsewhere (a file that was not there)."""
        for type_url, name, version in self._refused:
            known = self._subscriptions[type_url].known
            if known.get(name) == version:
                known[name] = ""
        self._refused.clear()

    def respond(self, target: Versions) -> list[DeltaResponse]:
        """What to send now. Call again after every request and whenever `target` changes."""
        self._aim(target)
        responses = []
        for type_url in _ORDER:
            subscription = self._subscriptions[type_url]
            if not subscription.started or subscription.in_flight is not None:
                continue
            if type_url == ROUTES and not self._all_acknowledged():
                continue
            # Listeners and filters name clusters, and endpoints name listeners: each waits for what it names.
            if type_url in (LISTENER, EXTENSION) and self._is_under_way(CLUSTER):
                continue
            changed = self._changed(type_url)
            if type_url == ENDPOINTS and self._is_under_way(LISTENER):
                # Those of a new cluster go out at once: Envoy acknowledges clusters when they are warm.
                changed = [name for name in changed if name in subscription.asked]
            removed = self._removed(type_url)
            if changed or removed:
                responses.append(self._send(type_url, changed, removed))
        return responses

    def is_synced(self, target: Versions) -> bool:
        """This Envoy has everything of `target`, in effect."""
        self._aim(target)
        routes = self._subscriptions[ROUTES]
        return (
            routes.started
            and routes.in_flight is None
            and not self._has_refused()
            and self._all_acknowledged()
            and not self._changed(ROUTES)
        )

    def _aim(self, target: Versions) -> None:
        if target is not self._target:
            self._target = target
            self._wanted = {
                type_url: {name: resource.version for name, resource in target[type_url].items()}
                for type_url in _ORDER
            }

    def _has_refused(self) -> bool:
        return any(self._wanted[type_url].get(name) == v for type_url, name, v in self._refused)

    def _changed(self, type_url: str) -> list[str]:
        """In the target, wanted by this Envoy, and not the version that it was sent last."""
        subscription, wanted = self._subscriptions[type_url], self._wanted[type_url]
        known, names, asked = subscription.known, subscription.names, subscription.asked
        if subscription.wildcard:
            changed = [name for name, v in wanted.items() if known.get(name) != v or name in asked]
        else:
            changed = [
                name
                for name, v in wanted.items()
                if name in names and (known.get(name) != v or name in asked)
            ]
        if self._refused:
            changed = [name for name in changed if (type_url, name, wanted[name]) not in self._refused]
        return changed

    def _removed(self, type_url: str) -> list[str]:
        # A name that is asked for and is not there has to be answered too.
        gone = [name for name in self._subscriptions[type_url].asked if name not in self._wanted[type_url]]
        if type_url in (CLUSTER, LISTENER):
            gone += [name for name in self._removable(type_url) if name not in gone]
        return gone

    def _removable(self, type_url: str) -> list[str]:
        """Gone for good, and nothing that Envoy has rests on it: routes and endpoints go on first, then
        pools are removed, then listeners, then providers. Where a part of the target is refused, Envoy
        goes on with an older one of it, which may name anything."""
        gone = {of: self._subscriptions[of].known.keys() - self._wanted[of] for of in (CLUSTER, LISTENER)}
        if not gone[type_url] or self._has_refused():
            return []
        if not all(self._subscriptions[of].started for of in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)):
            return []  # an Envoy that comes back tells of each type on its own what it has
        if any(self._is_under_way(of) for of in (ENDPOINTS, ROUTES)):
            return []
        if pools := gone[CLUSTER] & self._subscriptions[ENDPOINTS].names:
            return sorted(pools) if type_url == CLUSTER else []
        if self._is_under_way(CLUSTER if type_url == LISTENER else LISTENER):
            return []
        return sorted(gone[type_url]) if type_url == LISTENER or not gone[LISTENER] else []

    def _is_under_way(self, type_url: str) -> bool:
        """Sent and not acknowledged, or still to be sent. (An Envoy that starts asks for listeners when it
        has all clusters with their endpoints, and not before.)"""
        subscription = self._subscriptions[type_url]
        return subscription.in_flight is not None or (subscription.started and bool(self._changed(type_url)))

    def _all_acknowledged(self) -> bool:
        """Everything that routes rest on is sent, ACKed and, as far as xDS can tell, warm."""
        if not all(self._subscriptions[type_url].started for type_url in (CLUSTER, LISTENER)):
            return False
        if any(self._is_under_way(type_url) for type_url in _BEFORE_ROUTES):
            return False
        # A cluster warms when its endpoints are asked for and answered; a listener with its secrets and
        # filters. Envoy acknowledges before it asks. Of those that it refused it asks nothing.
        refused = {
            (type_url, name) for type_url, name, v in self._refused if self._wanted[type_url].get(name) == v
        }
        endpoints = self._subscriptions[ENDPOINTS].names
        if any(n not in endpoints and (CLUSTER, n) not in refused for n in self._wanted[ENDPOINTS]):
            return False
        return any(type_url == LISTENER for type_url, _ in refused) or all(
            self._subscriptions[of].names >= self._wanted[of].keys() for of in (SECRET, EXTENSION)
        )

    def _send(self, type_url: str, changed: Iterable[str], removed: Iterable[str]) -> DeltaResponse:
        subscription, wanted = self._subscriptions[type_url], self._wanted[type_url]
        self._nonce += 1
        response = DeltaResponse(type_url, str(self._nonce), tuple(changed), tuple(removed))
        for name in response.changed:
            subscription.known[name] = wanted[name]
        for name in response.removed:
            subscription.known.pop(name, None)
        subscription.asked.clear()
        subscription.in_flight = response
        return response
