"""Paths → texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from modelbroker.settings import SettingsError, load, read_files
from modelbroker.settings.files import _MAX_BYTES

POOL = "pools: [{name: p, members: [{provider: openai, model: m}]}]"


def problem(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        read_files(path)
    return str(caught.value)


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "any.name"
    file.write_text("\ufeff" + POOL)
    assert read_files(file) == {str(file): POOL}


def test_a_folder(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "readme.md", ".hidden.yaml", "c.yaml~"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.yaml").mkdir()
    assert read_files(tmp_path) == {str(tmp_path / name): name for name in ("a.yml", "b.yaml")}
    assert list(read_files(tmp_path)) == [str(tmp_path / "a.yml"), str(tmp_path / "b.yaml")]


def test_a_config_map_of_kubernetes(tmp_path: Path) -> None:
    data = tmp_path / "..2026_01_01"
    data.mkdir()
    (data / "broker.yaml").write_text(POOL)
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "broker.yaml").symlink_to("..data/broker.yaml")
    assert read_files(tmp_path) == {str(tmp_path / "broker.yaml"): POOL}
    loaded = load(tmp_path, dialects={"openai-chat"}, built={"openai-chat"})
    assert list(loaded.catalog.pools) == ["p"]


@pytest.mark.parametrize(
    "text",
    ["https://me:secret@git.test/a.git", "git@git.test:platform/a.git", "ssh://git@git.test/a.git"],
)
def test_a_repository_that_does_not_say_so(text: str) -> None:
    assert problem(Path(text)) == (
        "the configuration: looks like a repository; "
        "give git+https://HOST/REPOSITORY.git@REF#subdirectory=FOLDER, or git+ssh://…"
    )


def test_what_can_not_be_read(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert (
        problem(gone)
        == f"{gone}: there is no such file or folder; give the path of a YAML file or of a folder of them"
    )
    assert (
        problem(tmp_path)
        == f"{tmp_path}: the folder holds no *.yaml or *.yml file; put a configuration there"
    )
    binary = tmp_path / "a.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\n")
    (tmp_path / "b.yaml").symlink_to("nowhere")
    assert problem(tmp_path) == (
        f"{binary}:2: is not UTF-8 text; save it as UTF-8\n"
        f"{tmp_path / 'b.yaml'}: there is no such file or folder; "
        "give the path of a YAML file or of a folder of them"
    )
    assert "can't be read" in problem(Path("a\0b"))
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, _MAX_BYTES + 1)
    assert problem(large).endswith("is over 64 MiB; is this the right file?")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(POOL)
    file.chmod(0)
    assert "Permission denied" in problem(file)
