"""Makes of the chart's values.yaml, and of its comments, what says the same in other words:
values.schema.json, by which Helm refuses values that are not right, and the table of docs/kubernetes.md.

    python deploy/helm/reference.py         # writes both (`./dev docs`)

"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
VALUES = ROOT / "deploy" / "helm" / "modelbroker" / "values.yaml"
SCHEMA = VALUES.with_name("values.schema.json")
PAGE = ROOT / "docs" / "kubernetes.md"
_BEGIN, _END = "<!-- values: written by ./dev docs -->", "<!-- end of values -->"
# Where any fields are good: Kubernetes' own, labels, names.
_FREE = {
    "config.files",
    "envoy.resources",
    "broker.resources",
    "tls.certManager.issuerRef",
    "networkPolicy.monitoringNamespace",
    "networkPolicy.dns.namespaceSelector",
    "networkPolicy.dns.podSelector",
    "istio.egressGatewaySelector",
}
_CHOICES = {"mode": ["gateway", "sidecar"], "istio.mtls": ["mesh", "broker"]}
_LEAST = {
    "drain.endpointsSeconds": 0,
    "drain.callsSeconds": 0,
    "drain.ledgerSeconds": 0,
    "envoy.heapBytes": 64 << 20,
}
_TYPES: dict[type, str] = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Value:
    path: str
    default: Any
    meaning: str


def values() -> list[Value]:
    """The leaves of values.yaml in its order, each with the comment above it."""
    text = VALUES.read_text()
    return list(_leaves(yaml.safe_load(text), "", _comments(text)))


def _leaves(tree: dict[str, Any], at: str, meanings: dict[str, str]) -> Iterator[Value]:
    for key, default in tree.items():
        path = f"{at}{key}"
        if isinstance(default, dict) and default and path not in _FREE:
            yield from _leaves(default, f"{path}.", meanings)
        else:
            yield Value(path, default, meanings.get(path, ""))


def _comments(text: str) -> dict[str, str]:
    """Path → the comment lines right above its key."""
    found: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        if match := re.match(r"( *)# (.*)", line):
            said.append(match[2])
        elif match := re.match(r"( *)([A-Za-z0-9]+):", line):
            depth = len(match[1])
            stack = [each for each in stack if each[0] < depth] + [(depth, match[2])]
            found[".".join(name for _, name in stack)] = " ".join(said)
            said = []
        else:
            said = []
    return found


def schema() -> str:
    """JSON Schema of the values: no field that is not in values.yaml, and types as there."""
    root = _schema(yaml.safe_load(VALUES.read_text()), "")
    root["properties"]["global"] = {"type": "object"}  # Helm gives it to every chart
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **root}, indent=2) + "\n"


def _schema(tree: dict[str, Any], at: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, default in tree.items():
        path = f"{at}{key}"
        if isinstance(default, dict) and default and path not in _FREE:
            fields[key] = _schema(default, f"{path}.")
            continue
        fields[key] = {"type": _TYPES[type(default)]}
        if path in _CHOICES:
            fields[key] = {"enum": _CHOICES[path]}
        if path in _LEAST:
            fields[key]["minimum"] = _LEAST[path]
    return {"type": "object", "additionalProperties": False, "properties": fields}


def table() -> str:
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in values():
        default = "" if value.default in ("", None) else f"`{_short(value.default)}`"
        rows.append(f"| `{value.path}` | {default} | {value.meaning} |")
    return "\n".join(rows)


def _short(default: Any) -> str:
    if isinstance(default, str):
        return default
    return yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def page(text: str) -> str:
    """The page with its table as it ought to be. ValueError where it has no place for it."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no {_BEGIN} … {_END}")
    return f"{before}{begin}\n{table()}\n{end}{after}"


if __name__ == "__main__":
    SCHEMA.write_text(schema())
    PAGE.write_text(page(PAGE.read_text()))
