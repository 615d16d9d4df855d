"""The chart's pods run as a kubelet runs them: ready when they are, and gone without a failed call."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import openai
import psycopg
import pytest
import trustme
import yaml
from support import charts
from support.broker import KEY, KEY_SHA256, provider
from support.certificates import ClientAuthority
from support.figures import enlarged, figure
from support.kube_service import Service
from support.kubelet import Pod
from support.ports import claimed_port
from support.servers import Postgres
from support.simulators import Simulators
from support.waiting import wait_until

# Starting a pod is most of a test, on a machine that is busy.
pytestmark = pytest.mark.timeout(400)

SLOWLY = "slowly"
SECRETS = {"llm-keys": {"KEY_OF_PROVIDERS": "sk-provider-secret"}, "agent-key": {"key": KEY}}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        simulators["a"].script(
            faults=[
                {"match": {"contains": SLOWLY}, "token_delay_ms": 250},
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
    ports = {name: claimed_port() for name in ("listener", "admin", "envoyAdmin")}
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
    return Pod(
        folder, charts.workload(manifests)["spec"]["template"]["spec"], charts.data_of(manifests), secrets
    )


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
    """As a rolling update does it: another pod is ready, one is deleted, and the nodes hear of it later."""
    old, new = values(sims, drain={"endpointsSeconds": 20, "callsSeconds": 120}), values(sims)
    old_port, new_port = old["ports"]["listener"], new["ports"]["listener"]
    with (
        gateway(folder / "old", old) as pod,
        Service(old_port) as service,
        Callers(service.port, 3) as callers,
    ):
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
            wait_until(lambda: callers.calls > since + enlarged(5), 120)
            ended = streams.join()
            callers.__exit__()
            told = {"calls": callers.calls, "failed": len(callers.failures), "outlived_its_door": went_on}
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
        figure("a pod is replaced", **told, streams=3, records=len(records))
        assert len(records) == callers.calls + 3 and set(records) == {"ok"}


def test_the_hook_waits_for_calls_and_not_for_ever(sims: Simulators, folder: Path) -> None:
    """A call that never ends holds the pod until the time for calls is over, or its client leaves."""
    for calls_s, leaves in ((120, True), (1, False)):
        drain = {"endpointsSeconds": 0, "callsSeconds": calls_s}
        chosen = values(sims, drain=drain)
        port = chosen["ports"]["listener"]
        with gateway(folder / str(calls_s), chosen) as pod, httpx.Client(timeout=120) as client:
            body = {
                "model": "standard-tier",
                "stream": True,
                "messages": [{"role": "user", "content": "silence"}],
            }
            url, headers = f"http://127.0.0.1:{port}/v1/chat/completions", {"authorization": f"Bearer {KEY}"}
            with client.stream("POST", url, json=body, headers=headers) as reply:
                next(reply.iter_raw())
                end = threading.Thread(target=pod.terminate)
                end.start()
                wait_until(lambda port=port: refuses(port), 60)
                if leaves:
                    assert "envoy's hook ends" not in pod.events
                else:
                    wait_until(lambda pod=pod: "envoy's hook ends" in pod.events)
            end.join()
        assert pod.exit_codes == {"envoy": 0, "modelbroker": 0}
        assert not any("SIGKILL" in event for event in pod.events)


def test_an_orderly_end_leaves_every_call_in_the_ledger(
    sims: Simulators, folder: Path, postgres: Postgres
) -> None:
    """The state folder goes with the pod; what the pod knew is in the database by then."""
    url = postgres.new_database()
    tree = yaml.safe_load(configuration(sims))
    tree["ledger"] = {"url": {"env": "LEDGER_URL"}}
    chosen = values(sims)
    chosen["config"] = {"files": {"modelbroker.yaml": yaml.safe_dump(tree)}}
    secrets = {**SECRETS, "llm-keys": {**SECRETS["llm-keys"], "LEDGER_URL": url}}
    with gateway(folder, chosen, secrets) as pod:
        with sdk(chosen["ports"]["listener"]) as client:
            for number in range(count := enlarged(10)):
                assert ask(client, "hello", stream=number % 2 == 0)
        pod.terminate()
        assert pod.exit_codes == {"envoy": 0, "modelbroker": 0}
    with psycopg.connect(url) as connection:
        kept = connection.execute("SELECT outcome, count(*) FROM calls GROUP BY 1").fetchall()
    figure("a pod ends", calls=count, in_the_ledger=sum(calls for _, calls in kept))
    assert kept == [("ok", count)]


def test_the_hook_waits_for_a_ledger_that_is_away(sims: Simulators, folder: Path, postgres: Postgres) -> None:
    url = postgres.new_database()
    tree = yaml.safe_load(configuration(sims))
    tree["ledger"] = {"url": {"env": "LEDGER_URL"}}
    chosen = values(sims, drain={"endpointsSeconds": 0, "callsSeconds": 60, "ledgerSeconds": 120})
    chosen["config"] = {"files": {"modelbroker.yaml": yaml.safe_dump(tree)}}
    secrets = {**SECRETS, "llm-keys": {**SECRETS["llm-keys"], "LEDGER_URL": url}}
    port, admin = chosen["ports"]["listener"], f"http://127.0.0.1:{chosen['ports']['admin']}"

    def is_behind() -> bool:
        text = httpx.get(f"{admin}/metrics", timeout=15).text
        return "\nmodelbroker_ledger_behind_bytes 0.0\n" not in text

    with gateway(folder, chosen, secrets) as pod:
        with sdk(port) as client:
            postgres.kill()
            count = enlarged(3)
            assert all(ask(client, "hello", stream=number % 2 == 0) for number in range(count))
        wait_until(is_behind, 60)
        end = threading.Thread(target=pod.terminate)
        end.start()
        wait_until(lambda: refuses(port), 60)
        assert "envoy's hook ends" not in pod.events
        postgres.start()
        end.join()
        assert pod.exit_codes == {"envoy": 0, "modelbroker": 0}
    with psycopg.connect(url) as connection:
        kept = connection.execute("SELECT outcome, count(*) FROM calls GROUP BY 1").fetchall()
    figure("a pod ends, its ledger away", calls=count, in_the_ledger=sum(calls for _, calls in kept))
    assert kept == [("ok", count)]


def test_containers_start_in_the_order_that_they_need(sims: Simulators, folder: Path) -> None:
    with gateway(folder, values(sims)) as pod:
        assert pod.events == [
            "modelbroker starts",
            "modelbroker has started",
            "envoy starts",
            "envoy has started",
            "ready",
        ]
        wait_until(lambda: all(pod.live().values()), 60, every_s=0.2)


def test_a_control_plane_that_hangs_is_found_by_its_own_probe_alone(sims: Simulators, folder: Path) -> None:
    """The kubelet starts it again; Envoy, which is well, keeps its streams."""
    with gateway(folder, values(sims)) as pod:
        os.kill(pod.pid("modelbroker"), signal.SIGSTOP)
        try:
            wait_until(lambda: pod.live() == {"modelbroker": False, "envoy": True}, 60)
        finally:
            os.kill(pod.pid("modelbroker"), signal.SIGCONT)
        wait_until(lambda: pod.live() == {"modelbroker": True, "envoy": True}, every_s=0.2)
        wait_until(pod.is_ready, every_s=0.2)


def test_an_edit_of_the_config_map_is_in_effect_without_a_restart(sims: Simulators, folder: Path) -> None:
    chosen = values(sims)
    admin = f"http://127.0.0.1:{chosen['ports']['admin']}"
    with gateway(folder, chosen) as pod:
        before = httpx.get(f"{admin}/status", timeout=15).json()["serving"]
        pod.apply(f"{charts.NAME}-config", {"modelbroker.yaml": configuration(sims, "another-tier")})
        wait_until(lambda: httpx.get(f"{admin}/status", timeout=15).json()["serving"] != before)
        assert [p["name"] for p in httpx.get(f"{admin}/status", timeout=15).json()["pools"]] == [
            "another-tier"
        ]


def test_nothing_is_written_outside_of_the_volumes(sims: Simulators, folder: Path) -> None:
    """The root file system is read-only."""
    chosen = values(sims)
    with gateway(folder, chosen) as pod:
        with sdk(chosen["ports"]["listener"]) as client:
            assert ask(client, "hello", stream=True)
        found = {Path(file) for name in ("modelbroker", "envoy") for file in _open_for_writing(pod.pid(name))}
        assert found, "the records' file is open at least"
        read_only = {m["name"] for c in _containers(pod.spec) for m in c["volumeMounts"] if m.get("readOnly")}
        logs = {folder / f"{name}.log" for name in ("modelbroker", "envoy")}  # of the test's own
        for file in found - logs:
            assert file.is_relative_to(folder) and file.relative_to(folder).parts[0] not in read_only, file


def _containers(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def _open_for_writing(pid: int) -> Iterator[str]:
    for each in (pid, *_children(pid)):
        for link in _links(Path(f"/proc/{each}/fd")):
            try:
                target = str(link.readlink())
                flags = int(
                    re.findall(r"flags:\s+(\d+)", Path(f"/proc/{each}/fdinfo/{link.name}").read_text())[0], 8
                )
            except OSError:
                continue
            is_file = target.startswith("/") and not target.startswith(("/dev/", "/proc/", "/memfd"))
            if is_file and flags & os.O_ACCMODE != os.O_RDONLY:
                yield target.removesuffix(" (deleted)")


def _links(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):  # a child that has ended meanwhile
        return list(folder.iterdir())
    return []


def _children(pid: int) -> list[int]:
    """And theirs."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for tasks in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (tasks / "children").read_text().split()]
    return [*found, *(each for child in found for each in _children(child))]


