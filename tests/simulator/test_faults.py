"""Every fault, seen through a real socket."""

import gzip
import json
import socket
import time
import zlib

import httpx
import pytest

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
CLAUDE = {"model": "c", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}


def payload(data: bytes) -> bytes:
    """The body of a raw chunked answer, as far as it came."""
    _, _, rest = data.partition(b"\r\n\r\n")
    out = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        out, rest = out + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return out


def outcome(served):
    entry = served.journal()[-1]
    return entry["outcome"], entry["fault"]


def test_reset_on_accept(serve, raw, chat):
    served = serve("faults: [{reset: on-accept, first: 1}]")
    assert raw(served, CHAT, chat()) == (b"", "rst")
    assert raw(served, CHAT, chat(), {"connection": "close"})[1] == "fin"
    entries = served.journal()
    assert [e["outcome"] for e in entries] == ["reset-on-accept", "ok"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["before-headers", "after-headers", "mid-stream", "mid-body"])
def test_reset(serve, raw, chat, where, stream):
    served = serve(f"faults: [{{reset: {where}, after_events: 2}}]")
    if where.startswith("mid") and not stream:
        served.script(f"faults: [{{reset: {where}}}]")
    data, end = raw(served, CHAT, chat(stream=stream))
    assert end == "rst"
    if where == "before-headers":
        assert data == b""
    elif where == "after-headers":
        assert data.startswith(b"HTTP/1.1 200 OK\r\n") and data.endswith(b"\r\n\r\n")
    elif stream:
        assert payload(data).count(b"data: ") == 2
    else:
        assert 0 < len(data.partition(b"\r\n\r\n")[2]) < 400
    assert outcome(served) == (f"reset-{where}",) * 2


def test_cut_of_a_stream(serve, raw):
    served = serve("faults: [{cut: end, after_events: 3}]")
    data, _ = raw(served, MESSAGES, {**CLAUDE, "stream": True}, {"connection": "close"})
    assert data.endswith(b"\r\n0\r\n\r\n") and payload(data).count(b"event: ") == 3
    served.script("faults: [{cut: close, after_events: 3}]")
    data, end = raw(served, MESSAGES, {**CLAUDE, "stream": True})
    assert end == "fin" and not data.endswith(b"0\r\n\r\n") and payload(data).count(b"event: ") == 3
    served.script("faults: [{cut: close, after_events: 0, pings: 2}]")
    data, end = raw(served, MESSAGES, {**CLAUDE, "stream": True})
    assert end == "fin" and payload(data) == b'event: ping\ndata: {"type": "ping"}\n\n' * 2
    assert outcome(served) == ("cut-close+pings",) * 2


def test_cut_of_a_whole_answer(serve, raw, chat):
    served = serve("faults: [{cut: end}]")
    data, _ = raw(served, CHAT, chat(), {"connection": "close"})
    assert data.endswith(b"0\r\n\r\n")
    with pytest.raises(ValueError):
        json.loads(payload(data))
    served.script("faults: [{cut: close}]")
    head, _, body = raw(served, CHAT, chat())[0].partition(b"\r\n\r\n")
    promised = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert len(body) == promised // 2


@pytest.mark.parametrize("where", ["before-headers", "after-headers", "mid-stream"])
def test_stall_until_the_client_goes(serve, raw, chat, where):
    served = serve(f"faults: [{{stall: {where}, after_events: 2}}]")
    data, end = raw(served, CHAT, chat(stream=True), quiet_s=0.4)
    assert end == "silence"
    if where == "mid-stream":
        assert payload(data).count(b"data: ") == 2
    else:
        assert bool(data) == (where == "after-headers")
    entry = served.journal()[-1]
    assert (entry["outcome"], entry["fault"]) == ("client-gone", f"stall-{where}")
    assert 300 < entry["aborted_after_ms"] < 9000


def test_client_gone_is_noticed_while_delayed_or_slow(serve, raw, chat):
    for fault in ("delay_headers_ms: 60000", "delay_first_event_ms: 60000", "token_delay_ms: 60000"):
        served = serve(f"faults: [{{{fault}}}]")
        assert raw(served, CHAT, chat(stream=True), quiet_s=0.2)[1] == "silence"
        assert outcome(served)[0] == "client-gone"


