"""What the chart makes of its examples' values: good by Kubernetes' schemas, and right by its own words."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import trustme
import yaml
from modelbroker.cli.main import build_parser, main
from modelbroker.xds.bootstrap import DRAIN_S
from support import charts
from support.charts import (
    GATEWAYS,
    Manifest,
    data_of,
    example,
    of_kind,
    ours,
    patched_agent,
    pod_of,
    workload,
)
from support.crds import SPECS

# What makes the schema and the table.
reference = SimpleNamespace(**runpy.run_path(str(charts.ROOT / "deploy" / "helm" / "reference.py")))

# The oldest that has sidecars, and the newest that the schemas know.
KUBERNETES = ("1.29", "1.37")


def validate(tree: Manifest, version: str) -> None:
    """AssertionError where the object is not one: a field that is not there, a type, one that is missing."""
    schema = SPECS.get((tree["apiVersion"], tree["kind"]))
    if schema is None:
        kubernetes_validate.validate(tree, version, strict=True)
        return
    assert set(tree) <= {"apiVersion", "kind", "metadata", "spec"}
    jsonschema.Draft202012Validator(schema).validate(tree["spec"])


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", charts.VALUES)
def test_every_object_is_good_by_its_schema(name: str, version: str) -> None:
    objects = list(example(name))
    if name == "sidecar":
        objects += [patched_agent(), yaml.safe_load((charts.EXAMPLES / "agent.yaml").read_text())]
    for tree in objects:
        validate(tree, version)
        assert tree["metadata"].get("namespace", charts.NAMESPACE)


def test_the_schemas_refuse_what_is_wrong() -> None:
    """A misspelt field, a wrong type, a missing one; in an object of Kubernetes and in others'."""

    def broken(tree: Manifest, *path: Any, value: Any) -> Manifest:
        copy: Manifest = json.loads(json.dumps(tree))
        inner = copy
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        return copy

    deployment = workload(example("gateway"))
    (entry,) = of_kind(example("istio"), "ServiceEntry")
    wrong = [
        broken(deployment, "spec", "replica", value=2),
        broken(deployment, "spec", "template", "spec", "containers", 0, "port", value=[]),
        broken(deployment, "spec", "template", "spec", "terminationGracePeriodSeconds", value="a while"),
        broken(deployment, "spec", "selector", value="app=agent"),
        broken(entry, "spec", "host", value=["api.openai.com"]),
        broken(entry, "spec", "hosts", value="api.openai.com"),
    ]
    for tree in wrong:
        with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
            validate(tree, KUBERNETES[-1])


@pytest.mark.parametrize("name", charts.VALUES)
def test_helm_finds_nothing_to_say(name: str) -> None:
    values = charts.EXAMPLES / f"{name}.yaml"
    said = charts.helm("lint", "--strict", "--quiet", str(charts.CHART), "--values", str(values))
    assert "WARNING" not in said and "ERROR" not in said


