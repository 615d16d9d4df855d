"""How likely each member was to have a call's first attempt: what judges of other policies need. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from fractions import Fraction

from ..core.catalog import Member
from ..core.record import Eligible

# Records need no more digits than tell one call in a million.
_DIGITS = 6


def whole(member: Member) -> float:
    """The share of a member of which nothing is known."""
    return 1.0


def chances(
    eligible: Iterable[Member],
    able: Collection[Member],
    share_of: Callable[[Member], float] = whole,
) -> tuple[Eligible, ...]:
    """Of all who could serve the call, in their order. Weights decide among the `able` (one or more) of the
    first priority that has one which is there; `share_of` says how much of its weight a member has, 0 where
    it is out. Lots that are drawn by weight, such as a conversation's, count as chance."""
    here = [member for member in able if share_of(member) > 0]
    if not here:  # somebody is tried all the same, though Envoy would leave all of them out
        here, share_of = list(able), whole
    first = min(member.priority for member in here)
    weights = {m: m.weight * Fraction(share_of(m)) for m in here if m.priority == first}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, Fraction(1))
    total = sum(weights.values(), Fraction())
    return tuple(Eligible(m.id, round(float(weights.get(m, 0) / total), _DIGITS)) for m in eligible)
