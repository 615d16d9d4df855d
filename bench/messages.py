"""Messages as Envoy sends them to ext_proc, and a transport that leads nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from modelbroker.envoyapi import EnvoyApi


class NoWire:
    """A transport that forgets what it is to send."""

    def send(self, message: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        pass


class Envoys:
    """Serialized ProcessingRequests."""

    def __init__(self, envoy: EnvoyApi) -> None:
        self._request = envoy.message_class("envoy.service.ext_proc.v3.ProcessingRequest")

    def headers(self, kind: str, headers: Iterable[tuple[str, str]]) -> bytes:
        message = self._request()
        for name, value in headers:
            getattr(message, kind).headers.headers.add(key=name, raw_value=value.encode())
        serialized: bytes = message.SerializeToString()
        return serialized

    def body(self, body: bytes, kind: str = "request_body", *, ends: bool = True) -> bytes:
        message = self._request()
        getattr(message, kind).body = body
        getattr(message, kind).end_of_stream = ends
        serialized: bytes = message.SerializeToString()
        return serialized