@pytest.mark.parametrize("name", charts.VALUES)
def test_every_container_is_restricted_probed_and_bounded(name: str) -> None:
    """By the restricted profile of Kubernetes' pod security standards."""
    containers = ours(name)
    assert set(containers) == {"envoy", "modelbroker"}
    for one in containers.values():
        security = one["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] == 101
        assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {"cpu", "memory"} <= set(one["resources"]["requests"])
        assert "memory" in one["resources"]["limits"] and "cpu" not in one["resources"]["limits"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert one[probe]["timeoutSeconds"] >= 3, probe
        assert ":" in one["image"] and not one["image"].endswith(":latest")


@pytest.mark.parametrize("name", charts.VALUES)
def test_the_commands_are_ones_that_the_programs_take(name: str) -> None:
    containers = ours(name)
    serve = build_parser().parse_args(containers["modelbroker"]["args"])
    envoy = containers["envoy"]["args"]
    assert envoy[envoy.index("--drain-time-s") + 1] == str(DRAIN_S)
    assert "--file-flush-interval-msec" in envoy and "--concurrency" in envoy
    assert str(serve.config) == "/etc/modelbroker"
    ports = {
        port["name"]: port["containerPort"] for one in containers.values() for port in one.get("ports", [])
    }
    # On loopback there is nothing to be found by others, and names of ports are the agent's.
    assert ports == ({} if name == "sidecar" else {"listener": serve.port, "admin": 8081})
    host = "127.0.0.1" if name == "sidecar" else "0.0.0.0"
    assert (serve.address, serve.port, serve.admin) == (host, 8080, f"{host}:8081")


@pytest.mark.parametrize("name", charts.VALUES)
def test_envoys_bootstrap_is_what_the_command_prints_for_these_addresses(name: str) -> None:
    containers = ours(name)
    serve = build_parser().parse_args(containers["modelbroker"]["args"])
    text = data_of(example(name))[f"{charts.NAME}-envoy"]["envoy.yaml"]
    (monitor,) = yaml.safe_load(text)["overload_manager"]["resource_monitors"]
    heap = monitor["typed_config"]["max_heap_size_bytes"]
    asked = ["bootstrap", "--xds", serve.xds, "--ext-proc", serve.ext_proc]
    asked += [
        "--envoy-admin",
        serve.envoy_admin,
        "--ejections",
        str(serve.ejections),
        "--max-heap",
        str(heap),
    ]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(asked)
    assert text.strip() == printed.getvalue().strip(), "run ./dev docs"
    # Envoy refuses calls before the kernel kills it.
    limit = containers["envoy"]["resources"]["limits"]["memory"]
    assert heap <= 0.85 * int(limit.removesuffix("Mi")) * 2**20


@pytest.mark.parametrize("name", charts.VALUES)
def test_the_examples_configurations_are_good(name: str, tmp_path: Path) -> None:
    """With certificates and keys in the places where the pod has them. No store is there to be asked."""
    maps = data_of(example(name))
    files = {**maps.get(f"{charts.NAME}-config", {}), **maps.get(f"{charts.NAME}-listen", {})}
    assert bool(files) is (name != "gateway-persistent")  # whose ConfigMap is the user's
    folder = tmp_path / "config"
    folder.mkdir()
    for file, text in files.items():
        (folder / file).write_text(text.replace("/run/", f"{tmp_path}/run/"))
    authority = trustme.CA()
    certificate = authority.issue_cert("llm-modelbroker")
    for path, pem in {
        "run/tls/tls.crt": certificate.cert_chain_pems[0].bytes(),
        "run/tls/tls.key": certificate.private_key_pem.bytes(),
        "run/client-ca/ca.crt": authority.cert_pem.bytes(),
        "run/secrets/ledger/url": b"postgresql://ledger",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(pem)
    if not files:
        return
    command = [sys.executable, "-m", "modelbroker.cli.main", "check", "--no-envoy", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def mounts(one: Manifest) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in one["volumeMounts"]}


@pytest.mark.parametrize("name", charts.VALUES)
def test_volumes_and_mounts_meet(name: str) -> None:
    spec, containers = pod_of(name), ours(name)
    claims = workload(example(name))["spec"].get("volumeClaimTemplates", []) if name in GATEWAYS else []
    volumes = {volume["name"] for volume in spec["volumes"]} | {c["metadata"]["name"] for c in claims}
    for one in containers.values():
        assert set(mounts(one).values()) <= volumes
        assert mounts(one)["/run/modelbroker"] == "modelbroker-sockets"
    serve = build_parser().parse_args(containers["modelbroker"]["args"])
    shared = [serve.xds.removeprefix("unix:"), serve.ext_proc.removeprefix("unix:")]
    assert {str(Path(path).parent) for path in shared} == {"/run/modelbroker"}
    assert {serve.ejections.parent, serve.undecided.parent} == {Path("/run/modelbroker")}
    assert mounts(containers["modelbroker"])[str(serve.state_dir)] == "modelbroker-state"
    configs = [volume for volume in spec["volumes"] if volume["name"] == "modelbroker-config"]
    named = {s["configMap"]["name"] for v in configs for s in v["projected"]["sources"]}
    assert named - {"modelbroker-configuration"} <= set(data_of(example(name)))


@pytest.mark.parametrize("name", GATEWAYS)
def test_the_pod_outlives_its_drain(name: str) -> None:
    spec, containers = pod_of(name), ours(name)
    hook = containers["envoy"]["lifecycle"]["preStop"]["exec"]["command"]
    serve = build_parser().parse_args(containers["modelbroker"]["args"])
    _, _, _, ledger_s, _, endpoints_s, calls_s = hook
    needed_s = int(endpoints_s) + int(calls_s) + int(ledger_s) + serve.drain_timeout
    assert needed_s + 20 <= spec["terminationGracePeriodSeconds"] <= 600
    # The control plane is a sidecar: it starts first, and has no hook that would run beside Envoy's.
    (first,) = spec["initContainers"]
    assert (first["name"], first["restartPolicy"]) == ("modelbroker", "Always")
    assert "lifecycle" not in first


def test_beside_an_agent_both_are_sidecars_in_this_order() -> None:
    spec = pod_of("sidecar")
    assert [one["name"] for one in spec["initContainers"]] == ["modelbroker", "envoy"]
    assert {one["restartPolicy"] for one in spec["initContainers"]} == {"Always"}
    assert [one["name"] for one in spec["containers"]] == ["agent"]


@pytest.mark.parametrize("name", GATEWAYS)
def test_selectors_find_the_pods_and_ports_are_theirs(name: str) -> None:
    manifests = example(name)
    template = workload(manifests)["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {p["name"]: p["containerPort"] for one in ours(name).values() for p in one["ports"]}
    selectors = [workload(manifests)["spec"]["selector"]["matchLabels"]]
    (service,) = of_kind(manifests, "Service")
    selectors.append(service["spec"]["selector"])
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] == "listener" and "listener" in ports
    for kind in ("PodDisruptionBudget", "PodMonitor", "PeerAuthentication", "AuthorizationPolicy"):
        selectors += [t["spec"]["selector"]["matchLabels"] for t in of_kind(manifests, kind)]
    selectors += [c["labelSelector"]["matchLabels"] for c in template["spec"]["topologySpreadConstraints"]]
    for selector in selectors:
        assert selector and selector.items() <= labels.items()
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (workload(manifests)["kind"], charts.NAME)
        scaled = {metric["containerResource"]["container"] for metric in scaler["spec"]["metrics"]}
        assert scaled == set(ours(name))
        assert "replicas" not in workload(manifests)["spec"]


# -- values that are wrong


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"config": {"files": None}}, "there is no configuration"),
        ({"config": {"existingConfigMap": "mine"}}, "exclude each other"),
        ({"config": {"files": {"notes.txt": "a"}}}, "is no name of a YAML file"),
        ({"mode": "gatway"}, "mode"),
        ({"tls": {"clientCaSecret": "ca"}}, "need tls.secretName"),
        ({"tls": {"secretName": "tls", "requireClientCert": True}}, "needs tls.clientCaSecret"),
        ({"tls": {"secretName": "tls", "certManager": {"enabled": True}}}, "issuerRef.name is missing"),
        (
            {"tls": {"secretName": "tls"}, "config": {"files": {"more.yaml": "listen: {port: 1}"}}},
            "leave one out",
        ),
        ({"mode": "sidecar", "tls": {"secretName": "tls"}}, "tls is for the gateway"),
        ({"istio": {"enabled": True, "mtls": "broker"}}, "needs tls.secretName"),
        ({"gateway": {"replica": 3}}, "replica"),
        ({"drain": {"callsSeconds": "long"}}, "callsSeconds"),
    ],
)
def test_wrong_values_are_refused_with_what_is_wrong(values: dict[str, Any], said: str) -> None:
    with pytest.raises(charts.RenderError, match=said):
        charts.template("gateway", values)


