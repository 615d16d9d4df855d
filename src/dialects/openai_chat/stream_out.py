"""Canonical events → a client's stream. Source: OpenAI API reference, "The chat completion chunk object"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from .. import openai
from ..conversation import Citation, Image, Part, Reasoning, Refusal, Text, ToolCall
from ..replies import (
    Alive,
    BlobGiven,
    Cited,
    Delta,
    Ended,
    Failed,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    Stopped,
    Usage,
    UsageGiven,
)
from ..sse import PING
from ..streaming import OneAtATime
from ..translation import Context
from . import reasoning
from .fields import own_field
from .replies_out import (
    FINISH,
    annotations_of,
    call_object,
    custom_tools,
    head_of,
    image_object,
    knows_tools,
    thought,
    usage_object,
)

_DONE = b"data: [DONE]\n\n"
_MOST_CHOICES = 1_000
_encode = msgspec.json.Encoder().encode


class _Open:
    """A part under way. `place`: among the choice's calls or entries of `reasoning_details`; -1: none yet.
    `behind`: characters of text in front of a text; `held`: a call's arguments that wait for their end."""

    __slots__ = ("behind", "held", "length", "part", "place")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.place = -1
        self.behind = self.length = 0
        self.held: list[str] | None = None


class _Choice:
    """What a choice's chunks have told."""

    __slots__ = ("calls", "cited", "entries", "images", "is_legacy", "length", "parts", "spoke")

    def __init__(self) -> None:
        self.parts: dict[int, _Open] = {}
        self.calls = self.images = 0
        self.entries = 0  # of reasoning_details
        self.cited: list[tuple[_Open, Citation]] = []
        self.length = 0  # characters of text
        self.spoke = False  # text, a refusal or a call
        self.is_legacy = False  # a call stands in `function_call`


