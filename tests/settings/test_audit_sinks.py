"""Sinks of audit events as they are written: what is made of them, and what is said of what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from modelbroker.audit.sinks import KINDS as BUILT
from modelbroker.audit.sinks.syslog import FACILITIES as BUILT_FACILITIES
from modelbroker.core.audit import AuditSink
from modelbroker.core.catalog import SecretRef, StoredSecret
from modelbroker.settings.audit_sink_schema import FACILITIES, KINDS, SinkIn, TrustIn
from modelbroker.settings.audit_sinks import references, sinks_of
from modelbroker.settings.explain import read_one
from modelbroker.settings.merge import Merged

GOOD = """
audit:
  sinks:
    - {name: disk, file: {path: /var/log/modelbroker/audit.jsonl, most_bytes: 10MiB, files: 5}}
    - {name: out, stdout: true, form: ecs}
    - name: siem
      syslog:
        address: TLS://Siem.internal:6514
        ca_file: /ca.pem
        cert_file: /client.pem
        key_file: /client.key
        server_name: siem
        facility: local3
    - name: splunk
      splunk:
        address: https://splunk:8088
        token: {vault: siem/hec, field: token}
        ack: yes
        ack_timeout: 2m
    - {name: elastic, elastic: {address: "https://elastic:9200", index: logs-mb-default, api_key: {env: KEY}}}
    - {name: basic, elastic: {address: "https://elastic:9200", index: x, user: u, password: {file: /pw}}}
    - name: any
      http:
        address: https://collector/audit
        method: PUT
        headers: {Authorization: {env: AUTH}, x-team: security}
        most_events: 50
        gzip: true
    - {name: otel, otlp: {address: "http://collector:4317", protocol: grpc, headers: {api-key: {env: OTLP}}}}
