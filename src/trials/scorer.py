"""Scores answers of live calls: a process of its own, so that neither judges nor a user's function ever make
a call wait, or end the broker.

The control plane starts it (cli/scoring.py), gives it tasks on standard input and reads what came of them
from standard output. It ends when standard input does. What it writes holds no text of any call.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec

from ..core.errors import Misconfigured
from ..core.traffic import Sample
from ..evals.answers import Answer, read_answer
from ..evals.cases import Case, NoCase, case_of_sample
from ..evals.client import post
from ..evals.custom import Function, function_named, scored_by
from ..evals.live import Means, NoScore, Seen, values_of
from ..policy.in_time import REDACTED_WITHIN_S, hint_of, within
from ..policy.redaction import Redaction, cleaned, redaction_by
from ..settings.scorer_schema import ScorerIn
from .frames import Graded, Redact, Task, tell
from .sender import piece, to_ourselves

log = logging.getLogger("modelbroker.rollout")

_NICE = 10
_MOST_BYTES = 1 << 30
_OWN_S = 30.0  # a user's function
_MOST_HUNG = 4  # of them: more would leave no threads, and a fresh process has them all


_in_time = functools.partial(within, 5.0)  # a rule: its expression may be such
_hung = 0


async def graded(task: Task) -> Graded:
    """Never raises."""
    asking = _Asking(task)
    try:
        async with asyncio.timeout(task.timeout_s):
            scorers = [_scorer(text) for text in task.scorers]
            seen, clean = _seen(task)
            values = await values_of(scorers, seen, clean, Means(asking.ask, asking.own, _in_time))
    except NoScore as error:
        return Graded(task.number, (), str(error), asking.retry_after_s)
    except TimeoutError:
        return Graded(task.number, (), "timeout")
    except Exception as error:  # its text may be the call's
        log.error("an answer could not be scored (%s)", type(error).__name__)
        return Graded(task.number, (), "defect")
    return Graded(task.number, tuple(values))


@functools.lru_cache(maxsize=64)
def _scorer(text: str) -> ScorerIn:
    return ScorerIn.model_validate(json.loads(text))


@functools.lru_cache(maxsize=8)
def _redaction(said: Redact) -> Redaction:
    return redaction_by(said.patterns, said.custom, said.drop, said.drops_media)


@functools.lru_cache(maxsize=64)
def _function(name: str) -> Function:
    try:
        return function_named(name)
    except Misconfigured:
        raise NoScore("function") from None


def _seen(task: Task) -> tuple[Seen, Seen]:
    """As it is, and behind redaction. In the main thread: in another one nothing would end it."""
    redaction = _redaction(task.redact)
    try:
        with within(REDACTED_WITHIN_S):
            clean = [cleaned(sample, redaction) for sample in task.samples]
    except TimeoutError:
        hint = hint_of(task.redact.custom)
        log.error("an answer has no score: to redact it takes more than %d s%s", REDACTED_WITHIN_S, hint)
        raise NoScore("timeout") from None
    return _read(task.samples), _read(clean)


def _read(samples: Any) -> Seen:
    try:
        return Seen(case_of_sample(samples[0]), tuple(map(_answer, samples)))
    except (NoCase, ValueError):
        raise NoScore("unfit") from None


def _answer(sample: Sample) -> Answer:
    return read_answer(sample.dialect, sample.reply or b"", sample.stream)


class _Asking:
    """Others, for one task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.retry_after_s = 0.0

    async def ask(self, pool: str, path: str, body: Mapping[str, Any]) -> bytes:
        task = self._task
        headers = [("content-type", "application/json"), (task.header, task.errands[pool])]
        text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        tls = to_ourselves(task.tls)
        heard = await post(task.host, task.port, path, headers, text, task.timeout_s, tls=tls)
        if heard.broken:
            raise NoScore("judge")
        if heard.status == 429 and heard.headers.get("x-broker-attempts") == "0":
            # By the broker itself: it is no use to ask again before that.
            said = heard.headers.get("retry-after", "")
            self.retry_after_s = float(said) if said.isdecimal() else 1.0
            raise NoScore("budget" if b'"budget_' in heard.body else "judge")
        if heard.status != 200:
            raise NoScore("judge")
        return heard.body

    async def own(self, name: str, case: Case, answer: Answer, reference: Answer | None) -> float:
        """In a thread: one that waits holds up no other."""
        global _hung
        try:
            async with asyncio.timeout(_OWN_S):
                score = await asyncio.to_thread(scored_by, _function(name), case, answer, reference)
        except TimeoutError:
            _hung += 1
            if _hung >= _MOST_HUNG:
                log.error("%s does not come to its end: the scorer begins anew", name)
                os._exit(1)
            raise NoScore("function") from None
        except ValueError:  # NoScore is one
            raise NoScore("function") from None
        return score.value


async def serve(frames: asyncio.StreamReader, reports: BinaryIO) -> None:
    """Until `frames` end. How many are under way together is for who gives them to say."""
    decoder = msgspec.msgpack.Decoder(Task)
    under_way: set[asyncio.Task[None]] = set()

    async def one(task: Task) -> None:
        tell(reports, await graded(task))

    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            task = asyncio.create_task(one(decoder.decode(await piece(frames))))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    for task in under_way:
        task.cancel()


async def _main(reports: BinaryIO) -> None:
    frames = asyncio.StreamReader(limit=_MOST_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(frames), sys.stdin.buffer
    )
    await serve(frames, reports)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the control plane says when it is over
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    # A user's function may print: that is no report, and nobody's to read.
    reports = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    asyncio.run(_main(reports))
    # A function that never ends has a thread that would be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
