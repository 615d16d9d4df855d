"""Runs a suite: brokers as children, calls, scores, and the end when it is decided or the money is spent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.errors import Misconfigured
from ..drill.rehearsal import Rehearsal, running
from .answers import read_answer
from .askable import lacks, may_come
from .cases import Case
from .client import Heard, post
from .figures import Run, add_case
from .folder import Journals, Meta, RunFolder, is_run
from .grading import Grader
from .outcomes import AGAIN, OUT_OF_MONEY, Billed, Outcome, Scored, billed_of_record
from .overlay import Stage, Who, asker_of, askers, files_of, key_of, model_of, stages_of
from .redacting import redacted_outcome
from .suite import Candidate, Suite
from .turns import Turns
from .verdicts import Contest

_RECORDS_S = 20.0  # a record whose attempt's entry is missing comes after 5 s
_LOOK_S = 0.2
_AGAIN_S = 1.0
_SECRETS_S = 10.0  # so long a store may take to give a secret that a candidate needs
THROUGH, DECIDED, MONEY, INTERRUPTED = "through", "decided", "money", "interrupted"


@dataclass(frozen=True, slots=True)
class Options:
    """`texts`: configuration's path ("": the user's own) → its files. `mocks`: simulators in the places of
    all providers, with this script; None: the real ones. `heard` is told of progress, `warned` of what
    is other than one would think."""

    texts: Mapping[str, Mapping[str, str]]
    mocks: Mapping[str, Any] | None = None
    heard: Callable[[str], None] = lambda text: None
    warned: Callable[[str], None] = lambda text: None


@dataclass(slots=True)
class Evaluation:
    """One run of the runner on a folder that holds the run so far."""

    folder: RunFolder
    run: Run
    options: Options
    ended: str = ""
    why: str = ""
    _secret: str = field(default_factory=lambda: secrets.token_hex(16))
    _brokers: dict[str, Rehearsal] = field(default_factory=dict)
    _outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    _scores: dict[tuple[str, str], tuple[Scored, ...]] = field(default_factory=dict)
    _billed: dict[str, Billed] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _turns: dict[str, Turns] = field(default_factory=dict)
    _journals: Journals = field(init=False)
    _who: Who = field(init=False)
    _contest: Contest = field(init=False)

    def __post_init__(self) -> None:
        self._outcomes = dict(self.run.outcomes)
        self._scores = {key: tuple(found) for key, found in self.run.scores.items()}
        self._billed = dict(self.run.billed)
        self.run = replace(
            self.run, outcomes=self._outcomes, scores=self._scores, billed=self._billed, ended=""
        )
        self._journals = Journals(self.folder.path)
        self._who = askers(self.run.cases.values())
        suite = self.suite
        rivals = tuple(one.name for one in suite.rivals)
        self._contest = Contest(rivals, suite.margin, suite.alpha, suite.said.stop.at_least)

    @property
    def suite(self) -> Suite:
        return self.run.suite

    async def go(self) -> None:
        """To the end; `ended` says to which. Misconfigured: a broker does not start."""
        self._take_records()
        grader = Grader(self.suite, self._judge)
        left = self._left()
        if left is not None and left <= 0:
            self.ended, self.why = MONEY, "All of `budget.spend` is spent."
            return
        async with contextlib.AsyncExitStack() as stack:
            brokers = self.folder.path / "brokers"
            before = len(list(brokers.glob("*"))) if brokers.exists() else 0
            stages = enumerate(stages_of(self.suite, left), start=before)
            # All are waited for, so that one that fails leaves none behind.
            starts = [self._start(stack, stage, brokers / f"{number:03d}") for number, stage in stages]
            for wrong in await asyncio.gather(*starts, return_exceptions=True):
                if wrong is not None:
                    raise wrong
            looking = asyncio.create_task(self._look())
            try:
                await self._cases(grader)
                self.ended = self.ended or THROUGH
            except asyncio.CancelledError:
                self.ended = INTERRUPTED
                raise
            finally:
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking
                await asyncio.shield(self._last_records())

    def _left(self) -> int | None:
        spend = self.suite.said.budget.spend
        if spend is None:
            return None
        return spend - sum(one.cost if one.cost is not None else one.known for one in self._billed.values())

    async def _start(self, stack: contextlib.AsyncExitStack, stage: Stage, place: Path) -> None:
        texts = self.options.texts[stage.config]
        files = files_of(texts, self.suite, stage, self._who, self._secret)
        mocks = self.options.mocks
        broker = await stack.enter_async_context(running(files, place, mocks=mocks is not None))
        if mocks:
            try:
                await broker.tell_all(mocks)
            except OSError as error:
                raise Misconfigured(500, "bad_script", f"the simulators' script: {error}") from None
        await self._check_credentials(broker, stage)
        self._brokers[stage.config] = broker

    async def _check_credentials(self, broker: Rehearsal, stage: Stage) -> None:
        """Misconfigured where a candidate would fail in every case for want of one: that says nothing."""
        until_s = time.monotonic() + _SECRETS_S
        while True:
            status = await broker.status()
            found = lacks(status, stage, self.suite)
            if not found.wrong or not may_come(status) or time.monotonic() > until_s:
                break
            await asyncio.sleep(_LOOK_S)
        for note in found.notes:
            self.options.warned(note)
        if found.wrong:
            raise Misconfigured(500, "no_credential", "; ".join(found.wrong))

    # -- cases

    async def _cases(self, grader: Grader) -> None:
        waiting = list(self.run.cases.values())
        waiting.reverse()
        done = 0

        async def worker() -> None:
            nonlocal done
            while waiting and not self.ended:
                await self._case(waiting.pop(), grader)
                done += 1
                self._tell(done)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.suite.said.calls.at_a_time):
                group.create_task(worker())

    def _tell(self, done: int) -> None:
        cost = sum(one.cost or one.known for one in self._billed.values()) / 1e9
        spend = self.suite.said.budget.spend
        of = f" of ${spend / 1e9:g}" if spend else ""
        undecided = ", ".join(self._contest.open)
        self.options.heard(
            f"{done}/{len(self.run.cases)} cases, ${cost:.4f}{of}, open: {undecided or 'none'}"
        )

    async def _case(self, case: Case, grader: Grader) -> None:
        """The baseline first: others may be held against it."""
        stops = self.suite.said.stop.decided
        asked = [
            one
            for one in self.suite.candidates
            if one.name == self.suite.baseline or not stops or one.name in self._contest.open
        ]
        outcomes = await asyncio.gather(*(self._outcome(one, case) for one in asked))
        if any(one.code in OUT_OF_MONEY for one in outcomes):
            return
        by_name = {one.candidate: one for one in outcomes}
        for outcome in outcomes:
            key = (case.id, outcome.candidate)
            done = self._scores.get(key, ())
            for scored in await grader.grade(case, outcome, by_name[self.suite.baseline], done):
                self.folder.keep_score(scored)
                self._scores[key] = (*self._scores.get(key, ()), scored)
        if self.ended == MONEY:  # a judge could not be paid
            return
        add_case(self.run, self._contest, case.id)
        if stops and not self._contest.open:
            self.ended = self.ended or DECIDED

    async def _outcome(self, candidate: Candidate, case: Case) -> Outcome:
        key = (case.id, candidate.name)
        if key in self._outcomes:
            return self._outcomes[key]
        outcome = await self._call(candidate, case)
        if outcome.code in OUT_OF_MONEY:
            self._out_of_money(outcome.code, candidate.name)
            return outcome
        if self.suite.data.traffic is not None:
            # What it is held against is redacted: so both are, or every e-mail would be a mistake.
            outcome = redacted_outcome(outcome, self.folder.redact)
        self.folder.keep_reply(outcome)
        self._outcomes[key] = outcome
        return outcome

    def _out_of_money(self, code: str, who: str) -> None:
        self.ended = self.ended or MONEY
        self.why = (
            "What is left of `budget.spend` is less than what is reserved for a call: give more, "
            "or a smaller `budget.reserve_output`."
            if code == "budget_exceeded"
            else f"Nobody knows what a call of {who} costs: give its model a price, "
            "or say `budget.on_unknown_cost`."
        )

    async def _call(self, candidate: Candidate, case: Case) -> Outcome:
        asker = asker_of(candidate, case, self._who)
        body = json.dumps({**case.request, "model": model_of(candidate, case)}).encode()
        ids: list[str] = []
        for turn in range(self.suite.said.calls.tries):
            if turn:
                await asyncio.sleep(_AGAIN_S * 2 ** (turn - 1))
            heard = await self._post(
                candidate.config, asker.name, case.path, body, asker.headers, case.dialect
            )
            ids.append(heard.headers.get("x-broker-request-id", ""))
            code = _code_of(heard)
            if code not in AGAIN:
                break
        return _outcome_of(candidate, case, heard, code, tuple(name for name in ids if name))

    async def _post(
        self,
        config: str,
        asker: str,
        path: str,
        body: bytes,
        headers: tuple[tuple[str, str], ...] = (),
        dialect: str = "",
    ) -> Heard:
        def is_refused(heard: Heard) -> bool:
            return _code_of(heard) == "budget_exceeded" and not self.ended

        turns = self._turns.setdefault(config, Turns(_LOOK_S))
        return await turns.take(
            lambda: self._post_once(config, asker, path, body, headers, dialect), is_refused
        )

    async def _post_once(
        self,
        config: str,
        asker: str,
        path: str,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
        dialect: str,
    ) -> Heard:
        broker = self._brokers[config]
        key = key_of(self._secret, asker)
        sent = [("content-type", "application/json"), ("authorization", f"Bearer {key}"), *headers]
        if dialect == "anthropic-messages":
            sent.append(("anthropic-version", "2023-06-01"))
        heard = await post(
            broker.host, broker.port, path, sent, body, self.suite.said.calls.timeout / 1000.0, dialect
        )
        if request_id := heard.headers.get("x-broker-request-id", ""):
            self._asked.add(request_id)
        return heard

    async def _judge(self, asker: str, path: str, body: Mapping[str, Any]) -> bytes:
        """For scorers that ask a model. ValueError in words where no good answer comes."""
        heard = Heard()
        for turn in range(self.suite.said.calls.tries):
            if turn:
                await asyncio.sleep(_AGAIN_S * 2 ** (turn - 1))
            heard = await self._post("", asker, path, json.dumps(body).encode())
            if heard.status == 200 and not heard.broken:
                return heard.body
            code = _code_of(heard)
            if code in OUT_OF_MONEY:
                self._out_of_money(code, str(body.get("model")))
            if code not in AGAIN:
                break
        raise ValueError(
            f"{body.get('model')} did not answer: {_code_of(heard) or heard.broken or heard.status}"
        )

    # -- records

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._take_records()

    def _take_records(self) -> None:
        for record in self._journals.news():
            billed = billed_of_record(record)
            if billed.request_id not in self._billed:
                self.folder.keep_record(billed)
                self._billed[billed.request_id] = billed

    async def _last_records(self) -> None:
        """Until every call has its record; not for ever."""
        until = time.monotonic() + _RECORDS_S
        self._take_records()
        while self._asked - self._billed.keys() and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
            self._take_records()


def _code_of(heard: Heard) -> str:
    """Of the broker's error; "" where it went well."""
    if heard.broken:
        return "broken"
    if heard.status == 200:
        return ""
    if code := heard.headers.get("x-broker-code", ""):
        return code
    try:
        error = json.loads(heard.body).get("error", {})
        return str(error.get("code") or error.get("type") or f"status_{heard.status}")
    except (ValueError, AttributeError):
        return f"status_{heard.status}"


