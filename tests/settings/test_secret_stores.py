"""Stores of every kind, and references to them, as they are written."""

from __future__ import annotations

from modelbroker.core.catalog import SecretRef, StoredSecret
from modelbroker.core.secrets import Secrets, StorePlace
from modelbroker.settings import compile_texts

TEXT = """
secrets:
  refresh: 30s
  keep: 1h
  overlap: 0s
  stores:
    - name: vault
      vault:
        address: https://v:8200
        namespace: team
        auth: {approle: {role_id: r, secret_id: {file: /s}}}
    - {name: aws, aws: {region: eu-central-1, role_arn: "arn:aws:iam::123456789012:role/broker"}}
    - {name: gcp, gcp: {project: my-project, credential_file: /key.json}}
    - {name: azure, azure: {address: "https://my.vault.azure.net"}}
    - {name: cluster, kubernetes: {namespace: models}}
providers:
  - {name: openai, credential: {aws: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:openai-AbCdEf"}}
  - {name: anthropic, credential: {gcp: anthropic, version: 3}}
callers:
  - {name: bot, keys: [{vault: callers/bot, field: key}, {azure: bot}]}
cache: {redis: {cluster: redis, field: url}}
pools:
  - {name: p, members: [{provider: openai, model: gpt-5}, {provider: anthropic, model: claude-sonnet-4-6}]}
"""


def test_stores_and_references() -> None:
    catalog = compile_texts({"a": TEXT}, dialects=("openai-chat",), built=("openai-chat",)).catalog
    secret_id = {"secret_id": SecretRef("file", "/s")}
    vault = {
        "address": "https://v:8200",
        "mount": "secret",
        "namespace": "team",
        "auth": "approle",
        "role_id": "r",
        "auth_mount": "approle",
    }
    role = "arn:aws:iam::123456789012:role/broker"
    assert catalog.secrets == Secrets(
        {
            "vault": StorePlace("vault", "vault", vault, secret_id),
            "aws": StorePlace("aws", "aws", {"region": "eu-central-1", "role_arn": role}),
            "gcp": StorePlace("gcp", "gcp", {"project": "my-project", "credential_file": "/key.json"}),
            "azure": StorePlace("azure", "azure", {"address": "https://my.vault.azure.net"}),
            "cluster": StorePlace("cluster", "kubernetes", {"namespace": "models"}),
        },
        30,
        3_600,
        0,
    )
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:openai-AbCdEf"
    assert catalog.providers["openai"].credential == StoredSecret("store", arn, "aws")
    assert catalog.providers["anthropic"].credential == StoredSecret("store", "anthropic", "gcp", version="3")
    assert catalog.callers[0].keys == (
        StoredSecret("store", "callers/bot", "vault", "key"),
        StoredSecret("store", "bot", "azure"),
    )
    assert str(catalog.cache.redis) == "cluster:redis#url"
