"""Bedrock and Vertex by the broker's own identities: tokens that expire under load, and services that give
none for a while."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import trustme
import yaml
from botocore.exceptions import ClientError
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, call, client
from support.figures import enlarged
from support.load import load
from support.secret_servers import SimulatedAzure
from support.shown import envoy_says, everything_shown
from support.simulators import SimulatorHandle, Simulators
from support.token_servers import (
    STATIC,
    SUBJECT_TOKEN,
    WEB_TOKEN,
    Issued,
    SimulatedGoogle,
    SimulatedSts,
    TokenServer,
)
from support.waiting import wait_until

# A new one is got when half of that is over: the other half is time enough for a busy machine.
LIVES_S = 24.0
REFRESHES = 3
ROLE = "arn:aws:iam::123456789012:role/bedrock"
EXTERNAL_ID = "modelbroker-canary-of-no-secret"
AWS_POOLS, GOOGLE_POOLS = ("role", "web"), ("account", "federated")
CLAUDE, GEMINI = "anthropic.claude-x", "gemini-x"


class Told:
    """Makes providers know what a token service has given them, and when it is over."""

    def __init__(self, sims: Simulators, names: tuple[str, ...]) -> None:
        self._sims, self._names = sims, names
        self._known: list[Issued] = []

    def __call__(self, issued: Issued) -> None:
        self._known.append(issued)
        keys: Any = [one.key for one in self._known]
        more: dict[str, Any] = {}
        if issued.secret:
            keys = {one.key: one.secret for one in self._known}
            more["aws"] = {"session_tokens": {one.key: one.token for one in self._known}}
        for name in self._names:
            self._sims[name].script(keys=keys, expire={one.key: one.expires_s for one in self._known}, **more)


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with Simulators(*AWS_POOLS, *GOOGLE_POOLS, "azure", "plain") as made:
        yield made


@pytest.fixture
def sims(simulators: Simulators) -> Simulators:
    simulators.reset()
    return simulators


@pytest.fixture
def sts(sims: Simulators) -> Iterator[SimulatedSts]:
    made = SimulatedSts(LIVES_S, Told(sims, AWS_POOLS))
    made.external_id = EXTERNAL_ID
    yield made
    made.close()


@pytest.fixture
def google(sims: Simulators) -> Iterator[SimulatedGoogle]:
    made = SimulatedGoogle(LIVES_S, Told(sims, GOOGLE_POOLS))
    yield made
    made.close()


def files(folder: Path, google: SimulatedGoogle) -> Mapping[str, Path]:
    """Not in the broker's folder, where nothing secret is looked for."""
    folder.mkdir()
    texts = {
        "profiles": f"[base]\naws_access_key_id = {STATIC[0]}\naws_secret_access_key = {STATIC[1]}\n",
        "web": WEB_TOKEN,
        "subject": SUBJECT_TOKEN,
        "account": google.account_file(),
        "federated": google.federation_file(str(folder / "subject")),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in texts}


def environ(sts: SimulatedSts, paths: Mapping[str, Path]) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_STS": sts.url,
        "AWS_SHARED_CREDENTIALS_FILE": str(paths["profiles"]),
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(paths["web"]),
        "AWS_ROLE_ARN": ROLE,
        "GOOGLE_APPLICATION_CREDENTIALS": str(paths["federated"]),
    }


def config(sims: Simulators, paths: Mapping[str, Path]) -> dict[str, Any]:
    role = {"aws": {"profile": "base", "role_arn": ROLE, "external_id": EXTERNAL_ID}}
    credentials: dict[str, Any] = {
        "role": role,
        "web": "aws",
        "account": {"gcp": {"credential_file": str(paths["account"])}},
        "federated": "gcp",
    }
    aws = {"dialect": "bedrock-converse", "region": "eu-central-1"}
    vertex = {"dialect": "gemini", "variant": "vertex", "region": "us-central1", "project": "p"}
    providers = [
        {
            "name": name,
            "base_url": f"http://127.0.0.1:{sims[name].port}{'' if name in AWS_POOLS else '/v1'}",
            "credential": credential,
            **(aws if name in AWS_POOLS else vertex),
        }
        for name, credential in credentials.items()
    ]
    return {
        "providers": providers,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": name,
                "failover": "none",
                "members": [{"provider": name, "model": CLAUDE if name in AWS_POOLS else GEMINI}],
            }
            for name in credentials
        ],
    }


