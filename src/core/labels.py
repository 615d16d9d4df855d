"""What a configuration says of the labels of metrics."""

from __future__ import annotations

from dataclasses import dataclass

# Whom a call is for: what metrics of calls may have as labels, beside what they always have.
CALLER_LABELS = ("team", "customer", "feature", "agent", "user", "tier")


@dataclass(frozen=True, slots=True)
class CallLabels:
    """`labels`, out of CALLER_LABELS, that calls, tokens and cost have too; of each of them at most so many
    values."""

    labels: tuple[str, ...] = ()
    most_values: int = 50


NO_LABELS = CallLabels()
