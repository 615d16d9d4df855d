"""The control plane's side of scores: the process that scores answers is kept alive, fed and heard, and what
it says waits for the records of its calls."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ..core.catalog import Catalog
from ..core.record import Record
from ..core.traffic import Sample
from ..core.trials import SCORE, Scores, ToScore
from ..exchange.errand import ERRAND_HEADER, Errand, sealed_errand
from ..metrics import Up
from ..trials.copies import Address
from ..trials.frames import Graded, Redact, Task, task_frame
from ..trials.scoring import TIMEOUT_S, Job, Jobs
from ..trials.told import Score
from .fed import FedKeeper, address_of

log = logging.getLogger("modelbroker.rollout")

_STUCK_S = TIMEOUT_S + 30.0
_MOST_EARLY = 5_000  # scores whose calls have no record yet
_UP = Up("modelbroker_rollout_scoring_up", "1 while answers can be scored")


class ScoreKeeper(FedKeeper):
    """`offer` never waits and never fails. `scored` gets scores, and says how many of them count."""

    def __init__(self, seal: bytes, scored: Callable[[Sequence[Score]], int], elsewhere: str = "") -> None:
        super().__init__("modelbroker.trials.scorer", "the scorer of answers", log, _UP)
        self._seal = seal
        self._scored = scored
        self._elsewhere = elsewhere
        self._jobs = Jobs()
        self._at = Address("127.0.0.1", 0, False)
        self._redact = Redact((), (), (), True)
        self._rollouts: set[str] = set()
        self._early: OrderedDict[str, Score] = OrderedDict()

    def configured(self, catalog: Catalog) -> None:
        before = self._rollouts
        self._rollouts = {
            one.rollout.name for one in catalog.trials.values() if one.rollout is not None and one.is_scored
        }
        self._at = address_of(catalog.listen, self._elsewhere)
        capture = catalog.capture
        self._redact = Redact(capture.patterns, capture.custom, capture.drop, capture.drops_media)
        self._jobs.forget(self._rollouts.__contains__)
        if bool(before) != bool(self._rollouts):
            self._changed.set()

    def offer(self, to: ToScore, sample: Sample | None) -> None:
        """None: there was no room for it on its way here."""
        if to.rollout in self._rollouts and self._jobs.offer(to, sample, time.monotonic()):
            self.pump_soon()

    def recorded(self, records: Iterable[Record]) -> None:
        """These calls count now, if they do."""
        if not self._early:
            return
        known = (self._early.pop(record.request_id, None) for record in records if record.rollout)
        if found := [score for score in known if score is not None]:
            self._scored(found)

    def shown(self, rollout: str) -> dict[str, Any] | None:
        """None: the broker does not score its answers."""
        return dict(self._jobs.shown(rollout)) if rollout in self._rollouts else None

    def _is_wanted(self) -> bool:
        return bool(self._rollouts)

    def _due(self) -> list[bytes]:
        return [task_frame(self._task(number, job)) for number, job in self._jobs.due(time.monotonic())]

    def _task(self, number: int, job: Job) -> Task:
        scores, until_s = job.scores, time.time() + 2 * TIMEOUT_S
        said = tuple(one.said for one in scores.by)
        errands = {pool: self._sealed(scores, pool, until_s) for pool in scores.asks}
        at = self._at
        return Task(
            number,
            at.host,
            at.port,
            at.tls,
            TIMEOUT_S,
            said,
            ERRAND_HEADER,
            errands,
            self._redact,
            job.samples,
        )

    def _sealed(self, scores: Scores, pool: str, until_s: float) -> str:
        """Charged to nobody but the scores' own budget, and part of no arm."""
        return sealed_errand(Errand(SCORE, "", pool, scores.caller, scores.name, "", "", until_s), self._seal)

    def _heard(self, line: bytes) -> None:
        for one in self._jobs.over(msgspec.json.decode(line, type=Graded), time.monotonic()):
            score = Score(one.request_id, one.value, one.arm)
            if self._scored([score]):
                continue
            self._early[score.request_id] = score
            if len(self._early) > _MOST_EARLY:
                self._early.popitem(last=False)

    def _gone(self) -> None:
        self._jobs.lost()

    def _is_stuck(self) -> bool:
        # Asked now and then: of a rollout that was rolled back no more answers come, and texts are held.
        self._jobs.let_go_of_halves(time.monotonic())
        oldest_s = self._jobs.oldest_s()
        return oldest_s is not None and time.monotonic() - oldest_s > _STUCK_S