def _outcome_of(candidate: Candidate, case: Case, heard: Heard, code: str, ids: tuple[str, ...]) -> Outcome:
    answer = None
    if not code:
        try:
            answer = read_answer(case.dialect, heard.body, case.stream)
        except ValueError as error:
            code = f"unreadable: {error}"[:200]
    return Outcome(
        case.id,
        candidate.name,
        heard.status,
        code,
        answer,
        heard.latency_ms,
        heard.first_event_ms,
        heard.headers.get("x-broker-member", ""),
        ids,
    )


def finished(meta: Meta, evaluation: Evaluation) -> Meta:
    """What the run says of itself at its end."""
    revisions: dict[str, str] = {}
    by_id = evaluation.run.billed
    configs = {one.name: one.config for one in evaluation.suite.candidates}
    for (_, name), outcome in evaluation.run.outcomes.items():
        for request_id in outcome.request_ids:
            if (billed := by_id.get(request_id)) is not None and billed.revision:
                revisions[configs[name]] = billed.revision
    prices = sorted({one.price_revision for one in by_id.values() if one.price_revision})
    meta.configs, meta.price_revision = revisions, ", ".join(prices)
    meta.ended, meta.ended_s = evaluation.ended, time.time()
    return meta


def runs_in(path: Path) -> list[Path]:
    """The runs below a folder, the newest last."""

    return (
        sorted((one for one in path.glob("*") if is_run(one)), key=lambda one: one.name)
        if path.is_dir()
        else []
    )
