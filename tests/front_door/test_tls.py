"""TLS on both sides: providers are verified, and the listener can serve https."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.simulators import Simulators


class Authority:
    """A certificate authority of the test's own, its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))
        self._folder = folder

    def server_context(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def files(self, *names: str) -> tuple[Path, Path]:
        certificate = self._ca.issue_cert(*names)
        cert, key = self._folder / "server.pem", self._folder / "server.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(str(key))
        return cert, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def sims(authority: Authority) -> Iterator[Simulators]:
    with Simulators() as simulators:
        simulators.add("good", ssl=authority.server_context("localhost"))
        simulators.add("other-name", ssl=authority.server_context("elsewhere.example"))
        simulators.add("plain")
        yield simulators


def https(sims: Simulators, authority: Authority, name: str, ca: bool = True) -> dict[str, Any]:
    entry = provider(name if ca else f"{name}-untrusted", sims[name].port, "openai-chat", "/v1")
    entry["base_url"] = f"https://localhost:{sims[name].port}/v1"
    return {**entry, "ca_file": str(authority.ca_file)} if ca else entry


@pytest.fixture(scope="module")
def broker(
    sims: Simulators, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    def pool(name: str, *providers: str) -> dict[str, Any]:
        members = [
            {"provider": each, "model": "m", "priority": level} for level, each in enumerate(providers)
        ]
        return {"name": name, "members": members, "ejection": "off"}

    cert, key = authority.files("127.0.0.1")
    config = {
        "listen": {"address": "127.0.0.1", "tls": {"cert_file": str(cert), "key_file": str(key)}},
        "providers": [
            https(sims, authority, "good"),
            https(sims, authority, "good", ca=False),
            https(sims, authority, "other-name"),
            provider("plain", sims["plain"].port, "openai-chat", "/v1"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            pool("verified", "good"),
            pool("untrusted", "good-untrusted"),
            pool("wrong-name", "other-name"),
            pool("wrong-name-then-plain", "other-name", "plain"),
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


def call(broker: Broker, authority: Authority, pool: str, **fields: Any) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    body = {"model": pool, "messages": [{"role": "user", "content": "hi"}], **fields}
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(verify=context, timeout=30) as client:
        return client.post(f"{broker.url}/v1/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_behind_tls_and_dns(broker: Broker, authority: Authority, stream: bool) -> None:
    assert broker.url.startswith("https://")
    reply = call(broker, authority, "verified", stream=stream)
    assert reply.status_code == 200
    assert reply.headers["x-broker-member"] == "good/m"


@pytest.mark.parametrize("pool", ["untrusted", "wrong-name"])
def test_a_certificate_that_does_not_verify_is_no_provider(
    broker: Broker, authority: Authority, sims: Simulators, pool: str
) -> None:
    sims.reset()
    reply = call(broker, authority, pool)
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "upstream_unavailable"
    assert sims["good"].calls() == sims["other-name"].calls() == []


def test_it_fails_over_like_any_other_fault(broker: Broker, authority: Authority) -> None:
    reply = call(broker, authority, "wrong-name-then-plain")
    assert (reply.status_code, reply.headers["x-broker-member"]) == (200, "plain/m")


def test_a_certificate_that_is_renewed_in_place_is_served_at_once(
    broker: Broker, authority: Authority
) -> None:
    """A mounted certificate changes under the same name: no edit, no failed call."""
    before = served_certificate(broker)
    authority.files("127.0.0.1")
    deadline = time.monotonic() + 15
    while served_certificate(broker) == before:
        assert call(broker, authority, "verified").status_code == 200
        assert time.monotonic() < deadline
    assert call(broker, authority, "verified").status_code == 200


def served_certificate(broker: Broker) -> str:
    host, _, port = broker.url.removeprefix("https://").partition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_a_providers_new_authority_is_trusted_once_it_is_in_the_file(
    sims: Simulators, authority: Authority, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))
    config = {
        "providers": [{**https(sims, authority, "good"), "ca_file": str(ca_file)}],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "verified", "ejection": "off", "members": [{"provider": "good", "model": "m"}]}],
    }
    with Broker(tmp_path / "broker", config) as broker:
        assert call(broker, authority, "verified").status_code == 503
        ca_file.write_bytes(authority.ca_file.read_bytes())
        deadline = time.monotonic() + 15
        while call(broker, authority, "verified").status_code != 200:
            assert time.monotonic() < deadline