def test_a_source_of_its_own_takes_the_place_of_the_config_map() -> None:
    values = {"config": {"files": None, "args": ["--config", "/srv/modelbroker"]}}
    manifests = charts.objects(charts.template("gateway", values))
    broker = workload(manifests)["spec"]["template"]["spec"]["initContainers"][0]
    assert str(build_parser().parse_args(broker["args"]).config) == "/srv/modelbroker"
    assert "/etc/modelbroker" not in mounts(broker)
    assert set(data_of(manifests)) == {f"{charts.NAME}-envoy"}


def test_an_edit_of_the_configuration_restarts_no_pod_and_one_of_envoys_bootstrap_does() -> None:
    def template(values: dict[str, Any]) -> Any:
        return workload(charts.objects(charts.template("gateway", values)))["spec"]["template"]

    before = template({})
    assert template({"config": {"files": {"more.yaml": "facts: []"}}}) == before
    after = template({"envoy": {"heapBytes": 536870912}})["metadata"]["annotations"]
    assert after != before["metadata"]["annotations"]


def test_kyverno_puts_in_what_the_patch_does() -> None:
    (policy,) = of_kind(example("sidecar"), "Policy")
    (rule,) = policy["spec"]["rules"]
    put_in = rule["mutate"]["patchStrategicMerge"]["spec"]
    spec = pod_of("sidecar")
    assert put_in["initContainers"] == spec["initContainers"]
    assert {v["name"] for v in put_in["volumes"]} == {v["name"] for v in spec["volumes"]}
    (agent,) = spec["containers"]
    assert all(variable in agent["env"] for variable in put_in["containers"][0]["env"])
    annotations = patched_agent()["spec"]["template"]["metadata"]["annotations"]
    asked = rule["match"]["any"][0]["resources"]["annotations"]
    assert asked.items() <= annotations.items()


