"""Real provider traffic, where it is at hand: `../shared/recordings` or MODELBROKER_RECORDINGS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_DEFAULT = Path(__file__).parents[3] / "shared" / "recordings"


def recordings(kind: str) -> list[Any]:
    """Every recorded exchange of one kind as pytest parameters; one skipped parameter where there is none."""
    path = Path(os.environ.get("MODELBROKER_RECORDINGS", _DEFAULT)) / f"{kind}.jsonl"
    if not path.exists():
        skip = pytest.mark.skip(reason=f"no recordings of {kind} here")
        return [pytest.param(None, marks=skip, id="absent")]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [pytest.param(row, id=row["id"]) for row in rows]
