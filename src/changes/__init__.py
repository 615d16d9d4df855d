"""What is different between two configurations, in words, and for whom. Pure."""

from .between import Change, changes
from .pairs import ADDED, CHANGED, REMOVED

__all__ = ["ADDED", "CHANGED", "REMOVED", "Change", "changes"]
