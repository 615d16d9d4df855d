"""The dashboards, as values."""

from .broker import BROKER
from .money import MONEY
from .overview import OVERVIEW
from .providers import PROVIDERS

ALL = (OVERVIEW, PROVIDERS, MONEY, BROKER)

__all__ = ["ALL"]
