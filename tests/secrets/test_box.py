"""All secrets of a configuration together: asked for once, again, and no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import MappingProxyType

import pytest
from modelbroker.core.catalog import SecretRef, StoredSecret
from modelbroker.core.errors import Misconfigured
from modelbroker.core.secrets import Secrets, StorePlace
from modelbroker.secrets import store
from modelbroker.secrets.box import SecretBox
from support.vault import SimulatedVault
from support.waiting import wait_until

A, B = StoredSecret("store", "a", "one"), StoredSecret("store", "b", "one")
OTHER = StoredSecret("store", "a", "two")


def secrets(refresh_s: int = 1, **vaults: SimulatedVault) -> Secrets:
    options = {
        name: {"address": each.url, "mount": "secret", "auth": "token"} for name, each in vaults.items()
    }
    token = {"token": SecretRef("env", "T")}
    stores = {name: StorePlace(name, "vault", said, token) for name, said in options.items()}
    return Secrets(MappingProxyType(stores), refresh_s)


@pytest.fixture
def box() -> Iterator[SecretBox]:
    made = SecretBox(lambda ref: ("root", ""))
    yield made
    made.close()


def text(box: SecretBox, ref: StoredSecret) -> str:
    read = box.read(ref)
    return read.values[0].text if read.values else read.why


def looked(box: SecretBox) -> bool:
    """At the next time that something is due."""
    wait_until(lambda: box.next_s() <= time.time())
    return box.look()


def test_what_is_wanted_is_asked_for_and_again_in_time(box: SecretBox, vault: SimulatedVault) -> None:
    vault.put("a", key="1")
    box.want(secrets(one=vault), [A, B])
    assert (text(box, A), text(box, B)) == ("1", "one: b is not there")
    vault.put("b", key="2")
    wait_until(lambda: looked(box) and text(box, B) == "2")
    vault.put("a", key="3")
    wait_until(lambda: looked(box))
    assert [value.text for value in box.read(A).values] == ["3", "1"]
    assert not looked(box)  # nothing is new
    # What is wanted already is not asked for twice, and what nobody wants any more not at all.
    before = len(vault.asked)
    box.want(secrets(one=vault), [B])
    assert len(vault.asked) == before and text(box, A) == "3"
    box.keep([B])
    assert text(box, A) == "one: it has not answered yet"
    assert not looked(box) and text(box, B) == "2"
    assert "secret/data/a" not in vault.asked[before:]


def test_one_that_hangs_keeps_nobody_from_the_others(
    box: SecretBox, vault: SimulatedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelbroker.secrets.vault.TIMEOUT_S", 1)
    other = SimulatedVault(state="hangs")
    vault.put("a", key="1")
    box.want(secrets(one=vault, two=other), [A, OTHER])
    assert text(box, A) == "1"
    assert text(box, OTHER) == "two: it did not answer within 1 s"
    assert len(other.asked) == 1
    other.close()


def test_a_store_that_is_another_one_now_is_asked_anew(box: SecretBox, vault: SimulatedVault) -> None:
    other = SimulatedVault()
    vault.put("a", key="1")
    other.put("a", key="2")
    box.want(secrets(one=vault), [A])
    assert text(box, A) == "1"
    box.want(secrets(one=other), [A])
    assert [value.text for value in box.read(A).values] == ["2"]
    other.close()


def test_what_is_not_installed_is_said(
    box: SecretBox, vault: SimulatedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        Misconfigured, match=r"vault needs the package hvac: pip install 'modelbroker\[vault\]'"
    ):
        box.want(secrets(vault=vault), [StoredSecret("store", "a", "vault")])


def test_status_has_no_value(box: SecretBox, vault: SimulatedVault) -> None:
    vault.put("a", key="sk-canary")
    box.want(secrets(one=vault), [A, B])
    a, b = box.status()
    assert (a["secret"], a["state"], a["version"], a["failures"], a["error"]) == (
        "one:a",
        "good",
        "1",
        0,
        None,
    )
    assert (b["secret"], b["state"], b["version"], b["error"]) == ("one:b", "missing", None, "b is not there")
    assert "canary" not in str(box.status()) and "canary" not in repr(box.read(A))
