"""A captured call → the event by which its texts go to a collector. Pure.

Source: https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-events.md
(`gen_ai.client.inference.operation.details`)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ..core.catalog import Pool
from ..core.genai import OWN_NAME
from ..core.record import Record
from ..core.traffic import CLIENT_CALL, Sample, is_good
from ..core.trials import beside, is_one_of
from .answered import Answered, read_reply
from .asked import Asked, read_request
from .spans import Place, call_attributes, log_of, operation_of
from .texts import Nested, Object, Texts, size_of

EVENT = "gen_ai.client.inference.operation.details"
# Pool → members at which calls for it may have begun that were another pool's → until when (unix time).
Strangers = dict[str, dict[str, float]]
STILL = 0.0  # until: it is so now
MOST_BYTES = 1 << 20  # of the texts of one call: collectors take four times as much in a request
_CONVERSATION = "chat"


class Event(NamedTuple):
    """As a LogLine, with values of any depth."""

    at_ns: int
    trace_id: str
    span_id: str
    sampled: bool
    attributes: Object

    @property
    def size(self) -> int:
        """In bytes of OTLP, at most."""
        return size_of(self.attributes)


def is_wanted(record: Record, pools: Mapping[str, float], strangers: Strangers) -> bool:
    """Is there to be an event of this call? `pools`: since when (unix time) each is named; what began before
    that was not asked for. Where a budget sent the call from one pool to another, both have to be; where a
    pool did (`on`), `strangers` tells those that began elsewhere. A copy of a call says what was said in
    another pool."""
    if not record.captured or record.purpose != CLIENT_CALL or operation_of(record) != _CONVERSATION:
        return False
    if record.attempts_made > 1 and (others := strangers.get(record.pool)):
        if len(record.attempts) != record.attempts_made:  # of one of them nobody told
            return False
        until_s = others.get(record.attempts[0].member)
        if until_s is not None and (until_s == STILL or record.started_s < until_s):
            return False
    concerned = (record.pool, record.degraded_from or record.pool)
    return all(is_named(pool, pools, record.started_s) for pool in concerned)


def strangers_of(pools: Mapping[str, Pool], named: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Pool that is named → members of pools that are not, and send calls on to it, straight or over others:
    a call whose first attempt was at one of them may have been for such a pool."""
    onward = {name: {to for _, to in pool.on if isinstance(to, str)} for name, pool in pools.items()}
    found = {}
    for name in pools:
        if not is_one_of(name, named):
            continue
        before, fresh = set[str](), {name}
        while fresh := {one for one, to in onward.items() if to & fresh} - before:
            before |= fresh
        others = (pools[one].members for one in sorted(before) if not is_one_of(one, named))
        if members := sorted({member.id for those in others for member in those}):
            found[name] = tuple(members)
    return found


def is_named(pool: str, pools: Mapping[str, float], at_s: float) -> bool:
    """At this time. A rollout's candidate is its pool's."""
    since_s = pools.get(pool, pools.get(beside(pool)))
    return since_s is not None and at_s >= since_s


def event_of(record: Record, sample: Sample, places: Mapping[str, Place], most_chars: int) -> Event | str:
    """`sample`: that of the call. A text says why there is no event; it is none of the call's own."""
    texts = Texts(most_chars)
    asked = answered = None
    unread = []
    if sample.request is not None and (asked := read_request(sample.dialect, sample.request, texts)) is None:
        unread.append("request")
    if sample.reply is not None and (is_good(sample.status) or sample.status is None):
        answered = read_reply(sample.dialect, sample.reply, sample.stream, texts)
        if answered is None:
            unread.append("reply")
    if asked is None and answered is None:
        return f"its {' and '.join(unread)} can't be read" if unread else "it has neither request nor reply"
    line = log_of(record, places)
    attributes: Object = {**_plain(call_attributes(record, places)), **_beside(sample, unread)}
    attributes.setdefault("gen_ai.provider.name", OWN_NAME)
    room = _Room(MOST_BYTES)
    if answered is not None:
        attributes |= _answer(answered, room)
    if asked is not None:
        attributes |= _question(asked, room)
    if texts.cut:
        attributes["modelbroker.content.cut"] = texts.cut
    if room.left_out:
        attributes["modelbroker.content.left_out"] = room.left_out
    return Event(line.at_ns, line.trace_id, line.span_id, line.sampled, attributes)


def _plain(attributes: Mapping[str, object]) -> Object:
    return {
        name: [*value] if isinstance(value, tuple) else value  # type: ignore[misc]
        for name, value in attributes.items()
    }


def _beside(sample: Sample, unread: list[str]) -> Object:
    """What is not as the client had it."""
    found: Object = {}
    if sample.redacted:
        found["modelbroker.content.redacted"] = [*sample.redacted]
    if sample.cut:
        found["modelbroker.content.sample_cut"] = sample.cut
    if unread:
        found["modelbroker.content.unread"] = [*unread]
    return found


def _answer(answered: Answered, room: _Room) -> Object:
    found: Object = {"gen_ai.response.finish_reasons": [*answered.stops]}
    if answered.id:
        found["gen_ai.response.id"] = answered.id
    if messages := [kept for one in answered.messages if (kept := room.take(one)) is not None]:
        found["gen_ai.output.messages"] = [*messages]
    return found


def _question(asked: Asked, room: _Room) -> Object:
    """Where there is not room for all of it, the oldest messages go, and then the tools."""
    found: Object = {}
    if instructions := [one for one in asked.instructions if room.has_for(one)]:
        found["gen_ai.system_instructions"] = [*instructions]
    newest = []
    for number, one in enumerate(reversed(asked.messages)):
        if (kept := room.take(one)) is not None:
            newest.append(kept)
        if kept is not one:  # nothing older stands in front of a gap
            room.left_out += len(asked.messages) - number - 1
            break
    if newest:
        found["gen_ai.input.messages"] = [*reversed(newest)]
    if tools := [one for one in asked.tools if room.has_for(one)]:
        found["gen_ai.tool.definitions"] = [*tools]
    return found


class _Room:
    """What an event may take. `left_out`: so many messages, parts and tools had none."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self.left_out = 0

    def has_for(self, value: Object) -> bool:
        size = size_of(value)
        if size > self._left:
            self.left_out += 1
            return False
        self._left -= size
        return True

    def take(self, message: Object) -> Object | None:
        """The same message, or what of it there is room for."""
        size, parts = size_of(message), message["parts"]
        if size <= self._left:
            self._left -= size
            return message
        self._left -= size - size_of(parts)
        kept: list[Nested] = [one for one in parts if isinstance(one, dict) and self.has_for(one)]  # type: ignore[union-attr]
        return {**message, "parts": kept} if kept else None
