"""A certificate of the listener that ends, or has ended: Envoy serves it all the same. The broker tells of
it, and the alert does, from what Envoy itself measures."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.certificates import SelfSigned
from support.servers import Prometheus
from support.simulators import Simulators
from support.waiting import wait_until
from support.watched import quick_config, without_waits

_DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
KEY_OF_ALL = ec.generate_private_key(ec.SECP256R1())
GOOD = SelfSigned(NOW - 30 * _DAY, NOW + 60 * _DAY, KEY_OF_ALL)
ENDING = SelfSigned(NOW - 80 * _DAY, NOW + 10 * _DAY, KEY_OF_ALL)
OLD = SelfSigned(NOW - 90 * _DAY, NOW - _DAY, KEY_OF_ALL)
_ENDS = "envoy_listener_ssl_certificate_expiration_unix_time_seconds"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


def show(folder: Path, certificate: SelfSigned) -> None:
    """In one step, and of the same key: no Envoy sees halves that do not fit."""
    (folder / "tls.key").write_bytes(certificate.key)
    (folder / "new.crt").write_bytes(certificate.pem)
    (folder / "new.crt").replace(folder / "tls.crt")


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[Broker]:
    """It has a provider behind TLS too, whose authorities are the system's: some of those have expired."""
    show(folder, OLD)
    tls = {"cert_file": str(folder / "tls.crt"), "key_file": str(folder / "tls.key")}
    with Simulators("a") as sims:
        far = {**provider("far", 1, "openai-chat"), "base_url": "https://localhost:1/v1"}
        config: dict[str, Any] = {
            "listen": {"address": "127.0.0.1", "tls": tls},
            "providers": [provider("a", sims["a"].port, "openai-chat", "/v1"), far],
            "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
            "pools": [
                {"name": "chat", "members": [{"provider": "a", "model": "m"}]},
                {"name": "far", "members": [{"provider": "far", "model": "m"}]},
            ],
        }
        with Broker(folder / "broker", config) as running:
            yield running


@pytest.fixture(scope="module")
def prometheus(broker: Broker) -> Iterator[Prometheus]:
    with Prometheus(quick_config(broker.admin_url), {"alerts.yml": without_waits()}) as running:
        yield running


def warned(broker: Broker) -> list[str]:
    return [each for each in broker.status()["warnings"] if "listen.tls" in each]


def is_served(broker: Broker, certificate: SelfSigned) -> bool:
    host, _, port = broker.url.removeprefix("https://").partition(":")
    return ssl.get_server_certificate((host, int(port))).encode() == certificate.pem


def date(certificate: SelfSigned) -> str:
    return certificate.until.strftime("%Y-%m-%d %H:%M UTC")


def test_one_that_has_ended_holds_up_no_start_and_is_told(broker: Broker, folder: Path) -> None:
    assert is_served(broker, OLD)
    (said,) = warned(broker)
    assert said == (
        f"listen.tls.cert_file: the certificate in {folder}/tls.crt expired on {date(OLD)}: Envoy serves it "
        "all the same, and clients refuse it; give one that is good now"
    )
    assert broker.log().count(said) == 1
    with pytest.raises(httpx.ConnectError, match="certificate has expired"):
        trusting = ssl.create_default_context(cadata=OLD.pem.decode())
        httpx.get(f"{broker.url}/v1/models", verify=trusting)


def test_the_alert_knows_it_from_envoy_until_it_is_renewed(
    broker: Broker, prometheus: Prometheus, folder: Path
) -> None:
    wait_until(lambda: "CertificateExpiring" in prometheus.firing())
    assert prometheus.values(_ENDS) == [OLD.until.timestamp()]
    show(folder, ENDING)
    wait_until(lambda: is_served(broker, ENDING), 60)
    (said,) = warned(broker)
    assert said.endswith(f"tls.crt ends soon, on {date(ENDING)}; renew it") and broker.log().count(said) == 1
    wait_until(lambda: prometheus.values(_ENDS) == [ENDING.until.timestamp()])
    wait_until(lambda: "CertificateExpiring" in prometheus.firing())
    show(folder, GOOD)
    wait_until(lambda: is_served(broker, GOOD), 60)
    assert warned(broker) == []
    wait_until(lambda: prometheus.values(_ENDS) == [GOOD.until.timestamp()])
    wait_until(lambda: "CertificateExpiring" not in prometheus.firing())
    reply = httpx.post(
        f"{broker.url}/v1/chat/completions",
        json={"model": "chat", "messages": [{"role": "user", "content": "hi"}]},
        headers={"authorization": f"Bearer {KEY}"},
        verify=ssl.create_default_context(cadata=GOOD.pem.decode()),
    )
    assert reply.status_code == 200