def test_versions_are_one() -> None:
    chart = yaml.safe_load((charts.CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((charts.CHART / "values.yaml").read_text())
    compose = yaml.safe_load((charts.ROOT / "docker-compose.yml").read_text())["services"]
    assert compose["broker"]["image"] == f"{values['image']['repository']}:{chart['appVersion']}"
    assert (
        compose["envoy"]["image"]
        == f"{values['envoy']['image']['repository']}:{values['envoy']['image']['tag']}"
    )
    assert chart["version"] == chart["appVersion"]


def test_the_schema_and_the_table_of_the_values_are_up_to_date() -> None:
    assert reference.SCHEMA.read_text() == reference.schema(), "run ./dev docs"
    page = reference.PAGE.read_text()
    assert reference.page(page) == page, "run ./dev docs"
    with pytest.raises(ValueError, match="the page has no"):
        reference.page("a page without marks")
    assert [value.path for value in reference.values() if not value.meaning] == []


@pytest.mark.parametrize("page", ["kubernetes", "istio"])
def test_what_the_docs_show_is_good_by_its_schema(page: str) -> None:
    text = (charts.ROOT / "docs" / f"{page}.md").read_text()
    shown = [
        tree for block in re.findall(r"```yaml\n(.*?)```", text, re.S) for tree in yaml.safe_load_all(block)
    ]
    manifests = [tree for tree in shown if "kind" in tree]
    for tree in manifests:
        validate(tree, KUBERNETES[-1])
    for tree in shown:
        if "kind" not in tree and not {"initContainers", "callers"} & set(tree):  # values
            charts.template("gateway", tree)
    assert shown


def test_a_chart_that_depends_on_this_one_puts_the_sidecar_in(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    shutil.copytree(charts.CHART, tmp_path / "charts" / "modelbroker")
    chart = {"apiVersion": "v2", "name": "agents", "version": "1.0.0"}
    dependency = {"name": "modelbroker", "version": "0.1.0", "repository": ""}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({**chart, "dependencies": [dependency]}))
    values = yaml.safe_load((charts.EXAMPLES / "sidecar.yaml").read_text())
    (tmp_path / "values.yaml").write_text(yaml.safe_dump({"modelbroker": values}))
    agent = yaml.safe_load((charts.EXAMPLES / "agent.yaml").read_text())
    text = yaml.safe_dump(agent).replace(
        "      containers:",
        '      {{- include "modelbroker.sidecar" .Subcharts.modelbroker | nindent 6 }}\n      containers:',
    )
    variables = "- env:\n"
    text = text.replace(
        variables,
        variables + '        {{- include "modelbroker.agentEnv" .Subcharts.modelbroker | nindent 8 }}\n',
    )
    (tmp_path / "templates" / "agent.yaml").write_text(text)
    rendered = charts.helm("template", charts.RELEASE, str(tmp_path), "--namespace", charts.NAMESPACE)
    (deployment,) = of_kind(charts.objects(rendered), "Deployment")
    validate(deployment, KUBERNETES[-1])
    spec = deployment["spec"]["template"]["spec"]
    assert spec["initContainers"] == pod_of("sidecar")["initContainers"]
    names = {variable["name"] for variable in spec["containers"][0]["env"]}
    assert {"OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "MODEL"} <= names
    assert {"ConfigMap", "Deployment", "Policy"} == {tree["kind"] for tree in charts.objects(rendered)}