def came_with(sim: SimulatorHandle) -> set[str]:
    """Keys and tokens that the provider has seen."""
    found = set()
    for made in sim.calls():
        said = dict(made["headers"])["authorization"]
        key = re.search(r"Credential=([^/]+)/|Bearer (.+)", said)
        assert key is not None, said
        found.add(key[1] or key[2])
    return found


def asked(broker: Broker, pool: str) -> Got:
    async def ask() -> Got:
        async with client(broker.url) as http:
            http.headers["authorization"] = f"Bearer {KEY}"
            return await call(http, Ask(pool))

    return asyncio.run(ask())


def refuses_what_is_over(sims: Simulators, sts: SimulatedSts, google: SimulatedGoogle) -> None:
    """The providers do: so no call went with a token after its end."""
    old = sts.issued[0]
    bedrock = boto3.client(
        "bedrock-runtime",
        endpoint_url=f"http://127.0.0.1:{sims['role'].port}",
        region_name="eu-central-1",
        aws_access_key_id=old.key,
        aws_secret_access_key=old.secret,
        aws_session_token=old.token,
    )
    with pytest.raises(ClientError, match="ExpiredTokenException"):
        bedrock.converse(modelId=CLAUDE, messages=[{"role": "user", "content": [{"text": "Hello"}]}])
    bedrock.close()
    path = f"/v1/projects/p/locations/us-central1/publishers/google/models/{GEMINI}:generateContent"
    reply = httpx.post(
        f"http://127.0.0.1:{sims['account'].port}{path}",
        headers={"authorization": f"Bearer {google.issued[0].key}"},
        json={"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
    )
    assert reply.status_code == 401, reply.text


def test_tokens_that_expire_under_load_fail_no_call(
    sims: Simulators, sts: SimulatedSts, google: SimulatedGoogle, tmp_path: Path
) -> None:
    paths = files(tmp_path / "own", google)
    services: tuple[TokenServer, ...] = (sts, google)
    names = (*AWS_POOLS, *GOOGLE_POOLS)

    def has_come_round() -> bool:
        is_issued = all(len(service.issued) >= 2 * (1 + REFRESHES) for service in services)
        return is_issued and all(len(came_with(sims[name])) >= REFRESHES for name in names)

    async def run(broker: Broker) -> Any:
        pools = [(name, "openai-chat") for name in names]
        async with load(broker.url, pools, workers=5) as under_way:
            await asyncio.to_thread(wait_until, has_come_round, 120)
            await under_way.reach(under_way.calls + enlarged(100))
        return under_way

    with Broker(
        tmp_path / "broker",
        config(sims, paths),
        environ=environ(sts, paths),
        arguments=("--log-level", "debug"),
    ) as broker:
        done = asyncio.run(run(broker))
        assert not done.bad, done.told(0)
        assert set(done.attempts) == {1}
        refuses_what_is_over(sims, sts, google)
        told = broker.status()["secrets"]
        assert [one["secret"] for one in told] == [
            f"identity:aws(external_id={EXTERNAL_ID},profile=base,region=eu-central-1,role_arn={ROLE})",
            "identity:aws(region=eu-central-1)",
            "identity:gcp",
            f"identity:gcp(credential_file={paths['account']})",
        ]
        assert {(one["state"], one["failures"]) for one in told} == {("good", 0)}
        # One connection pool a provider; of listeners those that calls under way may still need.
        clusters = {
            one["cluster"]["name"].split("/")[1]
            for one in _dumped(broker, "dynamic_active_clusters")
            if one["cluster"]["name"].startswith("provider/")
        }
        assert clusters == {*AWS_POOLS, *GOOGLE_POOLS}
        # The id of an access key is no secret: it stands in every request.
        keys = [text for one in sts.issued for text in (one.secret, one.token)]
        keys += [one.key for one in google.issued]
        shown = everything_shown(broker)
        for text in (*keys, STATIC[1], WEB_TOKEN, SUBJECT_TOKEN, "PRIVATE KEY"):
            assert [place for place, said in shown.items() if text in said] == []


def _dumped(broker: Broker, kind: str) -> list[dict[str, Any]]:
    configs = json.loads(envoy_says(broker, "/config_dump"))["configs"]
    return [one for part in configs for one in part.get(kind, ())]


def test_a_token_service_that_is_away(
    sims: Simulators, sts: SimulatedSts, google: SimulatedGoogle, tmp_path: Path
) -> None:
    """What it gave last is good to its end, and no longer; then there is none until it is back."""
    paths = files(tmp_path / "own", google)
    told = config(sims, paths)
    told["pools"] = [pool for pool in told["pools"] if pool["name"] in ("role", "account")]
    with Broker(tmp_path / "broker", told, environ=environ(sts, paths)) as broker:
        assert [asked(broker, pool).status for pool in ("role", "account")] == [200, 200]
        sts.state = google.state = "fails"

        def secrets() -> list[dict[str, Any]]:
            told = broker.status()["secrets"]
            return [one for one in told if "role" in one["secret"] or "(credential" in one["secret"]]

        wait_until(lambda: all(one["failures"] for one in secrets()), 60)
        assert [asked(broker, pool).status for pool in ("role", "account")] == [200, 200]
        assert {one["error"] for one in secrets()} == {
            "STS answers with ServiceUnavailable",
            "it gives no token (temporarily_unavailable)",
        }
        wait_until(lambda: {one["state"] for one in secrets()} == {"missing"}, 60)
        wait_until(lambda: [asked(broker, pool).status for pool in ("role", "account")] == [503, 503])
        assert sum("its members get no calls" in text for text in broker.status()["warnings"]) >= 2
        good = broker.metrics("modelbroker_secret_good")
        assert sorted(good.values())[:2] == [0.0, 0.0]
        sts.state = google.state = "up"
        wait_until(lambda: [asked(broker, pool).status for pool in ("role", "account")] == [200, 200], 60)


def test_a_profile_that_is_edited(sims: Simulators, tmp_path: Path) -> None:
    """Long before it is asked for again."""
    path = tmp_path / "profiles"
    keys = {"AKIAONE": "secret-canary-one", "AKIATWO": "secret-canary-two"}
    sims["role"].script(keys=keys)

    def write(key: str) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(f"[lab]\naws_access_key_id = {key}\naws_secret_access_key = {keys[key]}\n")
        fresh.replace(path)

    write("AKIAONE")
    bedrock = {
        "name": "bedrock",
        "base_url": f"http://127.0.0.1:{sims['role'].port}",
        "region": "eu-central-1",
        "credential": {"aws": {"profile": "lab"}},
    }
    told = {
        "secrets": {"refresh": "1h"},
        "providers": [bedrock],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": "bedrock", "model": CLAUDE}]}],
    }
    said = {"AWS_SHARED_CREDENTIALS_FILE": str(path), "AWS_CONFIG_FILE": "/nonexistent"}
    with Broker(tmp_path / "broker", told, environ=said) as broker:
        assert asked(broker, "chat").status == 200
        write("AKIATWO")
        wait_until(lambda: asked(broker, "chat").status == 200 and "AKIATWO" in came_with(sims["role"]))


@pytest.fixture
def entra(tmp_path: Path) -> Iterator[SimulatedAzure]:
    """Its authority's certificate is `entra/ca`."""
    authority, own = trustme.CA(), tmp_path / "entra"
    own.mkdir()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(own / "cert"))
    certificate.private_key_pem.write_to_path(str(own / "key"))
    authority.cert_pem.write_to_path(str(own / "ca"))
    made = SimulatedAzure((str(own / "cert"), str(own / "key")))
    yield made
    made.close()


