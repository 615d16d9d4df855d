"""What Prometheus gets: series whose number is bounded, and gauges that are read when it asks."""

from .looked import Looked, Up
from .series import GONE_S, MOST, OTHER, Counts, Family, Times, full, sweep, texts
from .values import Values

__all__ = [
    "GONE_S",
    "MOST",
    "OTHER",
    "Counts",
    "Family",
    "Looked",
    "Times",
    "Up",
    "Values",
    "full",
    "sweep",
    "texts",
]
