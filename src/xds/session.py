"""One Envoy's delta-ADS subscription as plain state: requests in, responses out, no I/O.

Source: xDS protocol, "Incremental xDS". The order of a push keeps every call served: what is new goes
out first; routes, which carry the generation that calls are decided by, follow when all of it is
acknowledged; what is no longer needed goes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .snapshot import Versioned, Versions
from .types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

_BEFORE_ROUTES = (SECRET, CLUSTER, ENDPOINTS, LISTENER)
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


@dataclass(frozen=True, slots=True)
class Nack:
    type_url: str
    names: tuple[str, ...]
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

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


class Session:
    def __init__(self) -> None:
        self._subscriptions = {type_url: _Subscription() for type_url in _ORDER}
        self._nonce = 0
        self._refused: set[tuple[str, str, str]] = set()  # (type, name, version) that this Envoy NACKed
        self._sent_routes = ""
        self.acked_routes = ""  # version of the routes that this Envoy has ACKed last

    def receive(self, request: DeltaRequest) -> Nack | None:
        """Take a request; a NACK is told once."""
        subscription = self._subscriptions.get(request.type_url)
        if subscription is None:
            return None
        nack = self._acknowledge(subscription, request)
        if not subscription.started:
            subscription.started = True
            # A first request that names nothing asks for everything (clusters and listeners).
            subscription.wildcard = not request.subscribe or "*" in request.subscribe
            subscription.known.update(request.initial_versions)
        names = set(request.subscribe) - {"*"}
        subscription.names |= names
        subscription.asked |= names  # a name asked for again is answered again
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
            if request.type_url == ROUTES:
                self.acked_routes = self._sent_routes
            return None
        for name in sent.changed:
            self._refused.add((request.type_url, name, subscription.known.get(name, "")))
        return Nack(request.type_url, sent.changed, request.error)

    def respond(self, target: Versions) -> list[DeltaResponse]:
        """What to send now. Call again after every request and whenever `target` changes."""
        responses = []
        for type_url in _ORDER:
            subscription = self._subscriptions[type_url]
            if not subscription.started or subscription.in_flight is not None:
                continue
            if type_url == ROUTES and not self._all_acknowledged(target):
                continue
            changed = self._changed(type_url, subscription, target[type_url])
            removed = self._removed(type_url, subscription, target)
            if changed or removed:
                responses.append(self._send(type_url, subscription, target[type_url], changed, removed))
        return responses

    def is_synced(self, target: Versions) -> bool:
        """This Envoy has everything of `target`, in effect."""
        routes = self._subscriptions[ROUTES]
        return (
            self._all_acknowledged(target)
            and routes.started
            and routes.in_flight is None
            and not self._changed(ROUTES, routes, target[ROUTES])
        )

    def _changed(
        self, type_url: str, subscription: _Subscription, target: Mapping[str, Versioned]
    ) -> list[str]:
        changed = []
        for name in target if subscription.wildcard else subscription.names & target.keys():
            version: str = target[name].version
            if (type_url, name, version) in self._refused:
                continue
            if subscription.known.get(name) != version or name in subscription.asked:
                changed.append(name)
        return changed

    def _removed(self, type_url: str, subscription: _Subscription, target: Versions) -> list[str]:
        """Gone for good, and nothing that Envoy has rests on it any more."""
        if type_url in (CLUSTER, LISTENER):
            settled = (self._subscriptions[ENDPOINTS], self._subscriptions[ROUTES])
            if any(other.in_flight is not None for other in settled) or not self._routes_settled(target):
                return [name for name in subscription.asked if name not in target[type_url]]
            return [name for name in subscription.known if name not in target[type_url]]
        # A name that is asked for and is not there has to be answered too.
        return [name for name in subscription.asked if name not in target[type_url]]

    def _routes_settled(self, target: Versions) -> bool:
        routes, endpoints = self._subscriptions[ROUTES], self._subscriptions[ENDPOINTS]
        return not self._changed(ROUTES, routes, target[ROUTES]) and not self._changed(
            ENDPOINTS, endpoints, target[ENDPOINTS]
        )

    def _all_acknowledged(self, target: Versions) -> bool:
        """Everything that routes rest on is sent, ACKed and, as far as xDS can tell, warm."""
        for type_url in _BEFORE_ROUTES:
            subscription = self._subscriptions[type_url]
            if subscription.in_flight is not None:
                return False
            if subscription.started and self._changed(type_url, subscription, target[type_url]):
                return False
        # A cluster warms when its endpoints are asked for and answered; a listener with its secrets.
        asked_endpoints = self._subscriptions[ENDPOINTS].names
        return all(
            name in asked_endpoints
            for name in target[ENDPOINTS]
            if (CLUSTER, name, target[CLUSTER][name].version) not in self._refused
        )

    def _send(
        self,
        type_url: str,
        subscription: _Subscription,
        target: Mapping[str, Versioned],
        changed: Iterable[str],
        removed: Iterable[str],
    ) -> DeltaResponse:
        self._nonce += 1
        response = DeltaResponse(type_url, str(self._nonce), tuple(changed), tuple(removed))
        for name in response.changed:
            subscription.known[name] = target[name].version
        for name in response.removed:
            subscription.known.pop(name, None)
        subscription.asked.clear()
        subscription.in_flight = response
        if type_url == ROUTES and response.changed:
            self._sent_routes = subscription.known[response.changed[0]]
        return response
