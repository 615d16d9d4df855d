"""All scorers of a suite on one answer: those that only look, and those that ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..settings.scorer_schema import ScorerIn
from ..settings.scorers import name_of
from .answers import Answer, parsed, read_answer
from .cases import PATHS, Case, reference_of
from .custom import function_named, scored_by
from .judging import mark_of, mark_request, pair_request, verdict_of
from .outcomes import Outcome, Scored
from .overlay import JUDGE
from .scoring import Score, applies, score
from .similarity import cosine
from .suite import Suite

Ask = Callable[[str, str, Mapping[str, Any]], Awaitable[bytes]]


class Grader:
    """`ask(caller, path, body)` puts a question to a pool; its ValueError is a score that could not be
    had."""

    def __init__(self, suite: Suite, ask: Ask) -> None:
        self._suite = suite
        self._ask = ask
        named = {one.function for one in suite.scorers if one.kind == "python" and one.function}
        self._functions = {name: function_named(name) for name in named}
        self._vectors: dict[tuple[str, str], Sequence[float]] = {}

    async def grade(
        self, case: Case, outcome: Outcome, baseline: Outcome, done: Sequence[Scored]
    ) -> list[Scored]:
        """The scores that are not there yet; none of a call that failed."""
        if outcome.answer is None:
            return []
        known = {one.scorer for one in done if one.value is not None}
        reference = reference_of(case, self._suite.reference, baseline.answer)
        found = []
        for scorer in self._suite.scorers:
            name = name_of(scorer)
            if name in known or not applies(scorer, case, reference):
                continue
            try:
                one = await self._one(scorer, case, outcome, baseline, reference)
                found.append(Scored(case.id, outcome.candidate, name, one.value, one.why))
            except ValueError as error:
                found.append(Scored(case.id, outcome.candidate, name, None, str(error)))
        return found

    async def _one(
        self, scorer: ScorerIn, case: Case, outcome: Outcome, baseline: Outcome, reference: Answer | None
    ) -> Score:
        answer = outcome.answer or Answer()
        if scorer.kind == "python":
            return scored_by(self._functions[scorer.function or ""], case, answer, reference)
        if scorer.kind == "judge":
            return await self._judged(scorer, case, outcome, baseline, reference)
        if scorer.kind == "similarity" and scorer.pool:
            texts = (answer.text, (reference or Answer()).text)
            one, other = [await self._vector(scorer.pool, text) for text in texts]
            return Score(round(cosine(one, other), 6))
        return score(scorer, case, answer, reference)

    async def _judged(
        self, scorer: ScorerIn, case: Case, outcome: Outcome, baseline: Outcome, reference: Answer | None
    ) -> Score:
        answer = outcome.answer or Answer()
        # What is held against the baseline's own words would be told twice.
        shown = None if self._suite.reference == "baseline" else reference
        if scorer.grade:
            return mark_of(await self._said(scorer, mark_request(case, answer, shown, scorer.criteria)))
        if outcome.candidate == baseline.candidate:
            return Score(0.5)
        if baseline.answer is None:
            return Score(1.0, "the baseline did not answer")
        if answer == baseline.answer:
            return Score(0.5, "the same answer")
        first = await self._said(scorer, pair_request(case, answer, baseline.answer, shown, scorer.criteria))
        second = await self._said(scorer, pair_request(case, baseline.answer, answer, shown, scorer.criteria))
        return verdict_of(first, second)

    async def _said(self, scorer: ScorerIn, body: Mapping[str, Any]) -> str:
        reply = await self._ask(JUDGE, PATHS["openai-chat"], {**body, "model": scorer.pool})
        return read_answer("openai-chat", reply, False).text

    async def _vector(self, pool: str, text: str) -> Sequence[float]:
        if (pool, text) not in self._vectors:
            reply = await self._ask(JUDGE, "/v1/embeddings", {"model": pool, "input": text or " "})
            tree = parsed(reply.decode("utf-8", "replace"))
            try:
                self._vectors[pool, text] = [float(x) for x in tree["data"][0]["embedding"]]
            except (TypeError, KeyError, IndexError, ValueError):
                raise ValueError(f"{pool} gave no embedding") from None
        return self._vectors[pool, text]
