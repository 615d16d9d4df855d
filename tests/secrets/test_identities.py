"""The broker's own identities in AWS, GCP and Azure: what is got there, until when it is good, and what is
made of refusals."""

from __future__ import annotations

import configparser
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import google.auth.iam
import pytest
import trustme
from botocore.exceptions import ClientError
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from modelbroker.core.catalog import Identity, identity
from modelbroker.core.errors import Misconfigured
from modelbroker.core.secrets import Secrets
from modelbroker.policy.holding import Value
from modelbroker.secrets import store
from modelbroker.secrets.box import SecretBox
from modelbroker.secrets.identity import Renewing, places
from modelbroker.secrets.store import Away, open_store
from moto.server import ThreadedMotoServer
from support.secret_servers import SimulatedAzure
from support.token_servers import STATIC, SUBJECT_TOKEN, WEB_TOKEN, SimulatedGoogle, SimulatedSts
from support.waiting import wait_until

NO_AZURE = "there is no identity of Azure here, or Entra ID does not answer it"
ROLE = "arn:aws:iam::123456789012:role/bedrock"
LIVES_S = 3_600.0


def got(ref: Identity) -> Value:
    (place,) = places([ref])
    return open_store(place, lambda name: "").fetch(ref)


def refused(ref: Identity) -> str:
    with pytest.raises(Away) as caught:
        got(ref)
    return str(caught.value)


# -- AWS


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of this machine's says who the broker is."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_", "CLOUDSDK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def sts(environ: pytest.MonkeyPatch) -> Iterator[SimulatedSts]:
    made = SimulatedSts(LIVES_S)
    environ.setenv("AWS_ENDPOINT_URL_STS", made.url)
    yield made
    made.close()


def with_keys(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("AWS_ACCESS_KEY_ID", STATIC[0])
    environ.setenv("AWS_SECRET_ACCESS_KEY", STATIC[1])


def with_web_identity(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(WEB_TOKEN)
    environ.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    environ.setenv("AWS_ROLE_ARN", ROLE)


def test_the_simulated_sts_is_what_its_own_client_expects(sts: SimulatedSts) -> None:
    client = boto3.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=sts.url,
        aws_access_key_id=STATIC[0],
        aws_secret_access_key=STATIC[1],
    )
    found = client.assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]
    (made,) = sts.issued
    assert (found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]) == (
        *(made.key, made.secret, made.token),
    )
    assert found["Expiration"].timestamp() == made.expires_s
    sts.state = "forbids"
    with pytest.raises(ClientError, match="AccessDenied"):
        client.assume_role(RoleArn=ROLE, RoleSessionName="test")
    sts.state = "up"
    sts.external_id = "other"
    with pytest.raises(ClientError, match="AccessDenied"):
        client.assume_role(RoleArn=ROLE, RoleSessionName="test", ExternalId="abc")
    with pytest.raises(ClientError, match="InvalidIdentityToken"):
        client.assume_role_with_web_identity(RoleArn=ROLE, RoleSessionName="test", WebIdentityToken="other")
    client.close()


def signed_with(sts: SimulatedSts) -> Value:
    made = sts.issued[-1]
    return Value(f"{made.key}:{made.secret}:{made.token}", expires_s=made.expires_s)


def test_aws_keys_of_the_environment(environ: pytest.MonkeyPatch) -> None:
    with_keys(environ)
    assert got(identity("aws")) == Value(":".join(STATIC), expires_s=math.inf)


def test_a_role_with_an_external_id(sts: SimulatedSts, environ: pytest.MonkeyPatch) -> None:
    with_keys(environ)
    sts.external_id = "abc"
    asked = {"role_arn": ROLE, "external_id": "abc", "session_name": "mine", "region": "eu-central-1"}
    assert got(identity("aws", asked)) == signed_with(sts)
    without = identity("aws", {"role_arn": ROLE, "region": "eu-central-1"})
    assert refused(without) == "the role may not be assumed (AccessDenied)"


