"""The last good configuration on the disk: what a broker comes back to."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path


class LastGood:
    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir / "last-good"

    def keep(self, texts: Iterable[str]) -> None:
        """Killed at any moment, this leaves a whole one. OSError."""
        fresh, older = (self._dir.with_suffix(suffix) for suffix in (".new", ".old"))
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for number, text in enumerate(texts):
            (fresh / f"{number:04d}.yaml").write_text(text, encoding="utf-8")
        if self._dir.exists():
            shutil.rmtree(older, ignore_errors=True)
            self._dir.rename(older)
        fresh.rename(self._dir)
        shutil.rmtree(older, ignore_errors=True)

    def folder(self) -> Path | None:
        """Where its files are; None where there is none."""
        return next((path for path in (self._dir, self._dir.with_suffix(".old")) if path.is_dir()), None)