def azure_provider(sims: Simulators, folder: Path) -> dict[str, Any]:
    return {
        "name": "azure-openai",
        "base_url": f"http://127.0.0.1:{sims['azure'].port}/v1",
        "credential": {"azure": {"ca_file": str(folder / "entra" / "ca")}},
    }


def azure_environ(entra: SimulatedAzure) -> dict[str, str]:
    return {
        "AZURE_TENANT_ID": "tenant",
        "AZURE_CLIENT_ID": "client",
        "AZURE_CLIENT_SECRET": entra.client_secret,
        "AZURE_AUTHORITY_HOST": entra.url,
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
    }


def test_azure_by_an_identity(sims: Simulators, entra: SimulatedAzure, tmp_path: Path) -> None:
    (token,) = entra.tokens
    sims["azure"].script(keys=[token])
    told = {
        "providers": [azure_provider(sims, tmp_path)],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": "azure-openai", "model": "gpt-5"}]}],
    }
    said = azure_environ(entra)
    with Broker(tmp_path / "broker", told, environ=said, arguments=("--log-level", "debug")) as broker:
        assert asked(broker, "chat").status == 200
        assert came_with(sims["azure"]) == {token}
        shown = everything_shown(broker)
        for text in (token, entra.client_secret):
            assert [place for place, said in shown.items() if text in said] == []


