"""What is tried beside pools, as the control plane keeps it: shadows and rollouts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import msgspec

from ..core.acts import By
from ..core.record import Record
from ..core.traffic import Sample
from ..core.trials import Rollout, Shadow, ToScore
from ..exchange.trying import Copy, Standing, standing_of
from ..policy.rollout import COMMANDS, DONE, number_of
from ..trials.agreement import Agreements
from ..trials.rollouts import Rollouts
from ..trials.told import Score
from .acts import ActDesk
from .admin import Query, Routes
from .runtime import Ready
from .scoring import ScoreKeeper
from .shadow import CopyKeeper

_PATIENCE_S = 10.0


class TrialKeeper:
    """`run` keeps all of it going until it is cancelled. What calls ask of it never waits. `folder` is that
    of the state, `broker` this one's name among others, `seal` the key of its errands, `acts` is told
    of steps."""

    def __init__(self, folder: Path, broker: str, elsewhere: str, seal: bytes, acts: ActDesk) -> None:
        self._copies = CopyKeeper(elsewhere)
        self._rollouts = Rollouts(folder, broker, self._moved, told=acts.rollout)
        self._scores = ScoreKeeper(seal, self._rollouts.score, elsewhere)
        self._agreements = Agreements(self._wants, self._rollouts.score)
        self._tried_pools: dict[str, Rollout] = {}
        self.standings: Mapping[str, Standing] = {}

    def _moved(self) -> None:
        states = ((one, self._rollouts.state(one.name)) for one in self._tried_pools.values())
        self.standings = {
            one.name: Standing(state.to, number_of(one, state), state.is_on, state.phase == DONE)
            for one, state in states
            if state is not None
        }

    def offer(self, copy: Copy) -> None:
        self._copies.offer(copy)

    def missed(self, shadow: Shadow) -> None:
        self._copies.missed(shadow)

    def _wants(self, pool: str) -> bool:
        """Is it at a stage of copies, and has a gate for quality that nothing else feeds?"""
        rollout = self._tried_pools.get(pool)
        standing = standing_of(rollout, self.standings) if rollout is not None else None
        if rollout is None or standing is None or standing.stage >= len(rollout.stages):
            return False
        stage = rollout.stages[standing.stage]
        return stage.shadow is not None and stage.scores is None and stage.gates.quality_ppm is not None

    def sampled(self, sample: Sample) -> None:
        """A captured call."""
        self._agreements.sampled(sample)

    def to_score(self, to: ToScore, sample: Sample | None) -> None:
        """The answer to a call that was drawn; None: there was no room for it."""
        self._scores.offer(to, sample)

    def take(self, records: Sequence[Record]) -> None:
        """Calls that have ended."""
        self._rollouts.take(records)
        self._scores.recorded(records)

    def configured(self, ready: Ready, *, is_in_effect: bool) -> None:
        """Not `is_in_effect`: an Envoy may refuse it still; a new candidate waits for `in_effect`."""
        self._copies.configured(ready.catalog)
        self._scores.configured(ready.catalog)
        found = [one.rollout for one in ready.catalog.trials.values() if one.rollout is not None]
        self._tried_pools = {one.pool: one for one in found}
        redis = ready.catalog.fleet, ready.redis_password
        self._rollouts.configured(found, *redis, is_in_effect=is_in_effect)

    def in_effect(self) -> None:
        self._rollouts.in_effect()

    def shadows(self) -> dict[str, Any]:
        """What becomes of copies, for `/status`."""
        return self._copies.status()

    def rollouts(self) -> dict[str, Any]:
        """In short: what `GET /rollouts` says takes its time."""
        return {
            name: {"stage": standing.stage, "is_on": standing.is_on}
            for name, standing in self.standings.items()
        }

    # -- asked by people, from another thread

    def routes(self, loop: asyncio.AbstractEventLoop) -> Routes:
        """What the admin port answers with: each runs on the event loop."""

        def on_loop(work: Coroutine[Any, Any, Any]) -> Any:
            asked = asyncio.run_coroutine_threadsafe(work, loop)
            if not wait([asked], _PATIENCE_S).done:
                raise OSError(f"it goes on, and takes longer than {_PATIENCE_S:g} s: see `rollout status`")
            return asked.result()

        def shown(query: Query, body: bytes, by: By) -> Any:
            return {"rollouts": on_loop(self._shown())}

        def told(query: Query, body: bytes, by: By) -> Any:
            name, word = _one(query, "rollout"), _one(query, "do")
            if word not in COMMANDS:
                raise ValueError(f"there is no {word!r} to do; give {', '.join(COMMANDS)}")
            return self._with_scores(on_loop(self._rollouts.command(name, word, by)))

        def scored(query: Query, body: bytes, by: By) -> Any:
            try:
                scores = msgspec.json.decode(body, type=list[Score])
            except msgspec.MsgspecError as error:
                raise ValueError(f"a list of {{request_id, value}} is wanted: {error}") from None
            return {"taken": on_loop(self._scored(scores)), "of": len(scores)}

        return {
            ("GET", "/rollouts"): shown,
            ("POST", "/rollouts"): told,
            ("POST", "/rollouts/scores"): scored,
        }

    async def _shown(self) -> list[dict[str, Any]]:
        return [self._with_scores(row) for row in await self._rollouts.shown()]

    def _with_scores(self, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "scores": self._scores.shown(row["rollout"])}

    async def _scored(self, scores: Sequence[Score]) -> int:
        return self._rollouts.posted(scores)

    async def run(self) -> None:
        await asyncio.gather(self._copies.run(), self._scores.run(), self._rollouts.run())

    async def close(self) -> None:
        await self._copies.close()
        await self._scores.close()
        await self._rollouts.close()


def _one(query: Query, name: str) -> str:
    return next(iter(query.get(name, [])), "")
