"""The text of the last configuration that an Envoy took, in the state folder."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..settings import read_files

log = logging.getLogger("modelbroker")

_AGAIN_S = 2.0
_SAID_EACH = 30  # of the times that it fails


class LastGood:
    """`offer` is for the event loop, `read` for any thread."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "last-good"
        self._offered: Mapping[str, str] | None = None
        self._work: asyncio.Task[None] | None = None

    def offer(self, texts: Mapping[str, str]) -> None:
        """This is it from now on."""
        self._offered = texts
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Write the newest beside the event loop; where the disk has no room, again until it has."""
        failures = 0
        while (texts := self._offered) is not None:
            try:
                await asyncio.to_thread(self._write, texts)
            except OSError as error:
                if failures % _SAID_EACH == 0:
                    log.error("the last good configuration can't be kept, the one before is: %s", error)
                failures += 1
                await asyncio.sleep(_AGAIN_S)
                continue
            if failures:
                log.warning("the last good configuration is kept again")
                failures = 0
            if self._offered is texts:
                self._offered = None

    def _write(self, texts: Mapping[str, str]) -> None:
        """Killed at any moment, this leaves a whole one."""
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
