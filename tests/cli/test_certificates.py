"""Certificates of the listener: `check` says which are no good, and a running broker tells which end soon."""

from __future__ import annotations

import datetime
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from modelbroker.cli.certificates import CertificateWatch, held_by, served_warnings
from modelbroker.cli.main import main
from modelbroker.core.catalog import Listen
from support.certificates import SelfSigned

_DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
POOL = {"name": "p", "members": [{"provider": "openai", "model": "m"}]}
GOOD = SelfSigned(NOW - 30 * _DAY, NOW + 60 * _DAY)
OLD = SelfSigned(NOW - 90 * _DAY, NOW - _DAY)
YOUNG = SelfSigned(NOW + _DAY, NOW + 90 * _DAY)
ENDING = SelfSigned(NOW - 80 * _DAY, NOW + 10 * _DAY)
RSA = SelfSigned(NOW - _DAY, NOW + 90 * _DAY, rsa.generate_private_key(65_537, 2_048))


def day(one: SelfSigned, *, since: bool = False) -> str:
    return (one.since if since else one.until).strftime("%Y-%m-%d %H:%M UTC")


class Checked:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.config = folder / "a.yaml"
        self.cert, self.key, self.client_ca = (folder / name for name in ("tls.crt", "tls.key", "ca.crt"))

    def __call__(
        self, cert: bytes | None, key: bytes | None, client_ca: bytes | None = None, *, no_envoy: bool = True
    ) -> tuple[int, list[str]]:
        """(exit code, what is said of the listener, without the names of file and folder). None: no file."""
        for path, data in ((self.cert, cert), (self.key, key), (self.client_ca, client_ca)):
            if data is not None:
                path.write_bytes(data)
        tls = {"cert_file": str(self.cert), "key_file": str(self.key)}
        tls |= {"client_ca_file": str(self.client_ca)} if client_ca is not None else {}
        self.config.write_text(yaml.safe_dump({"listen": {"tls": tls}, "pools": [POOL]}, sort_keys=False))
        code = main(["check", str(self.config), *(["--no-envoy"] if no_envoy else [])])
        said = [line for line in self._capsys.readouterr().err.splitlines() if "listen" in line]
        for short in ("modelbroker: ", f"{self.config}:", f"{self.folder}/"):
            said = [line.replace(short, "") for line in said]
        return code, said


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Checked:
    return Checked(tmp_path, capsys)


def test_good_ones_are_no_words_worth(check: Checked) -> None:
    assert check(GOOD.pem, GOOD.key) == (0, [])
    assert check(GOOD.pem + RSA.pem, GOOD.key, RSA.pem) == (0, [])
    assert check(RSA.pem, RSA.key, no_envoy=False) == (0, [])


_OUT = "Envoy serves it all the same, and clients refuse it"
_ELSE = " that have no other way to their authority"
_CERT, _KEY = "3: listen.tls.cert_file:", "4: listen.tls.key_file:"


@pytest.mark.parametrize("no_envoy", [True, False])
def test_one_that_clients_refuse_is_an_error(check: Checked, no_envoy: bool) -> None:
    said = f"{_CERT} the certificate in tls.crt expired on {day(OLD)}: {_OUT}; give one that is good now"
    assert check(OLD.pem, OLD.key, no_envoy=no_envoy) == (1, [said])
    when = f"is not good before {day(YOUNG, since=True)}"
    said = f"{_CERT} the certificate in tls.crt {when}: {_OUT}; give one that is good now"
    assert check(YOUNG.pem, YOUNG.key, no_envoy=no_envoy) == (1, [said])


def test_one_that_ends_soon_is_a_warning(check: Checked) -> None:
    said = f"warning: {_CERT} the certificate in tls.crt ends soon, on {day(ENDING)}; renew it"
    assert check(ENDING.pem, ENDING.key) == (0, [said])


def test_what_follows_the_first_one_is_a_warning(check: Checked) -> None:
    expired = (
        f"the 2nd certificate in tls.crt expired on {day(OLD)}: {_OUT}{_ELSE}; give one that is good now"
    )
    soon = f"the 3rd certificate in tls.crt ends soon, on {day(ENDING)}; renew it"
    told = [f"warning: {_CERT} {each}" for each in (expired, soon)]
    assert check(GOOD.pem + OLD.pem + ENDING.pem, GOOD.key) == (0, told)


def test_authorities_of_clients(check: Checked) -> None:
    field, out = (
        "5: listen.tls.client_ca_file:",
        "clients that it has signed are refused; give one that is good now",
    )
    said = f"{field} the certificate in ca.crt expired on {day(OLD)}: {out}"
    assert check(GOOD.pem, GOOD.key, OLD.pem) == (1, [said])
    said = f"warning: {field} the 1st certificate in ca.crt expired on {day(OLD)}: {out}"
    assert check(GOOD.pem, GOOD.key, OLD.pem + GOOD.pem) == (0, [said])
    assert check(GOOD.pem, GOOD.key, b"") == (1, [f"{field} ca.crt holds no certificate; give one in PEM"])


