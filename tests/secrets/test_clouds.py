"""The stores of AWS, GCP, Azure and Kubernetes: what is read there, and what is made of refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import google.api_core.exceptions
import kubernetes.client
import pytest
import trustme
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient
from google.auth.credentials import AnonymousCredentials
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceRestTransport,
)
from modelbroker.core.catalog import StoredSecret
from modelbroker.core.secrets import StorePlace
from modelbroker.secrets.store import Away, Gone, SecretStore, open_store
from moto.server import ThreadedMotoServer
from support.secret_servers import SimulatedAzure, SimulatedCluster, SimulatedGcp

REGION = "eu-central-1"


def ref(name: str, field: str = "", version: str = "") -> StoredSecret:
    return StoredSecret("store", name, "it", field, version)


def opened(kind: str, **options: str) -> SecretStore:
    def none(name: str) -> str:
        raise AssertionError(name)

    return open_store(StorePlace("it", kind, options), none)


def refused(store: SecretStore, asked: StoredSecret, said: str, *, is_gone: bool) -> None:
    with pytest.raises(Away) as caught:
        store.fetch(asked)
    assert (str(caught.value), isinstance(caught.value, Gone)) == (said, is_gone)


# -- AWS


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, object]]:
    for name, value in (
        ("ACCESS_KEY_ID", "AKIATEST"),
        ("SECRET_ACCESS_KEY", "test"),
        ("ENDPOINT_URL_STS", moto),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=moto)
    yield moto, client
    for one in client.list_secrets(IncludePlannedDeletion=True)["SecretList"]:
        client.delete_secret(SecretId=one["ARN"], ForceDeleteWithoutRecovery=True)
    client.close()


@pytest.mark.parametrize("role", ["", "arn:aws:iam::123456789012:role/modelbroker"])
def test_aws(aws: tuple[str, object], role: str) -> None:
    endpoint, client = aws
    first = client.create_secret(Name="llm/openai", SecretString="sk-1")  # type: ignore[attr-defined]
    client.put_secret_value(SecretId="llm/openai", SecretString="sk-2")  # type: ignore[attr-defined]
    client.create_secret(  # type: ignore[attr-defined]
        Name="llm/fields", SecretString=json.dumps({"key": "sk-3", "note": "x"})
    )
    client.create_secret(Name="llm/binary", SecretBinary=b"\x00")  # type: ignore[attr-defined]
    store = opened("aws", region=REGION, endpoint=endpoint, **({"role_arn": role} if role else {}))
    assert store.fetch(ref("llm/openai")).text == "sk-2"
    assert store.fetch(ref("llm/openai", version="AWSPREVIOUS"))[:2] == ("sk-1", first["VersionId"])
    assert store.fetch(ref("llm/openai", version=first["VersionId"])).text == "sk-1"
    assert store.fetch(ref("llm/fields", "key")).text == "sk-3"
    refused(store, ref("llm/fields"), "llm/fields has 2 fields: say which by `field`", is_gone=True)
    refused(store, ref("llm/openai", "key"), "llm/openai has no fields: leave `field` out", is_gone=True)
    refused(store, ref("llm/binary"), "llm/binary is binary, and no text", is_gone=True)
    refused(store, ref("llm/azure"), "llm/azure is not there", is_gone=True)
    client.delete_secret(SecretId="llm/openai")  # type: ignore[attr-defined]
    refused(store, ref("llm/openai"), "llm/openai is not there", is_gone=True)
    store.close()


def test_aws_that_is_away(aws: tuple[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened("aws", region=REGION, endpoint="http://127.0.0.1:9")
    refused(store, ref("a"), "it can't be asked (EndpointConnectionError)", is_gone=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    store = opened("aws", region=REGION, endpoint=aws[0])
    refused(store, ref("a"), "the broker has no credentials of AWS", is_gone=False)


# -- GCP


@pytest.fixture
def gcp() -> Iterator[SimulatedGcp]:
    made = SimulatedGcp()
    made.secrets = {"openai": ["sk-1", "sk-2"], "gone": [None], "binary": [b"\xff"]}
    yield made
    made.close()


class Anyone(AnonymousCredentials):  # type: ignore[misc]
    """Who has a token that was got already."""

    def apply(self, headers: dict[str, str], token: str | None = None) -> None:
        headers["authorization"] = "Bearer good-token"

    def before_request(self, request: object, method: str, url: str, headers: dict[str, str]) -> None:
        self.apply(headers)


def test_the_simulated_gcp_is_what_its_own_client_expects(gcp: SimulatedGcp) -> None:
    transport = SecretManagerServiceRestTransport(
        host=gcp.url.removeprefix("http://"), credentials=Anyone(), url_scheme="http"
    )
    client = SecretManagerServiceClient(transport=transport)
    found = client.access_secret_version(name="projects/p/secrets/openai/versions/latest")
    assert (found.payload.data, found.name) == (b"sk-2", "projects/123/secrets/openai/versions/2")
    with pytest.raises(google.api_core.exceptions.NotFound):
        client.access_secret_version(name="projects/p/secrets/other/versions/latest")
    with pytest.raises(google.api_core.exceptions.BadRequest):
        client.access_secret_version(name="projects/p/secrets/gone/versions/latest")


def test_gcp(gcp: SimulatedGcp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google.auth.default", lambda request: (Anyone(), "p"))
    store = opened("gcp", project="p", endpoint=gcp.url)
    assert store.fetch(ref("openai"))[:2] == ("sk-2", "2")
    assert store.fetch(ref("openai", version="1"))[:2] == ("sk-1", "1")
    gone = "{} is not there, or has no such version"
    refused(store, ref("openai", version="7"), gone.format("openai"), is_gone=True)
    refused(store, ref("gone"), gone.format("gone"), is_gone=True)
    refused(store, ref("binary"), "binary is no text", is_gone=True)
    refused(store, ref("openai", "key"), "secrets of GCP have no fields: leave `field` out", is_gone=True)
    gcp.state = "forbids"
    refused(store, ref("openai"), "the broker may not read openai", is_gone=False)
    gcp.state = "fails"
    refused(store, ref("openai"), "it answers with ServiceUnavailable", is_gone=False)
    store.close()


def test_gcp_without_credentials(gcp: SimulatedGcp, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("{}")
    store = opened("gcp", project="p", endpoint=gcp.url, credential_file=str(path))
    refused(
        store,
        ref("openai"),
        f"the file {path} holds no credentials of Google's (DefaultCredentialsError)",
        is_gone=False,
    )


# -- Azure


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    folder, authority = tmp_path_factory.mktemp("azure"), trustme.CA()
    own = authority.issue_cert("localhost")
    for name, pem in (
        ("cert", own.cert_chain_pems[0]),
        ("key", own.private_key_pem),
        ("ca", authority.cert_pem),
    ):
        pem.write_to_path(str(folder / name))
    return str(folder / "cert"), str(folder / "key"), str(folder / "ca")


@pytest.fixture
def azure(
    certificate: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SimulatedAzure, str]]:
    cert, key, ca_file = certificate
    made = SimulatedAzure((cert, key))
    made.secrets = {"openai": ["sk-1", "sk-2"], "gone": [None]}
    for name, value in (
        *(("TENANT_ID", "tenant"), ("CLIENT_ID", "client"), ("CLIENT_SECRET", made.client_secret)),
        ("AUTHORITY_HOST", made.url),
    ):
        monkeypatch.setenv(f"AZURE_{name}", value)
    yield made, ca_file
    made.close()


def test_the_simulated_azure_is_what_its_own_client_expects(azure: tuple[SimulatedAzure, str]) -> None:
    vault, ca_file = azure
    trust = {"connection_verify": ca_file, "verify_challenge_resource": False}
    credential = ClientSecretCredential(
        *("tenant", "client", vault.client_secret),
        authority=vault.url,
        disable_instance_discovery=True,
        connection_verify=ca_file,
    )
    client = SecretClient(vault.url, credential, **trust)
    found = client.get_secret("openai")
    assert (found.value, found.properties.version) == ("sk-2", "2")
    with pytest.raises(ResourceNotFoundError):
        client.get_secret("other")


def test_azure(azure: tuple[SimulatedAzure, str]) -> None:
    vault, ca_file = azure
    store = opened("azure", address=vault.url, ca_file=ca_file)
    assert store.fetch(ref("openai"))[:2] == ("sk-2", "2")
    assert store.fetch(ref("openai", version="1"))[:2] == ("sk-1", "1")
    refused(store, ref("gone"), "gone is not there", is_gone=True)
    refused(store, ref("openai", "key"), "secrets of Azure have no fields: leave `field` out", is_gone=True)
    vault.state = "forbids"
    refused(store, ref("openai"), "the broker may not read openai, or it is disabled", is_gone=False)
    vault.state = "fails"
    refused(store, ref("openai"), "it answers with 503", is_gone=False)
    store.close()


def test_azure_without_an_identity(
    azure: tuple[SimulatedAzure, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, ca_file = azure
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "another")
    store = opened("azure", address=vault.url, ca_file=ca_file)
    refused(store, ref("openai"), "the broker has no identity that the vault knows", is_gone=False)


# -- Kubernetes


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[SimulatedCluster, SecretStore]]:
    made = SimulatedCluster()
    made.secrets = {"models/openai": [{"key": "sk-1"}, {"key": "sk-2"}], "models/gone": [None]}
    (tmp_path / "token").write_text("good-token\n")
    yield made, opened("kubernetes", address=made.url, namespace="models", token_file=str(tmp_path / "token"))
    made.close()


def test_the_simulated_cluster_is_what_its_own_client_expects(
    cluster: tuple[SimulatedCluster, SecretStore],
) -> None:
    configuration = kubernetes.client.Configuration(host=cluster[0].url)
    configuration.api_key["BearerToken"] = "Bearer good-token"
    api = kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration))
    found = api.read_namespaced_secret("openai", "models")
    assert (found.data, found.metadata.resource_version) == ({"key": "c2stMg=="}, "2")
    with pytest.raises(kubernetes.client.exceptions.ApiException, match="404"):
        api.read_namespaced_secret("other", "models")


def test_kubernetes(cluster: tuple[SimulatedCluster, SecretStore], tmp_path: Path) -> None:
    made, store = cluster
    assert store.fetch(ref("openai", "key"))[:2] == ("sk-2", "2")
    assert store.fetch(ref("openai")).text == "sk-2"
    refused(store, ref("openai", "kex"), "openai has no field kex", is_gone=True)
    refused(store, ref("gone"), "gone is not there, in models", is_gone=True)
    refused(
        store,
        ref("openai", version="1"),
        "Kubernetes keeps no versions of secrets: leave `version` out",
        is_gone=True,
    )
    # Kubernetes replaces the token; the one that was there is good no longer.
    made.tokens = {"next-token"}
    refused(store, ref("openai"), "the broker may not read openai in models", is_gone=False)
    (tmp_path / "token").write_text("next-token\n")
    assert store.fetch(ref("openai")).text == "sk-2"
    made.state = "fails"
    refused(store, ref("openai"), "it answers with 500", is_gone=False)
    made.close()
    again = opened("kubernetes", address=made.url, namespace="models", token_file=str(tmp_path / "token"))
    refused(again, ref("openai"), "the API server can't be reached (NewConnectionError)", is_gone=False)
