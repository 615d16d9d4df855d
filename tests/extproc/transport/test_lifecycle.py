"""A stream's and a connection's life: who ends it, how, and what may still come after."""

import asyncio

import pytest
from modelbroker.extproc import http2_frames as h2
from modelbroker.extproc.http2_frames import Code
from modelbroker.extproc.http2_stream import Limits


def settings(key, value):
    return h2.settings({key: value})


def test_half_close_ends_the_stream_with_trailers(tools):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        frames = peer.say(
            headers, tools.data(stream, tools.message(b"a") + tools.message(b"b"), h2.END_STREAM)
        )
        assert peer.answers(frames, stream) == (
            [b"a", b"b"], {":status": "200", "content-type": "application/grpc", "grpc-status": "0"}, None,
        )  # fmt: skip
        assert peer.pipe.writes == 3  # SETTINGS, its ACK, and all of this at once

    tools.drive(run)


@pytest.mark.parametrize("end", ["trailers", "HEADERS", "in a message", "in a prefix"])
def test_other_ends(tools, end):
    async def run():
        peer = tools.Peer()
        if end == "HEADERS":
            frames = peer.say(peer.headers(1, h2.END_HEADERS | h2.END_STREAM))
        elif end == "trailers":
            frames = peer.say(peer.headers(1), h2.frame(h2.HEADERS, 5, 1, b"\x00\x01a\x01b"))
        else:
            cut = tools.message(b"abcdef")[: 7 if end == "in a message" else 3]
            frames = peer.say(peer.headers(1), tools.data(1, cut, h2.END_STREAM))
        messages, trailers, reset = peer.answers(frames, 1)
        assert (messages, reset) == ([], None)
        assert trailers["grpc-status"] == ("13" if end.startswith("in") else "0")
        assert len([f for f in frames if f.stream == 1]) == 1  # Trailers-Only

    tools.drive(run)


def test_the_brokers_side_ends_the_stream_first(tools):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        frames = peer.say(headers, tools.data(stream, tools.message(b"!close") + tools.message(b"x")))
        messages, trailers, reset = peer.answers(frames, stream)
        assert (messages, trailers["grpc-status"], reset) == ([b"last"], "0", Code.NO_ERROR)
        # What was on its way is taken in silence, and so is a reset or an end.
        late = tools.data(stream, b"late") + h2.window_update(stream, 5) + h2.reset(stream, Code.CANCEL)
        assert peer.say(late) == []
        assert peer.opener.streams[0].received == [b"!close"]

    tools.drive(run)


def test_frames_on_closed_streams(tools):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        peer.say(headers, tools.data(stream, b"", h2.END_STREAM), drop=True)
        frames = peer.say(
            tools.data(stream, b"x"), h2.window_update(stream, 1), h2.reset(stream, Code.CANCEL)
        )
        assert frames == [(h2.RST_STREAM, 0, stream, Code.STREAM_CLOSED.to_bytes(4, "big"))]
        peer.connection.data_received(peer.headers(stream))
        assert peer.gone() is Code.STREAM_CLOSED

    tools.drive(run)


@pytest.mark.parametrize("late", ["DATA", "HEADERS"])
def test_frames_after_end_stream_while_answers_wait(tools, late):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        peer.say(settings(h2.INITIAL_WINDOW_SIZE, 0), headers, drop=True)
        peer.say(tools.data(stream, tools.message(b"a"), h2.END_STREAM), drop=True)
        frame = tools.data(stream, b"x") if late == "DATA" else peer.headers(stream)
        assert peer.say(frame) == [(h2.RST_STREAM, 0, stream, Code.STREAM_CLOSED.to_bytes(4, "big"))]
        assert peer.say(h2.window_update(stream, 1000)) == []

    tools.drive(run)


def test_a_reset_stream_hears_nothing_more_and_its_timers_are_still(tools):
    async def run():
        peer = tools.Peer()
        (first, a), (second, b) = peer.open(), peer.open()
        later, bug = tools.message(b"!later"), tools.message(b"!late bug")
        peer.say(a, b, tools.data(first, bug), tools.data(second, later), drop=True)
        peer.say(h2.reset(first, Code.CANCEL), drop=True)
        await tools.wait_until(lambda: peer.pipe.written)
        assert peer.answers(peer.heard(), second)[0] == [b"later"]
        assert peer.say(tools.data(first, tools.message(b"x")))[0].kind == h2.RST_STREAM
        assert peer.opener.streams[0].received == [b"!late bug"] and peer.opener.errors == []
        peer.opener.streams[0].wire.send(b"x")
        peer.opener.streams[0].wire.close()
        peer.opener.streams[0].wire.call_later(0, lambda: 1 / 0)
        assert peer.heard() == []

    tools.drive(run)


def test_a_lost_connection(tools):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        peer.say(headers, tools.data(stream, tools.message(b"!later")), drop=True)
        peer.connection.connection_lost(ConnectionResetError())
        assert peer.lost == [peer.connection]
        wire = peer.opener.streams[0].wire
        wire.send(b"x")
        wire.close()
        wire.call_later(0, lambda: 1 / 0)
        peer.connection.drain()
        assert peer.opener.errors == [] and not wire.is_open

    tools.drive(run)


