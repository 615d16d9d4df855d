"""`check` says which files are not there: of sinks, collectors, stores, providers and issuers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from modelbroker.cli.main import main

_CONFIG = """\
pools: [{name: p, members: [{provider: mine, model: m}, {provider: azure-openai, model: m}]}]
providers:
  - {name: openai}
  - name: mine
    dialect: openai-chat
    base_url: https://llm.internal/v1
    auth: none
    ca_file: NONE/provider.pem
  - name: azure-openai
    base_url: https://us.openai.azure.com
    credential:
      azure:
        ca_file: NONE/identity.pem
issuers:
  - name: corp
    issuer: https://corp
    audiences: [broker]
    jwks:
      url: https://corp/jwks
      ca_file: NONE/issuer.pem
telemetry:
  traces: on
  otlp:
    endpoint: https://collector:4317
    ca_file: NONE/collector.pem
secrets:
  stores:
    - name: k8s
      kubernetes: {namespace: n}
    - name: v
      vault:
        address: https://vault
        auth: {token: {env: VAULT}}
        ca_file: NONE/vault.pem
callers:
  - {name: agents, jwt: {issuer: corp}}
audit:
  sinks:
    - name: disk
      file:
        path: NONE/audit/events.jsonl
    - name: siem
      syslog:
        address: tls://siem
        ca_file: NONE/siem.pem
        cert_file: NONE/client.pem
        key_file: NONE/client.key
"""
_NOT_HERE = "is not there on this machine; the broker needs it on the one where it runs"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text(_CONFIG.replace("NONE", f"{tmp_path}/none"))
    return path


def told(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["check", "--no-envoy", str(path)]) == 0
    lines = capsys.readouterr().err.splitlines()
    start = f"warning: {path}:"
    return [line.removeprefix(start) for line in lines if line.startswith(start) and "/none/" in line]


def test_each_with_its_line_and_no_error(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = {
        "provider.pem": "providers[1].ca_file",
        "identity.pem": "providers[2].credential.azure.ca_file",
        "issuer.pem": "issuers[0].jwks.ca_file",
        "collector.pem": "telemetry.otlp.ca_file",
        "vault.pem": "secrets.stores[1].vault.ca_file",
        "siem.pem": "audit.sinks[1].syslog.ca_file",
        "client.pem": "audit.sinks[1].syslog.cert_file",
        "client.key": "audit.sinks[1].syslog.key_file",
    }
    none, lines = f"{written.parent}/none", written.read_text().splitlines()

    def line_of(word: str) -> int:
        return next(number for number, line in enumerate(lines, 1) if line.endswith(word))

    expected = {f"{line_of(file)}: {field}: {none}/{file} {_NOT_HERE}" for file, field in fields.items()}
    folder = f"{line_of('events.jsonl')}: audit.sinks[0].file.path: the folder {none}/audit"
    expected.add(f"{folder} {_NOT_HERE}, and makes none")
    assert sorted(told(written, capsys)) == sorted(expected)


def test_none_where_they_are(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (written.parent / "none" / "audit").mkdir(parents=True)
    for line in yaml.safe_load(written.read_text())["audit"]["sinks"][1]["syslog"].values():
        if line.startswith("/"):
            Path(line).touch()
    for name in ("provider", "identity", "issuer", "collector", "vault"):
        (written.parent / "none" / f"{name}.pem").touch()
    assert told(written, capsys) == []
