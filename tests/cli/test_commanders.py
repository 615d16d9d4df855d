"""Who may command a broker by its admin port."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelbroker.cli.commanders import (
    TOKEN_FILE,
    Commanders,
    Refused,
    Rights,
    is_ours,
    rights_of,
)
from modelbroker.core.admin import LOCAL, TOKEN, Admin
from modelbroker.core.catalog import SecretRef
from modelbroker.core.console import TokenUser

ANA = TokenUser("ana", SecretRef("env", "ANA"))
LONG = "a-token-that-is-long-enough"
HERE, ELSEWHERE = (
    ("127.0.0.1", "::1", "::ffff:127.0.0.1"),
    ("10.1.2.3", "fd00::7", "::ffff:10.1.2.3", "127.0.0.6", ""),
)


def commanders(folder: Path, rights: Rights | None = None, default: str = LOCAL) -> Commanders:
    made = Commanders(folder, default)
    made.configured(rights or Rights(users={"ana": (LONG, "the-old-token-of-ana")}))
    return made


@pytest.mark.parametrize("peer", HERE)
def test_on_this_machine_nobody_needs_a_token(tmp_path: Path, peer: str) -> None:
    assert commanders(tmp_path).user_of(peer, None) == ""


@pytest.mark.parametrize("peer", ELSEWHERE)
def test_from_elsewhere_a_token_is_needed(tmp_path: Path, peer: str) -> None:
    desk = commanders(tmp_path)
    with pytest.raises(
        Refused, match=r"a command needs a token: .*--token file:/.*/admin-token, or of one of ana"
    ):
        desk.user_of(peer, None)
    assert desk.user_of(peer, f"Bearer {LONG}") == "ana"


@pytest.mark.parametrize(("said", "default"), [("token", LOCAL), ("", TOKEN), ("token", TOKEN)])
def test_where_it_says_so_nobody_commands_without_one(tmp_path: Path, said: str, default: str) -> None:
    desk = commanders(tmp_path, Rights(commands=said), default)
    for peer in (*HERE, *ELSEWHERE):
        with pytest.raises(Refused, match="needs a token"):
            desk.user_of(peer, None)
    own = (tmp_path / TOKEN_FILE).read_text().strip()
    assert desk.user_of("127.0.0.1", f"bearer {own}") == ""


def test_the_configuration_comes_before_how_it_was_started(tmp_path: Path) -> None:
    assert commanders(tmp_path, Rights(commands="local"), TOKEN).user_of("127.0.0.1", None) == ""


def test_one_that_was_replaced_is_good_beside_the_new_one(tmp_path: Path) -> None:
    assert commanders(tmp_path).user_of("10.1.2.3", "Bearer the-old-token-of-ana") == "ana"


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", f"Basic {LONG}", LONG, f"Bearer {LONG}x", "Bearer \udcff"]
)
def test_a_wrong_token_is_refused_wherever_it_comes_from(tmp_path: Path, shown: str) -> None:
    for peer in (*HERE, *ELSEWHERE):
        with pytest.raises(Refused) as why:
            commanders(tmp_path).user_of(peer, shown)
        assert LONG not in str(why.value)


def test_a_token_of_any_letters_is_shown_as_its_bytes(tmp_path: Path) -> None:
    desk = commanders(tmp_path, Rights(users={"ana": ("das-längste-Wort-€",)}))
    shown = "das-längste-Wort-€".encode().decode("latin-1")
    assert desk.user_of("10.1.2.3", f"Bearer {shown}") == "ana"


def test_the_state_folders_token_can_be_made_anew(tmp_path: Path) -> None:
    desk = commanders(tmp_path)
    path = tmp_path / TOKEN_FILE
    old = path.read_text().strip()
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    with pytest.raises(Refused, match="no such token"):
        desk.user_of("10.1.2.3", f"Bearer {old}")
    assert desk.user_of("10.1.2.3", f"Bearer {path.read_text().strip()}") == ""


def test_where_it_can_not_be_kept_the_others_are_good(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    desk = commanders(tmp_path / "file")  # no folder
    assert desk.user_of("10.1.2.3", f"Bearer {LONG}") == "ana"
    with pytest.raises(Refused):
        desk.user_of("10.1.2.3", "Bearer ")


def test_tokens_that_are_missing_or_short() -> None:
    rights, warnings = rights_of(Admin(TOKEN, (ANA,)), {"ANA": LONG})
    assert (rights, warnings) == (Rights(commands=TOKEN, users={"ana": (LONG,)}), ())
    rights, (warning,) = rights_of(Admin("", (ANA,)), {"ANA": "short"})
    assert rights.users == {"ana": ()} and "5 characters of at least 16; ana can't command" in warning
    rights, (warning,) = rights_of(Admin("", (ANA,)), {})
    assert rights.users == {"ana": ()} and warning.startswith("admin.users[0].token: ")


@pytest.mark.parametrize(
    ("peer", "host", "ours"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", "127.0.0.1:8081", True),
        ("127.0.0.1", "localhost:8081", True),
        ("127.0.0.1", "broker.localhost:8081", True),
        ("127.0.0.1", "broker", True),
        ("::1", "[::1]:8081", True),
        ("127.0.0.1", "10.1.2.3:8081", True),
        ("127.0.0.1", "evil.example:8081", False),
        ("127.0.0.1", "EVIL.example", False),
        ("::1", "evil.example", False),
        ("127.0.0.1", "a@evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "[::1", False),
        ("127.0.0.1", "evil.example:x", False),
        ("10.1.2.3", "broker.models.svc:8081", True),
        ("127.0.0.6", "broker.models.svc:8081", True),  # a mesh's sidecar brings it
    ],
)
def test_names_that_lead_here_and_are_none_of_this_machine(peer: str, host: str | None, ours: bool) -> None:
    assert is_ours(peer, host) == ours
