"""A rollout, as a machine: where it is, what both arms came to, and what time it is → where it goes. Pure.

It looks as often as it likes: bounds hold at every moment at once (`stats.sequential`). It goes on where
every gate is passed, which is that the candidate is *not* worse by more than the margin; it is rolled back
where one has failed, which is that the candidate *is* worse by more than that. What is neither waits, and is
rolled back when its time is over. So whoever is promoted has passed, and every rollout ends.

The chance that a candidate passes which is worse than a margin is 1 - confidence for the whole rollout: it
would have to pass at each stage. The chance that a good one is rolled back by any gate at any stage is the
same: each has its part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..core.trials import ALL_PPM, CANDIDATE, STABLE, Gates, Rollout, Stage
from ..stats import Bounded, Interval
from .tallies import Tally

RUNNING, PAUSED, ROLLED_BACK, DONE = "running", "paused", "rolled-back", "done"
PASSED, FAILED, OPEN = "passed", "failed", "open"
COMMANDS = ("pause", "resume", "promote", "rollback")
BY_COMMAND = "by command"  # a step's reason
_P95 = 0.95
_MOST_PAST = 50
_BEFORE = "it was before: "


class Past(msgspec.Struct, frozen=True):
    """A candidate whose place another one has taken. `turn` was its last; `reason`: why it came to that."""

    to: str
    phase: str
    turn: int
    reason: str = ""


class State(msgspec.Struct, frozen=True):
    """`stage` is a number from 0; `since_s` (unix time) is when it began, less what it was paused. `turn`
    goes up with each stage and each new beginning: figures are those of one turn. `paused_s`: since when.
    `to` is the candidate, which began with the turn `began`; `past` are those before it, the newest last.
    `share_ppm` is its stage's: by that a configuration with other stages finds it; -1: it is not known."""

    rollout: str
    stage: int = 0
    phase: str = RUNNING
    since_s: float = 0.0
    turn: int = 1
    reason: str = ""
    paused_s: float = 0.0
    to: str = ""
    share_ppm: int = -1
    began: int = 0
    past: tuple[Past, ...] = ()

    @property
    def is_on(self) -> bool:
        """Do calls belong to arms?"""
        return self.phase != ROLLED_BACK


class Figures(NamedTuple):
    """Of one turn. At a stage where every session is the candidate's, the stable arm's are those of the stage
    before."""

    stable: Tally
    candidate: Tally


class GateSaid(msgspec.Struct, frozen=True):
    """What one gate says: the figures of both arms with their bounds, and how much the candidate's may be at
    most (of quality: at least)."""

    gate: str
    verdict: str
    stable: Interval | None
    candidate: Interval | None
    allowed: float | None


class Step(NamedTuple):
    """Where a rollout goes: `event` is `began`, `promoted`, `done`, `rolled-back`, `paused` or `resumed`."""

    state: State
    event: str
    said: tuple[GateSaid, ...] = ()


def begun(rollout: Rollout, now_s: float, before: State | None = None, own: State | None = None) -> Step:
    """`before`: where it was with another candidate; `own`: what else is known of this one, or of that. A
    candidate that was rolled back stays so: who comes back to it has to say so."""
    turn = 1 + max((state.turn for state in (before, own) if state is not None), default=0)
    past = _merged_past(before, own)
    known = past.pop(rollout.to, None)
    fresh = _first(rollout, now_s, turn)
    fresh = _with(fresh, began=turn, past=tuple(past.values())[-_MOST_PAST:])
    if known is not None and known.phase == ROLLED_BACK:
        return _back(fresh, _BEFORE + known.reason.removeprefix(_BEFORE), ())
    return Step(fresh, "began")


def _first(rollout: Rollout, now_s: float, turn: int) -> State:
    share_ppm = rollout.stages[0].share_ppm
    return State(rollout.name, since_s=now_s, turn=turn, to=rollout.to, share_ppm=share_ppm)


def _merged_past(before: State | None, own: State | None) -> dict[str, Past]:
    """Candidate → what is known of it last, in the order in which they had their turns."""
    found: list[Past] = []
    for state in (before, own):
        if state is not None:
            found += [*state.past, Past(state.to, state.phase, state.turn, state.reason)]
    # What one broker alone has rolled back is so for all.
    found.sort(key=lambda one: (one.turn, one.phase == ROLLED_BACK))
    return {one.to: one for one in found}


