"""A provider's stream → canonical events. Source: OpenAI API reference, "Chat completion chunk object"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import openai
from ..base import decode_json
from ..conversation import Part, Reasoning, Refusal, Text, ToolCall, Upstream
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
from ..sse import SseSplitter
from .replies_in import call_blob, citations_of, detail_of, stop_of, text_of, typed_content, usage_of


class _Choice:
    """One answer under way: which part is open, and which part each of its tool calls is."""

    def __init__(self) -> None:
        self.next = 0
        self.open: tuple[int, object] | None = None  # of texts: (index, key)
        self.calls: dict[object, int] = {}
        self.ids: dict[int, str] = {}  # tool call's index → the id that it began with
        self.open_calls: list[int] = []
        self.is_over = False


class ChatStreamDecoder:
    """A StreamDecoder."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._splitter = SseSplitter()
        self._choices: dict[int, _Choice] = {}
        self._begun = self._over = False

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        events: list[ReplyEvent] = []
        for event in self._splitter.feed(chunk):
            if self._over:
                break
            events += self._data(event.data)
        return events

    def end(self) -> list[ReplyEvent]:
        """Some end without [DONE]; an answer that has said why it stopped is whole all the same."""
        events = self.feed(b"\n\n")
        if not self._over and self._choices and all(c.is_over for c in self._choices.values()):
            self._over = True
            events.append(Ended())
        return events

    def _data(self, data: bytes) -> Iterator[ReplyEvent]:
        if data.strip() == b"[DONE]":
            self._over = True
            for number, choice in self._choices.items():
                yield from self._close(number, choice)
            yield Ended()
            return
        chunk = decode_json(data)
        if not isinstance(chunk, dict):
            yield self._failed(
                Fault(Cause.SERVER, 502, f"the stream is not valid: {data[:60]!r}", "upstream_garbage")
            )
            return
        if chunk.get("error"):
            yield self._failed(openai.fault_from(chunk))
            return
        yield from self._start(chunk)
        for position, choice in enumerate(chunk.get("choices") or ()):
            if isinstance(choice, dict):
                yield from self._choice(choice, position)
        if (usage := usage_of(chunk)) is not None:
            yield UsageGiven(usage, text_of(chunk.get("service_tier")))

    def _failed(self, fault: Fault) -> Failed:
        self._over = True
        return Failed(fault)

    def _start(self, chunk: Mapping[str, Any]) -> Iterator[ReplyEvent]:
        if self._begun:
            return
        if not chunk.get("choices"):  # Azure's first chunk tells what its filter found, and no id
            yield Alive()
            return
        self._begun = True
        created = chunk.get("created")
        yield Started(
            text_of(chunk.get("id")),
            text_of(chunk.get("model")),
            created if isinstance(created, int) else None,
            None,
            text_of(chunk.get("service_tier")),
        )

    def _choice(self, said: Mapping[str, Any], position: int) -> Iterator[ReplyEvent]:
        number = said.get("index")
        number = number if isinstance(number, int) else position
        choice = self._choices.setdefault(number, _Choice())
        if choice.is_over:
            return
        delta = said.get("delta")
        if isinstance(delta, dict):
            logprobs = said.get("logprobs")
            tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
            yield from self._delta(number, choice, delta, tokens)
        if reason := said.get("finish_reason"):
            has_calls = bool(choice.calls)
            yield from self._close(number, choice)
            choice.is_over = True
            yield Stopped(stop_of(reason, has_calls), None, number)

    def _delta(
        self, number: int, choice: _Choice, delta: Mapping[str, Any], tokens: Any
    ) -> Iterator[ReplyEvent]:
        yield from self._reasoning(number, choice, delta)
        content = delta.get("content")
        if isinstance(content, list):
            for part in typed_content(content):
                yield from self._text(number, choice, part, type(part), getattr(part, "text", ""))
        elif isinstance(content, str) and content:
            logprobs = tuple(tokens) if isinstance(tokens, list) else None
            yield from self._text(number, choice, Text(""), Text, content, logprobs)
        for citation in citations_of(delta.get("annotations")):
            if choice.open is not None and choice.open[1] is Text:
                yield Cited(choice.open[0], citation, number)
        if refusal := text_of(delta.get("refusal")):
            yield from self._text(number, choice, Refusal(""), Refusal, refusal)
        for position, call in enumerate(delta.get("tool_calls") or ()):
            if isinstance(call, dict):
                yield from self._call(number, choice, call, position)

    def _reasoning(self, number: int, choice: _Choice, delta: Mapping[str, Any]) -> Iterator[ReplyEvent]:
        details = delta.get("reasoning_details")
        if isinstance(details, list) and details:
            for detail in details:
                if isinstance(detail, dict):
                    yield from self._detail(number, choice, detail)
            return
        text = text_of(delta.get("reasoning_content")) or text_of(delta.get("reasoning"))
        if text:
            yield from self._text(number, choice, Reasoning(), Reasoning, text)

    def _detail(self, number: int, choice: _Choice, detail: Mapping[str, Any]) -> Iterator[ReplyEvent]:
        part = detail_of(detail, self._upstream)
        key = ("detail", detail.get("index"))
        if choice.open is None or choice.open[1] != key:
            begun = Reasoning(hidden=part.hidden, id=part.id, summary=part.summary)
            yield from self._open(number, choice, begun, key)
        index = choice.open[0] if choice.open is not None else 0
        if part.text:
            yield Delta(index, part.text, number)
        if part.blob is not None:
            yield BlobGiven(index, part.blob, number, part.hidden)

    def _text(
        self, number: int, choice: _Choice, part: Part, key: object, text: str, logprobs: Any = None
    ) -> Iterator[ReplyEvent]:
        if choice.open is None or choice.open[1] is not key:
            empty = Reasoning() if key is Reasoning else Refusal("") if key is Refusal else Text("")
            yield from self._open(number, choice, empty, key)
        if text and choice.open is not None:
            yield Delta(choice.open[0], text, number, logprobs)

    def _open(self, number: int, choice: _Choice, part: Part, key: object) -> Iterator[ReplyEvent]:
        if choice.open is not None:
            yield PartEnded(choice.open[0], number)
        choice.open = (choice.next, key)
        choice.next += 1
        yield PartStarted(choice.open[0], part, number)

    def _call(
        self, number: int, choice: _Choice, call: Mapping[str, Any], position: int
    ) -> Iterator[ReplyEvent]:
        function = call.get("function") or call.get("custom")
        function = function if isinstance(function, dict) else {}
        ident, name = text_of(call.get("id")), text_of(function.get("name"))
        place = call.get("index")
        key = place if isinstance(place, int) else position
        known = choice.calls.get(key)
        # Some give every call the same index: another id with a name begins another call.
        if known is None or (ident and name and choice.ids[known] not in ("", ident)):
            if choice.open is not None:
                yield PartEnded(choice.open[0], number)
                choice.open = None
            known = choice.calls[key] = choice.next
            choice.next += 1
            choice.ids[known] = ident
            choice.open_calls.append(known)
            begun = ToolCall(ident or f"call_{known}", name, "", custom="custom" in call)
            yield PartStarted(known, begun, number)
        arguments = text_of(function.get("arguments")) or text_of(function.get("input"))
        if arguments:
            yield Delta(known, arguments, number)
        if (blob := call_blob(call, self._upstream)) is not None:
            yield BlobGiven(known, blob, number)

    def _close(self, number: int, choice: _Choice) -> Iterator[ReplyEvent]:
        if choice.open is not None:
            yield PartEnded(choice.open[0], number)
            choice.open = None
        for index in choice.open_calls:
            yield PartEnded(index, number)
        choice.open_calls.clear()
