"""The life of one secret's value: fetched, replaced, refused, kept while its store is away, gone. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..core.secrets import Secrets

# Of a value that expires by itself (a token): when a new one is fetched. A fifth of its life before its end,
# and five minutes before at least where it lives that long.
_EARLY_PART, _EARLY_S = 0.2, 300.0
_AGAIN_FIRST_S, _AGAIN_MOST_S = 1.0, 30.0
_LEAST_S = 1.0
# A new value that a provider refuses is tried again after so long, then twice as long …
_TRIED_FIRST_S, _TRIED_MOST_S = 15.0, 120.0
# Envoy's threads have a value so long after Envoy has said that it has it.
_SURE_S = 0.25


class Value(NamedTuple):
    """`text` is the secret itself. `version`: the store's name for it, "" where it has none. `expires_s`
    (unix time): when it is good no longer, whoever asks."""

    text: str
    version: str = ""
    expires_s: float = math.inf

    def __repr__(self) -> str:
        """Without the secret: values stand in tracebacks."""
        return f"Value(version={self.version!r}, expires_s={self.expires_s})"


class Turn(NamedTuple):
    """Which of two values calls go with, while a provider refuses the new one. `effect`: with which they
    surely go that began after `effect_s`. `by`: members that refused the new one since it was tried last,
    `both`: those that refused either, and so tell nothing of a value. `tries` of the new one were in vain;
    until `again_s` calls go with the one before it."""

    effect: Value | None = None
    effect_s: float = 0.0
    by: frozenset[str] = frozenset()
    both: frozenset[str] = frozenset()
    tries: int = 0
    again_s: float = 0.0


class Held(NamedTuple):
    """What is known of one secret. `value` is good until `until_s` if its store says nothing more, `since_s`
    is when it was first seen; `before` is what it took the place of, good until `before_until_s`. `failures`
    in a row, `why` of the last one. `is_gone`: the store says that there is no such secret. `next_s`: when to
    ask again. Unix times."""

    value: Value | None = None
    since_s: float = 0.0
    until_s: float = 0.0
    before: Value | None = None
    before_until_s: float = 0.0
    failures: int = 0
    why: str = ""
    is_gone: bool = False
    next_s: float = 0.0
    turn: Turn = Turn()


UNASKED = Held()


def fetched(held: Held, value: Value, secrets: Secrets, now_s: float) -> Held:
    """The store has given it."""
    before, before_until_s, since_s, turn = held.before, held.before_until_s, held.since_s, held.turn
    if held.value is None or held.value.text != value.text:
        # One that was refused was no good: what is kept is the one before it.
        if held.value is not None and not is_back(held, now_s):
            before, before_until_s = _replaced(held, held.value, secrets, now_s)
        since_s, turn = now_s, Turn(turn.effect, turn.effect_s)
    until_s = min(value.expires_s, now_s + secrets.keep_s)
    next_s = _next_s(value, secrets, now_s)
    return Held(value, since_s, until_s, before, before_until_s, next_s=next_s, turn=turn)


def _replaced(held: Held, value: Value, secrets: Secrets, now_s: float) -> tuple[Value | None, float]:
    """What is good beside its successor, and until when. One that was good no longer stays so."""
    if now_s >= held.until_s:
        return None, 0.0
    ends_s = held.until_s if held.is_gone else value.expires_s
    return value, min(now_s + secrets.overlap_s, ends_s)


def under(held: Held, secrets: Secrets, now_s: float) -> Held:
    """Other times hold from now on; what is said to end sooner does."""
    until_s = min(held.until_s, now_s + (secrets.overlap_s if held.is_gone else secrets.keep_s))
    before_until_s = min(held.before_until_s, held.since_s + secrets.overlap_s)
    return held._replace(until_s=until_s, before_until_s=before_until_s)


def is_due(held: Held, secrets: Secrets, now_s: float) -> bool:
    """Is it to be asked for? Also where that was put off for longer than it may be: by other times than those
    that hold now, or before a clock was set back."""
    most_s = max(secrets.refresh_s, _LEAST_S, _AGAIN_MOST_S)
    return held.next_s <= now_s or held.next_s > now_s + most_s


def failed(
    held: Held, why: str, secrets: Secrets, now_s: float, lot: float, *, is_gone: bool = False
) -> Held:
    """The store could not be asked, or says no. `lot` (0 to 1) scatters the brokers of a fleet. `is_gone`: it
    answers that there is no such secret. Who deletes one may mean it: it is good for the overlap yet."""
    most_s = min(_AGAIN_MOST_S, max(secrets.refresh_s, _LEAST_S))
    wait_s = min(_AGAIN_FIRST_S * 2.0 ** min(held.failures, 10), most_s) * (0.5 + 0.5 * lot)
    until_s = held.until_s
    if is_gone and not held.is_gone:
        until_s = min(until_s, now_s + secrets.overlap_s)
    return held._replace(
        until_s=until_s,
        failures=held.failures + 1,
        why=why,
        is_gone=is_gone or held.is_gone,
        next_s=now_s + wait_s,
    )


def in_effect(held: Held, text: str, now_s: float) -> Held:
    """From now on calls surely go with `text`: Envoy has it."""
    known = [value for value in (held.value, held.before) if value is not None and value.text == text]
    effect = known[0] if known else None
    if effect is not None and held.turn.effect is not None and held.turn.effect.text == text:
        return held
    return held._replace(turn=held.turn._replace(effect=effect, effect_s=now_s))


def refused(held: Held, member: str, began_s: float, now_s: float) -> Held:
    """A call of this member, begun at `began_s`, came back with its credential refused. Where that is a new
    one, calls go with the one before for a while. Where that is refused there, too, it is no matter of
    values: the new one it is again, and this member is believed no more."""
    turn = held.turn
    if turn.effect is None or began_s < turn.effect_s + _SURE_S or member in turn.both:
        return held
    if held.value is None or held.before is None or len(at(held, now_s)) < 2:
        return held
    if turn.effect.text == held.value.text:
        if is_back(held, now_s):  # Envoy just does not know yet
            return held._replace(turn=turn._replace(by=turn.by | {member}))
        wait_s = min(_TRIED_MOST_S, _TRIED_FIRST_S * 2.0 ** min(turn.tries, 10))
        again = turn._replace(by=frozenset((member,)), tries=turn.tries + 1, again_s=now_s + wait_s)
        return held._replace(turn=again)
    if turn.effect.text == held.before.text and is_back(held, now_s):
        by = turn.by - {member}
        again_s = turn.again_s if by else now_s
        return held._replace(turn=turn._replace(by=by, both=turn.both | {member}, again_s=again_s))
    return held


class Settled(NamedTuple):
    """Calls surely go with what they are to go with, from `since_s` until `until_s`: that `is_back`."""

    since_s: float
    is_back: bool
    until_s: float = math.inf


def settled(held: Held, now_s: float) -> Settled | None:
    """None: Envoy does not have it yet."""
    turn, wanted = held.turn, at(held, now_s)[:1]
    if turn.effect is None or not wanted or turn.effect.text != wanted[0].text:
        return None
    has_turned = is_back(held, now_s)
    return Settled(turn.effect_s + _SURE_S, has_turned, turn.again_s if has_turned else math.inf)


def is_back(held: Held, now_s: float) -> bool:
    """Calls go with the value before the newest, since that one was refused."""
    return held.before is not None and now_s < min(held.turn.again_s, held.before_until_s, held.until_s)


def at(held: Held, now_s: float) -> tuple[Value, ...]:
    """What is good now: the value, and the one that it took the place of, while both are. Calls go with the
    first of them."""
    if held.value is None or now_s >= held.until_s:
        return ()
    if held.before is None or now_s >= held.before_until_s:
        return (held.value,)
    return (held.before, held.value) if is_back(held, now_s) else (held.value, held.before)


def changes_s(held: Held, now_s: float) -> float:
    """When `at` says something else next, if the store says nothing new; math.inf: never."""
    if held.value is None or now_s >= held.until_s:
        return math.inf
    has_two = held.before is not None and now_s < held.before_until_s
    ends = [held.until_s, *([held.before_until_s] if has_two else [])]
    return min([*ends, held.turn.again_s] if is_back(held, now_s) else ends)


def renewed_s(value: Value, now_s: float) -> float:
    """When to get another one of a value that is given now (unix time); math.inf: never."""
    if value.expires_s == math.inf:
        return math.inf
    left_s = value.expires_s - now_s
    return value.expires_s - max(left_s * _EARLY_PART, min(_EARLY_S, left_s / 2))


def _next_s(value: Value, secrets: Secrets, now_s: float) -> float:
    return now_s + max(_LEAST_S, min(secrets.refresh_s, renewed_s(value, now_s) - now_s))
