"""Who reaches whom by the chart's network policies: model traffic leaves through the gateway alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from support import charts
from support.charts import GATEWAYS, Manifest, example, of_kind, ours, workload


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    known = {"In": lambda e: labels.get(e["key"]) in e["values"]}
    return wanted.items() <= labels.items() and all(
        known[each["operator"]](each) for each in selector.get("matchExpressions", [])
    )


class Network:
    """Which connections the policies of an example allow, by the rules of NetworkPolicy: where a policy
    selects a pod for a direction, only what some policy's rule says is open; else all is."""

    def __init__(self, manifests: tuple[Manifest, ...]) -> None:
        self._policies = of_kind(manifests, "NetworkPolicy")

    def allows(self, source: Mapping[str, Any], target: Mapping[str, Any], port: int) -> bool:
        """Pods are `{namespace, labels}`; what is outside of the cluster is `{ip}`."""
        return self._open("Egress", "to", source, target, port) and self._open(
            "Ingress", "from", target, source, port
        )

    def _open(self, kind: str, key: str, own: Any, other: Any, port: int) -> bool:
        if "ip" in own:
            return True
        rules = list(self._rules(kind, own))
        if not rules:
            return True
        return any(
            any(each["port"] == port for each in rule.get("ports", [{"port": port}]))
            and any(self._is(peer, other, namespace) for peer in rule.get(key, []))
            for namespace, every in rules
            for rule in every
        )

    def _rules(self, kind: str, own: Any) -> Iterator[tuple[str, list[Any]]]:
        for policy in self._policies:
            namespace = policy["metadata"].get("namespace", charts.NAMESPACE)
            spec = policy["spec"]
            is_its = namespace == own["namespace"] and _selects(spec["podSelector"], own["labels"])
            if is_its and kind in spec["policyTypes"]:
                yield namespace, spec.get(kind.lower(), [])

    @staticmethod
    def _is(peer: Any, other: Any, namespace: str) -> bool:
        if "ipBlock" in peer:
            return "ip" in other and _within(other["ip"], peer["ipBlock"])
        if "ip" in other:
            return False
        spaces = {"kubernetes.io/metadata.name": other["namespace"]}
        if "namespaceSelector" not in peer and other["namespace"] != namespace:
            return False
        return _selects(peer.get("namespaceSelector", {}), spaces) and _selects(
            peer.get("podSelector", {}), other["labels"]
        )


def _within(ip: str, block: Mapping[str, Any]) -> bool:
    address = ip_address(ip)
    return address in ip_network(block["cidr"]) and not any(
        address in ip_network(each) for each in block.get("except", [])
    )


PROVIDER = {"ip": "162.159.140.245"}
DNS = {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}
PROMETHEUS = {"namespace": "monitoring", "labels": {"app": "prometheus"}}
STRANGER = {"namespace": "default", "labels": {"app": "stranger"}}


@pytest.mark.parametrize("name", GATEWAYS)
def test_model_traffic_leaves_through_the_gateway_alone(name: str) -> None:
    network = Network(example(name))
    pod = {
        "namespace": charts.NAMESPACE,
        "labels": workload(example(name))["spec"]["template"]["metadata"]["labels"],
    }
    agent = {"namespace": "agents", "labels": {"app": "support-agent"}}
    ports = {p["name"]: p["containerPort"] for one in ours(name).values() for p in one["ports"]}
    assert network.allows(agent, pod, ports["listener"])
    assert network.allows(agent, DNS, 53) and network.allows(pod, DNS, 53)
    through_istio = name == "istio"
    egress_gateway = {"namespace": "istio-system", "labels": {"istio": "egressgateway"}}
    assert network.allows(pod, PROVIDER, 443) is not through_istio
    assert network.allows(pod, egress_gateway, 8443) is through_istio
    assert network.allows(PROMETHEUS, pod, ports["admin"])
    # And nothing else.
    assert not network.allows(agent, PROVIDER, 443) and not network.allows(agent, PROVIDER, 80)
    assert not network.allows(agent, pod, ports["admin"]) and not network.allows(agent, pod, 9901)
    assert not network.allows(STRANGER, pod, ports["listener"])
    assert not network.allows(PROVIDER, pod, ports["listener"])
    assert not network.allows(pod, PROVIDER, 80) and not network.allows(pod, STRANGER, 443)
    for inside in ("10.1.2.3", "192.168.1.1", "169.254.169.254", "172.20.0.1"):
        assert not network.allows(pod, {"ip": inside}, 443), inside
    assert not network.allows(pod, {"ip": "fd00::1"}, 443)
    in_cluster = name == "gateway-full"  # its values say so
    assert network.allows(agent, STRANGER, 5432) is in_cluster
