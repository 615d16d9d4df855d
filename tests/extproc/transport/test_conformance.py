"""RFC 9113 and gRPC over HTTP/2, case by case, in frames."""

import asyncio
import struct

import pytest
from modelbroker.extproc import http2_frames as h2
from modelbroker.extproc.http2_frames import Code
from modelbroker.extproc.http2_stream import Limits

PATH = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


def settings(key, value):
    return h2.settings({key: value})


# What ends the connection: bytes after the preface and stream 1 (open), and the code.
FAULTS = {
    "DATA on stream 0": (h2.frame(h2.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    "DATA on an idle stream": (h2.frame(h2.DATA, 0, 99, b"x"), Code.PROTOCOL_ERROR),
    "DATA on a stream of ours": (h2.frame(h2.DATA, 0, 2, b"x"), Code.PROTOCOL_ERROR),
    "DATA of padding only, too much": (h2.frame(h2.DATA, h2.PADDED, 1, b"\x05abc"), Code.PROTOCOL_ERROR),
    "padded DATA without a pad length": (h2.frame(h2.DATA, h2.PADDED, 1), Code.PROTOCOL_ERROR),
    "HEADERS on stream 0": (h2.frame(h2.HEADERS, h2.END_HEADERS, 0, b"\x82"), Code.PROTOCOL_ERROR),
    "HEADERS on an even stream": (h2.frame(h2.HEADERS, h2.END_HEADERS, 4, b"\x82"), Code.PROTOCOL_ERROR),
    "HEADERS with more padding than frame": (
        h2.frame(h2.HEADERS, h2.END_HEADERS | h2.PADDED, 3, b"\x09\x82"),
        Code.PROTOCOL_ERROR,
    ),
    "HEADERS too short for a priority": (
        h2.frame(h2.HEADERS, h2.END_HEADERS | h2.PRIORITY_FLAG, 3, b"\x82"),
        Code.FRAME_SIZE_ERROR,
    ),
    "HPACK garbage": (h2.frame(h2.HEADERS, h2.END_HEADERS, 3, b"\x80"), Code.COMPRESSION_ERROR),
    "HPACK garbage in trailers": (h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff"), Code.COMPRESSION_ERROR),
    "HEADERS without CONTINUATION": (
        h2.frame(h2.HEADERS, 0, 3, b"\x82") + h2.frame(h2.DATA, 0, 1, b""),
        Code.PROTOCOL_ERROR,
    ),
    "an unknown frame inside a block": (
        h2.frame(h2.HEADERS, 0, 3, b"\x82") + h2.frame(0x77, 0, 3),
        Code.PROTOCOL_ERROR,
    ),
    "CONTINUATION of another stream": (
        h2.frame(h2.HEADERS, 0, 3, b"\x82") + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 5, b"\x84"),
        Code.PROTOCOL_ERROR,
    ),
    "CONTINUATION of nothing": (h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, b""), Code.PROTOCOL_ERROR),
    "CONTINUATION without end": (
        h2.frame(h2.HEADERS, 0, 3) + h2.frame(h2.CONTINUATION, 0, 3) * 100,
        Code.ENHANCE_YOUR_CALM,
    ),
    "a block without end": (
        h2.frame(h2.HEADERS, 0, 3) + h2.frame(h2.CONTINUATION, 0, 3, b"x" * 200_000) * 2,
        Code.ENHANCE_YOUR_CALM,
    ),
    "one huge block": (h2.frame(h2.HEADERS, h2.END_HEADERS, 3, b"x" * 400_000), Code.ENHANCE_YOUR_CALM),
    "PRIORITY on stream 0": (h2.frame(h2.PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    "PRIORITY too long, no stream": (h2.frame(h2.PRIORITY, 0, 9, bytes(6)), Code.FRAME_SIZE_ERROR),
    "RST_STREAM on stream 0": (h2.frame(h2.RST_STREAM, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (h2.frame(h2.RST_STREAM, 0, 9, bytes(4)), Code.PROTOCOL_ERROR),
    "RST_STREAM too short": (h2.frame(h2.RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (h2.frame(h2.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "SETTINGS of odd size": (h2.frame(h2.SETTINGS, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "SETTINGS ACK with payload": (h2.frame(h2.SETTINGS, h2.ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "a window too large": (settings(h2.INITIAL_WINDOW_SIZE, 1 << 31), Code.FLOW_CONTROL_ERROR),
    "frames too small": (settings(h2.MAX_FRAME_SIZE, 16_383), Code.PROTOCOL_ERROR),
    "frames too large": (settings(h2.MAX_FRAME_SIZE, 1 << 24), Code.PROTOCOL_ERROR),
    "ENABLE_PUSH 2": (settings(h2.ENABLE_PUSH, 2), Code.PROTOCOL_ERROR),
    "a stream's window grown too large by SETTINGS": (
        h2.window_update(1, h2.LARGEST_WINDOW - h2.DEFAULT_WINDOW)
        + settings(h2.INITIAL_WINDOW_SIZE, h2.DEFAULT_WINDOW + 1),
        Code.FLOW_CONTROL_ERROR,
    ),
    "PUSH_PROMISE": (h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "PING on a stream": (h2.frame(h2.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "PING too long": (h2.frame(h2.PING, 0, 0, bytes(9)), Code.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (h2.frame(h2.GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "GOAWAY too short": (h2.frame(h2.GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE too short": (h2.frame(h2.WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE by 0": (h2.window_update(0, 0), Code.PROTOCOL_ERROR),
    "WINDOW_UPDATE too large": (h2.window_update(0, h2.LARGEST_WINDOW), Code.FLOW_CONTROL_ERROR),
    "WINDOW_UPDATE on an idle stream": (h2.window_update(9, 1), Code.PROTOCOL_ERROR),
    "a frame too large": (h2.HEAD.pack(0x1000, 1, 0x77, 0, 0), Code.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_connection_error_is_answered_and_ends_it(tools, case):
    said, code = FAULTS[case]

    async def run():
        peer = tools.Peer()
        _, headers = peer.open()
        peer.say(headers, drop=True)
        peer.connection.data_received(said)
        assert peer.gone() is code
        assert peer.say(tools.data(1, tools.message(b"more"))) == []  # nothing is taken any more
        assert peer.opener.streams[0].received == []
        assert peer.opener.errors == []

    tools.drive(run)


# What the stream gets: frames on the open stream 1, and the code of its reset.
STREAM_FAULTS = {
    "WINDOW_UPDATE by 0": (h2.window_update(1, 0), Code.PROTOCOL_ERROR),
    "WINDOW_UPDATE too large": (h2.window_update(1, h2.LARGEST_WINDOW), Code.FLOW_CONTROL_ERROR),
    "PRIORITY of four bytes": (h2.frame(h2.PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    "trailers without END_STREAM": (h2.frame(h2.HEADERS, 4, 1, b"\x00\x01a\x01b"), Code.PROTOCOL_ERROR),
    "trailers with pseudo-headers": (h2.frame(h2.HEADERS, 5, 1, b"\x82"), Code.PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("case", STREAM_FAULTS)
def test_a_stream_error_resets_that_stream_alone(tools, case):
    said, code = STREAM_FAULTS[case]

    async def run():
        peer = tools.Peer()
        (_, first), (other, second) = peer.open(), peer.open()
        peer.say(first, second, drop=True)
        frames = peer.say(said, tools.data(1, tools.message(b"a")), tools.data(other, tools.message(b"b")))
        assert [f.payload for f in frames if f.kind == h2.RST_STREAM] == [code.to_bytes(4, "big")]
        assert peer.answers(frames, other)[0] == [b"b"]
        assert peer.opener.streams[0].received == []

    tools.drive(run)


# Header fields that no request may have, each in a block of its own.
MALFORMED = {
    "upper case": [("X-Upper", "1")],
    "a name with a space": [("x y", "1")],
    "an empty name": [("", "1")],
    "connection": [("connection", "close")],
    "te: gzip": [("te", "gzip")],
    "a line break": [("x", "a\nb")],
    "a NUL": [("x", "a\0b")],
    "leading space": [("x", " a")],
    "unknown pseudo-header": [(":protocol", "x")],
    "pseudo-header late": [("x", "1"), (":authority", "x")],
    "pseudo-header twice": [(":path", "/")],
}


@pytest.mark.parametrize("case", [*MALFORMED, "no path", "no scheme", "no method"])
def test_a_malformed_request_is_reset(tools, case):
    async def run():
        peer = tools.Peer()
        fields = [f for f in tools.REQUEST.items() if f[0] != ":" + case.removeprefix("no ")]
        pseudo = MALFORMED.get(case, [])
        fields = [*fields[:3], *pseudo, *fields[3:]]
        block = b"".join(
            b"\x00" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields
        )
        for stream in (1, 3):  # the second time from the cache
            frames = peer.say(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, block))
            assert frames == [(h2.RST_STREAM, 0, stream, Code.PROTOCOL_ERROR.to_bytes(4, "big"))]
        stream, headers = 5, peer.headers(5)
        assert peer.answers(peer.say(headers, tools.data(stream, tools.message(b"a"))), stream)[0] == [b"a"]

    tools.drive(run)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    ("extra", "want"),
    [
        ({":path": "/other.Service/Method"}, {":status": "200", "grpc-status": "12"}),
        ({"content-type": "text/plain"}, {":status": "415"}),
        ({"content-type": "application/grpcx"}, {":status": "415"}),
        ({":method": "GET"}, {":status": "405"}),
        ({"x-long": "v" * 70_000}, {":status": "431"}),
        ({"x-refuse": "1"}, {"grpc-status": "3", "grpc-message": "not one of ours: 100 %25 sure"}),
        (
            {"x-bug": "1"},
            {"grpc-status": "13", "grpc-message": "the broker failed on this stream (KeyError)"},
        ),
    ],
)
def test_what_is_not_served_is_refused(tools, extra, want, ended):
    async def run():
        peer = tools.Peer()
        flags = h2.END_HEADERS | (h2.END_STREAM if ended else 0)
        frames = peer.say(peer.headers(1, flags, **extra), b"" if ended else tools.data(1, b"\0\0"))
        messages, trailers, reset = peer.answers(frames, 1)
        assert messages == [] and want.items() <= trailers.items()
        assert reset is (None if ended else Code.NO_ERROR)
        assert len(peer.opener.errors) == ("x-bug" in extra)

    tools.drive(run)


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "application/grpc+proto", "application/grpc;a=b"]
)
def test_grpcs_content_types(tools, content_type):
    async def run():
        peer = tools.Peer()
        headers = peer.headers(1, **{"content-type": content_type})
        assert peer.answers(peer.say(headers, tools.data(1, tools.message(b"a"))), 1)[0] == [b"a"]

    tools.drive(run)


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b"\x01\0\0\0\x01x", "12"),
        (b"\x02\0\0\0\x01x", "13"),
        (struct.pack(">BI", 0, 1001), "8"),
        (struct.pack(">BI", 0, 8) + b"!garbled", "13"),
        (struct.pack(">BI", 0, 4) + b"!bug", "13"),
    ],
)
def test_bad_messages_end_the_stream_with_a_status(tools, payload, status):
    async def run():
        peer = tools.Peer(Limits(message=1000))
        stream, headers = peer.open()
        frames = peer.say(
            headers, tools.data(stream, tools.message(b"good") + payload + tools.message(b"no"))
        )
        messages, trailers, reset = peer.answers(frames, stream)
        assert messages == [b"good"]
        assert trailers["grpc-status"] == status and reset is Code.NO_ERROR
        assert "secret" not in trailers["grpc-message"]
        assert peer.say(tools.data(stream, b"late"), h2.reset(stream, Code.CANCEL)) == []

    tools.drive(run)


def test_the_first_frames(tools):
    async def run():
        peer = tools.Peer(preface=False)
        ours, window = peer.heard()
        assert ours.kind == h2.SETTINGS and not ours.flags & h2.ACK
        values = dict(struct.iter_unpack(">HI", ours.payload))
        assert values[h2.INITIAL_WINDOW_SIZE] == 64 << 20 and values[h2.MAX_FRAME_SIZE] == 1 << 20
        assert int.from_bytes(window.payload, "big") == (1 << 30) - 65_535
        said = h2.PREFACE + settings(h2.INITIAL_WINDOW_SIZE, 1000)
        assert peer.say(said) == [(h2.SETTINGS, h2.ACK, 0, b"")]
        assert peer.say(h2.SETTINGS_ACK) == []

    tools.drive(run)


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n", b"P" * 24, h2.PREFACE[:-1] + b"x", h2.PREFACE + h2.SETTINGS_ACK,
     h2.PREFACE + h2.frame(h2.PING, 0, 0, bytes(8)), b"\0"],
)  # fmt: skip
def test_another_protocol_is_refused(tools, said):
    async def run():
        peer = tools.Peer(preface=False)
        peer.connection.data_received(said)
        assert peer.gone() is Code.PROTOCOL_ERROR

    tools.drive(run)


def test_a_silent_client_is_not_kept(tools):
    async def run():
        for said in (b"", h2.PREFACE[:10], h2.PREFACE):
            peer = tools.Peer(Limits(preface_s=0), preface=False)
            if said:
                peer.connection.data_received(said)
            await wait_until(peer.loop, lambda peer=peer: peer.pipe.aborted)

    tools.drive(run)


async def wait_until(loop, condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - it takes turns of the loop, not time
            await asyncio.sleep(0)


def test_pings_unknown_frames_and_priorities(tools):
    async def run():
        peer = tools.Peer()
        said = h2.frame(0x77, 0xFF, 77, b"anything") + h2.frame(h2.PRIORITY, 0, 9, bytes(5))
        said += h2.frame(h2.PING, 0, 0, b"01234567") + h2.frame(h2.PING, h2.ACK, 0, b"76543210")
        said += h2.frame(h2.GOAWAY, 0, 0, bytes(8)) + settings(0x99, 5)
        frames = peer.say(said)
        assert frames == [(h2.PING, h2.ACK, 0, b"01234567"), (h2.SETTINGS, h2.ACK, 0, b"")]

    tools.drive(run)


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
        await wait_until(peer.loop, lambda: peer.pipe.written)
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
        await wait_until(peer.loop, lambda: peer.pipe.written)
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
        await wait_until(peer.loop, lambda: peer.pipe.written)
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
            assert stream.metadata[":path"] == PATH

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
        await wait_until(peer.loop, lambda: peer.pipe.writes > writes)
        await asyncio.sleep(0)
        assert (peer.pipe.writes, len(turns)) == (writes + 1, 1)
        assert peer.answers(peer.heard(), stream)[0] == [b"x"] * 3

    tools.drive(run)


def test_the_clients_end_after_ours_is_the_last_frame(tools):
    async def run():
        peer = tools.Peer()
        stream, headers = peer.open()
        peer.say(headers, tools.data(stream, tools.message(b"!close")), drop=True)
        assert peer.say(tools.data(stream, b"", h2.END_STREAM)) == []
        heard = peer.say(tools.data(stream, b"x"))
        assert peer.answers(heard, stream)[2] is Code.STREAM_CLOSED

    tools.drive(run)
