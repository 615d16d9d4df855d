"""How far a shadow says what the pool itself said: the score that costs nothing but the captured replies.

Of each captured call of a rollout's shadow stage the two replies are compared: the candidate's score is how
alike they are, the stable arm's is 1. So `quality: 20%` wants them to agree to 80 % on average.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from ..core.traffic import Sample, is_good
from ..core.trials import CANDIDATE, SHADOW, STABLE
from ..dialects import Upstream, provider_dialect
from ..dialects.conversation import Refusal, Text, ToolCall
from ..dialects.streaming import fold
from .told import Score

log = logging.getLogger("modelbroker.rollout")

_NGRAM = 3
_MOST_HELD, _MOST_BYTES = 2_000, 32 << 20
_MOST_COMPARED = 64 << 10  # characters of each: more says no more
_RECORDS_LATE_S = 4.0  # a score counts once its call's record is there


class Agreements:
    """`sampled` gets captured calls, on the event loop; `wants` says whether those of a pool are scored now,
    `scored` gets scores."""

    def __init__(self, wants: Callable[[str], bool], scored: Callable[[Sequence[Score]], object]) -> None:
        self._wants = wants
        self._scored = scored
        self._held: OrderedDict[str, Sample] = OrderedDict()  # of either kind, by the first call's id
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def sampled(self, sample: Sample) -> None:
        if not sample.reply or sample.cut or not is_good(sample.status):
            return
        is_copy = sample.purpose == SHADOW
        pool = sample.caller.partition(":")[2] if is_copy else sample.pool
        if sample.purpose not in ("", SHADOW) or not self._wants(pool):
            return
        key = sample.shadow_of if is_copy else sample.request_id
        other = self._held.pop(key, None)
        if other is None or (other.purpose == SHADOW) == is_copy:
            self._hold(key, sample)
            return
        self._bytes -= len(other.reply or b"")
        first, copy = (other, sample) if is_copy else (sample, other)
        task = asyncio.get_running_loop().create_task(self._score(first, copy))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hold(self, key: str, sample: Sample) -> None:
        self._held[key] = sample
        self._bytes += len(sample.reply or b"")
        while len(self._held) > _MOST_HELD or self._bytes > _MOST_BYTES:
            _, old = self._held.popitem(last=False)
            self._bytes -= len(old.reply or b"")

    async def _score(self, first: Sample, copy: Sample) -> None:
        try:
            value = await asyncio.to_thread(agreement, first, copy)
        except ValueError:
            return  # a reply that can't be read says nothing
        except Exception as error:  # no text of the call may be in what is logged
            log.error("two replies could not be compared (%s)", type(error).__name__)
            return
        await asyncio.sleep(_RECORDS_LATE_S)
        scores = [Score(copy.request_id, value, CANDIDATE), Score(first.request_id, 1.0, STABLE)]
        self._scored(scores)


def agreement(first: Sample, copy: Sample) -> float:
    """Of two good replies, 0 to 1. ValueError where one can't be read."""
    return alike(_said(first), _said(copy))


def _said(sample: Sample) -> str:
    """Text, and the tools that are called, in a client's dialect."""
    try:
        speaks = provider_dialect(sample.dialect)
    except KeyError:
        raise ValueError("no reply of a conversation") from None
    upstream, body = Upstream("", sample.dialect, ""), sample.reply or b""
    if sample.stream:
        decoder = speaks.stream_decoder(upstream)
        reply = fold([*decoder.feed(body), *decoder.end()])
    else:
        reply = speaks.decode_reply(body, upstream)
    parts = reply.choices[0].parts if reply.choices else ()
    texts = [part.text for part in parts if isinstance(part, Text | Refusal)]
    texts += [f"{part.name} {part.arguments}" for part in parts if isinstance(part, ToolCall)]
    return " ".join(texts)[:_MOST_COMPARED]


def alike(one: str, other: str) -> float:
    """The cosine of counts of n-grams of characters: spelling counts, order over longer stretches does
    not."""
    a, b = _grams(one), _grams(other)
    if not a or not b:
        return 1.0 if a == b else 0.0
    shared = sum(count * b[gram] for gram, count in a.items() if gram in b)
    size = math.sqrt(sum(c * c for c in a.values()) * sum(c * c for c in b.values()))
    return min(1.0, shared / size)


def _grams(text: str) -> Counter[str]:
    plain = f" {' '.join(text.lower().split())} " if text.strip() else ""
    return Counter(plain[i : i + _NGRAM] for i in range(max(0, len(plain) - _NGRAM + 1)))
