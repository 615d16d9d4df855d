"""Floor 1: choosing. `decide` is pure; serving, explaining and simulating call this very function."""

from .affinity import away, preference, preferred
from .decide import allowed_pools, decide, unknown_model
from .eligible import State, class_members, served_dialect
from .health import Book, Effect
from .match import holds

__all__ = [
    "Book",
    "Effect",
    "State",
    "allowed_pools",
    "away",
    "class_members",
    "decide",
    "holds",
    "preference",
    "preferred",
    "served_dialect",
    "unknown_model",
]
