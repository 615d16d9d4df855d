"""HTTP itself, the journal, the control surface."""

import asyncio
import base64
import hashlib
import json
import socket
import ssl
import time

import httpx
import pytest
import trustme
from modelbroker.simulator import Simulator, parse_script

CHAT = "/openai/v1/chat/completions"
KEY = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}


def read_answer(sock):
    """One content-length answer from a raw socket: head, body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < size:
        body += sock.recv(65536)
    return head, body[:size], body[size:]


def test_journal(serve, chat):
    served = serve("journal: {body_bytes: 60}")
    body = json.dumps(chat()).encode()
    with httpx.Client(base_url=served.url, headers={**KEY, "X-Odd-Case": "Yes"}) as client:
        client.post(CHAT + "?a=b", content=body)
        client.post(CHAT, content=b"\xff\x00")
        entries = client.get("/journal").json()
        assert [e["n"] for e in entries] == [1, 2]
        first, second = entries
        assert (first["method"], first["path"]) == ("POST", CHAT + "?a=b")
        assert ["X-Odd-Case", "Yes"] in first["headers"]
        assert first["body"] == body[:60].decode() and first["body_truncated"]
        assert first["body_bytes"] == len(body)
        assert first["body_sha256"] == hashlib.sha256(body).hexdigest()
        assert (first["surface"], first["model"], first["stream"]) == ("openai-chat", "gpt-5", False)
        assert first["outcome"] == "ok" and first["status"] == 200 and first["fault"] is None
        assert time.time() - 10 < first["time"] <= first["end"] <= time.time()
        assert base64.b64decode(second["body_base64"]) == b"\xff\x00"
        assert second["outcome"] == "error" and second["status"] == 400
        assert [e["n"] for e in client.get("/_mock/journal?since=1").json()] == [2]
        assert client.get("/journal?since=x").status_code == 400
        assert client.delete("/journal").status_code == 200
        client.post(CHAT, content=body)
        assert [e["n"] for e in client.get("/journal").json()] == [3]


def test_journal_is_bounded(serve, chat):
    served = serve("journal: {entries: 3, total_body_bytes: 250}")
    with httpx.Client(base_url=served.url, headers=KEY) as client:
        for _ in range(5):
            client.post(CHAT, json=chat("x" * 60))
        entries = client.get("/journal").json()
    assert [e["n"] for e in entries] == [3, 4, 5]
    assert [e["body"] is None for e in entries] == [True, False, False]
    assert all(e["body_bytes"] > 100 for e in entries)


def test_script_over_http(serve, chat):
    served = serve("faults: [{status: 503}]")
    with httpx.Client(base_url=served.url, headers=KEY) as client:
        bad = client.put("/script", content="faults: [{statsu: 503}]")
        assert bad.status_code == 400
        assert "faults[0].statsu: unknown field; did you mean status?" in bad.text
        assert client.get("/script").json() == {"faults": [{"status": 503}]}
        assert client.post(CHAT, json=chat()).status_code == 503
        assert client.put("/_mock/script", content=b'{"replies": [{"text": "Hi."}]}').status_code == 200
        assert client.post(CHAT, json=chat()).json()["choices"][0]["message"]["content"] == "Hi."
        assert client.post("/script").status_code == 405
        assert client.get("/_mock/nothing").status_code == 404


def test_what_real_providers_refuse(serve, chat):
    served = serve()
    with httpx.Client(base_url=served.url) as client:
        assert client.post(CHAT, json=chat()).status_code == 401
        assert client.post("/v1/messages", json={}).json()["error"]["type"] == "authentication_error"
        client.headers.update({"authorization": "Bearer k"})
        claude = {"model": "c", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        assert "anthropic-version" in client.post("/v1/messages", json=claude).text
        client.headers.update(KEY)
        assert client.post("/v1/messages", json=claude).status_code == 200
        for path, body in {
            CHAT: {"model": "m"},
            "/v1/chat/completions": {"messages": [1]},
            "/v1/embeddings": {"model": "m"},
            "/v1/messages": {"model": "m", "messages": [1]},
            "/v1/responses": [],
        }.items():
            assert client.post(path, json=body).status_code == 400, path
        assert client.post("/v1/nothing", json={}).status_code == 404
        served.script("{require_key: false, require_version: false}")
        assert httpx.post(served.url + "/v1/messages", json=claude).status_code == 200
    only = serve(dialect="anthropic-messages")
    assert httpx.post(only.url + CHAT, json=chat(), headers=KEY).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": "text", "tools": "none", "tool_choice": {"function": "f"}, "n": "x"},
        {"model": 3, "messages": [[], 1, None]},
        {"model": "m", "messages": [{"content": {"text": [1, None]}}], "tools": [1, {"function": 2}]},
        {
            "model": "m",
            "input": {"a": 1},
            "messages": [1],
            "text": 4,
            "response_format": {"type": "json_schema"},
        },
        {"model": "m", "input": [None, [1, "a"]], "messages": [{}], "max_tokens": True, "stream_options": 1},
    ],
)
def test_odd_requests_are_answered(serve, body):
    served = serve()
    with httpx.Client(base_url=served.url, headers=KEY) as client:
        for path in (CHAT, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings"):
            for stream in (False, True):
                answer = client.post(path, json={**body, "stream": stream})
                assert answer.status_code in (200, 400), (path, answer.text)
        lone = b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}'
        assert client.post(CHAT, content=lone).status_code == 200


def test_large_chunked_and_continued_bodies(serve, chat):
    served = serve()
    big = json.dumps(chat("x" * (64 * 1024 * 1024))).encode()
    # Were its time quadratic, it would take hours.
    answer = httpx.post(served.url + CHAT, content=big, headers=KEY, timeout=120)
    assert answer.json()["usage"]["prompt_tokens"] == 16 * 1024 * 1024
    pieces = iter([b'{"model":"m","messages":', b'[{"role":"user","content":"x"}]}'])
    assert httpx.post(served.url + CHAT, content=pieces, headers=KEY).status_code == 200
    entry = served.journal()[0]
    assert entry["body_bytes"] == len(big) and len(entry["body"]) == 65536
    assert entry["body_sha256"] == hashlib.sha256(big).hexdigest()
    body = json.dumps(chat()).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as sock:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: k\r\nexpect: 100-continue\r\n"
        sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode())
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_answer(sock)[0].startswith(b"HTTP/1.1 200 OK")


def test_keep_alive_pipelining_and_bad_requests(serve, chat):
    served = serve()
    body = json.dumps(chat()).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: k\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as sock:
        sock.sendall((head.encode() + body) * 3)
        got = b""
        while got.count(b'"chat.completion"') < 3:
            got += sock.recv(65536)
        sock.sendall(b"nonsense\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 400")
        assert sock.recv(1) == b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as sock:
        old = head.replace("HTTP/1.1", "HTTP/1.0").encode() + json.dumps({**chat(), "stream": 1}).encode()
        sock.sendall(old[: len(head) + len(body)])
        while data := sock.recv(65536):
            got += data
    ids = {piece.split(b'"')[0] for piece in got.split(b'"id":"chatcmpl-')[1:]}
    assert len(ids) >= 3


def test_client_gone_before_its_body_was_sent(serve):
    served = serve()
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        sock.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nabc".encode())
    deadline = time.monotonic() + 5
    while not served.journal() and time.monotonic() < deadline:
        time.sleep(0.005)
    entry = served.journal()[0]
    assert (entry["outcome"], entry["body"]) == ("client-gone", "abc")


def test_tls(serve, chat):
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    served = serve("faults: [{reset: mid-stream, match: {stream: true}}]", ssl=server)
    assert served.url.startswith("https://")
    with httpx.Client(base_url=served.url, headers=KEY, verify=client) as http:
        assert http.post(CHAT, json=chat()).status_code == 200
        with pytest.raises(httpx.TransportError):
            http.post(CHAT, json=chat(stream=True))


def test_many_simulators_and_connections_in_one_loop(chat):
    body = json.dumps(chat(stream=True)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: k\r\nconnection: close\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    async def one(simulator):
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(request)
        data = await reader.read()
        writer.close()
        return data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")

    async def main():
        async with Simulator(name="a") as a, Simulator(name="b", script=parse_script("seed: 1")) as b:
            assert a.port != b.port
            results = await asyncio.gather(*(one(a if n % 2 else b) for n in range(300)))
            assert all(results)
            assert len(a.journal) == len(b.journal) == 150
            idle = await asyncio.open_connection("127.0.0.1", a.port)
        assert await idle[0].read() == b""  # close() ended it
        idle[1].close()

    asyncio.run(main())


def test_each_event_leaves_by_itself(chat):
    async def main():
        async with Simulator(script=parse_script("replies: [{text: one two three}]")) as simulator:
            _, writer = streams = await asyncio.open_connection("127.0.0.1", simulator.port)
            body = json.dumps(chat(stream=True)).encode()
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: k\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            sizes = []
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                piece = await streams[0].read(65536)
                sizes.append(len(piece))
                data += piece
            writer.close()
            assert len(sizes) >= 4

    asyncio.run(main())
