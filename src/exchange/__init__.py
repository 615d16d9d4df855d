"""Floor 2: one call's life as a state machine. Events in, commands out; no I/O, clock or randomness."""

from .filtered import FilteredStream
from .member import MemberStream, Move
from .member_call import HOSTS, MemberCall, Mode, NotSent, Send, Spoken, spoken
from .outer import Forward, Inbound, OuterCall, Reply, Strip
from .translated import Answer, TranslatedStream, WholeReply
from .view import View

__all__ = [
    "HOSTS",
    "Answer",
    "FilteredStream",
    "Forward",
    "Inbound",
    "MemberCall",
    "MemberStream",
    "Mode",
    "Move",
    "NotSent",
    "OuterCall",
    "Reply",
    "Send",
    "Spoken",
    "Strip",
    "TranslatedStream",
    "View",
    "WholeReply",
    "spoken",
]
