"""Which calls of a pool may be hedged: no more than a share of them. Pure but for what it remembers.

A call that may be hedged is not yet one that is: most get their first event before the delay is over. So a
call that may holds a place until it has ended, and keeps it in the count only where a second member really
was tried.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..core.catalog import Hedge

# Calls are counted over so long, in pieces, so that a call costs the same however many there are.
WINDOW_S = 600.0
PIECE_S = 10.0
# Where there are few calls, a share of them is less than one: so many are hedged beyond it.
BURST = 3


@dataclass(slots=True)
class _Piece:
    since_s: float
    calls: int = 0
    hedges: int = 0  # made, or still possible


@dataclass(slots=True)
class _Counted:
    """One pool's calls of the window."""

    pieces: deque[_Piece] = field(default_factory=deque)
    calls: int = 0
    hedges: int = 0

    def at(self, now_s: float) -> _Piece:
        """The piece for `now_s`; those that are older than the window are forgotten."""
        pieces = self.pieces
        if not pieces or now_s >= pieces[-1].since_s + PIECE_S:
            pieces.append(_Piece(now_s))
        while pieces[0].since_s + PIECE_S <= now_s - WINDOW_S:
            old = pieces.popleft()
            self.calls -= old.calls
            self.hedges -= old.hedges
            old.calls = old.hedges = 0
        return pieces[-1]

    def give_back(self, piece: _Piece) -> None:
        if piece.hedges:  # else its time is over
            piece.hedges -= 1
            self.hedges -= 1


class HedgeTally:
    """Of all pools. `now_s` is of any clock that does not go back."""

    def __init__(self) -> None:
        self._pools: dict[str, _Counted] = {}
        self._open: dict[str, tuple[_Counted, _Piece]] = {}  # request id → its place; the oldest first

    def may(self, pool: str, hedge: Hedge, request_id: str, now_s: float) -> bool:
        """Counts a call that could be hedged, and says whether it may: then it has a place until `ended`."""
        self._expire(now_s)
        counted = self._pools.setdefault(pool, _Counted())
        piece = counted.at(now_s)
        counted.calls += 1
        piece.calls += 1
        if counted.hedges + 1 > BURST + counted.calls * hedge.share_percent / 100:
            return False
        counted.hedges += 1
        piece.hedges += 1
        self._open[request_id] = counted, piece
        return True

    def ended(self, request_id: str, is_hedged: bool) -> None:
        """A call is over: with a second attempt beside its first or without, or it never might be hedged."""
        counted, piece = self._open.pop(request_id, (None, None))
        if counted is not None and piece is not None and not is_hedged:
            counted.give_back(piece)

    def _expire(self, now_s: float) -> None:
        """Of a call whose end was never told (its Envoy died) the place is free when its time is over."""
        while self._open:
            request_id = next(iter(self._open))
            piece = self._open[request_id][1]
            if piece.since_s + PIECE_S > now_s - WINDOW_S:
                return
            del self._open[request_id]
