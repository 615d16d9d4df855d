"""The state folder is one broker's alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelbroker.cli.state import state_folder
from modelbroker.core.errors import Misconfigured


def test_a_given_folder_is_one_brokers(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with state_folder(folder, Path("config"), "up") as mine:
        assert mine == folder
        with state_folder(folder, Path("config"), "serve") as its_own_control_plane:
            assert its_own_control_plane == folder
        with (
            pytest.raises(Misconfigured, match="in use by another broker"),
            state_folder(folder, Path("config"), "up"),
        ):
            pass
    with state_folder(folder, Path("config"), "up") as again:
        assert again == folder


def test_by_default_it_follows_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with state_folder(None, Path("one.yaml"), "up") as one, state_folder(None, Path("two.yaml"), "up") as two:
        assert one != two
        assert one.parent == two.parent == tmp_path / "modelbroker"
        with state_folder(None, Path("one.yaml"), "up") as second:
            assert second == one.with_name(one.name + ".2")
    with state_folder(None, Path("one.yaml"), "up") as again:
        assert again == one


def test_a_folder_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Misconfigured, match="can't be used"),
        state_folder(tmp_path / "file" / "x", Path("c"), "up"),
    ):
        pass
