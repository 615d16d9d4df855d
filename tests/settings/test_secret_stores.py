"""Stores of every kind, and references to them, as they are written."""

from __future__ import annotations

from modelbroker.core.catalog import SecretRef, StoredSecret, identity
from modelbroker.core.secrets import Secrets, StorePlace
from modelbroker.dialects import KNOWN
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


def test_a_word_or_mapping_is_an_identity_and_a_text_is_a_secret_of_the_store_of_that_name() -> None:
    more = """
  - {name: bedrock, region: eu-central-1}
  - {name: bedrock-anthropic, region: eu-central-1, credential: {aws: {profile: lab}}}
  - {name: bedrock-openai, region: eu-central-1, credential: {aws: bedrock-keys}}
  - {name: vertex, project: p, region: us-central1, credential: gcp}
  - {name: azure-openai, base_url: "https://r/openai/v1", credential: {azure: openai-key}}
callers:"""
    text = TEXT.replace("\ncallers:", more)
    providers = compile_texts({"a": text}, dialects=KNOWN, built=KNOWN).catalog.providers
    region = {"region": "eu-central-1"}
    assert {
        name: one.credential for name, one in providers.items() if name not in ("openai", "anthropic")
    } == {
        "bedrock": identity("aws", region),
        "bedrock-anthropic": identity("aws", {"profile": "lab", **region}),
        "bedrock-openai": StoredSecret("store", "bedrock-keys", "aws"),
        "vertex": identity("gcp"),
        "azure-openai": StoredSecret("store", "openai-key", "azure"),
    }


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
