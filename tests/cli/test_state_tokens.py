"""Tokens that the broker makes itself, in its state folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelbroker.cli.state_tokens import state_token

NAME = "admin-token"


def test_the_state_folders_token(tmp_path: Path) -> None:
    path = tmp_path / NAME
    token = state_token(path)
    assert token == state_token(path) and len(token) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    assert state_token(path) != token


def test_a_token_of_the_state_folder_that_is_empty_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(" \n")
    token = state_token(tmp_path / NAME)
    assert len(token) >= 43 and state_token(tmp_path / NAME) == token
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("hunter2", "7 characters of at least 16"),
        ("a-token-of-many-lätters", "no text of one line"),
        ("a-token-of-many\nletters", "no text of one line"),
    ],
)
def test_what_is_no_token_is_refused_and_left(tmp_path: Path, kept: str, said: str) -> None:
    (tmp_path / NAME).write_text(kept)
    with pytest.raises(ValueError, match=said) as raised:
        state_token(tmp_path / NAME)
    assert kept not in str(raised.value) and (tmp_path / NAME).read_text() == kept
