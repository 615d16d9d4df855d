"""Floor 1: YAML at the door → a frozen `core.catalog.Catalog` with its revision.

Imports `core` only.
"""

from ..core.problems import Problem, SettingsError
from .compiler import Loaded, compile_texts, load
from .files import read_files
from .merge import place_at, place_of
from .prices import PriceList, price_book

__all__ = [
    "Loaded",
    "PriceList",
    "Problem",
    "SettingsError",
    "compile_texts",
    "load",
    "place_at",
    "place_of",
    "price_book",
    "read_files",
]
