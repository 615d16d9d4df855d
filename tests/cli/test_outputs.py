"""What commands write is whole or not there, and what is no file is left what it is."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from modelbroker.cli.outputs import written
from modelbroker.core.errors import Misconfigured


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("private", [False, True])
def test_a_file_is_there_when_it_is_whole(tmp_path: Path, private: bool) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("of before")
    path.chmod(0o644)
    (tmp_path / ".out.jsonl.part").write_text("of one that was killed")
    with written(str(path), private=private) as file:
        file.write(b"new")
        assert path.read_text() == "of before"
    assert path.read_text() == "new" and names_in(tmp_path) == ["out.jsonl"]
    assert (mode_of(path) == 0o600) == private
    with pytest.raises(KeyError), written(str(path), private=private) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_text() == "new" and names_in(tmp_path) == ["out.jsonl"]


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    """Or a device: an export to /dev/null took it away from the whole machine."""
    path, got = tmp_path / "pipe", bytearray()
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.extend(path.read_bytes()))
    reader.start()
    with written(str(path), private=True) as file:
        file.write(b"new")
    reader.join(30)
    assert got == b"new" and stat.S_ISFIFO(path.stat().st_mode) and names_in(tmp_path) == ["pipe"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, path = tmp_path / "link", tmp_path / "there" / "file"
    link.symlink_to(path)
    with written(str(link)) as file:
        file.write(b"new")
    assert link.is_symlink() and path.read_bytes() == b"new"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"can't be written: No such file"), written(f"{tmp_path}/no/x"):
        pytest.fail("there is nothing to write to")
    with pytest.raises(Misconfigured, match="is a folder: give a file"), written(str(tmp_path)):
        pytest.fail("there is nothing to write to")