def test_delays(serve, chat):
    served = serve("faults: [{delay_headers_ms: 120}]")
    with httpx.Client(base_url=served.url, headers={"authorization": "k"}) as client:
        began = time.monotonic()
        with client.stream("POST", CHAT, json=chat()):
            assert time.monotonic() - began >= 0.12
        served.script("faults: [{delay_first_event_ms: 150, pings: 2}]")
        began = time.monotonic()
        text = client.post(CHAT, json=chat(stream=True)).text
        assert time.monotonic() - began >= 0.15
        assert text.startswith(": ping\n\n: ping\n\ndata: ")
        served.script("faults: [{token_delay_ms: 20}]")
        began = time.monotonic()
        count = client.post(CHAT, json=chat(stream=True)).text.count("data: ")
        assert time.monotonic() - began >= 0.02 * (count - 1)
        assert outcome(served) == ("slow", "slow")
        served.script("faults: [{delay_first_event_ms: 600000}]")
        with client.stream("POST", CHAT, json=chat(stream=True), timeout=60) as answer:
            assert answer.status_code == 200  # the headers wait for no event


def test_garbage(serve, raw, chat):
    served = serve("faults: [{garbage: body}]")
    with httpx.Client(base_url=served.url, headers={"authorization": "k"}) as client:
        whole = client.post(CHAT, json=chat())
        assert whole.status_code == 200 and whole.headers["content-type"] == "application/json"
        with pytest.raises(ValueError):
            whole.json()
        streamed = client.post(CHAT, json=chat(stream=True)).content
        assert b"data:" not in streamed and b"no event" in streamed
    served.script("faults: [{garbage: not-http}]")
    data, end = raw(served, CHAT, chat())
    assert end == "fin" and not data.startswith(b"HTTP")


def test_error_event_in_a_whole_answer(serve, chat):
    served = serve("faults: [{error_event: true, error: {message: Boom}}]")
    answer = httpx.post(served.url + CHAT, json=chat(), headers={"authorization": "k"})
    assert answer.status_code == 200 and answer.json()["error"]["message"] == "Boom"


@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_compression(serve, chat, how):
    served = serve(f"faults: [{{compress: {how}}}]")
    unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress}[how]
    with httpx.Client(base_url=served.url, headers={"authorization": "k", "accept-encoding": ""}) as client:
        with client.stream("POST", CHAT, json=chat()) as answer:
            assert answer.headers["content-encoding"] == how
            assert json.loads(unpack(b"".join(answer.iter_raw())))["object"] == "chat.completion"
        with client.stream("POST", CHAT, json=chat(stream=True)) as answer:
            assert unpack(b"".join(answer.iter_raw())).endswith(b"data: [DONE]\n\n")


def test_status_with_own_headers_and_body(serve, chat):
    served = serve("faults: [{status: 503, headers: {Retry-After: soon, x-a: b}, body: {gone: true}}]")
    answer = httpx.post(served.url + CHAT, json=chat(), headers={"authorization": "k"})
    assert answer.json() == {"gone": True}
    assert answer.headers["retry-after"] == "soon" and answer.headers["x-a"] == "b"
    served.script("faults: [{status: 502, body: Bad Gateway, delay_headers_ms: 1, name: lb}]")
    answer = httpx.post(served.url + CHAT, json=chat())
    assert answer.text == "Bad Gateway" and outcome(served) == ("lb", "lb")


def test_when_and_match(serve, chat):
    def statuses(script, count=6, **fields):
        served.script(script)
        return [client.post(CHAT, json=chat(**fields)).status_code for _ in range(count)]

    served = serve()
    with httpx.Client(base_url=served.url, headers={"authorization": "k", "x-who": "me"}) as client:
        assert statuses("faults: [{status: 503, calls: [1, 3]}]", 4) == [503, 200, 503, 200]
        assert statuses("faults: [{status: 503, first: 2}]", 3) == [503, 503, 200]
        drawn = statuses("{seed: 7, faults: [{status: 503, rate: 0.5}]}", 20)
        assert 3 < drawn.count(503) < 17
        assert statuses("{seed: 7, faults: [{status: 503, rate: 0.5}]}", 20) == drawn
        both = "faults: [{status: 503, first: 1}, {status: 429, always: true}]"
        assert statuses(both, 2) == [503, 429]
        for match, hit in {
            "model: 'gpt-*'": True,
            "model: claude": False,
            "surface: openai-chat": True,
            "surface: openai-responses": False,
            "path: '*/completions'": True,
            "contains: Hello": True,
            "contains: Goodbye": False,
            "stream: false": True,
            "stream: true": False,
            "headers: {X-Who: me}": True,
            "headers: {X-Who: you}": False,
        }.items():
            got = statuses(f"faults: [{{match: {{{match}}}, status: 503}}]", 1)
            assert got == [503 if hit else 200], match


