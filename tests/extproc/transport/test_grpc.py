"""The official gRPC client finds nothing amiss."""

import asyncio
import queue

import grpc
import pytest
import uvloop
from modelbroker.extproc.http2_stream import Limits

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Call:
    """One call: messages go in by `send`, come out by `next`."""

    def __init__(self, channel, path, metadata=(), timeout=20):
        self._requests = queue.SimpleQueue()
        process = channel.stream_stream(path)
        self.call = process(iter(self._requests.get, None), metadata=metadata, timeout=timeout)

    def send(self, *messages):
        for message in messages:
            self._requests.put(message)

    def end(self):
        self._requests.put(None)

    def status(self):
        try:
            assert list(self.call) == []
        except grpc.RpcError as error:
            assert error is self.call
        return self.call.code(), self.call.details()


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def call(request, serve, folder, tools):
    """Opens calls on one channel, over a Unix socket with uvloop and TCP with asyncio."""
    unix = request.param is uvloop.new_event_loop
    served = serve(f"unix:{folder}/s" if unix else "127.0.0.1:0", factory=request.param)
    with grpc.insecure_channel(served.address, OPTIONS) as channel:

        def open_call(path=tools.PATH, **options):
            return Call(channel, path, **options)

        open_call.served = served
        yield open_call


def test_many_messages_come_back_in_order(call):
    echo = call()
    messages = [b"%d" % n * (n % 50) for n in range(2000)]
    echo.send(*messages)
    echo.end()
    assert list(echo.call) == messages
    assert echo.call.code() is grpc.StatusCode.OK


def test_to_and_fro(call):
    echo = call()
    for message in (b"one", b"", b"three"):
        echo.send(message)
        assert next(echo.call) == message
    echo.send(b"!later")
    assert next(echo.call) == b"later"
    echo.send(b"!at once twice")
    assert next(echo.call) == b"later"
    echo.end()
    assert echo.status()[0] is grpc.StatusCode.OK


def test_large_messages_both_ways(call):
    echo = call()
    large = bytes(range(256)) * (30 << 12)  # 30 MiB
    echo.send(large, b"small", large)
    echo.end()
    assert list(echo.call) == [large, b"small", large]


def test_metadata(call):
    echo = call(metadata=[("x-broker-role", "outer"), ("x-two", "a"), ("x-two", "b")])
    echo.send(b"!metadata")
    metadata = next(echo.call).decode()
    assert "('x-broker-role', 'outer')" in metadata and "('x-two', 'a,b')" in metadata


def test_each_stream_has_its_own_status(call):
    cases = [
        (b"!garbled", grpc.StatusCode.INTERNAL),
        (b"!bug", grpc.StatusCode.INTERNAL),
        (b"!late bug", grpc.StatusCode.INTERNAL),
    ]
    beside = call()
    for message, want in cases:
        failing = call()
        failing.send(message)
        code, details = failing.status()
        assert code is want and "secret" not in details
    refused = call(metadata=[("x-refuse", "1")])
    assert refused.status() == (grpc.StatusCode.INVALID_ARGUMENT, "not one of ours: 100 % sure")
    assert call(path="/other/Method").status()[0] is grpc.StatusCode.UNIMPLEMENTED
    beside.send(b"still here")
    assert next(beside.call) == b"still here"


def test_the_server_ends_a_stream(call):
    echo = call()
    echo.send(b"!close")
    assert list(echo.call) == [b"last"]
    assert echo.call.code() is grpc.StatusCode.OK


def test_a_cancelled_call_leaves_nothing(call):
    connections = call.served.server._connections
    calls = [call() for _ in range(50)]
    for one in calls:
        one.send(b"a")
        assert next(one.call) == b"a"
    for one in calls:
        one.call.cancel()
    beside = call()
    beside.send(b"b")
    assert next(beside.call) == b"b"  # its frames came after the resets
    beside.end()
    assert beside.status()[0] is grpc.StatusCode.OK

    async def left():
        return [len(connection._streams) for connection in connections]

    assert sum(call.served.run(left())) == 0
    assert not any(stream.wire.is_open for stream in call.served.opener.streams)


def test_a_message_above_the_limit(serve, tools):
    served = serve(limits=Limits(message=1000))
    with grpc.insecure_channel(served.address, OPTIONS) as channel:
        echo = Call(channel, tools.PATH)
        echo.send(bytes(1000), bytes(1001))
        assert len(next(echo.call)) == 1000
        assert echo.status()[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_message(serve, tools):
    served = serve()
    with grpc.insecure_channel(served.address, compression=grpc.Compression.Gzip) as channel:
        echo = Call(channel, tools.PATH)
        echo.send(b"a" * 10_000)
        assert echo.status()[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_thousand_streams_at_once(serve, tools):
    served = serve()

    async def one(process, number, all_open):
        call = process(metadata=[("x-number", str(number))])
        await call.write(b"%d" % number)
        assert await call.read() == b"%d" % number
        await all_open.wait()  # nobody ends before everybody is open
        await call.write(bytes(5000))
        await call.done_writing()
        assert await call.read() == bytes(5000)
        assert await call.read() is grpc.aio.EOF
        return await call.code()

    async def run():
        async with grpc.aio.insecure_channel(served.address) as channel:
            process = channel.stream_stream(tools.PATH)
            barrier = asyncio.Barrier(1000)
            codes = await asyncio.gather(*(one(process, n, barrier) for n in range(1000)))
        assert set(codes) == {grpc.StatusCode.OK}

    asyncio.run(run())
    assert served.opener.errors == []


def test_close_lets_streams_end(serve, tools):
    served = serve()
    with grpc.insecure_channel(served.address) as channel:
        echo = Call(channel, tools.PATH)
        echo.send(b"a")
        assert next(echo.call) == b"a"
        closing = asyncio.run_coroutine_threadsafe(served.server.close(10), served.loop)
        served.run(asyncio.sleep(0))  # by now it has begun
        # A new connection finds nobody. (The old one would still take a call that was sent before its client
        # could know.)
        with grpc.insecure_channel(served.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
            refused = Call(other, tools.PATH)
            assert refused.status()[0] is grpc.StatusCode.UNAVAILABLE
        echo.send(b"b")
        assert next(echo.call) == b"b"
        assert not closing.done()
        echo.end()
        assert echo.status()[0] is grpc.StatusCode.OK
        closing.result(5)


def test_close_cuts_what_does_not_end(serve, tools):
    served = serve()
    with grpc.insecure_channel(served.address) as channel:
        echo = Call(channel, tools.PATH)
        echo.send(b"a")
        assert next(echo.call) == b"a"
        served.run(served.server.close(0.01))
        assert echo.status()[0] is grpc.StatusCode.UNAVAILABLE