def test_mutual_tls(sims: Simulators, folder: Path, tmp_path: Path) -> None:
    """The listener's certificate and the authorities of agents' ones come from secrets; probes have none."""
    server, agents = trustme.CA(), ClientAuthority(tmp_path)
    certificate = server.issue_cert("127.0.0.1")
    ca_file = tmp_path / "ca.pem"
    server.cert_pem.write_to_path(str(ca_file))
    secrets = {
        **SECRETS,
        "tls": {
            "tls.crt": b"".join(blob.bytes() for blob in certificate.cert_chain_pems).decode(),
            "tls.key": certificate.private_key_pem.bytes().decode(),
        },
        "agents-ca": {"ca.crt": agents.pem.decode()},
    }
    tree = yaml.safe_load(configuration(sims))
    tree["callers"] = [{"name": "indexer", "spiffe": "spiffe://cluster.local/ns/agents/sa/indexer"}]
    for required in (False, True):
        tls = {"secretName": "tls", "clientCaSecret": "agents-ca", "requireClientCert": required}
        chosen = values(sims, tls=tls)
        chosen["config"] = {"files": {"modelbroker.yaml": yaml.safe_dump(tree)}}
        url = f"https://127.0.0.1:{chosen['ports']['listener']}/v1/chat/completions"
        body = {"model": "standard-tier", "messages": [{"role": "user", "content": "hello"}]}
        with gateway(folder / str(required), chosen, secrets) as pod:
            wait_until(lambda pod=pod: all(pod.live().values()), 60, every_s=0.2)
            known = agents.context(ca_file, "spiffe://cluster.local/ns/agents/sa/indexer")
            reply = httpx.post(url, json=body, verify=known, timeout=60)
            assert reply.status_code == 200, reply.text
            other = agents.context(ca_file, "spiffe://cluster.local/ns/agents/sa/another")
            assert httpx.post(url, json=body, verify=other, timeout=60).status_code == 403
            nobody = ssl.create_default_context(cafile=str(ca_file))
            if required:
                with pytest.raises(httpx.TransportError):
                    httpx.post(url, json=body, verify=nobody, timeout=60)
            else:
                assert httpx.post(url, json=body, verify=nobody, timeout=60).status_code == 401


