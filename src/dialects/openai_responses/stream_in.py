"""A provider's stream → canonical events. Source: OpenAI API reference, "Streaming events".

What a stream tells in pieces its `done` events tell once more in full; providers that speak the dialect leave
out one or the other, so what no piece told is taken from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..base import ABSENT, decode_json
from ..conversation import Part, Reasoning, Refusal, Text, Upstream
from ..replies import (
    Alive,
    BlobGiven,
    Cause,
    Cited,
    Delta,
    Ended,
    Failed,
    Fault,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    Stopped,
    UsageGiven,
)
from ..sse import SseEvent, SseSplitter
from ..streaming import in_words
from .faults import fault_of_event, fault_of_response
from .replies_in import (
    FOR_THE_CLIENT,
    Object,
    blob_of,
    call_of,
    citation_of,
    contents_of,
    created_of,
    image_of,
    kind_of,
    objects,
    stop_of,
    text_of,
    usage_of,
)

# Where the parts of an item are, besides the contents of a message, which are numbered from 0.
_SUMMARY, _CONTENT, _CALL = -1, -2, -3
_EMPTY = (b"", b"null", b"[]")
Key = tuple[int, int]


class _Event(msgspec.Struct):
    """Any event."""

    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    input: str | None = None
    logprobs: msgspec.Raw = ABSENT
    annotation: msgspec.Raw = ABSENT
    part: msgspec.Raw = ABSENT
    item: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT


class _TypeOnly(msgspec.Struct):
    type: str = ""


class _Open:
    """A part that is being told. `piece` is the piece of a reasoning that is told now."""

    __slots__ = ("citations", "index", "is_over", "piece", "told")

    def __init__(self, index: int) -> None:
        self.index = index
        self.told = False  # anything of this piece
        self.piece = 0
        self.citations = 0
        self.is_over = False


_event = msgspec.json.Decoder(_Event).decode
_type_only = msgspec.json.Decoder(_TypeOnly).decode


class ResponsesDecoder:
    def __init__(self, upstream: Upstream) -> None:
        self._provider = upstream.provider
        self._splitter = SseSplitter()
        self._out: list[ReplyEvent] = []
        self._parts: dict[Key, _Open] = {}
        self._started: list[Part] = []
        self._ids: dict[int, str] = {}  # of reasoning items
        self._done: set[int] = set()  # items that are over
        self._seen: set[int] = set()
        self._has_begun = self._is_over = False

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        for event in self._splitter.feed(chunk):
            self._read(event)
        return self._take()

    def end(self) -> list[ReplyEvent]:
        """A last event may lack the blank line that ends it; half of one is nothing."""
        for event in self._splitter.feed(b"\n\n"):
            if decode_json(event.data) is not None:
                self._read(event)
        return self._take()

    def _take(self) -> list[ReplyEvent]:
        out, self._out = self._out, []
        return out

    def _read(self, event: SseEvent) -> None:
        data = event.data
        if self._is_over or data.strip() == b"[DONE]":
            return
        before = len(self._out)
        try:
            read = _event(data)
        except msgspec.ValidationError as wrong:
            self._misread(event, wrong)
            return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._garbage(data)
            return
        kind = read.type or event.name
        if (handler := _HANDLERS.get(kind)) is not None:
            handler(self, read)
        elif kind in ("error", ""):
            self._error(kind, data)
        if len(self._out) == before:
            self._out.append(Alive())

    def _misread(self, event: SseEvent, wrong: msgspec.ValidationError) -> None:
        """Events of hosted tools may have fields of the same names with other shapes."""
        try:
            kind = _type_only(event.data).type or event.name
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._garbage(event.data)
            return
        if kind == "error":
            self._error(kind, event.data)
        elif kind in _HANDLERS:
            self._invalid(f"the provider's {kind} is not valid: {wrong}")
        else:
            self._out.append(Alive())

    def _garbage(self, data: bytes) -> None:
        shown = data[:60].decode("utf-8", "replace")
        self._invalid(f"the provider's stream is not valid: it begins with {shown!r}")

    def _invalid(self, words: str) -> None:
        self._fail(Fault(Cause.GARBAGE, 502, words, "upstream_garbage"))

    def _fail(self, fault: Fault) -> None:
        self._is_over = True
        self._out.append(Failed(fault))

    def _error(self, kind: str, data: bytes) -> None:
        """Servers that fail before they know the dialect send an error object without a type."""
        value = decode_json(data)
        if not isinstance(value, dict):
            self._garbage(data)
            return
        if kind or value.get("error"):
            self._fail(fault_of_event(value))

    # -- the response

    def created(self, event: _Event) -> None:
        if self._has_begun:
            return
        response = _object(event.response)
        self._has_begun = True
        self._out.append(
            Started(
                text_of(response, "id"),
                text_of(response, "model"),
                created_of(response),
                None,
                text_of(response, "service_tier"),
            )
        )

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._out.append(Started())

    def completed(self, event: _Event) -> None:
        response = _object(event.response)
        if not response:
            self._garbage(bytes(event.response))
            return
        if not self._has_begun:
            self.created(event)
        told_nothing = not self._seen
        for number, item in enumerate(objects(response.get("output"))):
            if number not in self._done and (told_nothing or number in self._seen):
                self._item_over(number, item)
        for part in sorted(self._parts.values(), key=lambda part: part.index):
            self._close(part)
        self._out.append(Stopped(stop_of(response, self._started)))
        if (usage := usage_of(response.get("usage"))) is not None:
            self._out.append(UsageGiven(usage, text_of(response, "service_tier")))
        self._out.append(Ended())
        self._is_over = True

    def failed(self, event: _Event) -> None:
        self._fail(fault_of_response(_object(event.response)))

    # -- items

    def item_added(self, event: _Event) -> None:
        item, at = _object(event.item), event.output_index
        self._seen.add(at)
        match item.get("type"):
            case "function_call" | "custom_tool_call":
                self._part((at, _CALL), msgspec.structs.replace(call_of(item), arguments=""))
            case "reasoning":
                self._ids[at] = text_of(item, "id")

    def item_done(self, event: _Event) -> None:
        self._seen.add(event.output_index)
        if event.output_index not in self._done:
            self._item_over(event.output_index, _object(event.item))

    def _item_over(self, at: int, item: Object) -> None:
        """The whole item: what of it was not told yet, and its end."""
        self._done.add(at)
        match item.get("type"):
            case "message":
                for number, content in enumerate(contents_of(item)):
                    self._content_over((at, number), content)
            case "reasoning":
                self._reasoning_over(at, item)
            case "function_call" | "custom_tool_call":
                call = call_of(item)
                part = self._part((at, _CALL), msgspec.structs.replace(call, arguments=""))
                self._rest(part, call.arguments)
                self._close(part)
            case "image_generation_call" if (image := image_of(item)) is not None:
                self._close(self._part((at, _CALL), image))
            case str(kind) if kind in FOR_THE_CLIENT:
                part = self._part((at, _CALL), Text(""))
                self._rest(part, in_words(f"a {kind}"))
                self._close(part)
        for key, part in self._parts.items():
            if key[0] == at:
                self._close(part)

    def _content_over(self, key: Key, content: Object) -> None:
        match kind_of(content):
            case "output_text":
                part = self._part(key, Text(""))
                self._rest(part, text_of(content, "text"), content.get("logprobs"))
                known = part.citations
                for annotation in _url_citations(content.get("annotations"))[known:]:
                    self._cite(part, annotation)
            case "refusal":
                part = self._part(key, Refusal(""))
                self._rest(part, text_of(content, "refusal"))
            case _:
                return
        self._close(part)

    def _reasoning_over(self, at: int, item: Object) -> None:
        self._ids[at] = text_of(item, "id") or self._ids.get(at, "")
        for name, place in (("content", _CONTENT), ("summary", _SUMMARY)):
            for number, piece in enumerate(objects(item.get(name))):
                part = self._reasoning(at, place, number)
                if part.piece == number:
                    self._rest(part, text_of(piece, "text"))
        blob = blob_of(item, self._provider)
        if blob is None:
            return
        told = [part for key, part in self._parts.items() if key[0] == at and not part.is_over]
        first = min(told, key=lambda part: part.index, default=None)
        if first is None:
            hidden = Reasoning("", None, True, self._ids[at])
            first = self._part((at, _CONTENT), hidden)
            self._out.append(BlobGiven(first.index, blob, 0, True))
        else:
            self._out.append(BlobGiven(first.index, blob))

    # -- parts

    def _part(self, key: Key, begin: Part) -> _Open:
        part = self._parts.get(key)
        if part is None:
            self._begin()
            part = self._parts[key] = _Open(len(self._started))
            self._started.append(begin)
            self._seen.add(key[0])
            self._out.append(PartStarted(part.index, begin))
        return part

    def _reasoning(self, at: int, place: int, piece: int) -> _Open:
        """The reasoning of an item, at its `piece`: pieces are told as paragraphs."""
        part = self._parts.get((at, place))
        if part is None:
            begin = Reasoning(id=self._ids.get(at, ""), summary=place == _SUMMARY)
            part = self._part((at, place), begin)
        if part.piece < piece and not part.is_over:
            self._out.append(Delta(part.index, "\n\n" * (piece - part.piece)))
            part.piece, part.told = piece, False
        return part

    def _tell(self, part: _Open, text: str | None, logprobs: Any = None) -> None:
        if text and not part.is_over:
            part.told = True
            self._out.append(Delta(part.index, text, 0, logprobs))

    def _rest(self, part: _Open, text: str | None, logprobs: Any = None) -> None:
        """The whole text, where no piece of it was told."""
        if not part.told:
            self._tell(part, text, tuple(objects(logprobs)) or None)

    def _cite(self, part: _Open, annotation: Object) -> None:
        if not part.is_over:
            part.citations += 1
            self._out.append(Cited(part.index, citation_of(annotation)))

    def _close(self, part: _Open) -> None:
        if not part.is_over:
            part.is_over = True
            self._out.append(PartEnded(part.index))

    def part_added(self, event: _Event) -> None:
        content = _object(event.part)
        key = (event.output_index, event.content_index)
        match content.get("type"):
            case "output_text":
                self._tell(self._part(key, Text("")), text_of(content, "text"))
            case "refusal":
                self._tell(self._part(key, Refusal("")), text_of(content, "refusal"))

    def part_done(self, event: _Event) -> None:
        self._content_over((event.output_index, event.content_index), _object(event.part))

    def text_delta(self, event: _Event) -> None:
        part = self._parts.get((event.output_index, event.content_index))
        if part is None:
            part = self._part((event.output_index, event.content_index), Text(""))
        logprobs = None
        if bytes(event.logprobs) not in _EMPTY:
            logprobs = tuple(objects(decode_json(event.logprobs))) or None
        self._tell(part, event.delta, logprobs)

    def text_done(self, event: _Event) -> None:
        part = self._part((event.output_index, event.content_index), Text(""))
        logprobs = decode_json(event.logprobs) if not part.told else None
        self._rest(part, event.text, logprobs)

    def refusal_delta(self, event: _Event) -> None:
        self._tell(self._part((event.output_index, event.content_index), Refusal("")), event.delta)

    def refusal_done(self, event: _Event) -> None:
        self._rest(self._part((event.output_index, event.content_index), Refusal("")), event.refusal)

    def annotation(self, event: _Event) -> None:
        annotation = _object(event.annotation)
        if annotation.get("type") == "url_citation":
            part = self._part((event.output_index, event.content_index), Text(""))
            self._cite(part, annotation)

    def summary_part(self, event: _Event) -> None:
        part = self._reasoning(event.output_index, _SUMMARY, event.summary_index)
        self._tell(part, text_of(_object(event.part), "text"))

    def summary_delta(self, event: _Event) -> None:
        self._tell(self._reasoning(event.output_index, _SUMMARY, event.summary_index), event.delta)

    def summary_done(self, event: _Event) -> None:
        part = self._reasoning(event.output_index, _SUMMARY, event.summary_index)
        if part.piece == event.summary_index:
            self._rest(part, event.text)

    def reasoning_delta(self, event: _Event) -> None:
        self._tell(self._reasoning(event.output_index, _CONTENT, event.content_index), event.delta)

    def reasoning_done(self, event: _Event) -> None:
        part = self._reasoning(event.output_index, _CONTENT, event.content_index)
        if part.piece == event.content_index:
            self._rest(part, event.text)

    def call_delta(self, event: _Event) -> None:
        """A call that was not announced has no name yet: its item's end tells all of it."""
        if (part := self._parts.get((event.output_index, _CALL))) is not None:
            self._tell(part, event.delta)

    def call_done(self, event: _Event) -> None:
        if (part := self._parts.get((event.output_index, _CALL))) is not None:
            self._rest(part, event.arguments if event.arguments is not None else event.input)