"""


def _read(text: str) -> tuple[tuple[AuditSink, ...], Merged]:
    merged = Merged({"a.yaml": text})
    raw: list[Any] = yaml.safe_load(text)["audit"]["sinks"]
    said = [read_one(merged, ("audit", "sinks", number), SinkIn, one) for number, one in enumerate(raw)]
    return sinks_of(merged, ("audit", "sinks"), [one for one in said if one is not None]), merged


def test_every_kind() -> None:
    sinks, merged = _read(GOOD)
    assert merged.problems == []
    assert sinks == (
        AuditSink(
            "disk",
            "file",
            "ocsf",
            {"path": "/var/log/modelbroker/audit.jsonl", "most_bytes": "10485760", "files": "5"},
        ),
        AuditSink("out", "stdout", "ecs"),
        AuditSink(
            "siem",
            "syslog",
            "ocsf",
            {
                "address": "tls://siem.internal:6514",
                "ca_file": "/ca.pem",
                "cert_file": "/client.pem",
                "key_file": "/client.key",
                "server_name": "siem",
                "facility": "local3",
                "app_name": "modelbroker",
                "sd_id": "modelbroker@32473",
            },
        ),
        AuditSink(
            "splunk",
            "splunk",
            "ocsf",
            {
                "address": "https://splunk:8088",
                "source": "modelbroker",
                "sourcetype": "modelbroker:audit",
                "ack": "true",
                "ack_timeout_ms": "120000",
                "gzip": "true",
            },
            {"token": StoredSecret("store", "siem/hec", "vault", "token")},
        ),
        AuditSink(
            "elastic",
            "elastic",
            "ecs",
            {"address": "https://elastic:9200", "index": "logs-mb-default", "gzip": "true"},
            {"api_key": SecretRef("env", "KEY")},
        ),
        AuditSink(
            "basic",
            "elastic",
            "ecs",
            {"address": "https://elastic:9200", "index": "x", "user": "u", "gzip": "true"},
            {"password": SecretRef("file", "/pw")},
        ),
        AuditSink(
            "any",
            "http",
            "ocsf",
            {
                "address": "https://collector/audit",
                "method": "PUT",
                "batch": "ndjson",
                "most_events": "50",
                "most_bytes": "1048576",
                "gzip": "true",
                "header.x-team": "security",
            },
            {"header.authorization": SecretRef("env", "AUTH")},
        ),
        AuditSink(
            "otel",
            "otlp",
            "ocsf",
            {
                "address": "http://collector:4317",
                "protocol": "grpc",
                "service_name": "modelbroker",
                "gzip": "true",
            },
            {"header.api-key": SecretRef("env", "OTLP")},
        ),
    )


def test_a_secret_in_the_open_is_a_warning() -> None:
    assert [str(one) for one in _read(GOOD)[1].warnings] == [
        "a.yaml:29: audit.sinks[7].otlp.address: has no TLS: its secret can be read on the way; give https://"
    ]
    for address in ("https://s", "http://localhost:8088", "http://127.0.0.1:1", "http://[::1]:1"):
        text = f"audit: {{sinks: [{{name: s, splunk: {{address: '{address}', token: {{env: T}}}}}}]}}"
        assert _read(text)[1].warnings == []


def test_what_may_be_written_is_what_is_built() -> None:
    assert KINDS == BUILT
    assert set(FACILITIES) == set(BUILT_FACILITIES)


def test_references_to_secrets_are_found() -> None:
    found = references(yaml.safe_load(GOOD)["audit"]["sinks"])
    assert [path for path, value in found if isinstance(value, dict)] == [
        (3, "splunk", "token"),
        (4, "elastic", "api_key"),
        (5, "elastic", "password"),
        (6, "http", "headers", "Authorization"),
        (7, "otlp", "headers", "api-key"),
    ]
    for odd in (None, 3, [3], [{"splunk": 3}], [{"http": {"headers": 3}}]):
        references(odd)


BAD = {
    "{name: a}": "audit.sinks[0]: has no kind; give exactly one of file, stdout, syslog",
    "{name: a, stdout: true, file: {path: /var/x}}": "has file, stdout; give exactly one of",
    "{name: a, stdout: true}, {name: a, stdout: true}": '[1].name: "a" stands twice',
    "{name: a, file: {path: /v/x}}, {name: b, file: {path: /v/x}}": "is another sink's file too",
    "{name: a, file: {path: x}}": "give a whole path",
    "{name: a, file: {path: /v/x, files: 1}}": "give a whole number from 2 to 1000",
    "{name: a, stdout: true, form: cef}": '"cef" is none of them; give ocsf, ecs',
    "{name: a, syslog: {address: siem}}": "the address has no tcp:// or tls:// in front",
    "{name: a, syslog: {address: 'udp://siem:514'}}": "no tcp:// or tls://",
    "{name: a, syslog: {address: 'tls://u:p@siem:514'}}": "is more than a host and a port",
    "{name: a, syslog: {address: 'tls://siem:6514', facility: local8}}": 'did you mean "local',
    "{name: a, syslog: {address: 'tcp://siem', ca_file: /c}}": "stands beside an address without TLS",
    "{name: a, syslog: {address: 'tls://siem', key_file: /k}}": "key_file: stands without a certificate",
    "{name: a, splunk: {address: 'https://s', token: hunter2}}": "token: holds a secret in plain text",
    "{name: a, splunk: {address: 'https://s'}}": "token: is missing; give {env: NAME}",
    "{name: a, elastic: {address: 'https://e', index: X}}": "index",
    "{name: a, elastic: {address: 'https://e', index: x, user: u}}": "user: stands without `password`",
    "{name: a, elastic: {address: 'https://e', index: x, api_key: {env: A}, user: u}}": "beside a user",
    "{name: a, http: {address: 'https://h', headers: {Authorization: hunter2}}}": "a secret in plain text",
    "{name: a, http: {address: 'https://h', headers: {X-Api-Key: hunter2}}}": "a secret in plain text",
    "{name: a, http: {address: 'https://h', headers: {content-type: x}}}": "is the broker's own to set",
    '{name: a, http: {address: "https://h", headers: {x-a: "hunter2\\n"}}}': "not text that a header",
    "{name: a, http: {address: 'https://u:hunter2@h'}}": "holds a user name or password",
    "{name: a, http: {address: 'https://h', method: GET}}": '"GET" is none of them; give POST, PUT',
    "{name: a, otlp: {address: 'http://h', protocol: json}}": "give http",
    "{name: a, kafka: {}}": 'there is no "kafka" here',
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_said_with_its_place(text: str) -> None:
    _, merged = _read("audit:\n  sinks:\n    [" + text + "]\n")
    said = "\n".join(map(str, merged.problems))
    assert BAD[text] in said
    assert "a.yaml:3: audit.sinks[" in said
    assert "hunter2" not in said


PAGE = (Path(__file__).parents[2] / "docs" / "audit-sinks.md").read_text()


def test_the_examples_of_the_page_are_good() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 8
    kinds = set()
    for block in blocks:
        said = yaml.safe_load(block)
        entries = said["audit"]["sinks"] if isinstance(said, dict) else said
        sinks, merged = _read(yaml.safe_dump({"audit": {"sinks": entries}}))
        assert merged.problems == []
        kinds |= {sink.kind for sink in sinks}
    assert kinds == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_on_the_page(kind: str) -> None:
    section = PAGE.split(f"\n## {kind}\n")[1].split("\n## ")[0]
    model = get_args(SinkIn.model_fields[kind].annotation)[0]
    fields = [] if kind == "stdout" else list(model.model_fields)
    assert [name for name in fields if f"`{name}`" not in section and name not in TrustIn.model_fields] == []
    assert all(f"`{name}`" in PAGE for name in TrustIn.model_fields)
