"""Floor 2: one call's life as a state machine. Events in, commands out; no I/O, clock or randomness."""

from .affinity import Belongs, belongs, key_in
from .budgeting import Funds
from .caching import SEEN_HEADERS, looked_at
from .commands import Forward, Pending, Reply, Strip
from .filtered import FilteredStream
from .foreseen import Foreseen, at_member, identity_dialects, passing_dialects, spoken_of, upstream_of
from .identity import NO_PROOF, Proof
from .inbound import Inbound
from .member import MemberStream, Move
from .member_call import HOSTS, MemberCall, Mode, NotSent, Send, Spoken, spoken
from .outer import Outcome, OuterCall
from .routing import Hold, Moment
from .translated import NOTHING_TOLD, Answer, Told, Translated, TranslatedStream, WholeReply
from .view import View

__all__ = [
    "HOSTS",
    "NOTHING_TOLD",
    "NO_PROOF",
    "SEEN_HEADERS",
    "Answer",
    "Belongs",
    "FilteredStream",
    "Foreseen",
    "Forward",
    "Funds",
    "Hold",
    "Inbound",
    "MemberCall",
    "MemberStream",
    "Mode",
    "Moment",
    "Move",
    "NotSent",
    "Outcome",
    "OuterCall",
    "Pending",
    "Proof",
    "Reply",
    "Send",
    "Spoken",
    "Strip",
    "Told",
    "Translated",
    "TranslatedStream",
    "View",
    "WholeReply",
    "at_member",
    "belongs",
    "identity_dialects",
    "key_in",
    "looked_at",
    "passing_dialects",
    "spoken",
    "spoken_of",
    "upstream_of",
]
