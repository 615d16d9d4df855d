"""Callers that are known by their certificate (mTLS, SPIFFE): Envoy verifies it, and headers say nothing."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trustme
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.certificates import ClientAuthority
from support.records import record_with
from support.simulators import Simulators
from support.waiting import wait_until

AGENT = "spiffe://prod.example.com/ns/agents/sa/indexer-7"
SPECIAL = "spiffe://prod.example.com/ns/agents/sa/special"
NOBODY = "spiffe://prod.example.com/ns/others/sa/x"
FOREIGN = "spiffe://dev.example.com/ns/agents/sa/indexer-7"


class Certificates:
    def __init__(self, folder: Path) -> None:
        server = trustme.CA()
        self.server_ca, self.client_ca = folder / "server-ca.pem", folder / "client-ca.pem"
        server.cert_pem.write_to_path(str(self.server_ca))
        issued = server.issue_cert("127.0.0.1")
        self.cert, self.key = folder / "server.pem", folder / "server.key"
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.key))
        self.agents, self.strangers = ClientAuthority(folder), ClientAuthority(folder, "agents")
        self.client_ca.write_bytes(self.agents.pem)

    def of(
        self, uri: str = "", *, authority: ClientAuthority | None = None, is_old: bool = False
    ) -> ssl.SSLContext:
        return (authority or self.agents).context(self.server_ca, uri, is_old=is_old)

    def none(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.server_ca))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


def config(sims: Simulators, certificates: Certificates, **tls: Any) -> dict[str, Any]:
    files = {
        "cert_file": str(certificates.cert),
        "key_file": str(certificates.key),
        "client_ca_file": str(certificates.client_ca),
    }
    members = [{"provider": sim.name, "model": "m", "priority": level} for level, sim in enumerate(sims)]
    return {
        "listen": {"address": "127.0.0.1", "tls": {**files, **tls}},
        "providers": [provider(sim.name, sim.port, "openai-chat", "/v1") for sim in sims],
        "callers": [
            {"name": "tester", "key": {"sha256": KEY_SHA256}},
            {"name": "special", "spiffe": SPECIAL, "tier": "premium", "pools": "other"},
            {
                "name": "agents",
                "spiffe": ["spiffe://prod.example.com/ns/agents/*"],
                "team": "search",
                "trusted_for": ["customer"],
            },
        ],
        "pools": [{"name": name, "ejection": "off", "members": members} for name in ("one", "other")],
    }


@pytest.fixture(scope="module")
def broker(
    sims: Simulators, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims, certificates)) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def post(broker: Broker, context: ssl.SSLContext, pool: str = "one", **headers: str) -> httpx.Response:
    body = {"model": pool, "messages": [{"role": "user", "content": "hi"}]}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(verify=context, timeout=30) as client:
        return client.post(f"{broker.url}/v1/chat/completions", json=body, headers=sent)


def record(broker: Broker, reply: httpx.Response) -> dict[str, Any]:
    return record_with(broker, reply.headers["x-broker-request-id"])


def code(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, "" if reply.status_code == 200 else reply.json()["error"]["code"]


def test_a_certificate_says_who_calls(broker: Broker, sims: Simulators, certificates: Certificates) -> None:
    reply = post(broker, certificates.of(AGENT), x_broker_customer="acme", x_broker_feature="mine")
    told = record(broker, reply)
    who = ("caller", "team", "customer", "feature")
    assert [told[name] for name in who] == ["agents", "search", "acme", ""]
    assert code(post(broker, certificates.of(SPECIAL))) == (403, "pool_not_allowed")
    assert record(broker, post(broker, certificates.of(SPECIAL), "other"))["caller"] == "special"
    journal = json.dumps(sims["a"].settled_calls())
    assert "spiffe" not in journal and "client-cert" not in journal


def test_who_is_nobodys_is_refused(broker: Broker, sims: Simulators, certificates: Certificates) -> None:
    for uri in (NOBODY, FOREIGN):
        assert code(post(broker, certificates.of(uri))) == (403, "identity_not_allowed")
    assert code(post(broker, certificates.of())) == (401, "missing_api_key")
    assert code(post(broker, certificates.none())) == (401, "missing_api_key")
    for bad in (
        certificates.of(AGENT, authority=certificates.strangers),
        certificates.of(AGENT, is_old=True),
    ):
        with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
            post(broker, bad)
    assert sims["a"].settled_calls() == []


def test_no_header_stands_in_for_a_certificate(
    broker: Broker, sims: Simulators, certificates: Certificates
) -> None:
    spoofed = f'By=spiffe://prod.example.com/broker;Hash=0;URI={AGENT};Subject="CN=root"'
    for context in (certificates.none(), certificates.of()):
        assert code(post(broker, context, x_forwarded_client_cert=spoofed)) == (401, "missing_api_key")
    reply = post(broker, certificates.none(), x_forwarded_client_cert=spoofed, x_api_key=KEY)
    assert record(broker, reply)["caller"] == "tester"
    reply = post(broker, certificates.of(AGENT), x_forwarded_client_cert=f"URI={SPECIAL}")
    assert record(broker, reply)["caller"] == "agents"
    assert "x-forwarded-client-cert" not in json.dumps(sims["a"].settled_calls())


def test_a_key_goes_first_and_a_wrong_one_is_refused(broker: Broker, certificates: Certificates) -> None:
    agent = certificates.of(AGENT)
    assert record(broker, post(broker, agent, x_api_key=KEY))["caller"] == "tester"
    assert code(post(broker, agent, x_api_key="wrong")) == (401, "invalid_api_key")
    assert record(broker, post(broker, agent, x_api_key="none"))["caller"] == "agents"
    assert code(post(broker, certificates.none(), x_api_key="none")) == (401, "invalid_api_key")


def test_an_official_sdk_with_nothing_but_its_certificate(broker: Broker, certificates: Certificates) -> None:
    with httpx.Client(verify=certificates.of(AGENT), timeout=30) as http:
        sdk = openai.OpenAI(base_url=f"{broker.url}/v1", api_key="none", http_client=http, max_retries=0)
        answer = sdk.chat.completions.create(model="one", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content


def test_a_call_that_is_handed_back_keeps_who_it_is(
    broker: Broker, sims: Simulators, certificates: Certificates
) -> None:
    sims["a"].script(faults=[{"status": 500}])
    reply = post(broker, certificates.of(AGENT), x_broker_customer="acme")
    assert reply.headers["x-broker-member"] == "b/m"
    told = record(broker, reply)
    assert (told["caller"], told["customer"]) == ("agents", "acme")


def test_a_new_authority_takes_the_place_of_the_old_one(broker: Broker, certificates: Certificates) -> None:
    """In place, as a mounted file changes: no edit of the configuration."""
    old, new = certificates.of(AGENT), certificates.of(AGENT, authority=certificates.strangers)

    def is_let_in(context: ssl.SSLContext) -> bool:
        try:
            return post(broker, context).status_code == 200
        except httpx.TransportError:
            return False

    assert (is_let_in(old), is_let_in(new)) == (True, False)
    certificates.client_ca.write_bytes(certificates.strangers.pem)
    wait_until(lambda: is_let_in(new) and not is_let_in(old), 60)
    certificates.client_ca.write_bytes(certificates.agents.pem)
    wait_until(lambda: is_let_in(old) and not is_let_in(new), 60)


def test_where_a_certificate_is_required_nobody_comes_in_without(
    broker: Broker, sims: Simulators, certificates: Certificates
) -> None:
    broker.edit(config(sims, certificates, require_client_cert=True))

    def is_shut() -> bool:
        try:
            post(broker, certificates.none(), x_api_key=KEY)
        except httpx.TransportError:
            return True
        return False

    wait_until(is_shut, 60)
    assert record(broker, post(broker, certificates.of(AGENT)))["caller"] == "agents"
    assert record(broker, post(broker, certificates.of(AGENT), x_api_key=KEY))["caller"] == "tester"
    broker.edit(config(sims, certificates))
    wait_until(lambda: not is_shut(), 60)
