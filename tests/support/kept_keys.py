"""A provider's key in each kind of store, and how its operator puts another one there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import trustme
from moto.server import ThreadedMotoServer

from .secret_servers import SimulatedAzure, SimulatedCluster, SimulatedGcp
from .token_servers import SUBJECT_TOKEN, SimulatedGoogle
from .vault import SimulatedVault, Token

AWS_SECRET, VAULT_TOKEN = "canary-of-aws", "hvs.canary-token"


class KeptKey(NamedTuple):
    """`store` and `credential` are of the configuration, `environ` opens the store, `secret` is what must be
    seen nowhere, beside the keys."""

    store: dict[str, Any]
    credential: dict[str, str]
    put: Callable[[str], object]
    environ: Mapping[str, str] = {}
    secret: str = ""


@contextlib.contextmanager
def in_vault(folder: Path) -> Iterator[KeptKey]:
    vault = SimulatedVault(tokens={VAULT_TOKEN: Token()})
    said = {"address": vault.url, "auth": {"token": {"env": "VAULT"}}}

    def put(key: str) -> None:
        vault.put("llm/main", key=key, note="the main account")

    ref = {"vault": "llm/main", "field": "key"}
    yield KeptKey({"name": "vault", "vault": said}, ref, put, {"VAULT": VAULT_TOKEN}, VAULT_TOKEN)
    vault.close()


@contextlib.contextmanager
def in_aws(folder: Path) -> Iterator[KeptKey]:
    moto = ThreadedMotoServer("127.0.0.1", 0)
    moto.start()
    url = "http://{}:{}".format(*moto.get_host_and_port())
    own = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": AWS_SECRET}
    client = boto3.client("secretsmanager", region_name="eu-central-1", endpoint_url=url, **own)
    client.create_secret(Name="llm/main")

    def put(key: str) -> None:
        client.put_secret_value(SecretId="llm/main", SecretString=json.dumps({"key": key, "note": "main"}))

    said = {"region": "eu-central-1", "endpoint": url}
    environ = {name.upper(): value for name, value in own.items()}
    ref = {"aws": "llm/main", "field": "key"}
    yield KeptKey({"name": "aws", "aws": said}, ref, put, environ, AWS_SECRET)
    client.close()
    moto.stop()


@contextlib.contextmanager
def in_gcp(folder: Path) -> Iterator[KeptKey]:
    """By workload identity federation."""
    with contextlib.closing(SimulatedGcp()) as gcp:
        google = SimulatedGoogle(3600.0, lambda issued: gcp.tokens.add(issued.key))
        (folder / "subject").write_text(SUBJECT_TOKEN)
        (folder / "federation.json").write_text(google.federation_file(str(folder / "subject")))
        said = {
            "project": "my-project",
            "credential_file": str(folder / "federation.json"),
            "endpoint": gcp.url,
        }
        put = gcp.secrets.setdefault("main", []).append
        yield KeptKey({"name": "gcp", "gcp": said}, {"gcp": "main"}, put)
        google.close()


@contextlib.contextmanager
def in_azure(folder: Path) -> Iterator[KeptKey]:
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    cert, key, ca = (str(folder / name) for name in ("cert.pem", "key.pem", "ca.pem"))
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    with contextlib.closing(SimulatedAzure((cert, key))) as vault:
        environ = {
            "AZURE_TENANT_ID": "tenant",
            "AZURE_CLIENT_ID": "client",
            "AZURE_CLIENT_SECRET": vault.client_secret,
            "AZURE_AUTHORITY_HOST": vault.url,
        }
        said = {"address": vault.url, "ca_file": ca}
        put = vault.secrets.setdefault("main", []).append
        yield KeptKey({"name": "azure", "azure": said}, {"azure": "main"}, put, environ, vault.client_secret)


@contextlib.contextmanager
def in_kubernetes(folder: Path) -> Iterator[KeptKey]:
    with contextlib.closing(SimulatedCluster()) as cluster:
        token = folder / "token"
        token.write_text("good-token")
        said = {"address": cluster.url, "namespace": "models", "token_file": str(token)}

        def put(key: str) -> None:
            cluster.secrets.setdefault("models/main", []).append({"key": key, "note": "main"})

        ref = {"cluster": "main", "field": "key"}
        yield KeptKey({"name": "cluster", "kubernetes": said}, ref, put, secret="good-token")


STORES = {
    "Vault": in_vault,
    "AWS": in_aws,
    "GCP": in_gcp,
    "Azure": in_azure,
    "Kubernetes": in_kubernetes,
}
