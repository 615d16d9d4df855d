"""The life of one secret's value: fetched, replaced, kept while its store is away, and gone. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..core.secrets import Secrets

# Of a value that expires by itself (a token): when a new one is fetched. A fifth of its life before its end,
# and five minutes before at least where it lives that long.
_EARLY_PART, _EARLY_S = 0.2, 300.0
_AGAIN_FIRST_S, _AGAIN_MOST_S = 1.0, 30.0
_LEAST_S = 1.0


class Value(NamedTuple):
    """`text` is the secret itself. `version`: the store's name for it, "" where it has none. `expires_s`
    (unix time): when it is good no longer, whoever asks."""

    text: str
    version: str = ""
    expires_s: float = math.inf

    def __repr__(self) -> str:
        """Without the secret: values stand in tracebacks."""
        return f"Value(version={self.version!r}, expires_s={self.expires_s})"


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


UNASKED = Held()


def fetched(held: Held, value: Value, secrets: Secrets, now_s: float) -> Held:
    """The store has given it."""
    before, before_until_s, since_s = held.before, held.before_until_s, held.since_s
    if held.value is None or held.value.text != value.text:
        if held.value is not None:
            before, before_until_s = held.value, min(now_s + secrets.overlap_s, held.value.expires_s)
        since_s = now_s
    until_s = min(value.expires_s, now_s + secrets.keep_s)
    return Held(value, since_s, until_s, before, before_until_s, next_s=_next_s(value, secrets, now_s))


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


def at(held: Held, now_s: float) -> tuple[Value, ...]:
    """What is good now: the value, and behind it the one that it took the place of, while both are."""
    if held.value is None or now_s >= held.until_s:
        return ()
    if held.before is None or now_s >= held.before_until_s:
        return (held.value,)
    return held.value, held.before


def changes_s(held: Held, now_s: float) -> float:
    """When `at` says something else next, if the store says nothing new; math.inf: never."""
    if held.value is None or now_s >= held.until_s:
        return math.inf
    has_two = held.before is not None and now_s < held.before_until_s
    return min(held.until_s, held.before_until_s) if has_two else held.until_s


def renewed_s(value: Value, now_s: float) -> float:
    """When to get another one of a value that is given now (unix time); math.inf: never."""
    if value.expires_s == math.inf:
        return math.inf
    left_s = value.expires_s - now_s
    return value.expires_s - max(left_s * _EARLY_PART, min(_EARLY_S, left_s / 2))


def _next_s(value: Value, secrets: Secrets, now_s: float) -> float:
    return now_s + max(_LEAST_S, min(secrets.refresh_s, renewed_s(value, now_s) - now_s))
