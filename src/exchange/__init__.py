"""Floor 2: one call's life as a state machine. Events in, commands out; no I/O, clock or randomness."""

from .member import MemberStream, Move
from .outer import Forward, Inbound, OuterCall, Reply, Strip
from .view import View

__all__ = ["Forward", "Inbound", "MemberStream", "Move", "OuterCall", "Reply", "Strip", "View"]