def test_header_commands(serve, chat):
    served = serve()
    with httpx.Client(base_url=served.url, headers={"authorization": "k"}) as client:

        def post(**headers):
            return client.post(
                CHAT, json=chat(), headers={k.replace("_", "-"): v for k, v in headers.items()}
            )

        assert post(x_mock_fault="{status: 429, retry_after_s: 1}").status_code == 429
        assert post(x_mock_reply='{"text": "Yes."}').json()["choices"][0]["message"]["content"] == "Yes."
        bad = post(x_mock_fault="{status: high}")
        assert bad.status_code == 400 and "status" in bad.json()["error"]["message"]
        served.script("header_commands: false")
        assert post(x_mock_fault="{status: 429}").status_code == 200


def test_refuse_and_come_back(serve, raw, chat):
    served = serve(control_port=0)
    address = ("127.0.0.1", served.port)
    idle = socket.create_connection(address)
    idle.sendall(b"GET /_mock/health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert idle.recv(1000).startswith(b"HTTP/1.1 200")
    control = f"http://127.0.0.1:{served.simulator.control_port}/script"
    assert httpx.put(control, content="refuse: true").status_code == 200
    assert idle.recv(1000) == b""
    idle.close()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
    assert httpx.put(control, content="{}").status_code == 200
    assert raw(served, CHAT, chat(), {"connection": "close"})[0].startswith(b"HTTP/1.1 200")
    served.script("{refuse: true, refuse_for_s: 0.1}")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection(address).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
    assert time.monotonic() < deadline


BEDROCK, GEMINI = "/model/nova/converse", "/v1beta/models/gemini-2.5-flash"
TEXT = [{"role": "user", "content": [{"text": "Hello"}]}]
PARTS = {"contents": [{"parts": [{"text": "Hello"}]}]}
OTHERS = {
    "bedrock": (BEDROCK, {"messages": TEXT}, b"totalTokens"),
    "bedrock-stream": (f"{BEDROCK}-stream", {"messages": TEXT}, b"messageStop"),
    "gemini": (f"{GEMINI}:generateContent", PARTS, b"usageMetadata"),
    "gemini-stream": (f"{GEMINI}:streamGenerateContent?alt=sse", PARTS, b"finishReason"),
    "gemini-array": (f"{GEMINI}:streamGenerateContent", PARTS, b"finishReason"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("reset: before-headers", "rst"),
        ("reset: after-headers", "rst"),
        ("reset: mid-stream", "rst"),
        ("stall: before-headers", "silence"),
        ("stall: mid-stream", "silence"),
        ("cut: end", "fin"),
        ("cut: close", "fin"),
        ("garbage: body", "fin"),
        ("garbage: not-http", "fin"),
        ("error_event: true", "fin"),
    ],
)
def test_the_other_protocols_fail_alike(serve, raw, name, fault, end):
    path, body, last = OTHERS[name]
    served = serve(f"{{faults: [{{{fault}}}]}}")
    headers = {"x-goog-api-key": "k", "connection": "close"}
    data, ended = raw(served, path, body, headers, quiet_s=0.3 if end == "silence" else 10)
    assert ended == end and last not in data
    wanted = "error-event" if "error" in fault else fault.replace(": ", "-")
    assert outcome(served)[1] == wanted


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_protocols_are_slow_alike(serve, raw, name):
    path, body, last = OTHERS[name]
    served = serve("faults: [{delay_headers_ms: 30, delay_first_event_ms: 30, token_delay_ms: 1, pings: 2}]")
    headers = {"x-goog-api-key": "k", "connection": "close"}
    data, end = raw(served, path, body, headers)
    assert end == "fin" and last in data
    assert outcome(served) == ("delay+slow+pings",) * 2
