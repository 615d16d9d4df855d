"""The real client: Envoy, with ext_proc on requests (outer) and on replies (member)."""

import asyncio
import hashlib
import json
import subprocess
import threading

import httpx
import pytest
from modelbroker.envoyapi import envoy_binary, message_class

HTTP = "type.googleapis.com/envoy.extensions.filters.http."
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
PROTOCOL = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
LARGE = 10 << 20


def listener(folder, name, **ext_proc):
    ext_proc |= {"grpc_service": {"envoy_grpc": {"cluster_name": "broker"}}, "message_timeout": "10s"}
    ext_proc["grpc_service"]["initial_metadata"] = [{"key": "x-broker-role", "value": name}]
    filters = {"ext_proc": ("ext_proc.v3.ExternalProcessor", ext_proc), "router": ("router.v3.Router", {})}
    manager = {
        "@type": HCM,
        "stat_prefix": name,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                }
            ]
        },
        "http_filters": [
            {"name": f"envoy.filters.http.{short}", "typed_config": {"@type": HTTP + kind, **config}}
            for short, (kind, config) in filters.items()
        ],
    }
    return {
        "name": name,
        "per_connection_buffer_limit_bytes": 4 * LARGE,
        "address": {"pipe": {"path": f"{folder}/{name}"}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def cluster(folder, name, options=None):
    endpoint = {"endpoint": {"address": {"pipe": {"path": f"{folder}/{name}"}}}}
    thresholds = {"max_requests": 10_000, "max_pending_requests": 10_000, "max_connections": 10_000}
    made = {
        "name": name,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [thresholds]},
        "per_connection_buffer_limit_bytes": 4 * LARGE,
    }
    if options is not None:
        http2 = {"@type": PROTOCOL, "explicit_http_config": {"http2_protocol_options": options}}
        made["typed_extension_protocol_options"] = {PROTOCOL.rpartition("/")[2]: http2}
    return made


def bootstrap(folder):
    outer = {
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "response_header_mode": "SKIP",
        }
    }
    member = {
        "processing_mode": {
            "request_header_mode": "SKIP",
            "response_header_mode": "SEND",
            "response_body_mode": "STREAMED",
        },
        "send_body_without_waiting_for_header_response": True,
    }
    return {
        "static_resources": {
            "listeners": [listener(folder, "outer", **outer), listener(folder, "member", **member)],
            "clusters": [cluster(folder, "upstream"), cluster(folder, "broker", {})],
        }
    }


class Decider:
    """Outer: numbers the call in the headers, and signs its body. Member: lets go after the first chunk."""

    def __init__(self, metadata, wire):
        self._wire, self._role, self._chunks = wire, metadata["x-broker-role"], 0

    def receive(self, serialized):
        request = message_class("envoy.service.ext_proc.v3.ProcessingRequest").FromString(serialized)
        response = message_class("envoy.service.ext_proc.v3.ProcessingResponse")()
        match request.WhichOneof("request"):
            case "request_headers":
                number = next(h.raw_value for h in request.request_headers.headers.headers if h.key == "x-n")
                mutate(response.request_headers, "x-numbered", number)
            case "request_body":
                digest = hashlib.sha256(request.request_body.body).hexdigest()
                mutate(response.request_body, "x-signed", digest.encode())
            case "response_headers":
                return  # held back
            case "response_body":
                response.response_headers.SetInParent()
                self._wire.send(response.SerializeToString())
                response.response_body.SetInParent()
                self._wire.send(response.SerializeToString())
                self._wire.close()
                return
        self._wire.send(response.SerializeToString())


def mutate(answer, name, value):
    answer.response.header_mutation.set_headers.add(header={"key": name, "raw_value": value})


class Deciders:
    def __init__(self):
        self.errors, self.opened = [], 0

    def __call__(self, metadata, wire):
        self.opened += 1
        return Decider(metadata, wire)


async def upstream(reader, writer):
    """Tells what it got: the headers, and its own digest of the body. `/stream` answers in chunks."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if path == "/stream":
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                for number in range(50):
                    chunk = b"%d," % number * 100
                    writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    await writer.drain()
                    await asyncio.sleep(0)
                writer.write(b"0\r\n\r\n")
                continue
            answer = json.dumps({"headers": headers, "digest": hashlib.sha256(body).hexdigest()}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@pytest.fixture
def envoy(serve, folder):
    served = serve(f"unix:{folder}/broker", opener=Deciders())

    async def listen():
        return await asyncio.start_unix_server(upstream, f"{folder}/upstream", limit=1 << 20)

    listening = served.run(listen())
    command = [envoy_binary(), "--config-yaml", json.dumps(bootstrap(folder)), "--use-dynamic-base-id"]
    process = subprocess.Popen(
        [*command, "--concurrency", "1", "-l", "info"], stderr=subprocess.PIPE, text=True, errors="replace"
    )
    log = []
    for line in process.stderr:
        log.append(line)
        if "starting main dispatch loop" in line:
            break
    else:
        pytest.fail("".join(log[-20:]))
    reader = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
    reader.start()
    yield served
    process.kill()
    process.wait()
    reader.join()
    served.loop.call_soon_threadsafe(listening.close)


def client(folder, listener):
    transport = httpx.AsyncHTTPTransport(uds=f"{folder}/{listener}", limits=httpx.Limits(max_connections=16))
    return httpx.AsyncClient(transport=transport, base_url="http://outer", timeout=30)


def test_five_hundred_requests(envoy, folder):
    sizes = [LARGE if n % 100 == 50 else n * 37 for n in range(500)]

    async def one(http, number, size):
        body = bytes([number % 256]) * size
        reply = await http.post("/call", headers={"x-n": str(number)}, content=body)
        got = reply.raise_for_status().json()
        digest = hashlib.sha256(body).hexdigest()
        assert got["digest"] == digest
        assert got["headers"]["x-numbered"] == str(number)
        assert size == 0 or got["headers"]["x-signed"] == digest

    async def run():
        async with client(folder, "outer") as http:
            await asyncio.gather(*(one(http, n, size) for n, size in enumerate(sizes)))

    asyncio.run(run())
    assert envoy.opener.errors == [] and envoy.opener.opened == 500


def test_replies_go_on_when_the_broker_has_left(envoy, folder):
    want = b"".join(b"%d," % number * 100 for number in range(50))

    async def one(http):
        reply = await http.get("/stream")
        assert reply.status_code == 200 and reply.content == want

    async def run():
        async with client(folder, "member") as http:
            await asyncio.gather(*(one(http) for _ in range(100)))

    asyncio.run(run())
    assert envoy.opener.errors == [] and envoy.opener.opened == 100

    async def left():
        return [len(connection._streams) for connection in envoy.server._connections]

    assert sum(envoy.run(left())) == 0
