"""Scores of answers to live calls, for rollouts: by the scorers of suites, with no suite, and with as much of
a reference as there is. Pure, but for what it asks others.

One answer alone is scored as it is. Of two (the pool's own and the candidate's) the first is what the second
is held against, and itself: so `similarity` is 1 for the pool's own, and a pair that a judge can't tell apart
has 0.5 on either side.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from ..settings.scorer_schema import ScorerIn
from .answers import Answer, parsed, read_answer
from .cases import PATHS, Case
from .judging import mark_of, mark_request, pair_request, verdict_of
from .scoring import applies, score
from .similarity import cosine

Ask = Callable[[str, str, Mapping[str, Any]], Awaitable[bytes]]
Own = Callable[[str, Case, Answer, Answer | None], Awaitable[float]]
EMBEDDINGS_PATH = "/v1/embeddings"


class NoScore(ValueError):
    """Why there is none, in one word that holds nothing of the call: `unfit` (no answer that can be read, or
    none of the scorers is for it), `judge` (it failed, or said no verdict), `timeout`, `budget`,
    `function`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A call with its answer, or with both: the pool's own first."""

    case: Case
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Means:
    """`ask(pool, path, body)` puts a question to a pool, `own` calls a user's function: both raise
    NoScore. `in_time` ends a rule that takes too long (TimeoutError)."""

    ask: Ask
    own: Own
    in_time: Callable[[], AbstractContextManager[None]] = nullcontext


async def values_of(scorers: Sequence[ScorerIn], seen: Seen, clean: Seen, means: Means) -> list[float]:
    """0 to 1 of each answer: the mean by weight. `clean` is the same behind redaction: whoever is not the
    broker itself sees that. NoScore where there is none: a mean of some of the scorers would be another
    measure."""
    totals, weights = [0.0] * len(seen.answers), 0.0
    for scorer in scorers:
        here = clean if _goes_out(scorer) else seen
        if not applies(scorer, here.case, _reference(here)):
            continue
        for index, value in enumerate(await _by(scorer, here, means)):
            totals[index] += scorer.weight * value
        weights += scorer.weight
    if not weights:
        raise NoScore("unfit")
    return [total / weights for total in totals]


def _goes_out(scorer: ScorerIn) -> bool:
    return scorer.kind in ("judge", "python") or bool(scorer.pool)


def _reference(seen: Seen) -> Answer | None:
    return seen.answers[0] if len(seen.answers) > 1 else None


async def _by(scorer: ScorerIn, seen: Seen, means: Means) -> list[float]:
    if scorer.kind == "judge" and not scorer.grade:
        return await _compared(scorer, seen, means)
    return [await _one(scorer, seen, answer, means) for answer in seen.answers]


async def _one(scorer: ScorerIn, seen: Seen, answer: Answer, means: Means) -> float:
    case, reference = seen.case, _reference(seen)
    if scorer.kind == "judge":
        said = await _said(scorer, mark_request(case, answer, None, scorer.criteria), means)
        try:
            return mark_of(said).value
        except ValueError:
            raise NoScore("judge") from None
    if scorer.kind == "python":
        return await means.own(scorer.function or "", case, answer, reference)
    if scorer.kind == "similarity" and scorer.pool:
        one, other = answer.text, (reference or Answer()).text
        if one == other:
            return 1.0
        vectors = [await _vector(scorer.pool, text, means) for text in (one, other)]
        return cosine(*vectors)
    with means.in_time():
        return score(scorer, case, answer, reference).value


async def _compared(scorer: ScorerIn, seen: Seen, means: Means) -> list[float]:
    """By pairs: the candidate's against the pool's own, with their places swapped."""
    if len(seen.answers) != 2:
        raise NoScore("unfit")
    own, other = seen.answers
    if own == other:
        return [0.5, 0.5]
    pairs = [pair_request(seen.case, a, b, None, scorer.criteria) for a, b in ((other, own), (own, other))]
    said = [await _said(scorer, body, means) for body in pairs]
    try:
        return [0.5, verdict_of(*said).value]
    except ValueError:
        raise NoScore("judge") from None


async def _said(scorer: ScorerIn, body: Mapping[str, Any], means: Means) -> str:
    reply = await means.ask(scorer.pool or "", PATHS["openai-chat"], {**body, "model": scorer.pool})
    try:
        return read_answer("openai-chat", reply, False).text
    except ValueError:
        raise NoScore("judge") from None


async def _vector(pool: str, text: str, means: Means) -> Sequence[float]:
    reply = await means.ask(pool, EMBEDDINGS_PATH, {"model": pool, "input": text or " "})
    try:
        return [float(x) for x in parsed(reply.decode("utf-8", "replace"))["data"][0]["embedding"]]
    except (TypeError, KeyError, IndexError, ValueError):
        raise NoScore("judge") from None
