"""What YAML may say of metrics."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator

from ..core.labels import CALLER_LABELS, NO_LABELS, CallLabels
from .fields import Model, field
from .problems import listing, refuse, show, suggestion

_RIGHT = f"give a list out of {listing(CALLER_LABELS)}"


def label_names(value: Any) -> tuple[str, ...]:
    """Fields of callers, in one order."""
    if not isinstance(value, list):
        refuse(f"{show(value)} is no list of labels", _RIGHT)
    for name in value:
        if name not in CALLER_LABELS:
            right = f"the labels are {listing(CALLER_LABELS)}"
            refuse(f"there is no label {show(name)}", suggestion(str(name), CALLER_LABELS, right))
    if len(set(value)) < len(value):
        refuse("names a label twice", "name each once")
    return tuple(name for name in CALLER_LABELS if name in value)


class MetricsIn(Model):
    """Labels of metrics that you may add: docs/metrics.md. Without this section there are none."""

    labels: Annotated[tuple[str, ...], PlainValidator(label_names)] = field(
        "What of the caller calls, tokens and cost are counted by, too: `team`, `customer`, `feature`, "
        "`agent`, `user`, `tier`. Another list begins these metrics anew.",
        "list of labels",
        _RIGHT,
        (),
    )
    most_values: Annotated[int, Field(ge=1, le=1000)] = field(
        "How many values each of them may have, as they come; all further ones are `other`.",
        "whole number, 1 to 1000",
        "give a whole number from 1 to 1000, e.g. 50",
        NO_LABELS.most_values,
    )

    def call_labels(self) -> CallLabels:
        return CallLabels(self.labels, self.most_values) if self.labels else NO_LABELS