def _object(raw: msgspec.Raw) -> Mapping[str, Any]:
    value = decode_json(raw) if raw is not ABSENT else None
    return value if isinstance(value, dict) else {}


def _url_citations(annotations: Any) -> list[Any]:
    return [each for each in objects(annotations) if each.get("type") == "url_citation"]


_HANDLERS: Mapping[str, Callable[[ResponsesDecoder, _Event], None]] = {
    "response.created": ResponsesDecoder.created,
    "response.queued": ResponsesDecoder.created,
    "response.in_progress": ResponsesDecoder.created,
    "response.completed": ResponsesDecoder.completed,
    "response.incomplete": ResponsesDecoder.completed,
    "response.failed": ResponsesDecoder.failed,
    "response.cancelled": ResponsesDecoder.failed,
    "response.output_item.added": ResponsesDecoder.item_added,
    "response.output_item.done": ResponsesDecoder.item_done,
    "response.content_part.added": ResponsesDecoder.part_added,
    "response.content_part.done": ResponsesDecoder.part_done,
    "response.output_text.delta": ResponsesDecoder.text_delta,
    "response.output_text.done": ResponsesDecoder.text_done,
    "response.output_text.annotation.added": ResponsesDecoder.annotation,
    "response.refusal.delta": ResponsesDecoder.refusal_delta,
    "response.refusal.done": ResponsesDecoder.refusal_done,
    "response.reasoning_summary_part.added": ResponsesDecoder.summary_part,
    "response.reasoning_summary_text.delta": ResponsesDecoder.summary_delta,
    "response.reasoning_summary_text.done": ResponsesDecoder.summary_done,
    "response.reasoning_text.delta": ResponsesDecoder.reasoning_delta,
    "response.reasoning_text.done": ResponsesDecoder.reasoning_done,
    "response.function_call_arguments.delta": ResponsesDecoder.call_delta,
    "response.function_call_arguments.done": ResponsesDecoder.call_done,
    "response.custom_tool_call_input.delta": ResponsesDecoder.call_delta,
    "response.custom_tool_call_input.done": ResponsesDecoder.call_done,
}
