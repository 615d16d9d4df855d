"""The chart's pods run as a kubelet runs them: ready when they are, and gone without a failed call."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from modelbroker.cli.up import free_port
from support import charts
from support.broker import KEY, KEY_SHA256, provider
from support.kube_service import Service
from support.kubelet import Pod
from support.simulators import Simulators
from support.waiting import wait_until

SLOWLY = "slowly"
SECRETS = {"llm-keys": {"KEY_OF_PROVIDERS": "sk-provider-secret"}, "agent-key": {"key": KEY}}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        simulators["a"].script(
            faults=[
                {"match": {"contains": SLOWLY}, "token_delay_ms": 150},
                {"match": {"contains": "silence"}, "stall": "mid-stream"},
            ],
            replies=[{"match": {"contains": SLOWLY}, "text": "word " * 100}],
        )
        yield simulators


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the name of a unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="mb-") as name:
        yield Path(name)


def configuration(sims: Simulators, pool: str = "standard-tier") -> str:
    return yaml.safe_dump(
        {
            "providers": [provider("a", sims["a"].port, "openai-chat", "/v1")],
            "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
            "pools": [{"name": pool, "members": [{"provider": "a", "model": "m"}]}],
            "ledger": {"url": "none"},
        }
    )


def values(sims: Simulators, **more: Any) -> dict[str, Any]:
    ports = {name: free_port("127.0.0.1") for name in ("listener", "admin", "envoyAdmin")}
    return {
        "config": {"files": {"modelbroker.yaml": configuration(sims)}},
        "credentials": {"envFrom": ["llm-keys"]},
        "ports": ports,
        "envoy": {"concurrency": 1},
        **more,
    }


def gateway(folder: Path, chosen: Mapping[str, Any], secrets: Mapping[str, Any] = SECRETS) -> Pod:
    manifests = charts.objects(charts.template("gateway", chosen))
    folder.mkdir(exist_ok=True)
    return Pod(folder, charts.workload(manifests)["spec"]["template"]["spec"], charts.data_of(manifests), secrets)


def sdk(port: int) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0, timeout=120)


def ask(client: openai.OpenAI, text: str, *, stream: bool) -> str:
    """One call; the answer's text. Raises what the SDK raises, and where a stream has no end."""
    asked: dict[str, Any] = {"model": "standard-tier", "messages": [{"role": "user", "content": text}]}
    if not stream:
        return client.chat.completions.create(**asked).choices[0].message.content or ""
    said, reasons = "", []
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            said += choice.delta.content or ""
            reasons.append(choice.finish_reason)
    assert reasons[-1] == "stop", "the stream ended early"
    return said


class Callers:
    """Threads that call one after the other, whole and streamed, until the `with` ends."""

    def __init__(self, port: int, count: int) -> None:
        self.failures: list[str] = []
        self.calls = 0
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(count)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        with sdk(self._port) as client:
            while not self._over.wait(0.03):
                number += 1
                try:
                    assert ask(client, "hello", stream=number % 2 == 0)
                except Exception as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                self.calls += 1


class Streams:
    """Slow streams, each in a thread, all under way when the constructor is through."""

    def __init__(self, port: int, sims: Simulators, count: int, text: str = SLOWLY) -> None:
        self.ended: list[str] = []
        self._port, self._text = port, text
        before = len(asked_for(sims, text))
        self._threads = [threading.Thread(target=self._one) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(asked_for(sims, text)) == before + count)

    def _one(self) -> None:
        with sdk(self._port) as client:
            try:
                self.ended.append(ask(client, self._text, stream=True))
            except Exception as error:
                self.ended.append(f"{type(error).__name__}: {error}")

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join(120)
        return self.ended


def asked_for(sims: Simulators, text: str) -> list[dict[str, Any]]:
    return [call for call in sims["a"].calls() if text in json.dumps(call)]


def refuses(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10)
    except httpx.ConnectError:
        return True
    except httpx.HTTPError:
        return False
    return False


def outcomes(pod: Pod) -> list[str]:
    path = pod.folder / "modelbroker-state" / "calls.jsonl"
    return [json.loads(line)["outcome"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_gateway_is_replaced_under_load_without_a_failed_call(sims: Simulators, folder: Path) -> None:
    """As a rolling update does it: another pod is ready, one is deleted, and the nodes hear of it a little later."""
    old, new = values(sims, drain={"callsSeconds": 120}), values(sims)
    old_port, new_port = old["ports"]["listener"], new["ports"]["listener"]
    with gateway(folder / "old", old) as pod, Service(old_port) as service, Callers(service.port, 3) as callers:
        streams = Streams(old_port, sims, 3)
        with gateway(folder / "new", new) as other:
            service.to(old_port, new_port)
            wait_until(lambda: service.made[new_port] > 0, 60)
            end = threading.Thread(target=pod.terminate)
            end.start()
            wait_until(lambda: "envoy's hook begins" in pod.events)
            # The nodes do not know yet: it takes new connections, and closes each behind its call.
            before = service.made[old_port]
            wait_until(lambda: service.made[old_port] >= before + 3)
            service.to(new_port)
            since = callers.calls
            wait_until(lambda: refuses(old_port), 60)
            went_on = len(streams.ended) < 3
            end.join()
            wait_until(lambda: callers.calls > since + 5)
            ended = streams.join()
            callers.__exit__()
            print(f"{callers.calls} calls, {len(callers.failures)} failed; streams went on at the end: {went_on}")
            assert callers.failures == []
            assert [text.split() for text in ended] == [["word"] * 100] * 3
            assert service.refused == {}
            other.terminate()
        assert pod.events[pod.events.index("the pod is deleted") :] == [
            "the pod is deleted",
            "envoy's hook begins",
            "envoy's hook ends",
            "SIGTERM to envoy",
            "envoy has ended",
            "SIGTERM to modelbroker",
            "modelbroker has ended",
        ]
        assert pod.exit_codes == {"envoy": 0, "modelbroker": 0}
        # Each call left its record, those of the streams too, and none is lost.
        records = outcomes(pod) + outcomes(other)
        assert len(records) == callers.calls + 3 and set(records) == {"ok"}
