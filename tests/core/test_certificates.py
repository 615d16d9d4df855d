"""When certificates are good, read without a library: held against one that knows all of it."""

from __future__ import annotations

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.certificates import Validity, ends_soon, validities

_DAY_S = 86_400
EC = ec.generate_private_key(ec.SECP256R1())
KEYS = {
    "ec": EC,
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65_537, 2_048),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def made(since: datetime.datetime, until: datetime.datetime, key: str = "ec", names: int = 1) -> str:
    """In PEM. `names`: how long its issuer's name is, so that lengths of all spellings come up."""
    private = KEYS[key]
    parts = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "u" * 60)] * names
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name(parts))
    builder = builder.public_key(private.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(since).not_valid_after(until)
    digest = None if key == "ed25519" else hashes.SHA256()
    return builder.sign(private, digest).public_bytes(serialization.Encoding.PEM).decode()


# As whole seconds of a certificate are; from 2050 on its other spelling.
TIMES = st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(9999, 12, 31)).map(
    lambda time: time.replace(microsecond=0, tzinfo=datetime.UTC)
)


@given(st.lists(TIMES, min_size=2, max_size=2, unique=True).map(sorted), st.integers(0, 8))
def test_as_a_library_reads_them(times: list[datetime.datetime], names: int) -> None:
    since, until = times
    assert validities(made(since, until, names=names)) == (
        Validity(int(since.timestamp()), int(until.timestamp())),
    )


@pytest.mark.parametrize("key", KEYS)
def test_of_each_in_a_chain_in_its_order(key: str) -> None:
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    until = [day + datetime.timedelta(days=days) for days in (90, 3_000)]
    words = "Bag Attributes: none\r\n"
    text = "\n".join(words + made(day, each, key).replace("\n", "\r\n") for each in until)
    assert [each.until_s for each in validities(text)] == [int(each.timestamp()) for each in until]
    assert validities(words) == ()


_GOOD = made(datetime.datetime(2026, 1, 1), datetime.datetime(2027, 1, 1))
_LINES = _GOOD.splitlines()


@pytest.mark.parametrize(
    "bad",
    [
        "\n".join((_LINES[0], "AAAA", _LINES[-1])),
        "\n".join((_LINES[0], "", _LINES[-1])),
        "\n".join((_LINES[0], "not base64!", _LINES[-1])),
        "\n".join((*_LINES[:2], _LINES[-1])),
        _GOOD.replace("MII", "AII", 1).replace("MIH", "AIH", 1),
    ],
)
def test_what_is_none_is_an_error_of_one_kind(bad: str) -> None:
    with pytest.raises(ValueError, match=r"^the 2nd certificate in it can't be read$"):
        validities(_GOOD + bad)


@given(st.binary(max_size=400))
def test_whatever_stands_there(garbage: bytes) -> None:
    text = f"{_LINES[0]}\n{base64.b64encode(garbage).decode()}\n{_LINES[-1]}\n"
    try:
        assert len(validities(text)) == 1
    except ValueError as error:
        assert str(error) == "the 1st certificate in it can't be read"


@pytest.mark.parametrize(
    ("life_days", "left_days", "soon"),
    [
        (90, 15, False),
        (90, 13, True),
        (90, 0, True),
        # What is renewed by itself each day, or each week, is not always about to end.
        (1, 0.3, False),
        (1, 0.2, True),
        (10, 9, False),
        (10, 2, True),
    ],
)
def test_soon_is_14_days_or_the_last_quarter(life_days: float, left_days: float, soon: bool) -> None:
    now_s = 1_800_000_000
    until_s = now_s + int(left_days * _DAY_S)
    assert ends_soon(Validity(until_s - int(life_days * _DAY_S), until_s), now_s) is soon