def test_token_services_that_hang_at_a_start(
    sims: Simulators, sts: SimulatedSts, google: SimulatedGoogle, entra: SimulatedAzure, tmp_path: Path
) -> None:
    """They take questions and never answer: what needs no token is served, and the rest once they do.
    Google's is the metadata server."""
    (token,) = entra.tokens
    sims["azure"].script(keys=[token])
    sims["plain"].script(keys=["sk-static"])
    paths = files(tmp_path / "own", google)
    told = config(sims, paths)
    role = next(one for one in told["providers"] if one["name"] == "role")
    federated = next(one for one in told["providers"] if one["name"] == "federated")
    plain = provider("plain", sims["plain"].port, "openai-chat", "/v1")
    told["providers"] = [role, federated, azure_provider(sims, tmp_path), plain]
    of_pools = {
        "role": [("role", CLAUDE)],
        "federated": [("federated", GEMINI)],
        "azure": [("azure-openai", "gpt-5")],
        "plain": [("plain", "m")],
        "mixed": [("role", CLAUDE), ("plain", "m")],
    }
    told["pools"] = [
        {"name": name, "members": [{"provider": one, "model": model} for one, model in members]}
        for name, members in of_pools.items()
    ]
    said = {**environ(sts, paths), **azure_environ(entra), "KEY_OF_PROVIDERS": "sk-static"}
    del said["GOOGLE_APPLICATION_CREDENTIALS"]
    host = google.url.removeprefix("http://")
    said |= {
        "NO_GCE_CHECK": "false",
        "GCE_METADATA_HOST": host,
        "GCE_METADATA_IP": host,
        "HOME": str(tmp_path),
    }
    sts.lives_s = google.lives_s = 3_600.0
    services = (sts, google, entra)
    for service in services:
        service.state = "hangs"
    with Broker(tmp_path / "broker", told, environ=said) as broker:
        waiting = ("role", "federated", "azure")
        assert [asked(broker, pool).status for pool in ("plain", "mixed", "mixed")] == [200] * 3
        assert [asked(broker, pool).status for pool in waiting] == [503] * 3
        warnings = broker.status()["warnings"]
        assert sum("its members get no calls" in text for text in warnings) == 3
        wait_until(lambda: all(one["failures"] for one in broker.status()["secrets"]), 60)
        # By nobody but those who tell: a start waits once.
        counts = [len(sts.asked), len(entra.asked)]
        known = {one["secret"].partition("(")[0]: one for one in broker.status()["secrets"]}
        assert {one["state"] for one in known.values()} == {"missing"}
        assert counts[0] <= known["identity:aws"]["failures"] + 1
        assert counts[1] <= known["identity:azure"]["failures"] + 1
        log = broker.log_path.read_text()
        for secret, why in (
            ("aws(", "STS can't be reached (ReadTimeoutError)"),
            (
                "gcp",
                "there are no application default credentials here: no variable or file, and no metadata",
            ),
            ("azure(", "there is no identity of Azure here, or Entra ID does not answer it"),
        ):
            told_of = [line for line in log.splitlines() if f": identity:{secret}" in line and why in line]
            assert len([line for line in told_of if " ERROR " in line]) == 1, log
        for service in services:
            service.state = "up"
        wait_until(lambda: {one["state"] for one in broker.status()["secrets"]} == {"good"}, 90)
        wait_until(lambda: [asked(broker, pool).status for pool in waiting] == [200] * 3)


def test_check_says_what_is_missing(
    sims: Simulators, sts: SimulatedSts, google: SimulatedGoogle, tmp_path: Path
) -> None:
    paths = files(tmp_path / "own", google)
    path = tmp_path / "broker.yaml"
    path.write_text(yaml.safe_dump(config(sims, paths)))
    sts.state = "forbids"
    paths["account"].write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "modelbroker.cli.main", "check", str(path)],
        env={**os.environ, **environ(sts, paths)},
        capture_output=True,
        text=True,
    )
    told = done.stdout + done.stderr
    why = "the role may not be assumed (AccessDenied); its members get no calls"
    assert f"provider role: identity:aws(external_id={EXTERNAL_ID}" in told
    assert f"provider web: identity:aws(region=eu-central-1): {why}" in told
    why = f"the file {paths['account']} holds no credentials of Google's (DefaultCredentialsError)"
    assert f"provider account: identity:gcp(credential_file={paths['account']}): {why}" in told
    assert "provider federated" not in told
