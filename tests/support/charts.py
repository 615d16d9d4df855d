"""The Helm chart, rendered as `helm template` does."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .kube_tools import tool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "modelbroker"
EXAMPLES = ROOT / "deploy" / "helm" / "examples"
# Those that are values; `agent.yaml` is an agent's Deployment.
VALUES = sorted(path.stem for path in EXAMPLES.glob("*.yaml") if path.stem != "agent")
GATEWAYS = [name for name in VALUES if name != "sidecar"]
RELEASE, NAMESPACE = "llm", "models"
NAME = "llm-modelbroker"

Manifest = dict[str, Any]


class RenderError(Exception):
    """What Helm says of values that are not right."""


def helm(*arguments: str) -> str:
    """Its output; RenderError where it fails. It keeps nothing in the user's folders."""
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}
        done = subprocess.run(
            [str(tool("helm")), *arguments], capture_output=True, text=True, env=environ, timeout=120
        )
    if done.returncode != 0:
        raise RenderError(done.stderr)
    return done.stdout


def template(
    example: str, more: Mapping[str, Any] | None = None, *arguments: str, name: str = RELEASE
) -> str:
    """The text for the values of an example and `more`, which go before them."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(more or {}, file)
        file.flush()
        values = ["--values", str(EXAMPLES / f"{example}.yaml"), "--values", file.name]
        return helm("template", name, str(CHART), "--namespace", NAMESPACE, *values, *arguments)


@cache
def example(name: str) -> tuple[Manifest, ...]:
    """The objects of an example as it stands; not to be changed."""
    return tuple(objects(template(name)))


def objects(text: str) -> list[Manifest]:
    return [tree for tree in yaml.safe_load_all(text) if tree]


def of_kind(manifests: tuple[Manifest, ...] | list[Manifest], kind: str) -> list[Manifest]:
    return [tree for tree in manifests if tree["kind"] == kind]


def workload(manifests: tuple[Manifest, ...] | list[Manifest]) -> Manifest:
    """The gateway's Deployment or StatefulSet."""
    (found,) = (tree for tree in manifests if tree["kind"] in ("Deployment", "StatefulSet"))
    return found


def data_of(manifests: tuple[Manifest, ...] | list[Manifest]) -> dict[str, dict[str, str]]:
    """Name of a ConfigMap → its data."""
    return {tree["metadata"]["name"]: tree["data"] for tree in of_kind(manifests, "ConfigMap")}


def kubectl(*arguments: str) -> str:
    """What of kubectl needs no cluster."""
    command = [str(tool("kubectl")), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def pod_of(name: str) -> Manifest:
    """The pod's spec: the gateway's, or that of the example's agent with the sidecar beside it."""
    if name != "sidecar":
        spec: Manifest = workload(example(name))["spec"]["template"]["spec"]
        return spec
    patched: Manifest = patched_agent()["spec"]["template"]["spec"]
    return patched


def patched_agent() -> Manifest:
    patch = template("sidecar", {"sidecar": {"patch": True}}, "--show-only", "templates/sidecar-patch.yaml")
    agent = str(EXAMPLES / "agent.yaml")
    tree: Manifest = yaml.safe_load(kubectl("patch", "--local", "-f", agent, "-p", patch, "-o", "yaml"))
    return tree


def ours(name: str) -> dict[str, Manifest]:
    spec = pod_of(name)
    every = [*spec["initContainers"], *spec["containers"]]
    return {one["name"]: one for one in every if one["name"] in ("envoy", "modelbroker")}
