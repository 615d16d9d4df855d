"""What each broker of a fleet serves, as people are told of it. Pure."""

from __future__ import annotations

from collections.abc import Callable

from .fleet import Drift, Told

Span = Callable[[float], str]  # seconds, as people write them


def state_words(one: Told, seen: Drift, now_s: float, span: Span) -> str:
    """`in effect, rolled back`, `behind; broker.yaml:3: …`"""
    state = standing_words(one, seen, now_s, span)
    return f"{state}; {one.error.splitlines()[0]}" if one.error else state


def standing_words(one: Told, seen: Drift, now_s: float, span: Span) -> str:
    """The same without its error."""
    if one in seen.away:
        state = f"away: it said nothing for {span(now_s - one.at_s)}"
    elif one.serving != seen.newest:
        state = "behind"
    elif not one.is_in_effect:
        state = f"on its way to {one.revision}" if one.revision != one.serving else "no Envoy has it in full"
    else:
        state = "in effect"
    return f"{state}, rolled back" if one.is_rolled_back else state


def agreement_words(count: int, seen: Drift) -> list[str]:
    """Of `count` brokers: how many serve the newest revision, and who says nothing any more."""
    told = []
    here = count - len(seen.away)
    if seen.took_s is not None:
        converged = f"; from the first to the last it took {seen.took_s:.1f} s" if here > 1 else ""
        told.append(f"{_brokers(here)} serve{'s' if here == 1 else ''} {seen.newest}{converged}")
    elif here:
        told.append(f"{len(seen.behind)} of {_brokers(here)} are behind: {seen.newest} is the newest")
    if seen.away:
        told.append(f"{_brokers(len(seen.away))} said nothing any more")
    return told


def _brokers(count: int) -> str:
    return f"{count} broker{'' if count == 1 else 's'}"
