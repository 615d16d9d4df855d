"""The delta-ADS service: sessions over gRPC, one Envoy a stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from prometheus_client import Counter, Gauge

from ..envoyapi import AnyMessage, EnvoyApi
from .session import DeltaRequest, DeltaResponse, Session
from .snapshot import Snapshot, Versioned, encode
from .store import Store

log = logging.getLogger("modelbroker.xds")

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_PUSHES = Counter("modelbroker_xds_pushes", "Delta responses sent to Envoys", ["type"])
_ACKS = Counter("modelbroker_xds_acks", "Delta responses that Envoys took", ["type"])
_NACKS = Counter("modelbroker_xds_nacks", "Delta responses that Envoys refused", ["type"])
_ENVOYS = Gauge("modelbroker_xds_envoys", "Envoys connected to this control plane")


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
        self._wakers: dict[Session, asyncio.Event] = {}
        self._nodes: dict[Session, str] = {}
        self._encoded: dict[tuple[str, str], bytes] = {}

    @property
    def store(self) -> Store:
        return self._store

    def publish(self, snapshot: Snapshot) -> None:
        self._store.publish(snapshot, time.monotonic())
        self._forget_encodings()
        self._wake()

    def expire(self) -> None:
        """Let old generations go; to be called now and then."""
        if self._store.expire(time.monotonic()):
            self._wake()

    def nodes(self) -> list[dict[str, Any]]:
        """Each connected Envoy: its node id and whether it has all of the current configuration."""
        target = self._store.target
        return [
            {"node": node, "synced": target is not None and session.is_synced(target)}
            for session, node in self._nodes.items()
        ]

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
        session, waker = Session(), asyncio.Event()
        self._wakers[session] = waker
        self._nodes[session] = ""
        _ENVOYS.inc()
        reader = asyncio.create_task(self._read(session, requests, waker))
        try:
            while not reader.done():
                await waker.wait()
                waker.clear()
                if (target := self._store.target) is None:
                    continue
                for response in session.respond(target):
                    _PUSHES.labels(_short(response.type_url)).inc()
                    yield self._message(response, target[response.type_url])
        finally:
            reader.cancel()
            del self._wakers[session], self._nodes[session]
            _ENVOYS.dec()

    async def _read(
        self, session: Session, requests: AsyncIterator[AnyMessage], waker: asyncio.Event
    ) -> None:
        try:
            async for message in requests:
                if message.node.id:
                    self._nodes[session] = message.node.id
                self._take(session, _request_of(message))
                waker.set()
        finally:
            waker.set()

    def _take(self, session: Session, request: DeltaRequest) -> None:
        nack = session.receive(request)
        if nack is not None:
            _NACKS.labels(_short(nack.type_url)).inc()
            good = self._store.refused(self._nodes[session], nack, time.monotonic())
            self._on_refused(f"Envoy refused {', '.join(nack.names)}: {nack.error}", good)
            self._wake()
            return
        if request.nonce:
            _ACKS.labels(_short(request.type_url)).inc()
        if self._store.accepted(session) and (current := self._store.current) is not None:
            self._on_accepted(current)

    def _message(self, response: DeltaResponse, target: dict[str, Versioned] | Any) -> AnyMessage:
        message = self._api.message_class("envoy.service.discovery.v3.DeltaDiscoveryResponse")()
        message.type_url, message.nonce = response.type_url, response.nonce
        message.removed_resources.extend(response.removed)
        for name in response.changed:
            resource = target[name]
            entry = message.resources.add(name=name, version=resource.version)
            entry.resource.type_url = response.type_url
            entry.resource.value = self._encode(response.type_url, resource)
        return message

    def _encode(self, type_url: str, resource: Versioned) -> bytes:
        key = (type_url, resource.version)
        if (serialized := self._encoded.get(key)) is None:
            serialized = self._encoded[key] = encode(self._api, type_url, resource)
        return serialized

    def _forget_encodings(self) -> None:
        target = self._store.target or {}
        live = {(type_url, r.version) for type_url, named in target.items() for r in named.values()}
        self._encoded = {key: value for key, value in self._encoded.items() if key in live}

    def _wake(self) -> None:
        for waker in self._wakers.values():
            waker.set()


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
