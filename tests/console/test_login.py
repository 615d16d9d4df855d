"""Tokens, and the sessions that they begin."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.login import Access, Session, Signer, may_reach

NOW_S = 1_796_000_000.0
ANA, ANA_BEFORE, BOB = "token-of-ana-now!", "token-of-ana-before", "token-of-bob-now!"
ACCESS = Access(users={"ana": (ANA, ANA_BEFORE), "bob": (BOB,)}, session_s=3600)
signer = Signer()


def held(user: str = "ana", token: str = ANA, now_s: float = NOW_S) -> str:
    return signer.begin(user, token, now_s)


@pytest.mark.parametrize(
    ("token", "user"), [(ANA, "ana"), (ANA_BEFORE, "ana"), (BOB, "bob"), ("", None), (ANA[:-1], None)]
)
def test_whose_token_it_is(token: str, user: str | None) -> None:
    assert signer.user_of(ACCESS, token) == user


def test_a_session_lasts_its_time() -> None:
    assert signer.read(ACCESS, held(), NOW_S) == Session("ana", int(NOW_S))
    assert signer.read(ACCESS, held(), NOW_S + 3600) is not None
    assert signer.read(ACCESS, held(), NOW_S + 3601) is None
    assert signer.read(ACCESS, held(), NOW_S - 61) is None  # it begins later than now


def test_a_session_ends_with_its_token() -> None:
    began_with_the_old_one = held(token=ANA_BEFORE)
    assert signer.read(ACCESS, began_with_the_old_one, NOW_S) is not None
    rotated = Access(users={"ana": (ANA,), "bob": (BOB,)})
    assert signer.read(rotated, began_with_the_old_one, NOW_S) is None
    assert signer.read(Access(users={"bob": (BOB,)}), held(), NOW_S) is None
    # Somebody else's token is not hers.
    assert signer.read(Access(users={"ana": (BOB,), "bob": (ANA,)}), held(), NOW_S) is None


def test_brokers_of_a_fleet_know_one_anothers_sessions() -> None:
    assert Signer().read(ACCESS, held(), NOW_S) == Session("ana", int(NOW_S))


def test_an_end_is_one_sessions_alone() -> None:
    one, other, alone = held(), held(), Signer()
    alone.end(ACCESS, one, NOW_S)
    assert alone.read(ACCESS, one, NOW_S) is None and alone.read(ACCESS, other, NOW_S) is not None
    # Its last letter says the same with other bits.
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        assert alone.read(ACCESS, one[:-1] + letter, NOW_S) is None
    alone.end(ACCESS, "nonsense.AA", NOW_S)
    assert len(alone._ended) == 1


def test_no_token_stands_in_what_browsers_hold() -> None:
    assert ANA not in held() and ANA.encode().hex() not in held()


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")))
def test_whatever_a_browser_holds_is_no_session(said: str) -> None:
    assert signer.read(ACCESS, said, NOW_S) is None


@given(at=st.integers(0, 10_000), instead=st.characters())
def test_no_letter_can_be_changed(at: int, instead: str) -> None:
    good = held()
    place = at % len(good)
    changed = good[:place] + instead + good[place + 1 :]
    if changed != good:
        found = signer.read(ACCESS, changed, NOW_S)
        # The last letter of base64 has bits that mean nothing.
        assert found is None or (found.user == "ana" and place == len(good) - 1)


@pytest.mark.parametrize(
    ("peer", "networks", "reaches"),
    [
        ("127.0.0.1", (), True),
        ("127.9.9.9", (), True),
        ("::1", (), True),
        ("::ffff:127.0.0.1", (), True),
        ("10.20.3.4", (), False),
        ("10.20.3.4", ("10.20.0.0/16",), True),
        ("::ffff:10.20.3.4", ("10.20.0.0/16",), True),
        ("10.21.3.4", ("10.20.0.0/16",), False),
        ("fd00::5", ("10.20.0.0/16", "fd00::/8"), True),
        ("fe80::1%eth0", (), False),
        ("", (), False),
        ("somebody", (), False),
    ],
)
def test_from_where(peer: str, networks: tuple[str, ...], reaches: bool) -> None:
    assert may_reach(peer, networks) is reaches


def test_a_session_with_a_number_that_no_clock_has_is_none_of_ours() -> None:
    held = base64.urlsafe_b64encode(b'["ana",' + b"9" * 400 + b"]").decode().rstrip("=")
    assert Signer().read(Access(users={"ana": ("x" * 20,)}), f"{held}.AA", 1e9) is None