def number_of(rollout: Rollout, state: State) -> int:
    """Of its stage, in a configuration that may have other stages than when it began, or than another broker
    has: the last one at which no more sessions are the candidate's than where it is. What is done has them
    all."""
    if state.phase == DONE:
        return len(rollout.stages) - 1
    if state.share_ppm < 0:
        return min(state.stage, len(rollout.stages) - 1)
    shares = [stage.share_ppm for stage in rollout.stages]
    return max((number for number, share in enumerate(shares) if share <= state.share_ppm), default=0)


def stage_of(rollout: Rollout, state: State) -> Stage:
    return rollout.stages[number_of(rollout, state)]


def step(rollout: Rollout, state: State, figures: Figures, now_s: float) -> Step | None:
    """None: it stays where it is."""
    if state.phase in (ROLLED_BACK, DONE):
        return None
    stage = stage_of(rollout, state)
    said = judge(stage.gates, figures, len(rollout.stages))
    if failed := [one.gate for one in said if one.verdict == FAILED]:
        reason = f"the gate {failed[0]} failed" if len(failed) == 1 else f"gates failed: {', '.join(failed)}"
        return _back(state, reason, said)
    if state.phase == PAUSED:
        return None
    lasted_ms = (now_s - state.since_s) * 1000
    is_enough = lasted_ms >= stage.hold_ms and figures.candidate.calls >= stage.min_calls
    if is_enough and all(one.verdict == PASSED for one in said):
        return _onwards(rollout, state, now_s, said, "every gate passed")
    if lasted_ms >= stage.limit_ms:
        open_ = [one.gate for one in said if one.verdict == OPEN]
        waits = ", ".join(open_) if open_ else f"{figures.candidate.calls} of {stage.min_calls} calls"
        return _back(state, f"not decided in time: {waits}", said)
    return None


def command(rollout: Rollout, state: State, word: str, now_s: float) -> Step:
    """What people say. ValueError where it means nothing in this state."""
    if word == "pause" and state.phase == RUNNING:
        return Step(_with(state, phase=PAUSED, paused_s=now_s, reason=BY_COMMAND), "paused")
    if word == "resume" and state.phase == PAUSED:
        since_s = state.since_s + max(0.0, now_s - state.paused_s)
        resumed = _with(state, phase=RUNNING, since_s=since_s, reason=BY_COMMAND, paused_s=0.0)
        return Step(resumed, "resumed")
    if word == "resume" and state.phase == ROLLED_BACK:
        fresh = _first(rollout, now_s, state.turn + 1)
        return Step(_with(fresh, began=state.began, past=state.past), "resumed")
    if word == "promote" and state.phase in (RUNNING, PAUSED):
        return _onwards(rollout, state, now_s, (), BY_COMMAND)
    if word == "rollback" and state.phase != ROLLED_BACK:
        return _back(state, BY_COMMAND, ())
    raise ValueError(f"a rollout that is {state.phase} can't {word}")


def _onwards(rollout: Rollout, state: State, now_s: float, said: tuple[GateSaid, ...], reason: str) -> Step:
    number = number_of(rollout, state) + 1
    if number >= len(rollout.stages):
        return Step(_with(state, phase=DONE, reason=reason, share_ppm=ALL_PPM), "done", said)
    fresh = _with(state, stage=number, share_ppm=rollout.stages[number].share_ppm, phase=RUNNING)
    fresh = _with(fresh, since_s=now_s, turn=state.turn + 1, reason=reason, paused_s=0.0)
    return Step(fresh, "promoted", said)


def _back(state: State, reason: str, said: tuple[GateSaid, ...]) -> Step:
    return Step(_with(state, phase=ROLLED_BACK, reason=reason), "rolled-back", said)


def _with(state: State, **news: object) -> State:
    return msgspec.structs.replace(state, **news)


# -- gates


def judge(gates: Gates, figures: Figures, stages: int) -> tuple[GateSaid, ...]:
    """What each gate says now."""
    checks: list[tuple[str, int | None, Callable[[Figures, float, float, float], GateSaid]]] = [
        ("errors", gates.errors_ppm, _errors),
        ("quality", gates.quality_ppm, _quality),
        ("p95", gates.latency_ppm, _latency),
        ("first_event", gates.first_event_ppm, _first_event),
        ("cost", gates.cost_ppm, _cost),
    ]
    asked = [(margin, check) for _, margin, check in checks if margin is not None]
    wrong = 1 - gates.confidence_ppm / ALL_PPM
    # Two arms, each with its bound.
    passes, fails = wrong / 2, wrong / max(1, len(asked) * stages) / 2
    return tuple(check(figures, margin / ALL_PPM, passes, fails) for margin, check in asked)


