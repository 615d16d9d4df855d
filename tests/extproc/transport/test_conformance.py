"""RFC 9113 and gRPC over HTTP/2, case by case, in frames."""

import struct

import pytest
from modelbroker.extproc import http2_frames as h2
from modelbroker.extproc.http2_frames import Code
from modelbroker.extproc.http2_stream import Limits


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
            await tools.wait_until(lambda peer=peer: peer.pipe.aborted)

    tools.drive(run)


def test_pings_unknown_frames_and_priorities(tools):
    async def run():
        peer = tools.Peer()
        said = h2.frame(0x77, 0xFF, 77, b"anything") + h2.frame(h2.PRIORITY, 0, 9, bytes(5))
        said += h2.frame(h2.PING, 0, 0, b"01234567") + h2.frame(h2.PING, h2.ACK, 0, b"76543210")
        said += h2.frame(h2.GOAWAY, 0, 0, bytes(8)) + settings(0x99, 5)
        frames = peer.say(said)
        assert frames == [(h2.PING, h2.ACK, 0, b"01234567"), (h2.SETTINGS, h2.ACK, 0, b"")]

    tools.drive(run)
