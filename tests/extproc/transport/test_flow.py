"""Flow control and back-pressure, with PyPI's `h2` as the client that keeps count."""

import asyncio

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.extproc import http2_frames as frames
from modelbroker.extproc.http2_stream import Limits


class Client:
    """`h2` on the other end of a Peer's pipe. It raises where we overrun a window or a frame's size."""

    def __init__(self, tools, limits=None, room=None, **values):
        self.tools = tools
        self.peer = tools.Peer(limits, room, preface=False)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.bodies, self.ended, self.unacknowledged = {}, {}, {}
        self.h2.initiate_connection()
        codes = h2.settings.SettingCodes
        self.h2.update_settings({getattr(codes, name): value for name, value in values.items()})
        self.exchange()

    def open(self):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":authority", "x"), *self.tools.REQUEST.items()])
        self.bodies[stream] = bytearray()
        self.unacknowledged[stream] = 0
        return stream

    def exchange(self):
        """Both sides say what they have to, until neither has anything."""
        while True:
            out = self.h2.data_to_send()
            if out:
                self.peer.connection.data_received(out)
            back = bytes(self.peer.pipe.written)
            self.peer.pipe.written.clear()
            if not back and not out:
                return
            for event in self.h2.receive_data(back):
                match event:
                    case h2.events.DataReceived():
                        self.bodies[event.stream_id] += event.data
                        self.unacknowledged[event.stream_id] += event.flow_controlled_length
                    case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                        self.ended[event.stream_id] = dict(event.headers)
                    case h2.events.ConnectionTerminated() | h2.events.StreamReset():
                        raise AssertionError(event)

    def acknowledge(self, stream):
        """Give the window back for all that the stream has brought."""
        size, self.unacknowledged[stream] = self.unacknowledged[stream], 0
        if size and b"grpc-status" not in self.ended[stream]:
            self.h2.acknowledge_received_data(size, stream)
        elif size:
            self.h2.increment_flow_control_window(size)

    def send(self, stream, *messages):
        for message in messages:
            body = self.tools.message(message)
            for at in range(0, len(body), 16_384):
                self.h2.send_data(stream, body[at : at + 16_384])

    def received(self, stream):
        return list(self.tools.unframe(bytes(self.bodies[stream])))


sizes = st.integers(0, 3000)


@settings(max_examples=40)
@given(st.data(), st.integers(0, 5000), st.lists(st.lists(sizes, max_size=6), min_size=1, max_size=4))
def test_any_windows_deliver_everything(tools, data, window, streams):
    async def run():
        client = Client(tools, INITIAL_WINDOW_SIZE=window)
        ids = [client.open() for _ in streams]
        for stream, lengths in zip(ids, streams, strict=True):
            client.send(stream, *(bytes([n % 256]) * n for n in lengths))
            client.h2.end_stream(stream)
        client.exchange()
        for _ in range(5):
            # Smaller windows on the way make those of open streams negative.
            new = data.draw(st.integers(0, 5000))
            client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: new})
            client.exchange()
            client.acknowledge(data.draw(st.sampled_from(ids)))
            client.exchange()
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 60_000})
        client.exchange()
        for _ in range(5):
            for stream in ids:
                client.acknowledge(stream)
            client.exchange()
        for stream, lengths in zip(ids, streams, strict=True):
            assert client.received(stream) == [bytes([n % 256]) * n for n in lengths]
            assert client.ended[stream][b"grpc-status"] == b"0"
        assert client.peer.opener.errors == [] and not client.peer.connection._streams

    tools.drive(run)


def test_the_connections_window_is_shared_fairly(tools):
    async def run():
        client = Client(tools, INITIAL_WINDOW_SIZE=1 << 20)
        ids = [client.open() for _ in range(4)]
        for stream in ids:
            client.send(stream, b"x" * 200_000)
            client.exchange()
        assert sum(len(b) for b in client.bodies.values()) == 65_535
        for _ in range(4):
            client.h2.increment_flow_control_window(65_536)
            client.exchange()
        got = [len(client.bodies[stream]) for stream in ids[1:]]
        assert min(got) > 0 and max(got) - min(got) <= 16_384

    tools.drive(run)


def test_small_messages_use_the_connections_window_up_and_wait(tools):
    async def run():
        client = Client(tools, INITIAL_WINDOW_SIZE=1 << 20)
        stream = client.open()
        client.send(stream, *[bytes(995)] * 100)
        client.exchange()
        assert len(client.bodies[stream]) == 65_535
        client.h2.increment_flow_control_window(1 << 20)
        client.exchange()
        assert client.received(stream) == [bytes(995)] * 100

    tools.drive(run)


def test_small_messages_wait_while_the_transport_is_full(tools):
    async def run():
        peer = tools.Peer(room=5000)
        stream, headers = peer.open()
        small = tools.data(stream, tools.message(b"x" * 1000))
        peer.say(headers, drop=True)
        heard = [frame for _ in range(40) for frame in peer.say(small)]
        assert len(peer.answers(heard, stream)[0]) <= 6
        peer.pipe.room = None
        peer.pipe.relieve()
        await asyncio.sleep(0)
        assert len(peer.answers(heard + peer.heard(), stream)[0]) == 40

    tools.drive(run)


