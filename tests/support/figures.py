"""What tests count, for tables in the docs: a JSON line each in the file that MODELBROKER_FIGURES names."""

from __future__ import annotations

import json
import os
from pathlib import Path


def figure(what: str, **numbers: float) -> None:
    """Nothing where no file is named."""
    if not (path := os.environ.get("MODELBROKER_FIGURES")):
        return
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    line = json.dumps({"test": test, "what": what, **numbers})
    with Path(path).open("a") as file:
        file.write(line + "\n")


def enlarged(count: int) -> int:
    """So many, times MODELBROKER_LOAD: a test run is short, and a table's figures come from a long one."""
    return count * int(os.environ.get("MODELBROKER_LOAD", "1"))