def test_a_bug_in_a_timer_is_one_streams_error(tools):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        frames = peer.say(headers, tools.data(stream, tools.message(b"!late bug")))
        await tools.wait_until(lambda: peer.pipe.written)
        frames += peer.heard()
        assert peer.answers(frames, stream)[1]["grpc-status"] == "13"
        assert [type(e) for e in peer.opener.errors] == [ZeroDivisionError]

    tools.drive(run)


def test_more_streams_than_announced_are_refused(tools):
    async def run():
        peer = tools.Peer(Limits(streams=2))
        (_, a), (_, b), (third, c) = peer.open(), peer.open(), peer.open()
        frames = peer.say(a, b, c)
        assert peer.answers(frames, third)[2] is Code.REFUSED_STREAM
        peer.say(h2.reset(1, Code.CANCEL), drop=True)
        fourth, d = peer.open()
        assert peer.answers(peer.say(d, tools.data(fourth, tools.message(b"a"))), fourth)[0] == [b"a"]

    tools.drive(run)


def test_draining_announces_then_refuses_then_closes(tools):
    async def run():
        peer = tools.Peer()
        (first, a), (second, b), (third, c) = peer.open(), peer.open(), peer.open()
        peer.say(a, drop=True)
        peer.connection.drain()
        await tools.wait_until(lambda: peer.pipe.written)
        goaway, ping = peer.heard()
        assert goaway.kind == h2.GOAWAY and goaway.payload[:4] == b"\x7f\xff\xff\xff"
        # A stream that was on its way is still served.
        final = peer.say(b, tools.data(second, tools.message(b"b")), pong(ping))
        assert peer.answers(final, second)[0] == [b"b"]
        assert final[-1].kind == h2.GOAWAY and final[-1].payload[:4] == second.to_bytes(4, "big")
        assert peer.answers(peer.say(c), third)[2] is Code.REFUSED_STREAM
        assert not peer.pipe.eof
        peer.say(tools.data(first, b"", h2.END_STREAM), tools.data(second, b"", h2.END_STREAM))
        assert peer.pipe.eof

    tools.drive(run)


def pong(ping):
    return h2.frame(h2.PING, h2.ACK, 0, ping.payload)


def test_metadata_is_text_by_lower_case_name(tools):
    async def run():
        peer = tools.Peer()
        peer.say(peer.headers(1, x_broker_role="outer", x_latin=b"caf\xe9"))
        peer.say(peer.headers(3, x_broker_role="outer", x_latin=b"caf\xe9"))  # from the cache
        for stream in peer.opener.streams:
            assert stream.metadata["x-broker-role"] == "outer"
            assert stream.metadata["x-latin"] == "café"
            assert stream.metadata[":path"] == tools.PATH

    tools.drive(run)


def test_padding_and_continuations_carry_the_same(tools):
    async def run():
        peer = tools.Peer()
        for stream in (1, 3):  # twice: nothing is left over of the first
            block = peer.headers(stream, x_number=str(stream))[h2.HEAD_SIZE :]
            said = h2.frame(h2.HEADERS, h2.PADDED, stream, b"\x04" + block[:2] + bytes(4))
            said += h2.frame(h2.CONTINUATION, 0, stream) + h2.frame(h2.CONTINUATION, 4, stream, block[2:])
            body = tools.message(b"hello")
            said += tools.data(stream, b"\x03" + body[:4] + bytes(3), h2.PADDED)
            said += tools.data(stream, b"\x00" + body[4:], h2.PADDED)
            assert peer.answers(peer.say(said), stream)[0] == [b"hello"]
            assert peer.opener.streams[-1].metadata["x-number"] == str(stream)

    tools.drive(run)


def test_what_a_timer_sends_leaves_with_one_write(tools):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        peer.say(headers, drop=True)
        wire, writes = peer.opener.streams[0].wire, peer.pipe.writes
        for _ in range(3):
            wire.send(b"x")
        wire.close()
        turns = []
        peer.connection._turn, turn = lambda: (turns.append(1), turn()), peer.connection._turn
        await tools.wait_until(lambda: peer.pipe.writes > writes)
        await asyncio.sleep(0)
        assert (peer.pipe.writes, len(turns)) == (writes + 1, 1)
        assert peer.answers(peer.heard(), stream)[0] == [b"x"] * 3

    tools.drive(run)


@pytest.mark.parametrize("together", [False, True])
def test_the_clients_end_after_ours_is_the_last_frame(tools, together):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        peer.say(headers, tools.data(stream, tools.message(b"!close"), int(together)), drop=True)
        if not together:
            assert peer.say(tools.data(stream, b"", h2.END_STREAM)) == []
        heard = peer.say(tools.data(stream, b"x"))
        assert peer.answers(heard, stream)[2] is Code.STREAM_CLOSED

    tools.drive(run)