# It knows nothing of the broker: what the SDKs read of the environment is all.
AGENT = """
import os, pathlib, signal, sys, threading
import anthropic, openai

asked = {"model": os.environ["MODEL"], "messages": [{"role": "user", "content": "hello"}]}

def work(name):
    with openai.OpenAI(max_retries=0) as chat, anthropic.Anthropic(max_retries=0) as messages:
        assert chat.chat.completions.create(**asked).choices[0].message.content
        assert messages.messages.create(**asked, max_tokens=100).content[0].text
    pathlib.Path(name).touch()

over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
work("first-calls")
if "forever" in sys.argv:
    over.wait()
    work("last-calls")
"""


def sidecar(folder: Path, chosen: Mapping[str, Any], *words: str) -> Pod:
    """The example's agent, with the patch of the chart applied by kubectl."""
    patch = folder.with_suffix(".patch.yaml")
    chosen = {**chosen, "mode": "sidecar", "sidecar": {"keySecret": "agent-key", "patch": True}}
    patch.write_text(charts.template("sidecar", chosen, "--show-only", "templates/sidecar-patch.yaml"))
    agent = str(charts.EXAMPLES / "agent.yaml")
    tree = yaml.safe_load(
        charts.kubectl("patch", "--local", "-f", agent, "--patch-file", str(patch), "-o", "yaml")
    )
    chosen = {**chosen, "sidecar": {"kyverno": {"enabled": False}}}
    manifests = charts.objects(charts.template("sidecar", chosen))
    spec = tree["spec"]["template"]["spec"]
    spec.setdefault("terminationGracePeriodSeconds", 30)
    next(one for one in spec["containers"][0]["env"] if one["name"] == "MODEL")["value"] = "standard-tier"
    program = {"support-agent": [sys.executable, "-c", AGENT, *words]}
    return Pod(folder, spec, charts.data_of(manifests), SECRETS, program)