class _Bounds(NamedTuple):
    """Of one figure of one arm: by which it may pass, and by which it fails: what the stable arm's is surely
    at most, and the candidate's at least."""

    at_least: float
    at_most: float
    surely: float
    shown: Interval


_Both = tuple[_Bounds | None, _Bounds | None]


def _of_means(stable: Bounded, candidate: Bounded, passes: float, fails: float) -> _Both:
    def bounds(sums: Bounded, surely: Callable[[float], float]) -> _Bounds | None:
        if not sums.n:
            return None
        low, high = sums.at_least(passes), sums.at_most(passes)
        return _Bounds(low, high, surely(fails), Interval(low, sums.mean, high, sums.n))

    return bounds(stable, stable.at_most), bounds(candidate, candidate.at_least)


def _said(
    gate: str, stable: _Bounds | None, candidate: _Bounds | None, allowed: Callable[[float], float]
) -> GateSaid:
    """Of what is better the less it is. `allowed`: how much the candidate's may be, by the stable arm's."""
    if stable is None or candidate is None:
        return GateSaid(gate, OPEN, _shown(stable), _shown(candidate), None)
    verdict = OPEN
    if candidate.surely > allowed(stable.surely):
        verdict = FAILED
    elif candidate.at_most <= allowed(stable.at_least):
        verdict = PASSED
    most = allowed(stable.shown.value)
    return GateSaid(gate, verdict, stable.shown, candidate.shown, most if math.isfinite(most) else None)


def _shown(bounds: _Bounds | None) -> Interval | None:
    return bounds.shown if bounds is not None else None


def _errors(figures: Figures, margin: float, passes: float, fails: float) -> GateSaid:
    both = _of_means(figures.stable.failures(), figures.candidate.failures(), passes, fails)
    return _said("errors", *both, lambda share: share + margin)


def _quality(figures: Figures, margin: float, passes: float, fails: float) -> GateSaid:
    """What is better the more it is, turned round: how much of the whole score is missing."""
    missing = _missing(figures.stable.quality()), _missing(figures.candidate.quality())
    said = _said("quality", *_of_means(*missing, passes, fails), lambda share: share + margin)
    least = None if said.allowed is None else 1 - said.allowed
    return GateSaid(said.gate, said.verdict, _turned(said.stable), _turned(said.candidate), least)


def _missing(scores: Bounded) -> Bounded:
    n, total, squares = scores.n, scores.total, scores.squares
    return Bounded(0.0, 1.0, n, n - total, n - 2 * total + squares)


def _turned(shown: Interval | None) -> Interval | None:
    return None if shown is None else Interval(1 - shown.high, 1 - shown.value, 1 - shown.low, shown.n)


def _latency(figures: Figures, margin: float, passes: float, fails: float) -> GateSaid:
    return _slowness("p95", figures, margin, passes, fails, is_first=False)


def _first_event(figures: Figures, margin: float, passes: float, fails: float) -> GateSaid:
    return _slowness("first_event", figures, margin, passes, fails, is_first=True)


def _slowness(
    gate: str, figures: Figures, margin: float, passes: float, fails: float, *, is_first: bool
) -> GateSaid:
    found: list[_Bounds | None] = []
    for arm, tally in zip((STABLE, CANDIDATE), figures, strict=True):
        counts = tally.first_events() if is_first else tally.latencies()
        shown, surely = counts.interval(_P95, 2 * passes), counts.interval(_P95, 2 * fails)
        if shown is None or surely is None:
            found.append(None)
        else:
            bound = surely.high if arm == STABLE else max(surely.low, 0.0)
            found.append(_Bounds(max(shown.low, 0.0), shown.high, bound, shown))
    return _said(gate, found[0], found[1], lambda milliseconds: milliseconds * (1 + margin))


def _cost(figures: Figures, margin: float, passes: float, fails: float) -> GateSaid:
    """A call of unknown cost may have cost anything: then nothing is known of the average."""
    cut = figures.stable.cut()
    both = _of_means(figures.stable.costs(cut), figures.candidate.costs(cut), passes, fails)
    said = _said("cost", *both, lambda dollars: dollars * (1 + margin))
    if said.verdict == PASSED and figures.candidate.unpriced:
        return GateSaid(said.gate, OPEN, said.stable, said.candidate, said.allowed)
    return said
