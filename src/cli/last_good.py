"""The text of the last configuration that an Envoy took, in the state folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ..settings import read_files


class LastGood:
    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "last-good"

    def keep(self, texts: Mapping[str, str]) -> None:
        """Killed at any moment, this leaves a whole one. OSError where the disk has no room."""
        fresh, older = (self._folder.with_suffix(suffix) for suffix in (".new", ".old"))
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for number, text in enumerate(texts.values()):
            (fresh / f"{number:04d}.yaml").write_text(text, encoding="utf-8")
        if self._folder.exists():
            shutil.rmtree(older, ignore_errors=True)
            self._folder.rename(older)
        fresh.rename(self._folder)
        shutil.rmtree(older, ignore_errors=True)

    def read(self) -> Mapping[str, str] | None:
        """None where there is none. SettingsError where it can't be read."""
        for folder in (self._folder, self._folder.with_suffix(".old")):
            if folder.is_dir():
                return read_files(folder)
        return None
