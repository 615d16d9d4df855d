"""Whole replies and streams are two spellings of one thing: from one to the other, and one part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from .conversation import Citation, Image, Part, Reasoning, Refusal, Text, ToolCall, Url
from .replies import (
    Alive,
    BlobGiven,
    Choice,
    Cited,
    Delta,
    Ended,
    Failed,
    PartEnded,
    PartStarted,
    Reply,
    ReplyEvent,
    Started,
    Stop,
    Stopped,
    Usage,
    UsageGiven,
)


def in_words(what: Image | str) -> str:
    """What a client is told of a piece of an answer that its dialect has no place for, so that it is not
    lost without a word: an image, or a kind of content."""
    if isinstance(what, Image):
        if isinstance(what.source, Url):
            return f"![image]({what.source.url})"
        what = getattr(what.source, "media_type", "") or "an image"
    return f"[the model gave {what}, which can't be passed on here]"


def explode(reply: Reply) -> Iterator[ReplyEvent]:
    """A whole reply as the events of a stream: each part in one piece."""
    yield Started(reply.id, reply.model, reply.created_s, None, reply.service_tier)
    for choice in reply.choices:
        for index, part in enumerate(choice.parts):
            logprobs = choice.logprobs if isinstance(part, Text) else None
            yield from _explode_part(index, part, choice.index, logprobs)
        yield Stopped(choice.stop, choice.stop_sequence, choice.index)
    if reply.usage is not None:
        yield UsageGiven(reply.usage, reply.service_tier)
    yield Ended()


def _explode_part(index: int, part: Part, choice: int, logprobs: object) -> Iterator[ReplyEvent]:
    match part:
        case Text(text, _, citations, blob):
            yield PartStarted(index, Text(""), choice)
            if text or logprobs:
                yield Delta(index, text, choice, logprobs)  # type: ignore[arg-type]
            for citation in citations:
                yield Cited(index, citation, choice)
        case Reasoning(text, blob):
            yield PartStarted(index, msgspec.structs.replace(part, text="", blob=None), choice)
            if text:
                yield Delta(index, text, choice)
        case ToolCall(_, _, arguments, blob):
            yield PartStarted(index, msgspec.structs.replace(part, arguments="", blob=None), choice)
            if arguments:
                yield Delta(index, arguments, choice)
        case Image():
            blob = None
            yield PartStarted(index, part, choice)
        case Refusal(text):
            blob = None
            yield PartStarted(index, Refusal(""), choice)
            yield Delta(index, text, choice)
        case _:
            raise ValueError(f"no reply has a {type(part).__name__}")
    if blob is not None:
        yield BlobGiven(index, blob, choice, isinstance(part, Reasoning) and part.hidden)
    yield PartEnded(index, choice)


@dataclass(slots=True)
class _Open:
    """A part that is being put together."""

    part: Part
    texts: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)

    def closed(self) -> Part:
        text = "".join(self.texts)
        match self.part:
            case Text():
                return msgspec.structs.replace(
                    self.part, text=self.part.text + text, citations=tuple(self.citations)
                )
            case Reasoning() | Refusal():
                return msgspec.structs.replace(self.part, text=self.part.text + text)
            case ToolCall():
                return msgspec.structs.replace(self.part, arguments=self.part.arguments + text)
        return self.part


def fold(events: Iterable[ReplyEvent], *, is_whole: bool = True) -> Reply:
    """The whole reply that a stream of events tells. ValueError where it did not come to its end; one that
    need not be `is_whole` is told as far as it came."""
    start = Started()
    usage: Usage | None = None
    tier = ""
    parts: dict[int, dict[int, _Open]] = {}
    stops: dict[int, Stopped] = {}
    logprobs: dict[int, list[object]] = {}
    ended = False
    for event in events:
        match event:
            case Started():
                start, usage = event, event.usage or usage
            case PartStarted(index, part, choice):
                parts.setdefault(choice, {})[index] = _Open(part)
            case Delta(index, text, choice, more):
                parts[choice][index].texts.append(text)
                if more is not None:
                    logprobs.setdefault(choice, []).extend(more)
            case BlobGiven(index, blob, choice, hidden):
                opened = parts[choice][index]
                extra = {"hidden": hidden} if isinstance(opened.part, Reasoning) else {}
                opened.part = msgspec.structs.replace(opened.part, blob=blob, **extra)
            case Cited(index, citation, choice):
                parts[choice][index].citations.append(citation)
            case Stopped(_, _, choice):
                stops[choice] = event
            case UsageGiven():
                usage, tier = event.usage, event.service_tier or tier
            case Failed(fault) if is_whole:
                raise ValueError(f"the stream failed: {fault.message}")
            case Ended():
                ended = True
    if is_whole and not ended:
        raise ValueError("the stream has no end")
    choices = [
        Choice(
            parts=tuple(opened.closed() for _, opened in sorted(parts.get(number, {}).items())),
            stop=stops[number].stop if number in stops else Stop.END,
            stop_sequence=stops[number].stop_sequence if number in stops else None,
            index=number,
            logprobs=tuple(logprobs[number]) if number in logprobs else None,  # type: ignore[arg-type]
        )
        for number in sorted(parts.keys() | stops.keys())
    ]
    return Reply(start.id, start.model, tuple(choices), usage, tier or start.service_tier, start.created_s)


_OF_NO_PART = frozenset((Started, UsageGiven, Alive))


class OneAtATime:
    """Puts interleaved parts behind one another, for dialects in which a part is over before the next begins.

    What belongs to the part in hand passes at once; what belongs to later ones waits for its end. Choices are
    kept apart. Events that belong to no part pass at once, but Stopped, which waits for every part.
    """

    def __init__(self) -> None:
        self._current: dict[int, int | None] = {}
        self._waiting: dict[int, dict[int, list[ReplyEvent]]] = {}

    def order(self, events: Iterable[ReplyEvent]) -> Iterator[ReplyEvent]:
        for event in events:
            if type(event) is Delta and event.index == self._current.get(event.choice):
                yield event  # nearly always
                continue
            if type(event) in _OF_NO_PART:
                yield event
                continue
            match event:
                case PartStarted(index, _, choice):
                    if self._current.get(choice) is None:
                        self._current[choice] = index
                        yield event
                    else:
                        self._waiting.setdefault(choice, {})[index] = [event]
                case Delta() | BlobGiven() | Cited() | PartEnded():
                    yield from self._of_part(event)
                case Stopped():
                    yield from self._finish(event.choice)
                    yield event
                case Ended() | Failed():
                    for choice in list(self._current):
                        yield from self._finish(choice)
                    yield event

    def _of_part(self, event: Delta | BlobGiven | Cited | PartEnded) -> Iterator[ReplyEvent]:
        choice = event.choice
        if event.index != self._current.get(choice):
            self._waiting.setdefault(choice, {}).setdefault(event.index, []).append(event)
            return
        yield event
        if isinstance(event, PartEnded):
            self._current[choice] = None
            yield from self._next(choice)

    def _next(self, choice: int) -> Iterator[ReplyEvent]:
        """The parts that waited, up to one that is still going on."""
        waiting = self._waiting.get(choice, {})
        while waiting:
            index = min(waiting)
            held = waiting.pop(index)
            yield from held
            if not isinstance(held[-1], PartEnded):
                self._current[choice] = index
                return

    def _finish(self, choice: int) -> Iterator[ReplyEvent]:
        """Ends whatever is open: nothing more comes."""
        while (index := self._current.get(choice)) is not None:
            self._current[choice] = None
            yield PartEnded(index, choice)
            yield from self._next(choice)