def test_a_sidecar_is_there_before_the_agent_and_until_its_last_call(sims: Simulators, folder: Path) -> None:
    """The agent's first line calls; so does what it does when it is told to end."""
    with sidecar(folder / "pod", values(sims), "forever") as pod:
        wait_until(lambda: (pod.folder / "first-calls").exists(), 60)
        wait_until(lambda: all(pod.live().values()), 60, every_s=0.2)
        pod.terminate()
        assert (pod.folder / "last-calls").exists(), pod.log("agent")
        assert pod.exit_codes == {"agent": 0, "envoy": 0, "modelbroker": 0}
        ends = [event for event in pod.events if event.endswith("has ended")]
        assert ends == ["agent has ended", "envoy has ended", "modelbroker has ended"]
        assert outcomes(pod) == ["ok"] * 4


def test_the_agent_beside_it_can_not_command_the_broker(sims: Simulators, folder: Path) -> None:
    """It shares the loopback, and not the state folder, in which the token is that `kubectl exec` has."""
    chosen = values(sims)
    admin = f"http://127.0.0.1:{chosen['ports']['admin']}"
    with sidecar(folder / "pod", chosen, "forever") as pod:
        wait_until(lambda: (pod.folder / "first-calls").exists(), 60)
        asked = httpx.post(f"{admin}/forget", timeout=15)
        assert asked.status_code == 401 and "a command needs a token here" in asked.text
        token = (Path(pod.here("/var/lib/modelbroker")) / "admin-token").read_text().strip()
        shown = {"authorization": f"Bearer {token}"}
        assert httpx.post(f"{admin}/forget", headers=shown, timeout=15).status_code == 200


def test_a_job_has_its_records(sims: Simulators, folder: Path) -> None:
    """It ends right behind its last call, and the kubelet then ends its sidecars."""
    with sidecar(folder / "pod", values(sims)) as pod:
        assert pod.exits("agent") == 0, pod.log("agent")
        pod.terminate()
        assert pod.exit_codes == {"agent": 0, "envoy": 0, "modelbroker": 0}
        assert outcomes(pod) == ["ok"] * 2


def test_the_agent_reaches_no_key_of_a_provider(sims: Simulators, folder: Path) -> None:
    """It has neither the secret nor the folder of the sockets, over which Envoy gets the keys."""
    spec = sidecar(folder / "pod", values(sims)).spec
    (agent,) = spec["containers"]
    assert "volumeMounts" not in agent and "envFrom" not in agent
    assert {variable["name"] for variable in agent["env"]} == {
        "MODEL",
        "OPENAI_BASE_URL",
        "ANTHROPIC_BASE_URL",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
    }
