"""All secrets of a configuration together: asked for once, again, and no more."""

from __future__ import annotations

import fcntl
import os
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from modelbroker.core.catalog import SecretRef, StoredSecret
from modelbroker.core.errors import Misconfigured
from modelbroker.core.secrets import NO_SECRETS, Secrets, StorePlace
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


def asking(but: set[threading.Thread]) -> list[threading.Thread]:
    """The threads that ask, but those of earlier tests."""
    return [one for one in threading.enumerate() if one.name == "secrets" and one not in but]


def test_what_is_wanted_is_asked_for_and_again_in_time(box: SecretBox, vault: SimulatedVault) -> None:
    vault.put("a", key="1")
    box.want(secrets(one=vault), [A, B])
    assert (text(box, A), text(box, B)) == ("1", "one: b is not there, in the mount secret")
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


def test_without_asking_files_are_read_and_stores_are_opened(
    vault: SimulatedVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("1")
    file = SecretRef("file", str(tmp_path / "key"))
    vault.put("a", key="2")
    box = SecretBox(lambda ref: ("root", ""), asks=False)
    box.want(secrets(one=vault), [A, file])
    assert [value.text for value in box.read(file).values] == ["1"]
    assert text(box, A) == "one: it has not answered yet" and not vault.asked
    box.close()
    monkeypatch.setattr(store, "is_installed", lambda kind: False)
    with pytest.raises(Misconfigured, match="needs the package hvac"):
        SecretBox(lambda ref: ("root", ""), asks=False).want(secrets(one=vault), [A])


def test_a_store_that_hangs_is_asked_once_and_tells_what_it_finds(
    box: SecretBox, vault: SimulatedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelbroker.secrets.box._FIRST_S", 0.01)
    before = set(threading.enumerate())
    vault.put("a", key="1")
    vault.state = "hangs"
    for _ in range(5):
        box.want(secrets(one=vault), [A])
        assert not box.look()
    wait_until(lambda: vault.asked)
    assert len(asking(before)) == 1
    assert text(box, A) == "one: it has not answered yet"
    vault.answer_all()
    wait_until(lambda: box.next_s() <= time.time())
    assert box.look() and text(box, A) == "1"
    assert vault.asked.count("secret/data/a") == 1


def test_a_store_that_is_another_one_now_is_asked_anew(box: SecretBox, vault: SimulatedVault) -> None:
    other = SimulatedVault()
    vault.put("a", key="1")
    other.put("a", key="2")
    box.want(secrets(one=vault), [A])
    assert text(box, A) == "1"
    box.want(secrets(one=other), [A])
    assert [value.text for value in box.read(A).values] == ["2"]
    other.close()


def test_what_a_store_said_is_good_while_the_one_in_its_place_is_away(
    box: SecretBox, vault: SimulatedVault
) -> None:
    other = SimulatedVault(state="sealed")
    vault.put("a", key="1")
    box.want(secrets(one=vault), [A])
    box.want(secrets(one=other), [A])
    assert text(box, A) == "1" and box.status()[0]["error"] == "it is sealed, or in maintenance"
    other.state = "up"
    wait_until(lambda: looked(box))
    assert text(box, A) == "one: a is not there, in the mount secret"  # and not for the overlap: it never was
    other.close()


def test_what_a_store_says_late_is_nothing_to_the_one_in_its_place(
    box: SecretBox, vault: SimulatedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelbroker.secrets.box._FIRST_S", 0.01)
    before = set(threading.enumerate())
    vault.put("a", key="1")
    vault.state = "hangs"
    box.want(secrets(one=vault), [A])
    wait_until(lambda: vault.asked)
    monkeypatch.undo()
    other = SimulatedVault()
    other.put("a", key="2")
    box.want(secrets(one=other), [A])
    vault.answer_all()
    wait_until(lambda: not asking(before))
    assert [value.text for value in box.read(A).values] == ["2"]
    other.close()


def test_one_that_may_not_be_read_is_nothing_to_the_others(box: SecretBox, vault: SimulatedVault) -> None:
    vault.put("b", key="2")
    vault.forbidden.add("a")
    box.want(secrets(one=vault), [A, B])
    assert (text(box, A), text(box, B)) == ("one: the broker may not read a", "2")


_JSON = "holds JSON, and no key alone: put the value itself there, or name its `field`"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is empty"),
        (" \r\n\t", "is empty"),
        ("sk-1\r\nx-admin: yes", "holds characters that no header can carry"),
        ("sk-\0", "holds characters that no header can carry"),
        (' {"api_key": "sk-1"}\n', _JSON),
        ('{\n  "type": "service_account",\n  "project_id": "p"\n}', _JSON),
        ("k" * 20_000, "is longer than 16,384 characters"),
    ],
)
def test_what_can_be_no_secret_takes_no_ones_place(
    box: SecretBox, vault: SimulatedVault, value: str, why: str
) -> None:
    vault.put("a", key="1\r\n")
    box.want(secrets(one=vault), [A])
    vault.put("a", key=value)
    wait_until(lambda: looked(box) or box.status()[0]["failures"])
    assert text(box, A) == "1" and box.status()[0]["error"] == f"the secret one:a {why}"
    vault.put("a", key="2")
    wait_until(lambda: looked(box))
    assert text(box, A) == "2"


# -- files


def test_a_file_is_read_whenever_it_is_wanted(box: SecretBox, tmp_path: Path) -> None:
    path = tmp_path / "key"
    ref = SecretRef("file", str(path))
    box.want(NO_SECRETS, [ref])
    assert text(box, ref) == f"the file {path} can't be read (No such file or directory)"
    for value in ("one", "two"):
        path.write_text(f"{value}\n")
        box.want(NO_SECRETS, [ref])
    assert [value.text for value in box.read(ref).values] == ["two", "one"]
    (told,) = box.status()
    assert (told["secret"], told["state"], told["version"]) == (f"file:{path}", "good", None)
    # Who writes it anew empties it first.
    path.write_text("")
    box.want(NO_SECRETS, [ref])
    assert [value.text for value in box.read(ref).values] == ["two", "one"]
    assert box.status()[0]["error"] == f"the file {path} is empty"
    path.write_text("three")
    box.want(NO_SECRETS, [ref])
    assert [value.text for value in box.read(ref).values] == ["three", "two"]
    # Who finds out that a key has leaked ends the overlap.
    box.want(Secrets(overlap_s=0), [ref])
    assert [value.text for value in box.read(ref).values] == ["three"]
    path.unlink()
    box.want(Secrets(overlap_s=0), [ref])
    assert text(box, ref) == f"the file {path} can't be read (No such file or directory)"


def test_a_file_that_never_ends_keeps_nobody(
    box: SecretBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelbroker.secrets.box._FIRST_S", 0.01)
    before = set(threading.enumerate())
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)  # whoever reads waits for its end
    pipe, endless = (SecretRef("file", path) for path in (str(tmp_path / "pipe"), "/dev/zero"))
    box.want(NO_SECRETS, [pipe])
    for _ in range(3):
        assert not box.look()
    assert text(box, pipe) == "it has not answered yet"
    assert len(asking(before)) == 1
    os.write(writer, b"one")
    wait_until(lambda: _is_read(writer))
    os.close(writer)
    wait_until(lambda: not asking(before))
    assert text(box, pipe) == "one"
    monkeypatch.undo()
    box.want(NO_SECRETS, [endless])
    assert text(box, endless) == "the file /dev/zero is longer than 16,384 characters"


def _is_read(pipe: int) -> bool:
    """What was written into it."""
    waiting = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return not any(waiting)


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
    why = "b is not there, in the mount secret"
    assert (b["secret"], b["state"], b["version"], b["error"]) == ("one:b", "missing", None, why)
    assert "canary" not in str(box.status()) and "canary" not in repr(box.read(A))
