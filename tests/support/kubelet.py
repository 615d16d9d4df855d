"""A pod without a cluster: its containers' commands run as processes, in the order and with the probes, hooks
and signals of a kubelet.

What is the kubelet's is done as it does it (docs/kubernetes.md says where that is written): sidecars (init
containers with restartPolicy Always) start one after the other, each when the one before has passed its
startup probe; then the containers. At the end the hooks of all containers run at once; each container gets
SIGTERM when its hook is through and, where it is a sidecar, when all that started after it have ended; what
is there at the end of the grace period gets SIGKILL. Paths of volumes are those of a folder of the test's:
mount paths are replaced in commands, variables and the texts of config maps and secrets. Files of these lie
behind a link `..data`, as they do in a pod.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelbroker.envoyapi.loader import envoy_binary

from .authorities import for_the_product
from .waiting import wait_until

# What the images' entry points are here.
_PROGRAM = [sys.executable, "-m", "modelbroker.cli.main"]
_EVERY_S = 0.2  # a probe; a kubelet has patience for a second
_UNVERIFIED = ssl._create_unverified_context()  # a kubelet looks at no certificate


@dataclass(slots=True)
class _Container:
    spec: Mapping[str, Any]
    is_sidecar: bool
    process: subprocess.Popen[bytes]
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return str(self.spec["name"])


class Pod:
    """`with Pod(folder, spec, config_maps, secrets) as pod:` runs it and waits until it is ready. `folder`
    has to be a short one, for its sockets. `commands` are those of images that are not ours."""

    def __init__(
        self,
        folder: Path,
        spec: Mapping[str, Any],
        config_maps: Mapping[str, Mapping[str, str]],
        secrets: Mapping[str, Mapping[str, str]],
        commands: Mapping[str, list[str]] | None = None,
    ) -> None:
        self.folder = folder
        self.spec = spec
        self._config_maps = dict(config_maps)
        self._secrets = secrets
        self._commands = commands or {}
        self._containers: list[_Container] = []
        self._lock = threading.Lock()
        self.events: list[str] = []  # what happened, in order
        self.exit_codes: dict[str, int] = {}
        for volume in spec.get("volumes", []):
            (folder / volume["name"]).mkdir(parents=True)
            self._fill(volume)

    # -- files

    def _fill(self, volume: Mapping[str, Any]) -> None:
        files: dict[str, str] = {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "configMap" in source:
                files |= self._config_maps[source["configMap"]["name"]]
            if "secret" in source:
                named = source["secret"]
                data = self._secrets[named.get("secretName") or named["name"]]
                items = named.get("items") or [{"key": key, "path": key} for key in data]
                files |= {item["path"]: data[item["key"]] for item in items}
        if "emptyDir" not in volume:
            self._project(self.folder / volume["name"], files)

    def _project(self, folder: Path, files: Mapping[str, str]) -> None:
        """All files at once: a new folder takes the place of the one that `..data` leads to."""
        fresh = folder / f"..{time.time_ns()}"
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(self.here(text))
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")
        before = (folder / "..data").resolve() if (folder / "..data").exists() else None
        (folder / "..data.new").symlink_to(fresh.name)
        (folder / "..data.new").rename(folder / "..data")
        if before is not None:
            shutil.rmtree(before)

    def apply(self, name: str, data: Mapping[str, str]) -> None:
        """An edit of a ConfigMap arrives in the pod."""
        self._config_maps[name] = data
        for volume in self.spec["volumes"]:
            sources = volume.get("projected", {}).get("sources", [volume])
            if any(source.get("configMap", {}).get("name") == name for source in sources):
                self._fill(volume)

    def here(self, text: str) -> str:
        """Paths in the pod → paths in the folder."""
        every = [*self.spec.get("initContainers", []), *self.spec["containers"]]
        mounts = {m["mountPath"]: m["name"] for one in every for m in one.get("volumeMounts", [])}
        for path in sorted(mounts, key=len, reverse=True):
            if path != "/tmp":
                text = text.replace(path, str(self.folder / mounts[path]))
        return text

    # -- start

    def __enter__(self) -> Pod:
        try:
            self.start()
        except BaseException:
            print(self.told())
            self._kill()
            raise
        return self

    def told(self) -> str:
        """What happened so far, for a test that fails."""
        lines = [*self.events]
        for one in self._containers:
            probe = one.spec.get("readinessProbe")
            ready = "" if probe is None else f", ready: {self.probe(one.name, probe)}"
            lines += [f"{one.name}, exit code {one.process.poll()}{ready}:", self.log(one.name)[-6000:]]
        return "\n".join(lines)

    def start(self) -> None:
        for spec in self.spec.get("initContainers", []):
            assert spec["restartPolicy"] == "Always"
            self._run(spec, is_sidecar=True)
        for spec in self.spec["containers"]:
            self._run(spec, is_sidecar=False)
        wait_until(self.is_ready, 120, _EVERY_S)
        self._note("ready")

    def _run(self, spec: Mapping[str, Any], *, is_sidecar: bool) -> None:
        given = for_the_product(os.environ)
        environ = {name: given[name] for name in given if name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")}
        for source in spec.get("envFrom", []):
            environ |= self._secrets[source["secretRef"]["name"]]
        for variable in spec.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            value = self._secrets[reference["name"]][reference["key"]] if reference else variable["value"]
            environ[variable["name"]] = self.here(value)
        for mount in spec.get("volumeMounts", []):
            if mount["mountPath"] == "/tmp":
                environ["TMPDIR"] = str(self.folder / mount["name"])
        with (self.folder / f"{spec['name']}.log").open("ab") as log:
            process = subprocess.Popen(
                self._command(spec), stdout=log, stderr=log, env=environ, cwd=self.folder
            )
        container = _Container(spec, is_sidecar, process)
        self._containers.append(container)
        self._note(f"{container.name} starts")
        if probe := spec.get("startupProbe"):
            wait_until(lambda: self._started(container, probe), 120, _EVERY_S)
            self._note(f"{container.name} has started")

    def _started(self, container: _Container, probe: Mapping[str, Any]) -> bool:
        code = container.process.poll()
        assert code is None, f"{container.name} ended with {code}\n{self.log(container.name)}"
        return self.probe(container.name, probe)

    def _command(self, spec: Mapping[str, Any]) -> list[str]:
        arguments = [self.here(word) for word in spec.get("args", [])]
        repository = spec["image"].rpartition(":")[0]
        if repository in self._commands:
            return self._commands[repository]
        if repository == "modelbroker":
            assert "command" not in spec, "the image's entry point is the program"
            return [*_PROGRAM, *arguments]
        assert spec["command"] == ["envoy"]
        return [str(envoy_binary()), *arguments]

    # -- probes and hooks

    def is_ready(self) -> bool:
        return all(
            self.probe(container.name, container.spec["readinessProbe"])
            for container in self._containers
            if "readinessProbe" in container.spec
        )

    def probe(self, name: str, probe: Mapping[str, Any]) -> bool:
        """Whether it passes; the pod's address is 127.0.0.1 here."""
        timeout_s = probe.get("timeoutSeconds", 1)
        ports = {p["name"]: p["containerPort"] for p in self._spec_of(name).get("ports", [])}
        if "exec" in probe:
            with contextlib.suppress(subprocess.TimeoutExpired):
                command = [self.here(word) for word in probe["exec"]["command"]]
                return subprocess.run(command, capture_output=True, timeout=timeout_s).returncode == 0
            return False
        try:
            if "tcpSocket" in probe:
                socket.create_connection(("127.0.0.1", ports[probe["tcpSocket"]["port"]]), timeout_s).close()
                return True
            get = probe["httpGet"]
            scheme = get.get("scheme", "HTTP").lower()
            url = f"{scheme}://127.0.0.1:{ports[get['port']]}{get['path']}"
            with urllib.request.urlopen(url, timeout=timeout_s, context=_UNVERIFIED) as reply:
                return bool(200 <= reply.status < 400)
        except (OSError, urllib.error.URLError):
            return False

    def live(self) -> dict[str, bool]:
        """Container → whether its liveness probe passes."""
        specs = {one.name: one.spec for one in self._containers}
        return {n: self.probe(n, s["livenessProbe"]) for n, s in specs.items() if "livenessProbe" in s}

    def _spec_of(self, name: str) -> Mapping[str, Any]:
        return next(one.spec for one in self._containers if one.name == name)

    # -- end

    def terminate(self) -> None:
        """As a kubelet ends a pod that was deleted; returns when all has ended."""
        until_s = time.monotonic() + self.spec["terminationGracePeriodSeconds"]
        self._note("the pod is deleted")
        threads = [threading.Thread(target=self._end, args=(one, until_s)) for one in self._containers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _end(self, container: _Container, until_s: float) -> None:
        hook = container.spec.get("lifecycle", {}).get("preStop", {}).get("exec")
        if hook is not None and container.process.poll() is None:
            self._note(f"{container.name}'s hook begins")
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [self.here(word) for word in hook["command"]], timeout=until_s - time.monotonic()
                )
            self._note(f"{container.name}'s hook ends")
        for other in self._before(container):
            other.ended.wait(max(0.0, until_s - time.monotonic()))
        self._note(f"SIGTERM to {container.name}")
        container.process.send_signal(signal.SIGTERM)
        try:
            container.process.wait(max(2.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._note(f"SIGKILL to {container.name}")
            container.process.kill()
        self.exit_codes[container.name] = container.process.wait()
        self._note(f"{container.name} has ended")
        container.ended.set()

    def _before(self, container: _Container) -> list[_Container]:
        """Those that end before it does."""
        if not container.is_sidecar:
            return []
        return self._containers[self._containers.index(container) + 1 :]

    def exits(self, name: str) -> int:
        """Waits until a container ends by itself, as that of a job; its exit code."""
        (container,) = (one for one in self._containers if one.name == name)
        return container.process.wait(120)

    def __exit__(self, *_: object) -> None:
        self._kill()

    def _kill(self) -> None:
        for container in reversed(self._containers):
            container.process.kill()
            container.process.wait()

    # -- looking at it

    def pid(self, name: str) -> int:
        return next(one.process.pid for one in self._containers if one.name == name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _note(self, what: str) -> None:
        with self._lock:
            self.events.append(what)
