"""Floor 3: what is spent, kept: in this process and its state folder, and for a fleet in Redis."""

from .calendars import spans
from .keeper import Keeper
from .kept import Kept

__all__ = ["Keeper", "Kept", "spans"]
