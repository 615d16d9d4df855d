"""The same tests on both kinds of database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes a database that is empty and gives its URL."""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        return lambda: str(server.new_schema())
    made = iter(range(1_000_000))
    return lambda: f"sqlite:///{tmp_path}/ledger-{next(made)}.db"


@pytest.fixture
def url(new_ledger: Callable[[], str]) -> str:
    return new_ledger()
