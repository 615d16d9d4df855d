"""ext_proc over grpc.aio: the transport by the book, kept beside the faster one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from .wire import Opener

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"


class _Queue:
    """The wire of one stream: messages wait here until grpc.aio takes them. None ends the stream."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.ended = False

    def send(self, message: bytes) -> None:
        self.queue.put_nowait(message)

    def close(self) -> None:
        self.queue.put_nowait(None)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, lambda: None if self.ended else callback())


def handler(open_stream: Opener) -> grpc.GenericRpcHandler[Any, Any]:
    """The ExternalProcessor service; messages stay bytes."""

    async def process(
        requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        wire = _Queue()
        metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        stream = open_stream(metadata, wire)

        async def read() -> None:
            try:
                async for message in requests:
                    stream.receive(message)
            finally:
                wire.close()

        reader = asyncio.create_task(read())
        try:
            while (message := await wire.queue.get()) is not None:
                yield message
        finally:
            wire.ended = True
            reader.cancel()

    method = grpc.stream_stream_rpc_method_handler(process)
    return grpc.method_handlers_generic_handler(SERVICE, {"Process": method})
