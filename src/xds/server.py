"""The delta-ADS service: sessions over gRPC, one Envoy a stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from prometheus_client import Counter, Gauge

from ..envoyapi import AnyMessage, EnvoyApi
from .overlay import ShareOf
from .session import DeltaRequest, DeltaResponse, Session
from .snapshot import Snapshot, Versioned
from .store import Plan, Store
from .types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET

log = logging.getLogger("modelbroker.xds")

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_PUSHES = Counter("modelbroker_xds_pushes", "Delta responses sent to Envoys", ["type"])
_ACKS = Counter("modelbroker_xds_acks", "Delta responses that Envoys took", ["type"])
_NACKS = Counter("modelbroker_xds_nacks", "Delta responses that Envoys refused", ["type"])
_ENVOYS = Gauge("modelbroker_xds_envoys", "Envoys connected to this control plane")
for _each in (CLUSTER, ENDPOINTS, LISTENER, ROUTES, EXTENSION, SECRET):
    for _counter in (_PUSHES, _ACKS, _NACKS):
        _counter.labels(_each.rpartition(".")[2])  # from 0 on: Prometheus sees the first one as a change


# More protobufs than these are made in a thread: one takes about 0.3 ms.
_ENCODED_AT_ONCE = 4
_EXPIRE_S = 30


@dataclass(eq=False, slots=True)
class _Envoy:
    """A connected Envoy. `synced`: it has all of the current configuration."""

    node: str = ""
    synced: bool = False
    waker: asyncio.Event = field(default_factory=asyncio.Event)


class XdsServer:
    """Holds what Envoys are to have and brings each of them there.

    `on_accepted(generation)` is called when an Envoy serves a generation for the first time,
    `on_refused(error)` when one refuses a part of it.
    """

    def __init__(
        self,
        api: EnvoyApi,
        on_accepted: Callable[[Snapshot], None],
        on_refused: Callable[[str, Snapshot | None], None],
    ) -> None:
        self._api = api
        self._store = Store()
        self._on_accepted = on_accepted
        self._on_refused = on_refused
        self._envoys: dict[Session, _Envoy] = {}

    @property
    def store(self) -> Store:
        return self._store

    async def plan(self, snapshot: Snapshot) -> Plan:
        """How `snapshot` would be published; worked out beside the event loop."""
        return await asyncio.to_thread(self._store.plan, snapshot, time.monotonic())

    def publish(self, plan: Plan, *, proven: bool = False) -> None:
        """Make it what every Envoy is to have. `proven`: one had it in full before."""
        self._store.commit(plan, proven=proven)
        for session in self._envoys:
            session.forgive()
        self._published()

    async def run(self) -> None:
        """Let old generations go, now and then."""
        while True:
            await asyncio.sleep(_EXPIRE_S)
            await self.expire()

    async def expire(self) -> None:
        if plan := await asyncio.to_thread(self._store.expired, time.monotonic()):
            self._store.commit(plan)
            self._published()

    def set_health(self, notable: Collection[str], share_of: ShareOf) -> None:
        """Members' health, for the endpoints of every pool; `store.set_health`. It is no other configuration:
        an Envoy that has all of that goes on having it."""
        if self._store.set_health(notable, share_of):
            for envoy in self._envoys.values():
                envoy.waker.set()

    def _published(self) -> None:
        for envoy in self._envoys.values():
            envoy.synced = False
            envoy.waker.set()

    def nodes(self) -> list[dict[str, Any]]:
        """Each connected Envoy: its node id and whether it has all of the current configuration.

        May be called from any thread.
        """
        return [{"node": envoy.node, "synced": envoy.synced} for envoy in list(self._envoys.values())]

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        request = self._api.message_class("envoy.service.discovery.v3.DeltaDiscoveryRequest")
        response = self._api.message_class("envoy.service.discovery.v3.DeltaDiscoveryResponse")
        method = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"DeltaAggregatedResources": method})

    async def _stream(
        self, requests: AsyncIterator[AnyMessage], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[AnyMessage]:
        session, envoy = Session(), _Envoy()
        self._envoys[session] = envoy
        _ENVOYS.inc()
        reader = asyncio.create_task(self._read(session, envoy, requests))
        try:
            while not reader.done():
                await envoy.waker.wait()
                envoy.waker.clear()
                if (target := self._store.target) is None:
                    continue
                responses = session.respond(target)
                if any(response.type_url == ROUTES for response in responses):
                    self._store.routed()
                for response in responses:
                    _PUSHES.labels(_short(response.type_url)).inc()
                    log.debug("to %s: %s", envoy.node, response.summary)
                    yield await self._message(response, target[response.type_url])
                self._judge(session, envoy)
        finally:
            reader.cancel()
            del self._envoys[session]
            _ENVOYS.dec()

    async def _read(self, session: Session, envoy: _Envoy, requests: AsyncIterator[AnyMessage]) -> None:
        try:
            async for message in requests:
                envoy.node = message.node.id or envoy.node
                self._take(session, envoy, _request_of(message))
                envoy.waker.set()
        finally:
            envoy.waker.set()

    def _take(self, session: Session, envoy: _Envoy, request: DeltaRequest) -> None:
        if nack := session.receive(request):
            envoy.synced = False
            _NACKS.labels(_short(nack.type_url)).inc()
            error = f"Envoy refused {', '.join(nack.versions)}: {nack.error}"
            if not self._store.concerns(nack):
                log.warning("%s (of a configuration that was replaced already)", error)
                return
            good = self._store.refused(envoy.node, nack, time.monotonic())
            self._on_refused(error, good)
            if good is not None:
                self._published()
        elif request.nonce:
            _ACKS.labels(_short(request.type_url)).inc()
            log.debug("%s acknowledged %s %s", envoy.node, _short(request.type_url), request.nonce)

    def _judge(self, session: Session, envoy: _Envoy) -> None:
        """Note whether this Envoy has everything now."""
        target, current = self._store.target, self._store.current
        if target is None or not session.is_synced(target):
            return  # `_published` and `_take` note what it has no longer
        envoy.synced = True
        if current is not None and self._store.accepted():
            self._on_accepted(current)

    async def _message(self, response: DeltaResponse, target: Mapping[str, Versioned]) -> AnyMessage:
        """Large ones are made beside the event loop, which has calls to serve."""
        missing = sum(not target[name].is_encoded for name in response.changed)
        if missing > _ENCODED_AT_ONCE:
            return await asyncio.to_thread(self._encode, response, target)
        return self._encode(response, target)

    def _encode(self, response: DeltaResponse, target: Mapping[str, Versioned]) -> AnyMessage:
        message = self._api.message_class("envoy.service.discovery.v3.DeltaDiscoveryResponse")()
        message.type_url, message.nonce = response.type_url, response.nonce
        message.removed_resources.extend(response.removed)
        for name in response.changed:
            resource = target[name]
            entry = message.resources.add(name=name, version=resource.version)
            entry.resource.type_url = response.type_url
            entry.resource.value = resource.encoded(self._api, response.type_url)
        return message


def _request_of(message: AnyMessage) -> DeltaRequest:
    return DeltaRequest(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else "",
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
    )


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
