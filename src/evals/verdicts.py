"""When it is known who is better, and how sure that is. Pure.

Of alpha, the chance of even one wrong word among all candidates, one half is for looking all the time: bounds
that hold at every moment (`stats.Bounded` of the differences, call by call), shared equally by the
candidates. The other half is for the one look at the end of the sample that was planned: the paired
bootstrap, by Holm's method. A run that the money ended has no such look: it did not choose its end. What is
said is

- `better`: above the baseline;
- `not worse`: above the baseline less the margin;
- `worse`: below the baseline;
- `open`: none of these is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..stats import Bounded, Interval, holm, paired_bootstrap

BETTER, NOT_WORSE, WORSE, OPEN = "better", "not worse", "worse", "open"


@dataclass(slots=True)
class Contest:
    """The differences of each rival to the baseline so far. `qualities` are from 0 to 1."""

    rivals: tuple[str, ...]
    margin: float
    alpha: float
    at_least: int = 1
    sums: dict[str, Bounded] = field(default_factory=dict)
    decided: dict[str, str] = field(default_factory=dict)

    def add(self, baseline: float, qualities: Mapping[str, float]) -> None:
        """One case. A rival that was not asked is left out."""
        for name, quality in qualities.items():
            sums = self.sums.get(name, Bounded(-1.0, 1.0)).add(quality - baseline)
            self.sums[name] = sums
            if name not in self.decided and sums.n >= self.at_least and (word := self._word(sums)):
                self.decided[name] = word

    @property
    def open(self) -> tuple[str, ...]:
        """Who is not decided yet."""
        return tuple(name for name in self.rivals if name not in self.decided)

    @property
    def _each(self) -> float:
        """What each rival's bounds may be wrong with."""
        return self.alpha / 2.0 / max(1, len(self.rivals))

    def _word(self, sums: Bounded) -> str:
        enough, mean = math.log(2.0 / self._each), sums.mean
        if mean > 0 and sums.log_evidence_above(0.0) >= enough:
            return BETTER
        if mean < 0 and sums.log_evidence_below(0.0) >= enough:
            return WORSE
        is_as_good = mean > -self.margin and sums.log_evidence_above(-self.margin) >= enough
        return NOT_WORSE if is_as_good else ""

    def bounds(self, name: str) -> Interval:
        """Always valid."""
        return self.sums.get(name, Bounded(-1.0, 1.0)).interval(self._each)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`difference`: the paired bootstrap's, at the suite's confidence for this one candidate; `always`: the
    bounds that hold at every moment; `p_value`: by Holm, of "there is no difference". `by`: `bounds` or
    `sample`, what decided."""

    word: str
    difference: Interval | None
    always: Interval
    p_value: float | None
    by: str = ""


def verdicts(
    contest: Contest,
    pairs: Mapping[str, Sequence[tuple[float, float]]],
    is_whole: bool,
    seed: int = 0,
    resamples: int = 4_000,
) -> dict[str, Verdict]:
    """`pairs`: rival → (its quality, the baseline's) of each case. `is_whole`: the sample that was planned is
    through."""
    confidence = 1.0 - contest.alpha
    found = {
        name: paired_bootstrap(
            [a for a, _ in pairs.get(name, ())],
            [b for _, b in pairs.get(name, ())],
            confidence,
            seed,
            resamples,
        )
        for name in contest.rivals
    }
    shifted = {
        name: paired_bootstrap(
            [a for a, _ in pairs.get(name, ())],
            [b for _, b in pairs.get(name, ())],
            confidence,
            seed,
            resamples,
            against=-contest.margin,
        )
        for name in contest.rivals
    }
    p_values = dict(
        zip(contest.rivals, holm([one.p_value if one else 1.0 for one in found.values()]), strict=True)
    )
    p_shifted = dict(
        zip(contest.rivals, holm([one.p_value if one else 1.0 for one in shifted.values()]), strict=True)
    )
    result = {}
    for name in contest.rivals:
        one, other = found[name], shifted[name]
        word, by = contest.decided.get(name, ""), "bounds"
        if not word and is_whole and one is not None and other is not None:
            word, by = (
                _at_the_end(
                    one.interval.value,
                    p_values[name],
                    other.interval.value + contest.margin,
                    p_shifted[name],
                    contest.alpha / 2.0,
                ),
                "sample",
            )
        result[name] = Verdict(
            word or OPEN,
            one.interval if one else None,
            contest.bounds(name),
            p_values[name] if one else None,
            by if word else "",
        )
    return result


def _at_the_end(gap: float, p_value: float, shifted: float, p_shifted: float, alpha: float) -> str:
    if p_value <= alpha:
        return BETTER if gap > 0 else WORSE if shifted <= 0 or p_shifted > alpha else NOT_WORSE
    return NOT_WORSE if shifted > 0 and p_shifted <= alpha else ""


def quality_of(scores: Iterable[tuple[float, float]]) -> float | None:
    """The weighted mean of (weight, score); None where nothing was scored."""
    known = [(weight, value) for weight, value in scores if weight > 0]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if total else None