@pytest.mark.parametrize("size", [16_384, 65_536])
def test_frames_are_as_large_as_the_client_takes_them(tools, size):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        grow = frames.settings({frames.MAX_FRAME_SIZE: size, frames.INITIAL_WINDOW_SIZE: 1 << 20})
        peer.say(grow, frames.window_update(0, 1 << 20), headers, drop=True)
        heard = peer.say(tools.data(stream, tools.message(b"x" * 200_000)))
        got = [len(f.payload) for f in heard if f.kind == frames.DATA]
        assert max(got) == size and sum(got) == 200_005

    tools.drive(run)


def test_windows_are_given_back_in_time(tools):
    async def run():
        limits = Limits(stream_window=100_000, connection_window=150_000)
        client = Client(tools, limits, INITIAL_WINDOW_SIZE=1 << 20)
        stream = client.open()
        for _ in range(40):  # h2 raises where the window is used up
            client.send(stream, b"!keep", bytes(30_000))
            client.exchange()
            client.acknowledge(stream)
        assert len(client.peer.opener.streams[0].received) == 80

    tools.drive(run)


@pytest.mark.parametrize("whole", [False, True])
def test_a_client_that_overruns_our_window_is_stopped(tools, whole):
    async def run():
        narrow, wide = 100_000, 1 << 30
        limits = Limits(
            stream_window=wide if whole else narrow, connection_window=narrow if whole else wide, unsent=10
        )
        peer = tools.Peer(limits)
        stream, headers = peer.open()
        peer.say(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), headers, drop=True)
        if whole:
            peer.connection.data_received(tools.data(stream, bytes(100_001)))
            assert peer.gone() is frames.Code.FLOW_CONTROL_ERROR
            return
        # It reads nothing, so it is given no more window.
        heard = peer.say(*(tools.data(stream, tools.message(b"x" * 9_995)) for _ in range(10)))
        assert not [f for f in heard if f.kind == frames.WINDOW_UPDATE]
        heard = peer.say(tools.data(stream, b"x"))
        assert peer.answers(heard, stream)[2] is frames.Code.FLOW_CONTROL_ERROR

    tools.drive(run)


def test_a_window_that_was_withheld_is_given_when_the_client_reads(tools):
    async def run():
        peer = tools.Peer(Limits(stream_window=100_000, unsent=1000))
        stream, headers = peer.open()
        peer.say(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), headers, drop=True)
        heard = peer.say(*(tools.data(stream, tools.message(b"x" * 9_995)) for _ in range(8)))
        assert not [f for f in heard if f.kind == frames.WINDOW_UPDATE]
        heard = peer.say(frames.window_update(stream, 1 << 20))
        updates = [f for f in heard if f.kind == frames.WINDOW_UPDATE]
        assert len(updates) <= 1
        heard += peer.say(frames.window_update(0, 1 << 20))
        updates = [f.payload for f in heard if f.kind == frames.WINDOW_UPDATE]
        assert updates == [(80_000).to_bytes(4, "big")]
        assert len(peer.answers(heard, stream)[0]) == 8

    tools.drive(run)


def test_a_slow_reader_holds_little_in_the_transport(tools):
    async def run():
        peer = tools.Peer(room=100_000)
        stream, headers = peer.open()
        wide = frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 30}) + frames.window_update(0, 1 << 30)
        peer.say(wide, headers, drop=True)
        heard = peer.say(*(tools.data(stream, tools.message(bytes(500_000))) for _ in range(10)))
        while sum(len(f.payload) for f in heard if f.kind == frames.DATA) < 10 * 500_005:
            assert peer.pipe.held < 600_000
            peer.pipe.relieve()
            await asyncio.sleep(0)
            more = peer.heard()
            assert more
            heard += more
        assert [len(m) for m in peer.answers(heard, stream)[0]] == [500_000] * 10

    tools.drive(run)


def test_a_client_that_takes_large_frames_is_no_client_that_only_asks(tools):
    """One frame of all that it may hold would fill the buffer beyond its bound by itself."""

    async def run():
        peer = tools.Peer(Limits(paused_writes=300_000), room=1000)
        stream, headers = peer.open()
        wide = frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 30, frames.MAX_FRAME_SIZE: (1 << 24) - 1})
        peer.say(wide, frames.window_update(0, 1 << 30), headers, drop=True)
        heard = peer.say(*(tools.data(stream, tools.message(bytes(500_000))) for _ in range(10)))
        while sum(len(f.payload) for f in heard if f.kind == frames.DATA) < 10 * 500_005:
            peer.pipe.relieve()
            await asyncio.sleep(0)
            more = peer.heard()
            assert more
            heard += more
        assert [len(m) for m in peer.answers(heard, stream)[0]] == [500_000] * 10
        assert not peer.pipe.aborted

    tools.drive(run)


def test_a_client_that_only_asks_is_cut(tools):
    async def run():
        peer = tools.Peer(Limits(paused_writes=50_000), room=1000)
        pings = frames.frame(frames.PING, 0, 0, bytes(8)) * 100
        for _ in range(100):
            peer.connection.data_received(pings)
        assert peer.pipe.aborted and len(peer.pipe.written) < 60_000

    tools.drive(run)


def test_a_stream_that_waits_is_reset(tools):
    async def run():
        peer = tools.Peer()
        (first, a), (second, b) = peer.open(), peer.open()
        peer.say(a, b, drop=True)
        said = [tools.data(s, tools.message(bytes(60_000))) for s in (first, second)]
        heard = peer.say(*said)
        heard += peer.say(frames.reset(first, frames.Code.CANCEL), frames.window_update(0, 1 << 20))
        assert len(peer.answers(heard, second)[0][0]) == 60_000

    tools.drive(run)
