"""The same product as containers: the official Envoy image, our image, as docker-compose.yml has them.

Runs where a container engine answers; elsewhere it says why it was skipped, and
tests/house/test_deployment.py holds the files' contents.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

docker = pytest.importorskip("docker")

ROOT = Path(__file__).parents[2]
KEY = "mb-demo-key"


@pytest.fixture(scope="module")
def engine() -> Any:
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no container engine answers here: {error}")
    return client


class Compose:
    """docker-compose.yml's services, started by the engine's API."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        self._label = f"modelbroker-test-{time.time_ns()}"
        self._containers: list[Any] = []
        self.url = ""

    def __enter__(self) -> Compose:
        services = self._file["services"]
        self._engine.images.build(path=str(ROOT), tag=services["broker"]["image"], rm=True)
        self._network = self._engine.networks.create(self._label)
        self._volumes = {
            name: self._engine.volumes.create(f"{self._label}-{name}") for name in self._file["volumes"]
        }
        for name in ("simulator", "broker", "envoy"):
            self._containers.append(self._run(name, services[name]))
        envoy = self._containers[-1]
        envoy.reload()
        (binding,) = envoy.attrs["NetworkSettings"]["Ports"]["8080/tcp"][:1]
        self.url = f"http://127.0.0.1:{binding['HostPort']}"
        return self

    def _run(self, name: str, service: dict[str, Any]) -> Any:
        container = self._engine.containers.create(
            service["image"],
            service["command"],
            name=f"{self._label}-{name}",
            volumes=[self._volume(text) for text in service.get("volumes", [])],
            ports={"8080/tcp": ("127.0.0.1", None)} if name == "envoy" else {},
        )
        self._network.connect(container, aliases=[name])
        container.start()
        return container

    def _volume(self, text: str) -> str:
        source, rest = text.split(":", 1)
        if source.startswith("./"):
            return f"{ROOT / source}:{rest}"
        return f"{self._volumes[source].name}:{rest}"

    def logs(self) -> str:
        return "\n".join(container.logs().decode() for container in self._containers)

    def __exit__(self, *_: object) -> None:
        for container in self._containers:
            container.remove(force=True, v=True)
        self._network.remove()
        for volume in self._volumes.values():
            volume.remove(force=True)


@pytest.fixture(scope="module")
def compose(engine: Any) -> Iterator[Compose]:
    with Compose(engine) as running:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{running.url}/healthz", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        else:
            raise AssertionError(f"the containers did not get ready\n{running.logs()}")
        yield running


@pytest.mark.timeout(900)
def test_an_sdk_call_whole_and_streamed(compose: Compose) -> None:
    client = openai.OpenAI(base_url=f"{compose.url}/v1", api_key=KEY, max_retries=0)
    question: list[Any] = [{"role": "user", "content": "hello"}]
    whole = client.chat.completions.create(model="reasoning-tier", messages=question)
    stream = client.chat.completions.create(model="reasoning-tier", messages=question, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == whole.choices[0].message.content


@pytest.mark.timeout(900)
def test_replies_say_where_they_come_from(compose: Compose) -> None:
    body = {"model": "reasoning-tier", "messages": []}
    reply = httpx.post(
        f"{compose.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
    )
    assert re.fullmatch(r"[0-9a-f]{12}", reply.headers["x-broker-revision"])
    assert reply.headers["x-broker-pool"] == "reasoning-tier"


@pytest.mark.timeout(900)
def test_without_a_key_there_is_no_call(compose: Compose) -> None:
    reply = httpx.post(f"{compose.url}/v1/messages", json={})
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "missing_api_key"