class ChatStreamEncoder:
    """A StreamEncoder. Calls of tools come one behind another, although chunks name their index: the SDK
    takes a call for complete as soon as the next one begins."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._order = OneAtATime()
        self._usage: Usage | None = None
        self._choices: dict[int, _Choice] = {}
        self._custom = custom_tools(context)
        self._set_head(Started())

    def encode(self, events: Sequence[ReplyEvent]) -> bytes:
        out: list[bytes] = []
        for event in self._order.order(events):
            _HANDLERS[type(event)](self, event, out)
        return b"".join(out)

    def _alive(self, _: Alive, out: list[bytes]) -> None:
        out.append(PING)

    def _started(self, event: Started, _: list[bytes]) -> None:
        self._usage = event.usage or self._usage
        self._set_head(event)

    def _usage_given(self, event: UsageGiven, _: list[bytes]) -> None:
        self._usage, tier = event.usage, event.service_tier
        if tier and tier != self._start.service_tier:  # what it came to be in the end
            self._set_head(msgspec.structs.replace(self._start, service_tier=tier))

    def _ended(self, _: Ended, out: list[bytes]) -> None:
        if self._usage is not None and self._context.include_usage:
            usage_told = _encode(usage_object(self._usage))
            out.append(self._head + b'"choices":[],"usage":' + usage_told + b"}\n\n")
        out.append(_DONE)

    def _failed(self, event: Failed, out: list[bytes]) -> None:
        error = _encode({"error": openai.fault_object(event.fault, self._context.named(own_field))})
        out.append(b"data: " + error + b"\n\n")

    def _set_head(self, event: Started) -> None:
        self._start = event
        head = head_of(event.id, event.model, event.created_s, event.service_tier, self._context)
        self._head = b"data: " + _encode(head)[:-1] + b","

    def _chunk(
        self, choice: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None
    ) -> bytes:
        told = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._head + b'"choices":[' + _encode(told) + b"]}\n\n"

    def _choice(self, number: int, out: list[bytes]) -> _Choice:
        """Each begins with its role. The SDK wants choices to begin in order."""
        if (known := self._choices.get(number)) is not None:
            return known
        for earlier in range(min(number, _MOST_CHOICES)):
            if earlier not in self._choices:
                self._choice(earlier, out)
        choice = self._choices[number] = _Choice()
        out.append(self._chunk(number, {"role": "assistant", "content": None, "refusal": None}))
        return choice

    # -- parts

    def _part_started(self, event: PartStarted, out: list[bytes]) -> None:
        index, part, number = event.index, event.part, event.choice
        choice = self._choice(number, out)
        opened = choice.parts[index] = _Open(part)
        if isinstance(part, ToolCall):
            choice.spoke = True
            if not knows_tools(self._context) and not choice.is_legacy and not choice.calls:
                choice.is_legacy = True
                named = {"name": part.name, "arguments": part.arguments}
                out.append(self._chunk(number, {"function_call": named}))
                return
            opened.place = choice.calls
            choice.calls += 1
            is_custom = part.name in self._custom and not part.custom
            if is_custom:  # its text is told when it is whole
                opened.held = [part.arguments]
                part = msgspec.structs.replace(part, arguments="")
            call = {"index": opened.place, **call_object(part, is_custom)}
            out.append(self._chunk(number, {"tool_calls": [call]}))
            return
        if isinstance(part, Image):
            out.append(self._chunk(number, {"images": [image_object(part, choice.images)]}))
            choice.images += 1
            return
        opened.behind = choice.length
        if isinstance(part, (Text, Reasoning, Refusal)) and part.text:
            self._delta(Delta(index, part.text, number), out)

    def _delta(self, event: Delta, out: list[bytes]) -> None:
        choice = self._choices[event.choice]
        opened = choice.parts[event.index]
        part, text, logprobs = opened.part, event.text, None
        delta: dict[str, Any]
        match part:
            case Text():  # nearly always
                delta = {"content": text}
                choice.spoke = True
                choice.length += len(text)
                opened.length += len(text)
                if event.logprobs is not None:
                    logprobs = {"content": list(event.logprobs), "refusal": None}
            case ToolCall():
                if opened.held is not None:
                    opened.held.append(text)
                    return
                delta = _arguments(opened, part, text)
            case Reasoning():
                delta = {
                    "reasoning_content": text,
                    "reasoning_details": [self._entry(choice, opened, part, text)],
                }
            case _:
                delta = {"refusal": text}
                choice.spoke = True
        out.append(self._chunk(event.choice, delta, None, logprobs))

    def _cited(self, event: Cited, _: list[bytes]) -> None:
        choice = self._choices[event.choice]
        choice.cited.append((choice.parts[event.index], event.citation))

    def _part_ended(self, event: PartEnded, out: list[bytes]) -> None:
        number = event.choice
        opened = self._choices[number].parts[event.index]
        if opened.held is not None:
            text = openai.custom_input("".join(opened.held))
            opened.held = []
            call = {"index": opened.place, "custom": {"input": text}}
            out.append(self._chunk(number, {"tool_calls": [call]}))

    def _entry(self, choice: _Choice, opened: _Open, part: Reasoning, text: str) -> dict[str, Any]:
        if opened.place >= 0:
            return reasoning.more(part, text, opened.place)
        opened.place = choice.entries
        choice.entries += 1
        return reasoning.opening(part, text, opened.place)

    def _blob_given(self, event: BlobGiven, out: list[bytes]) -> None:
        choice = self._choices[event.choice]
        opened = choice.parts[event.index]
        match opened.part:
            case Reasoning() as part:
                part = msgspec.structs.replace(part, hidden=event.hidden)
                pieces: list[dict[str, Any]] = []
                if not part.hidden and opened.place < 0:
                    pieces.append(self._entry(choice, opened, part, ""))
                place = choice.entries if opened.place < 0 else opened.place
                pieces += reasoning.closing(part, event.blob, place)
                choice.entries = max(choice.entries, pieces[-1]["index"] + 1)
                out.append(self._chunk(event.choice, {"reasoning_details": pieces}))
            case ToolCall() if opened.place >= 0:
                # The SDK wants a function in every piece of a call.
                call = {"index": opened.place, "extra_content": thought(event.blob)}
                if opened.held is None:
                    call["function"] = {"arguments": ""}
                out.append(self._chunk(event.choice, {"tool_calls": [call]}))
            case Text():
                out.append(self._chunk(event.choice, {"extra_content": thought(event.blob)}))

    def _stopped(self, event: Stopped, out: list[bytes]) -> None:
        choice = self._choice(event.choice, out)
        annotations = [
            said
            for opened, citation in choice.cited
            for said in annotations_of((citation,), opened.behind, opened.length)
        ]
        if annotations:  # all at once: the SDK can't add to a list whose entries have no index
            out.append(self._chunk(event.choice, {"annotations": annotations}))
        delta = {} if choice.spoke else {"content": ""}
        finish = FINISH[event.stop]
        if choice.is_legacy and not choice.calls and finish == "tool_calls":
            finish = "function_call"
        out.append(self._chunk(event.choice, delta, finish))


# By class: the patterns of `match` are slow on these classes, but for the first one.
_HANDLERS: Mapping[type, Callable[[ChatStreamEncoder, Any, list[bytes]], None]] = {
    Delta: ChatStreamEncoder._delta,
    PartStarted: ChatStreamEncoder._part_started,
    PartEnded: ChatStreamEncoder._part_ended,
    BlobGiven: ChatStreamEncoder._blob_given,
    Cited: ChatStreamEncoder._cited,
    Stopped: ChatStreamEncoder._stopped,
    UsageGiven: ChatStreamEncoder._usage_given,
    Started: ChatStreamEncoder._started,
    Alive: ChatStreamEncoder._alive,
    Ended: ChatStreamEncoder._ended,
    Failed: ChatStreamEncoder._failed,
}


def _arguments(opened: _Open, call: ToolCall, text: str) -> dict[str, Any]:
    if opened.place < 0:
        return {"function_call": {"arguments": text}}
    said = {"custom": {"input": text}} if call.custom else {"function": {"arguments": text}}
    return {"tool_calls": [{"index": opened.place, **said}]}
