"""Rollouts as they go on: records are counted, the machine is asked, and what it says is kept and told.

Brokers of a fleet agree by their Redis: each says what it has seen, any of them may take a step, and the
first one does. While it is away nobody is promoted; each may still roll back by what it sees itself, and so
may one whose configuration has another candidate than the fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..core.acts import By
from ..core.budgets import Fleet
from ..core.record import Record
from ..core.trials import ALL_PPM, Rollout
from ..policy.rollout import (
    PAUSED,
    ROLLED_BACK,
    RUNNING,
    Figures,
    State,
    begun,
    command,
    judge,
    stage_of,
    step,
)
from ..policy.rollout_fleet import (
    BEHIND,
    FOLLOW,
    RESTORE,
    back_by_others,
    is_news,
    restored,
    stand,
    taken_over,
    with_news,
)
from .counted import has_failed
from .places import Folder, Shared, There, surely
from .rollout_metrics import AWAY, CALLS, EVENTS, IS_BEHIND, forget, show
from .told import Arms, Doc, Event, Score, Turns, doc_of, first_doc, missed, sentence, shown

log = logging.getLogger("modelbroker.rollout")

_LOOK_S = 1.0
# Bounds take CPU that calls want too: so many times as long as they took is waited.
_REST = 20.0
_MOST_REMEMBERED = 20_000
_MOVED = "another broker has just moved it, or their Redis lost it: look, and say it again"


class Rollouts:
    """`take` gets records and `score` scores, on the event loop; `run` looks until it is cancelled. `changed`
    is called when a rollout stands elsewhere than before, `told` gets each step. `broker` is this one's name
    among others. A candidate from before may come back where no broker's configuration has had that of the
    fleet for `unheld_s`."""

    def __init__(
        self,
        folder: Path,
        broker: str,
        changed: Callable[[], None] = lambda: None,
        now_s: Callable[[], float] = time.time,
        told: Callable[[Event], None] = lambda event: None,
        unheld_s: float = 600.0,
    ) -> None:
        self._told = told
        self._folder = Folder(folder)
        self._broker = broker
        self._changed = changed
        self._now_s = now_s
        self._kept = self._folder.read()
        self._rollouts: dict[str, Rollout] = {}
        self._is_in_effect = True  # what `configured` was told
        self._fleet: tuple[Fleet | None, str | None] | None = None
        self._shared: Shared | None = None
        self._arms: OrderedDict[str, tuple[str, str, int]] = OrderedDict()  # request id → rollout, arm, turn
        self._posted: OrderedDict[tuple[str, str], None] = OrderedDict()  # of these is a score from outside
        self._is_new = False
        self._looking = asyncio.Lock()
        self._seen: dict[str, tuple[int, ...]] = {}
        self._combined: dict[str, tuple[int, Figures]] = {}  # of all brokers, by turn
        self._judged_s = 0.0  # how long bounds took in one look
        self._unheld_s = unheld_s
        self._unheld: dict[str, float] = {}  # rollout → since when nobody has the fleet's candidate

    # -- what is known

    def state(self, name: str) -> State | None:
        """None: it has not begun, as far as is known, with the candidate that the configuration has."""
        rollout, known = self._rollouts.get(name), self._known(name)
        return known if rollout is not None and known is not None and known.to == rollout.to else None

    def _known(self, name: str) -> State | None:
        """Where it was last, with whichever candidate."""
        turns = self._kept.get(name)
        return turns.doc.state if turns is not None and turns.doc is not None else None

    def configured(
        self,
        rollouts: Iterable[Rollout],
        fleet: Fleet | None = None,
        password: str | None = None,
        *,
        is_in_effect: bool = True,
    ) -> None:
        """Not `is_in_effect`: no Envoy has said yet that it takes this configuration. Its new candidates wait
        for `in_effect`: where it is refused, those of before go on as if nothing had been."""
        self._is_in_effect = is_in_effect
        forget(self._rollouts)
        self._rollouts = {one.name: one for one in rollouts}
        if (fleet, password) != self._fleet:
            if fleet is None or self._fleet is not None:  # where another fleet was is nothing here
                for turns in self._kept.values():
                    turns.fleet = None
            self._fleet = fleet, password
            self._shared = Shared(fleet, password, self._broker) if fleet is not None else None
        for rollout in self._rollouts.values():
            self._show(rollout)
        self._changed()
        if is_in_effect:
            self.in_effect()

    def in_effect(self) -> None:
        """An Envoy has what was configured last."""
        self._is_in_effect = True
        for rollout in self._rollouts.values():
            if self._shared is None and self.state(rollout.name) is None:
                self._begin(rollout)

    def _waits(self, rollout: Rollout) -> bool:
        """Neither begun nor followed yet."""
        return not self._is_in_effect and self.state(rollout.name) is None

    def take(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.rollout and record.arm:
                self._take(record)

    def _take(self, record: Record) -> None:
        rollout, state = self._rollouts.get(record.rollout), self.state(record.rollout)
        if rollout is None or state is None or stage_of(rollout, state).name != record.stage:
            return  # what began at an earlier stage says nothing of this one
        if record.started_s < self._kept[rollout.name].since_s:
            return  # it may be another candidate's, which had a stage of that name
        failed = has_failed(record, rollout)
        if failed is None:
            return
        arms = self._kept[rollout.name].arms(state.turn)
        cost = record.cost.total if record.cost is not None else None
        arms.of(record.arm).add(
            failed=failed,
            latency_ms=record.duration_ms,
            first_event_ms=record.first_byte_ms if record.stream else None,
            cost_nano=cost,
        )
        CALLS.labels(rollout.name, record.arm, "failed" if failed else "good").inc()
        self._arms[record.request_id] = rollout.name, record.arm, state.turn
        if len(self._arms) > _MOST_REMEMBERED:
            self._arms.popitem(last=False)
        self._is_new = True

    def posted(self, scores: Iterable[Score]) -> int:
        """As `score`, from outside: a call of an arm has one such score. What a client says again, since it
        did not hear the answer, would make figures surer than they are."""
        taken = 0
        for score in scores:
            said = score.request_id, score.arm
            if said in self._posted or not self.score([score]):
                continue
            taken += 1
            self._posted[said] = None
            if len(self._posted) > _MOST_REMEMBERED:
                self._posted.popitem(last=False)
        return taken

    def score(self, scores: Iterable[Score]) -> int:
        """How many of them are of calls that count now."""
        taken = 0
        for score in scores:
            name, arm, turn = self._arms.get(score.request_id, ("", "", 0))
            state = self.state(name)
            if state is None or state.turn != turn or not 0.0 <= score.value <= 1.0:
                continue
            self._kept[name].arms(turn).of(score.arm or arm).score(score.value)
            taken += 1
        self._is_new = self._is_new or taken > 0
        return taken

    # -- looking

    async def run(self) -> None:
        while True:
            self._judged_s = 0.0
            try:
                await self.look()
            except Exception:
                log.exception("rollouts could not be looked at")
            await asyncio.sleep(max(_LOOK_S, _REST * self._judged_s))

    async def look(self) -> None:
        """Once, at all of them."""
        async with self._looking:
            for rollout in list(self._rollouts.values()):
                if self._waits(rollout):
                    continue
                if self._shared is None:
                    await self._look_alone(rollout)
                else:
                    await self._look_shared(rollout, self._shared)
            await self._keep()

    async def _look_alone(self, rollout: Rollout) -> None:
        if self.state(rollout.name) is None:
            self._begin(rollout)
        state = self.state(rollout.name)
        if state is not None:
            figures = self._figures(rollout, state, Arms(), Arms())
            doc = await self._asked(rollout, state, figures, self._now_s())
            if doc is not None:
                self._follow(rollout, doc)

    async def _look_shared(self, rollout: Rollout, shared: Shared) -> None:
        try:
            await self._agree(rollout, shared)
            AWAY.set(0)
        except Exception as error:  # of redis-py, of sockets: all the same here
            AWAY.set(1)
            log.debug("what other brokers see of %s is not known: %s", rollout.name, error)
            await self._look_apart(rollout)

    async def _look_apart(self, rollout: Rollout) -> None:
        """What this broker sees alone is enough to roll back, and for nothing else."""
        state = self.state(rollout.name)
        if state is None or state.phase not in (RUNNING, PAUSED):
            return
        figures = self._figures(rollout, state, Arms(), Arms())
        doc = await self._asked(rollout, state, figures, self._now_s())
        if doc is not None and doc.state.phase == ROLLED_BACK and doc.last.gates:
            self._follow(rollout, doc)

    async def _agree(self, rollout: Rollout, shared: Shared) -> None:
        there = await self._agreed(rollout, shared)
        if there is None or (doc := there.doc) is None:
            return
        own = self.state(rollout.name)
        if await self._has_told(rollout, shared, there, doc):
            return
        if own is not None and is_news(doc.state, own):
            kept_doc = self._kept[rollout.name].doc  # it was rolled back here while nobody could be told
            if kept_doc is not None and await shared.swap(rollout.name, there.text, kept_doc):
                return
        await self._adopt(rollout, shared, doc)
        state, kept = doc.state, self._kept[rollout.name]
        await shared.put(rollout.name, state.turn, kept.arms(state.turn))
        others = await shared.others(rollout.name, state.turn)
        before_others = await shared.others(rollout.name, state.turn - 1)
        figures = self._figures(rollout, state, others, before_others)
        self._combined[rollout.name] = state.turn, figures
        step_doc = await self._asked(rollout, state, figures, there.now_s)
        if step_doc is not None and await shared.swap(rollout.name, there.text, step_doc):
            self._follow(rollout, step_doc)

    async def _agreed(self, rollout: Rollout, shared: Shared) -> There | None:
        """What the fleet agreed on, where that has this broker's candidate; begun by this one, if need be.
        None: it is behind, or others are about to move it."""
        kept = self._kept.setdefault(rollout.name, Turns())
        for _ in range(2):
            there = await shared.read(rollout.name, rollout.to)
            own = self._known(rollout.name)
            fresh: Doc | None = None
            if there.doc is None:  # nobody has begun it, or the Redis has lost it
                fresh = kept.fleet or (kept.doc if self.state(rollout.name) is not None else None)
            else:
                how = stand(rollout, own, there.doc.state, is_held=self._is_held(rollout.name, there))
                if how == FOLLOW:
                    self._is_with(rollout, None)
                    return there
                if how == BEHIND:
                    self._is_with(rollout, there.doc)
                    await self._look_behind(rollout, shared, there)
                    return None
                if how == RESTORE and kept.doc is not None:
                    fresh = Doc(restored(there.doc.state, kept.doc.state), kept.doc.last)
            if fresh is None:
                before = there.doc.state if there.doc is not None else None
                fresh = first_doc(rollout, begun(rollout, there.now_s, before, own), there.now_s)
            await shared.swap(rollout.name, there.text, fresh)
        return None

    def _is_held(self, name: str, there: There) -> bool:
        """Has a broker's configuration the candidate at which the fleet is, or had it just now?"""
        if there.doc is None or there.doc.state.to in there.had:
            self._unheld.pop(name, None)
            return True
        return there.now_s - self._unheld.setdefault(name, there.now_s) < self._unheld_s

    def _is_with(self, rollout: Rollout, fleet: Doc | None) -> None:
        """The fleet is elsewhere, at `fleet`; None: it is where this broker is."""
        kept = self._kept[rollout.name]
        was, kept.fleet = kept.fleet, fleet
        IS_BEHIND.labels(rollout.name).set(fleet is not None)
        self._is_new = self._is_new or was != fleet
        if fleet is not None and (was is None or was.state.to != fleet.state.to):
            log.warning(
                "rollout %s: the fleet has the candidate %s, and this configuration %s, which stays as it is",
                *(rollout.name, fleet.state.to, rollout.to),
            )
        elif fleet is None and was is not None:
            log.info("rollout %s: this configuration has the fleet's candidate, %s", rollout.name, rollout.to)

    async def _look_behind(self, rollout: Rollout, shared: Shared, there: There) -> None:
        """What fails is rolled back all the same, and by all that have that candidate."""
        own, doc = self.state(rollout.name), there.doc
        if own is None or doc is None:
            return
        if (said := back_by_others(own, doc.state)) is not None:
            figures = self._figures(rollout, own, Arms(), Arms())
            self._follow(rollout, doc_of(rollout, said, own, figures, there.now_s))
            return
        await self._look_apart(rollout)
        await self._has_told(rollout, shared, there, doc)

    async def _has_told(self, rollout: Rollout, shared: Shared, there: There, doc: Doc) -> bool:
        """That a candidate whose place another has taken was rolled back here."""
        known = self._known(rollout.name)
        news = with_news(doc.state, known) if known is not None else None
        fresh = Doc(news, doc.last) if news is not None else None
        return fresh is not None and await shared.swap(rollout.name, there.text, fresh, is_step=False)

    async def _adopt(self, rollout: Rollout, shared: Shared, doc: Doc) -> None:
        """Where another broker, or this one before it lost its folder, says that it is."""
        kept = self._kept.setdefault(rollout.name, Turns())
        if kept.doc == doc:
            return
        if doc.state.turn not in kept.turns:
            said = await shared.own(rollout.name, doc.state.turn)
            if said is not None:
                kept.turns[doc.state.turn] = said
        before = kept.doc.last if kept.doc is not None else None
        steps = missed(await shared.steps(rollout.name), before, doc.last) if before != doc.last else ()
        self._follow(rollout, doc, steps)

    async def _asked(self, rollout: Rollout, state: State, figures: Figures, now_s: float) -> Doc | None:
        """What the machine says, in a thread: bounds take their time, and calls do not wait for them."""
        arms = figures.stable, figures.candidate
        counted = tuple(count for arm in arms for count in (arm.calls, arm.scores))
        stage, lasted_ms = stage_of(rollout, state), (now_s - state.since_s) * 1000
        is_due = lasted_ms >= min(stage.hold_ms, stage.limit_ms)
        if state.phase not in (RUNNING, PAUSED) or (self._seen.get(rollout.name) == counted and not is_due):
            return None
        self._seen[rollout.name] = counted
        began_s = time.monotonic()
        said = await asyncio.to_thread(step, rollout, state, figures, now_s)
        self._judged_s += time.monotonic() - began_s
        return doc_of(rollout, said, state, figures, now_s) if said is not None else None

    def _figures(self, rollout: Rollout, state: State, others: Arms, before: Arms) -> Figures:
        """Copies: a thread reads them. Where nobody is left in the stable arm, those of the stage before."""
        kept = self._kept[rollout.name]
        sums = kept.arms(state.turn).merged(others)
        if stage_of(rollout, state).share_ppm < ALL_PPM:
            return Figures(sums.stable, sums.candidate)
        earlier = kept.turns.get(state.turn - 1, Arms()).merged(before)
        return Figures(earlier.stable, sums.candidate)

    # -- steps

    def _begin(self, rollout: Rollout) -> None:
        now_s = self._now_s()
        self._follow(rollout, first_doc(rollout, begun(rollout, now_s, self._known(rollout.name)), now_s))

    def _follow(self, rollout: Rollout, doc: Doc, steps: Sequence[Event] | None = None) -> None:
        """From now on it stands there. `steps`: how it came there, if not by its last alone."""
        kept = self._kept.setdefault(rollout.name, Turns())
        if kept.doc is None or kept.doc.state.turn != doc.state.turn:
            kept.since_s = self._now_s()
        kept.doc = doc
        kept.arms(doc.state.turn)
        self._is_new = True
        self._seen.pop(rollout.name, None)
        steps = (doc.last,) if steps is None else steps
        for one in steps:
            bad = one.event == "rolled-back"
            log.log(logging.WARNING if bad else logging.INFO, "%s", sentence(one))
            EVENTS.labels(rollout.name, one.event).inc()
            self._told(one)
        try:
            self._folder.write(self._kept)
            self._folder.tell(steps)
            self._is_new = False
        except OSError as error:
            log.error("where the rollout %s is can't be kept: %s", rollout.name, error)
        self._show(rollout)
        self._changed()

    async def command(self, name: str, word: str, by: By) -> dict[str, Any]:
        """`pause`, `resume`, `promote` or `rollback`, and whose command it is. LookupError where there is no
        such rollout, ValueError where it can't be done; OSError where the fleet's Redis is away, for others
        would not hear of it."""
        rollout = self._rollouts.get(name)
        if rollout is None:
            known = ", ".join(self._rollouts) or "none"
            raise LookupError(f"there is no rollout {name!r}; there are: {known}")
        async with self._looking:
            was, shared, now_s = "", self._shared, self._now_s()
            if shared is not None and not self._waits(rollout):
                there = await self._read(rollout, shared)
                was, now_s = there.text, there.now_s
                fleet = there.doc or self._kept.setdefault(name, Turns()).fleet  # the Redis may have lost it
                if fleet is not None and fleet.state.to != rollout.to:
                    await self._command_behind(rollout, word, by, shared, there, fleet)
                    return await self._shown(rollout)
            if (state := self.state(name)) is None:
                raise ValueError(f"the rollout {name} has not begun yet")
            said = command(rollout, state, word, now_s)
            doc = doc_of(rollout, said, state, self._figures(rollout, state, Arms(), Arms()), now_s, by)
            if shared is not None and not await shared.swap_surely(name, was, doc):
                raise ValueError(_MOVED)
            self._follow(rollout, doc)
        return await self._shown(rollout)

    async def _command_behind(
        self, rollout: Rollout, word: str, by: By, shared: Shared, there: There, fleet: Doc
    ) -> None:
        """Where the fleet has another candidate: this one's can be rolled back, or begin for all."""
        own = self.state(rollout.name)
        if word == "resume":
            said = taken_over(rollout, fleet.state, self._known(rollout.name), there.now_s)
            doc = first_doc(rollout, said, there.now_s, by)
            if not await shared.swap_surely(rollout.name, there.text, doc):
                raise ValueError(_MOVED)
            self._follow(rollout, doc)
            self._is_with(rollout, None)
        elif word == "rollback" and own is not None and own.is_on:
            figures = self._figures(rollout, own, Arms(), Arms())
            said = command(rollout, own, word, there.now_s)
            self._follow(rollout, doc_of(rollout, said, own, figures, there.now_s, by))
            with contextlib.suppress(Exception):  # what others don't hear now, they do at a later look
                await self._has_told(rollout, shared, there, fleet)
        else:
            theirs, to = fleet.state.to, rollout.to
            raise ValueError(
                f"the fleet has the candidate {theirs}, and this broker's configuration {to}: give it the "
                f"one that the others have, or say `resume`, and {to} begins for all"
            )

    async def _read(self, rollout: Rollout, shared: Shared) -> There:
        """What others have done meanwhile is followed, and told, first."""
        there = await surely(lambda: shared.read(rollout.name, rollout.to))
        if (doc := there.doc) is not None and doc.state.to == rollout.to:
            await surely(lambda: self._adopt(rollout, shared, doc))
        return there

    # -- keeping and showing

    async def _keep(self) -> None:
        if not self._is_new:
            return
        self._is_new = False
        try:
            self._folder.write(self._kept)
        except OSError as error:
            log.error("what rollouts have seen can't be kept: %s", error)

    async def close(self) -> None:
        await self._keep()
        if self._shared is not None:
            await self._shared.close()

    def _show(self, rollout: Rollout) -> None:
        if (state := self.state(rollout.name)) is not None:
            show(rollout, state)

    async def shown(self) -> list[dict[str, Any]]:
        """For people: where each is, and what its gates say now."""
        return [await self._shown(rollout) for rollout in list(self._rollouts.values())]

    async def _shown(self, rollout: Rollout) -> dict[str, Any]:
        state = self.state(rollout.name)
        kept = self._kept.get(rollout.name, Turns())
        told: dict[str, Any] = {"rollout": rollout.name, "pool": rollout.pool, "to": rollout.to}
        told["fleet_to"] = kept.fleet.state.to if kept.fleet is not None else None
        if state is None:
            return {**told, "phase": "waiting"}
        turn, figures = self._combined.get(rollout.name, (0, None))
        if figures is None or turn != state.turn:
            figures = self._figures(rollout, state, Arms(), Arms())
        gates = await asyncio.to_thread(judge, stage_of(rollout, state).gates, figures, len(rollout.stages))
        return {**told, **shown(rollout, state, figures, gates, kept.doc)}
