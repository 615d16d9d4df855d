"""What is kept and told of a rollout: where it is, what decided it, and what both arms came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..core.acts import BROKER, COMMAND, ITSELF, By
from ..core.trials import CANDIDATE, STABLE, Rollout
from ..policy.rollout import BY_COMMAND, Figures, GateSaid, State, Step, stage_of
from ..policy.rollout_words import reason_words
from ..policy.tallies import Tally


class Event(msgspec.Struct, frozen=True):
    """A step of a rollout to the candidate `to`, with the figures that decided it. `stage` and `phase` are
    what it was followed by, `at_stage` where it was. `calls`: of both arms, at that stage. `actor` and `by`:
    who took it (`done_by`), "" of those that were kept before these were."""

    at_s: float
    rollout: str
    event: str
    at_stage: str
    stage: str
    phase: str
    turn: int
    reason: str
    calls: dict[str, int] = {}
    gates: list[dict[str, Any]] = []
    to: str = ""
    actor: str = ""
    by: str = ""


class Score(msgspec.Struct, frozen=True):
    """How good the reply to a call was, from 0 to 1. `arm` "": as the call's own record says."""

    request_id: str
    value: float
    arm: str = ""


class Doc(msgspec.Struct, frozen=True):
    """What replicas agree on."""

    state: State
    last: Event


class Arms(msgspec.Struct):
    """What one broker has seen of one turn."""

    stable: Tally = msgspec.field(default_factory=Tally)
    candidate: Tally = msgspec.field(default_factory=Tally)

    def merged(self, other: Arms) -> Arms:
        return Arms(self.stable.merged(other.stable), self.candidate.merged(other.candidate))

    def of(self, arm: str) -> Tally:
        return self.candidate if arm == CANDIDATE else self.stable


class Turns(msgspec.Struct):
    """What one broker keeps of a rollout: by turn; only this one and the one before. `since_s`: when it heard
    of this turn, by its own clock. `fleet`: where the fleet is, where this broker is behind it."""

    doc: Doc | None = None
    turns: dict[int, Arms] = {}
    since_s: float = 0.0
    fleet: Doc | None = None

    def arms(self, turn: int) -> Arms:
        if (arms := self.turns.get(turn)) is None:
            arms = self.turns[turn] = Arms()
            for old in [number for number in self.turns if number < turn - 1]:
                del self.turns[old]
        return arms


def missed(steps: Sequence[Event], before: Event | None, now: Event) -> list[Event]:
    """What a broker that stood at `before` has to tell of the fleet's `steps`, so that it has told them up to
    `now`: all that came between, and `now`. Where `before` is not among them (they are kept for a while),
    those of later turns. One that knows nothing of the rollout tells where it found it."""
    if before is None:
        return [now]
    known = steps[: steps.index(now)] if now in steps else steps
    if before in known:
        return [*known[known.index(before) + 1 :], now]
    return [*(step for step in known if step.turn > before.turn), now]


def doc_of(
    rollout: Rollout, step: Step, before: State, figures: Figures, now_s: float, by: By = ITSELF
) -> Doc:
    return Doc(step.state, _event(rollout, step, before, figures, now_s, by))


def first_doc(rollout: Rollout, begin: Step, now_s: float, by: By = ITSELF) -> Doc:
    return doc_of(rollout, begin, begin.state, Figures(Tally(), Tally()), now_s, by)


def _event(rollout: Rollout, step: Step, before: State, figures: Figures, now_s: float, by: By) -> Event:
    return Event(
        at_s=round(now_s, 3),
        rollout=rollout.name,
        event=step.event,
        at_stage=stage_of(rollout, before).name,
        stage=stage_of(rollout, step.state).name,
        phase=step.state.phase,
        turn=step.state.turn,
        reason=step.state.reason,
        calls={STABLE: figures.stable.calls, CANDIDATE: figures.candidate.calls},
        gates=[shown_gate(one) for one in step.said],
        actor=by.actor,
        by=by.user,
        to=step.state.to,
    )


def done_by(event: Event) -> By:
    """Who took this step, at whichever broker of a fleet."""
    actor = COMMAND if event.reason == BY_COMMAND else BROKER
    return By(event.actor or actor, event.by)


def shown(
    rollout: Rollout, state: State, figures: Figures, gates: Sequence[GateSaid], doc: Doc | None
) -> dict[str, Any]:
    """Where it is, for people and for JSON."""
    stage = stage_of(rollout, state)
    return {
        "phase": state.phase,
        "stage": stage.name,
        "stages": [one.name for one in rollout.stages],
        "since_s": state.since_s,
        "reason": state.reason,
        "calls": {"stable": figures.stable.calls, "candidate": figures.candidate.calls},
        "min_calls": stage.min_calls,
        "hold_s": stage.hold_ms / 1000,
        "gates": [shown_gate(one) for one in gates],
        "last": msgspec.to_builtins(doc.last) if doc is not None else None,
    }


def shown_gate(said: GateSaid) -> dict[str, Any]:
    """For JSON, which knows no infinity."""
    return {
        "gate": said.gate,
        "verdict": said.verdict,
        STABLE: said.stable.as_json() if said.stable else None,
        CANDIDATE: said.candidate.as_json() if said.candidate else None,
        "allowed": said.allowed,
    }


def sentence(event: Event) -> str:
    """For the log."""
    calls = f"{event.calls.get(CANDIDATE, 0)} calls of the candidate"
    where = event.at_stage if event.at_stage == event.stage else f"{event.at_stage} → {event.stage}"
    gates = "; ".join(map(_gate_text, event.gates))
    why = reason_words(event.reason, event.actor, event.by)
    reason = f": {why}" if why else ""
    return f"rollout {event.rollout}: {event.event} ({where}; {calls}){reason}{'; ' if gates else ''}{gates}"


def _gate_text(gate: dict[str, Any]) -> str:
    shown = [
        "?" if gate[arm] is None else f"{gate[arm]['value']:.4g}" if gate[arm]["value"] is not None else "?"
        for arm in (CANDIDATE, STABLE)
    ]
    return f"{gate['gate']} {gate['verdict']}: {shown[0]} against {shown[1]}"
