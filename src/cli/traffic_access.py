"""How commands get at the captured traffic of a configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..core.catalog import Catalog
from ..traffic.store import TrafficStore
from ..traffic.stores import open_store
from .state import state_folder_of


@contextlib.contextmanager
def traffic(config: Path, catalog: Catalog, state_dir: Path | None) -> Iterator[TrafficStore]:
    """Misconfigured where there is none."""
    folder = state_folder_of(state_dir, config)
    with open_store(f"sqlite:///{folder / 'traffic.db'}", creates=False) as store:
        yield store
