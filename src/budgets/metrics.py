"""Where budgets stand, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..metrics import Looked

# Customers may be many: of each budget the accounts of which most is used.
MOST_SCOPES = 100
_LABELS = ("budget", "kind", "scope", "unit")
_FIELDS = ("spent", "reserved", "limit")

STANDING = Looked(
    {
        "modelbroker_budget_spent": ("Charged in the window", _LABELS),
        "modelbroker_budget_reserved": ("Reserved for calls under way", _LABELS),
        "modelbroker_budget_limit": ("The whole amount", _LABELS),
    }
)


def readings(shown: Callable[[], list[dict[str, Any]]]) -> Iterable[tuple[str, list[str], float]]:
    """Of all accounts, as `STANDING` has them."""
    counts: dict[tuple[str, str], int] = {}
    for row in sorted(shown(), key=lambda row: row["spent"] + row["reserved"], reverse=True):
        name = (row["budget"], row["unit"])
        counts[name] = counts.get(name, 0) + 1
        if counts[name] <= MOST_SCOPES:
            labels = [row["budget"], row["kind"], row["scope"], row["unit"]]
            yield from ((f"modelbroker_budget_{field}", labels, row[field]) for field in _FIELDS)
