"""Figures with what they are worth: intervals, weighted means, comparisons, bounds for who looks all the
time. Pure.

At a fixed number of observations: `mean_interval`, `wilson`, `quantile_interval`, `snips`,
`paired_bootstrap`, `bootstrap_mean`, `holm`. At every moment at once: `Bounded`, `difference`, `Counts`.
"""

from .bootstrap import NoNumpy, bootstrap_mean, paired_bootstrap
from .many import holm
from .means import Moments, WeightedSums, mean_interval, snips, wilson
from .quantiles import quantile, quantile_interval
from .sequential import Bounded, Counts, difference
from .values import Difference, Interval, Weighted

__all__ = [
    "Bounded",
    "Counts",
    "Difference",
    "Interval",
    "Moments",
    "NoNumpy",
    "Weighted",
    "WeightedSums",
    "bootstrap_mean",
    "difference",
    "holm",
    "mean_interval",
    "paired_bootstrap",
    "quantile",
    "quantile_interval",
    "snips",
    "wilson",
]