def test_a_web_identity_and_a_role_behind_it(
    sts: SimulatedSts, environ: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_web_identity(environ, tmp_path)
    assert got(identity("aws", {"region": "eu-central-1"})) == signed_with(sts)
    assert got(identity("aws", {"region": "eu-central-1", "role_arn": ROLE})) == signed_with(sts)
    assert len(sts.issued) == 3
    (tmp_path / "token").write_text("another")
    ref = identity("aws", {"region": "eu-central-1"})
    assert refused(ref) == "the role may not be assumed (InvalidIdentityToken)"
    (tmp_path / "token").unlink()
    assert refused(ref) == f"the file {tmp_path / 'token'} can't be read (No such file or directory)"


def test_profiles(sts: SimulatedSts, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A profile that is named goes before the variables; one may assume a role by another."""
    (tmp_path / ".aws").mkdir()
    file = configparser.ConfigParser()
    file["base"] = {"aws_access_key_id": STATIC[0], "aws_secret_access_key": STATIC[1]}
    with (tmp_path / ".aws" / "credentials").open("w") as out:
        file.write(out)
    (tmp_path / ".aws" / "config").write_text(
        f"[profile acting]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-central-1\n"
    )
    environ.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
    environ.setenv("AWS_SECRET_ACCESS_KEY", "other")
    assert got(identity("aws", {"profile": "base"})).text == ":".join(STATIC)
    assert got(identity("aws", {"profile": "acting"})) == signed_with(sts)
    assert refused(identity("aws", {"profile": "nobody"})) == "there is no profile nobody"


def test_the_role_of_a_container(sts: SimulatedSts, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As ECS and EKS's pod identity give it."""
    (tmp_path / "token").write_text(WEB_TOKEN)
    environ.setenv(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI", sts.url.replace("localhost", "127.0.0.1") + "/container"
    )
    environ.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    assert got(identity("aws")) == signed_with(sts)
    (tmp_path / "token").write_text("another")
    assert refused(identity("aws")) == "the credentials can't be had (CredentialRetrievalError)"


def test_the_role_of_an_instance(sts: SimulatedSts, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", sts.url)
    environ.delenv("AWS_EC2_METADATA_DISABLED")
    assert got(identity("aws")) == signed_with(sts)


def test_aws_without_anything(sts: SimulatedSts, environ: pytest.MonkeyPatch) -> None:
    none = "there are no credentials of AWS: no variables, profile, web identity, container or instance"
    assert refused(identity("aws")) == none
    assert refused(identity("aws", {"role_arn": ROLE})) == none
    with_keys(environ)
    ref = identity("aws", {"role_arn": ROLE, "region": "eu-central-1"})
    sts.state = "fails"
    assert refused(ref) == "STS answers with ServiceUnavailable"
    environ.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    assert refused(ref) == "STS can't be reached (EndpointConnectionError)"


def test_motos_sts_gives_the_same(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another hand's reading of the contract."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    environ.setenv("AWS_ENDPOINT_URL_STS", f"http://{host}:{port}")
    with_web_identity(environ, tmp_path)
    web = got(identity("aws", {"region": "eu-central-1"}))
    with_keys(environ)
    role = got(identity("aws", {"region": "eu-central-1", "role_arn": ROLE}))
    for value in (web, role):
        assert [bool(part) for part in value.text.split(":")] == [True] * 3
        assert time.time() < value.expires_s < time.time() + 2 * LIVES_S
    server.stop()


# -- GCP


@pytest.fixture
def google_server(environ: pytest.MonkeyPatch) -> Iterator[SimulatedGoogle]:
    made = SimulatedGoogle(LIVES_S)
    yield made
    made.close()


def token_of(server: SimulatedGoogle, value: Value) -> None:
    """`value` is the last token that the server gave. Google tells how long it lives, and not until when."""
    made = server.issued[-1]
    assert value.text == made.key
    assert abs(value.expires_s - made.expires_s) < 60


def test_the_simulated_google_is_what_its_own_client_expects(google_server: SimulatedGoogle) -> None:
    info = json.loads(google_server.account_file())
    found = service_account.Credentials.from_service_account_info(
        info, scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    found.refresh(Request())
    assert found.token == google_server.issued[-1].key
    other = service_account.Credentials.from_service_account_info(info, scopes=["openid"])
    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_scope"):
        other.refresh(Request())


def test_a_service_account(
    google_server: SimulatedGoogle, environ: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    path.write_text(google_server.account_file())
    ref = identity("gcp", {"credential_file": str(path)})
    token_of(google_server, got(ref))
    environ.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    token_of(google_server, got(identity("gcp")))
    google_server.state = "forbids"
    assert refused(ref) == "it gives no token (unauthorized_client)"
    google_server.close()
    assert refused(ref) == "Google's token service can't be reached"


@pytest.mark.parametrize("impersonated", ["", "models@my-project.iam.gserviceaccount.com"])
def test_workload_identity_federation(
    google_server: SimulatedGoogle, tmp_path: Path, impersonated: str
) -> None:
    subject, path = tmp_path / "subject", tmp_path / "federation.json"
    subject.write_text(SUBJECT_TOKEN)
    path.write_text(google_server.federation_file(str(subject), impersonated=impersonated))
    ref = identity("gcp", {"credential_file": str(path)})
    token_of(google_server, got(ref))
    assert len(google_server.issued) == (2 if impersonated else 1)
    subject.write_text("another")
    assert refused(ref) == "it gives no token (invalid_grant)"


def test_acting_as_a_service_account(
    google_server: SimulatedGoogle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = f"{google_server.url}/v1/projects/-/serviceAccounts/{{}}:generateAccessToken"
    monkeypatch.setattr(google.auth.iam, "_IAM_ENDPOINT", there)
    path = tmp_path / "key.json"
    path.write_text(google_server.account_file())
    account = "models@my-project.iam.gserviceaccount.com"
    ref = identity("gcp", {"credential_file": str(path), "impersonate": account})
    token_of(google_server, got(ref))
    assert [one.key.rstrip("0123456789") for one in google_server.issued] == [
        "ya29.canary-",
        "ya29.canary-acting-",
    ]


def test_the_service_account_of_an_instance(google_server: SimulatedGoogle) -> None:
    """google-auth reads where the metadata server is when it is imported: so in a process of its own."""
    where = google_server.url.removeprefix("http://")
    code = "from modelbroker.secrets.gcp_identity import access_token; print(access_token({}).text)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NO_GCE_CHECK": "false", "GCE_METADATA_HOST": where, "GCE_METADATA_IP": where},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == google_server.issued[-1].key, done.stderr


def test_gcp_without_anything(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = "no variable or file, and no metadata server answers"
    assert refused(identity("gcp")) == f"there are no application default credentials here: {there}"
    path = tmp_path / "key.json"
    why = f"the file {path} holds no credentials of Google's (DefaultCredentialsError)"
    assert refused(identity("gcp", {"credential_file": str(path)})) == why
    path.write_text("{}")
    assert refused(identity("gcp", {"credential_file": str(path)})) == why


# -- Azure


def test_azure(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    own.private_key_pem.write_to_path(str(tmp_path / "key"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    entra = SimulatedAzure((str(tmp_path / "cert"), str(tmp_path / "key")))
    said = {
        "TENANT_ID": "tenant",
        "CLIENT_ID": "client",
        "CLIENT_SECRET": entra.client_secret,
        "AUTHORITY_HOST": entra.url,
        # No other way is tried: that would ask an instance's metadata.
        "TOKEN_CREDENTIALS": "EnvironmentCredential",
    }
    for name, value in said.items():
        environ.setenv(f"AZURE_{name}", value)
    ref = identity("azure", {"ca_file": str(tmp_path / "ca")})
    found = got(ref)
    assert found.text == "good-token"
    assert time.time() < found.expires_s < time.time() + 3_700
    environ.setenv("AZURE_CLIENT_SECRET", "another")
    assert refused(ref) == NO_AZURE
    environ.delenv("AZURE_CLIENT_SECRET")
    assert refused(ref) == NO_AZURE
    environ.setenv("AZURE_CLIENT_SECRET", entra.client_secret)
    entra.close()
    assert refused(ref) == NO_AZURE


# -- in the box


def test_it_is_got_anew_near_its_end_or_where_another_file_says_who_the_broker_is(tmp_path: Path) -> None:
    path, asked = tmp_path / "file", []
    ref = identity("gcp")

    def get() -> Value:
        asked.append(path.read_text())
        return Value(f"{asked[-1]}-{len(asked)}", expires_s=time.time() + lives_s)

    lives_s = LIVES_S
    path.write_text("one")
    renewing = Renewing(get, [path])
    assert [renewing.fetch(ref).text for _ in range(3)] == ["one-1"] * 3
    assert not renewing.has_changed()
    path.write_text("other")
    assert renewing.has_changed()
    assert renewing.fetch(ref).text == "other-2"
    assert not renewing.has_changed()
    lives_s = 0.0
    path.write_text("third")
    assert renewing.fetch(ref).text == "third-3"
    assert renewing.fetch(ref).text == "third-4"


def test_a_box_keeps_a_token_to_its_end_while_the_service_is_away(
    google_server: SimulatedGoogle, tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    path.write_text(google_server.account_file())
    ref = identity("gcp", {"credential_file": str(path)})
    google_server.lives_s = 12.0
    box = SecretBox(lambda _: (None, ""))
    box.want(Secrets(), [ref])
    first = box.read(ref).values[0]
    assert first.text == google_server.issued[0].key

    def looked() -> bool:
        wait_until(lambda: box.next_s() <= time.time())
        return box.look()

    wait_until(lambda: looked() and len(google_server.issued) == 2)  # before it expires
    assert box.read(ref).values[0].text == google_server.issued[1].key
    google_server.state = "fails"
    wait_until(lambda: looked() and not box.read(ref).values)
    wait_until(lambda: box.status()[0]["failures"] > 0)  # at the token's end the answer may be on its way
    (told,) = box.status()
    assert (told["secret"], told["state"]) == (str(ref), "missing")
    assert told["good_until_s"] == pytest.approx(google_server.issued[1].expires_s, abs=2)
    assert box.read(ref).why.startswith(f"{ref}: ")
    google_server.state = "up"
    wait_until(lambda: looked() and box.read(ref).values)
    box.close()


def test_an_identity_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.importlib.util, "find_spec", lambda name: None)
    box = SecretBox(lambda _: (None, ""))
    with pytest.raises(Misconfigured) as caught:
        box.want(Secrets(), [identity("gcp")])
    assert caught.value.message == (
        "credential: identity:gcp needs the package google.auth: pip install 'modelbroker[gcp]'"
    )
