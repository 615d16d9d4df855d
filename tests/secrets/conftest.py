from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.vault import SimulatedVault


@pytest.fixture
def vault() -> Iterator[SimulatedVault]:
    made = SimulatedVault()
    yield made
    made.close()
