"""All kinds of sinks at once, each away for a while under load, over kills and a restart: every event arrives
at each of them, in order, and no call fails."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from modelbroker.audit.chain import read
from modelbroker.audit.store import segments
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.figures import enlarged, figure
from support.kills import child_of_control
from support.load import load
from support.rsyslog import Rsyslog
from support.shown import everything_shown
from support.simulators import Simulators
from support.sink_servers import Collector, GrpcReceiver, OtlpReceiver, SimulatedElastic, SimulatedSplunk
from support.sinks import Authority, new_authority
from support.waiting import wait_until

FOLLOWER = "modelbroker.audit.follow"
POOLS = [("chat", "openai-chat")]


class Siem:
    """A server of every kind. `ids[name]()`: what it got, in order."""

    def __init__(self, folder: Path, authority: Authority, opened: ExitStack) -> None:
        cert = authority.localhost
        self.authority, self.folder = authority, folder
        self.splunk = SimulatedSplunk(cert=cert)
        self.splunk.acks = {}
        self.elastic = SimulatedElastic(cert=cert)
        self.any = Collector(cert=cert)
        self.otlp = OtlpReceiver(cert=cert)
        self.grpc = GrpcReceiver(cert=(Path(cert[1]).read_bytes(), Path(cert[0]).read_bytes()))
        self.servers: list[Any] = [self.splunk, self.elastic, self.any, self.otlp, self.grpc]
        for server in self.servers:
            opened.callback(server.stop)
        (folder / "rsyslog").mkdir()
        self.rsyslog = Rsyslog(folder / "rsyslog", (*cert, authority.ca), client_name="broker")
        opened.callback(self.rsyslog.kill)
        self.disk = folder / "audit.jsonl"
        self.out: list[str] = []
        self.ids: dict[str, Callable[[], list[str]]] = {
            "splunk": lambda: self.splunk.ids,
            "elastic": lambda: self.elastic.ids,
            "any": lambda: self.any.ids,
            "otel": lambda: self.otlp.ids,
            "otel-grpc": lambda: self.grpc.ids,
            "siem": self.rsyslog.ids,
            "disk": lambda: _uids(self.disk.read_text().splitlines()),
            "out": lambda: _uids(self.out),
        }

    def sinks(self) -> list[dict[str, Any]]:
        trust = {"ca_file": self.authority.ca}
        cert, key = self.authority.client
        elastic = {"index": "logs-mb-default", "api_key": {"env": "ELASTIC_KEY"}, **trust}
        address = f"tls://localhost:{self.rsyslog.port}"
        return [
            {"name": "disk", "file": {"path": str(self.disk)}},
            {"name": "out", "stdout": True},
            {"name": "siem", "syslog": {"address": address, "cert_file": cert, "key_file": key, **trust}},
            {
                "name": "splunk",
                "splunk": {"address": self.splunk.url, "token": {"env": "HEC"}, "ack": True, **trust},
            },
            {"name": "elastic", "elastic": {"address": self.elastic.url, **elastic}},
            {
                "name": "any",
                "http": {"address": self.any.url, "headers": {"authorization": {"env": "AUTH"}}, **trust},
            },
            {"name": "otel", "otlp": {"address": self.otlp.url, **trust}},
            {"name": "otel-grpc", "otlp": {"address": self.grpc.url, "protocol": "grpc", **trust}},
        ]

    def read_output(self, broker: Broker) -> None:
        """From now on, what it says on standard output."""
        assert broker.process is not None and broker.process.stdout is not None
        out = broker.process.stdout
        self.out += broker.events
        broker.events.clear()
        threading.Thread(target=lambda: self.out.extend(out), daemon=True).start()


def _uids(lines: list[str]) -> list[str]:
    return [json.loads(line)["metadata"]["uid"] for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        yield simulators


@pytest.fixture
def siem(tmp_path: Path) -> Iterator[Siem]:
    with ExitStack() as opened:
        (tmp_path / "siem").mkdir()
        yield Siem(tmp_path / "siem", new_authority(tmp_path / "siem"), opened)


def test_outages_of_all_sinks_lose_nothing(sims: Simulators, siem: Siem, tmp_path: Path) -> None:
    config = {
        "providers": [provider("a", sims["a"].port, "openai-chat", BASES["openai-chat"])],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "Zoë 日本"}],
        "pools": [{"name": "chat", "ejection": "off", "members": [{"provider": "a", "model": "m"}]}],
        "audit": {"sinks": siem.sinks()},
    }
    secrets = {"HEC": siem.splunk.token, "ELASTIC_KEY": siem.elastic.api_key, "AUTH": "Bearer any-secret"}
    siem.any.needs = {"authorization": secrets["AUTH"]}
    broker = Broker(tmp_path, config, environ=secrets)
    with broker:
        siem.read_output(broker)
        asyncio.run(_outages(broker, siem))
        broker.wait_for(_is_sent)
        wait_until(lambda: set(_chain(broker)) <= set(siem.rsyslog.ids()), 60)
        told = siem.rsyslog.ids()
        figure("syslog, before the broker's own restart", repeated=len(told) - len(set(told)))
        shown = everything_shown(broker)
        for secret in secrets.values():
            assert [place for place, text in shown.items() if secret in text] == []
    with broker:  # what its end wrote goes out with the next start
        siem.read_output(broker)
        chain = _chain(broker)
        broker.wait_for(_is_sent)
        for name, ids in siem.ids.items():
            wait_until(lambda ids=ids: set(chain) <= set(ids()), 60)
            told = list(ids())
            lost = len(set(chain) - set(told))
            figure(f"sink {name}", events=len(chain), lost=lost, repeated=len(told) - len(set(told)))
            assert list(dict.fromkeys(ids()))[: len(chain)] == chain, name
    assert broker.log().count("is away, events wait in the chain") >= 6


async def _outages(broker: Broker, siem: Siem) -> None:
    async with load(broker.url, POOLS, workers=6) as under_way:
        await under_way.reach(40)
        siem.rsyslog.freeze()  # its kernel takes what it will never read
        await under_way.reach(under_way.calls + enlarged(40))
        os.kill(child_of_control(broker, FOLLOWER), signal.SIGKILL)  # what it knew of that is gone too
        siem.rsyslog.kill()
        for server in siem.servers:
            server.stop()
        await asyncio.to_thread(broker.wait_for, lambda s: len(_away(s)) == 6)
        await asyncio.to_thread(siem.rsyslog.start)
        await asyncio.to_thread(broker.wait_for, lambda s: len(_away(s)) == 5)
        os.kill(child_of_control(broker, FOLLOWER), signal.SIGKILL)
        await under_way.reach(under_way.calls + enlarged(40))
        for server in siem.servers:
            server.start()
        await under_way.reach(under_way.calls + enlarged(40))
    assert under_way.bad == []


def _away(status: dict[str, Any]) -> list[str]:
    return [one["name"] for one in status["audit"]["sinks"] if one["state"] == "away"]


def _is_sent(status: dict[str, Any]) -> bool:
    sinks = status["audit"]["sinks"]
    return len(sinks) == 8 and all(one["state"] == "sending" and not one["behind"] for one in sinks)


def _chain(broker: Broker) -> list[str]:
    files = [path for _, path in segments(broker.folder / "state" / "audit")]
    return [read(raw[:-1]).event.id for path in files for raw in path.open("rb") if raw.endswith(b"\n")]
