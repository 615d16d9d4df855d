"""What stands in the state folder once and for all is made once, however many begin at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from modelbroker.audit.keys import own_key
from modelbroker.cli.state import call_key
from modelbroker.cli.state_tokens import state_token
from modelbroker.journal.following import source_of
from modelbroker.journal.once import made_once

MADE: dict[str, tuple[Callable[[Path], object], str]] = {
    "source_of": (source_of, "ledger.id"),
    "call_key": (call_key, "call.key"),
    "own_key": (own_key, "audit.key"),
    "state_token": (lambda folder: state_token(folder / "admin-token"), "admin-token"),
}


@pytest.mark.parametrize("before", [None, b""])
@pytest.mark.parametrize("name", MADE)
def test_processes_that_begin_at_once_have_the_same(tmp_path: Path, name: str, before: bytes | None) -> None:
    made, file = MADE[name]
    for turn in range(20):
        folder = tmp_path / str(turn)
        folder.mkdir()
        if before is not None:
            (folder / file).write_bytes(before)
        start = Barrier(4)

        def make(_: int, folder: Path = folder, start: Barrier = start) -> object:
            start.wait()
            return made(folder)

        with ThreadPoolExecutor(4) as threads:
            found = set(threads.map(make, range(4)))
        assert found == {made(folder)}
        assert [path.name for path in folder.iterdir()] == [file]
        assert (folder / file).stat().st_mode & 0o777 == 0o600


def test_what_can_not_be_kept_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        made_once(tmp_path / "kept", lambda kept: kept, lambda: b"made")
    assert list(tmp_path.iterdir()) == []


def test_what_is_made_has_to_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        made_once(tmp_path / "kept", lambda kept: None, lambda: b"made")
