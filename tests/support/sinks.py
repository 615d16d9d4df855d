"""Audit events for sinks, and the sinks of the servers in sink_servers.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import trustme
from modelbroker.audit.sink import Refused, Sent, Sink, SinkAway, SinkSettings
from modelbroker.audit.sinks import open_sink

from .sink_servers import Collector, GrpcReceiver, OtlpReceiver, SimulatedElastic, SimulatedSplunk

AT_MS = 1_790_000_000_123
# What has been seen to break what takes lines of text: quotes, ends of lines of Unicode, what is beyond the
# 16 bits, and control characters.
UNICODE = 'Zoë said: "naïve" \\ 日本 😀 \u2028 \x7f \x01 \r\n'


def event(seq: int, text: str = "", severity: int = 1) -> Sent:
    key = f"01jc{seq:022}"
    line = {"id": key, "seq": seq, "message": text}
    return Sent(seq, key, AT_MS + seq, severity, json.dumps(line, ensure_ascii=False).encode())


def events(first: int, count: int, text: str = "") -> list[Sent]:
    return [event(seq, text) for seq in range(first, first + count)]


def ids(batch: Sequence[Sent]) -> list[str]:
    return [one.id for one in batch]


def sink(
    kind: str, options: dict[str, str], secrets: dict[str, str] | None = None, form: str = "ocsf"
) -> Sink:
    return open_sink(SinkSettings(name="siem", kind=kind, form=form, options=options, secrets=secrets or {}))


def until_taken(target: Sink, batch: Sequence[Sent], tries: int = 50) -> tuple[int, ...]:
    """As the follower does it: the same events, until they are taken. Gives the indexes that were refused."""
    for _ in range(tries):
        try:
            target.send(batch)
        except SinkAway:
            continue
        except Refused as refused:
            return refused.indexes
        return ()
    raise AssertionError(f"not taken in {tries} tries")


class Kind(NamedTuple):
    """One that is spoken to by HTTP or gRPC: its server, its sink, and what a wrong credential is."""

    server: Callable[..., Any]
    make: Callable[..., Sink]

    def sink(self, server: Any, *, secret: str = "", **options: str) -> Sink:
        return self.make(server, secret, options)


def _splunk(server: SimulatedSplunk, secret: str, options: dict[str, str]) -> Sink:
    return sink("splunk", {"address": server.url, **options}, {"token": secret or server.token})


def _splunk_with_acks(server: SimulatedSplunk, secret: str, options: dict[str, str]) -> Sink:
    server.acks = {} if server.acks is None else server.acks
    return _splunk(server, secret, {"ack": "true", **options})


def _elastic(server: SimulatedElastic, secret: str, options: dict[str, str]) -> Sink:
    options = {"address": server.url, "index": "logs-audit-default", **options}
    return sink("elastic", options, {"api_key": secret or server.api_key})


def _http(server: Collector, secret: str, options: dict[str, str]) -> Sink:
    server.needs = {"authorization": "Bearer good"}
    return sink("http", {"address": server.url, **options}, {"header.authorization": secret or "Bearer good"})


def _http_array(server: Collector, secret: str, options: dict[str, str]) -> Sink:
    return _http(server, secret, {"batch": "array", "gzip": "true", **options})


def _otlp(server: OtlpReceiver, secret: str, options: dict[str, str]) -> Sink:
    server.needs = {"api-key": "good"}
    return sink("otlp", {"address": server.url, **options}, {"header.api-key": secret or "good"})


def _otlp_grpc(server: GrpcReceiver, secret: str, options: dict[str, str]) -> Sink:
    return _otlp(server, secret, {"protocol": "grpc", **options})  # type: ignore[arg-type]


KINDS = {
    "splunk": Kind(SimulatedSplunk, _splunk),
    "splunk with acks": Kind(SimulatedSplunk, _splunk_with_acks),
    "elastic": Kind(SimulatedElastic, _elastic),
    "http": Kind(Collector, _http),
    "http array": Kind(Collector, _http_array),
    "otlp": Kind(OtlpReceiver, _otlp),
    "otlp grpc": Kind(GrpcReceiver, _otlp_grpc),
}


class Authority(NamedTuple):
    """As files: its own certificate, and (certificate, key) of `localhost`, of another name and of a client
    called `broker`."""

    ca: str
    localhost: tuple[str, str]
    elsewhere: tuple[str, str]
    client: tuple[str, str]


def new_authority(folder: Path) -> Authority:
    ca = trustme.CA()

    def issued(name: str) -> tuple[str, str]:
        made = ca.issue_cert(name)
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        made.private_key_pem.write_to_path(str(key))
        for blob in made.cert_chain_pems:
            blob.write_to_path(str(cert), append=True)
        return str(cert), str(key)

    path = folder / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return Authority(str(path), issued("localhost"), issued("elsewhere.test"), issued("broker"))
