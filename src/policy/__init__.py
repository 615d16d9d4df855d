"""Floor 1: choosing. `decide` is pure; serving, explaining and simulating call this very function."""

from .decide import State, allowed_pools, class_members, decide
from .match import holds

__all__ = ["State", "allowed_pools", "class_members", "decide", "holds"]