@pytest.mark.parametrize("of", [GOOD, RSA])
@pytest.mark.parametrize(
    "other", [OLD, SelfSigned(NOW - _DAY, NOW + 90 * _DAY, rsa.generate_private_key(65_537, 2_048))]
)
@pytest.mark.parametrize("no_envoy", [True, False])
def test_a_key_of_another_certificate(
    check: Checked, of: SelfSigned, other: SelfSigned, no_envoy: bool
) -> None:
    wrong = "the key in tls.key is not that of the certificate in tls.crt"
    said = f"{_KEY} {wrong}; give the one that it was made for"
    assert check(of.pem, other.key, no_envoy=no_envoy) == (1, [said])


def _cut(der: bytes) -> bytes:
    """The name of its subject as something else: a certificate has a SEQUENCE there."""
    name = der.rindex(b"own") - 11  # SEQUENCE, SET, SEQUENCE, OID, text
    return der[:name] + b"\x04" + der[name + 1 :]


_NO_KEY = (
    f"{_KEY} tls.key holds no key that can be read; give the certificate's own in PEM, without a password"
)
# Its times can be read, and what follows them is cut off.
_BROKEN = ssl.DER_cert_to_PEM_cert(_cut(ssl.PEM_cert_to_DER_cert(GOOD.pem.decode()))).encode()
_SEALED = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.BestAvailableEncryption(b"hi"),
)


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        (GOOD.pem, b"", _NO_KEY),
        (GOOD.pem, GOOD.pem, _NO_KEY),
        (GOOD.pem, b"\xff\x00", _NO_KEY),
        (GOOD.pem, _SEALED, _NO_KEY),
        (GOOD.key, GOOD.key, f"{_CERT} tls.crt holds no certificate; give one in PEM"),
        (b"\xff\x00", GOOD.key, f"{_CERT} tls.crt holds no certificate; give one in PEM"),
        (
            GOOD.pem.replace(b"MI", b"AA", 1),
            GOOD.key,
            f"{_CERT} tls.crt: the 1st certificate in it can't be read; give certificates in PEM",
        ),
        (_BROKEN, GOOD.key, f"{_CERT} tls.crt: a certificate in it can't be read; give certificates in PEM"),
        (
            GOOD.pem + _BROKEN,
            GOOD.key,
            f"{_CERT} tls.crt: a certificate in it can't be read; give certificates in PEM",
        ),
    ],
)
@pytest.mark.parametrize("no_envoy", [True, False])
def test_what_is_none(check: Checked, cert: bytes, key: bytes, said: str, no_envoy: bool) -> None:
    assert check(cert, key, no_envoy=no_envoy) == (1, [said])


def test_files_that_are_not_there(check: Checked) -> None:
    """Without an Envoy to judge it is another machine's that is looked at."""
    away = "can't be read (No such file or directory)"
    both = [f"{_CERT} tls.crt {away}", f"{_KEY} tls.key {away}"]
    assert check(None, None, no_envoy=False) == (1, both)
    elsewhere = "on this machine; Envoy needs it on the one where it runs"
    assert check(None, None) == (0, [f"warning: {each} {elsewhere}" for each in both])
    assert check(GOOD.pem, None) == (0, [f"warning: {_KEY} tls.key {away} {elsewhere}"])


def listen(folder: Path, pem: bytes) -> Listen:
    path = folder / "tls.crt"
    path.write_bytes(pem)
    return Listen(tls_cert_file=str(path), tls_key_file=str(folder / "tls.key"))


def test_while_it_runs_time_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    watch, until_s = CertificateWatch(), GOOD.until.timestamp()
    held = held_by(listen(tmp_path, GOOD.pem))
    start = f"listen.tls.cert_file: the certificate in {tmp_path}/tls.crt"

    def told() -> list[Any]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    watch.configured(held, until_s - 15 * 86_400)
    assert told() == []
    for _ in range(2):
        watch.look(until_s - 13 * 86_400)
    assert told() == [f"{start} ends soon, on {day(GOOD)}; renew it"]
    watch.look(until_s + 1)
    assert told() == [f"{start} expired on {day(GOOD)}: {_OUT}; give one that is good now"]
    watch.configured(held_by(listen(tmp_path, RSA.pem)), until_s + 1)
    assert told() == []


def test_a_broker_that_runs_leaves_it_to_envoy_what_it_cannot_read(tmp_path: Path) -> None:
    assert served_warnings(held_by(Listen(tls_cert_file=str(tmp_path / "none"))), NOW.timestamp()) == []
    assert served_warnings(held_by(listen(tmp_path, b"")), NOW.timestamp()) == []
    assert held_by(Listen()) == ()
