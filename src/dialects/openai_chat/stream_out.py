"""Canonical events → a client's stream. Source: OpenAI API reference, "The chat completion chunk object"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from .. import openai
from ..blobs import tagged
from ..conversation import Reasoning, Refusal, Text, ToolCall
from ..replies import (
    BlobGiven,
    Cited,
    Delta,
    Ended,
    Failed,
    PartStarted,
    ReplyEvent,
    Started,
    Stopped,
    Usage,
    UsageGiven,
)
from ..translation import Context
from .fields import own_field
from .replies_out import FINISH, annotation, call_object, reply_id, thought, usage_object

_DONE = b"data: [DONE]\n\n"


class ChatStreamEncoder:
    """A StreamEncoder. Tool calls are told apart by their index, so parts may come interleaved."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._head: dict[str, Any] = {}
        self._usage: Usage | None = None
        # (choice, part) → what it is, and its place among the choice's tool calls or reasoning details.
        self._parts: dict[tuple[int, int], tuple[object, int]] = {}
        self._counts: dict[tuple[int, type], int] = {}
        self._begun: set[int] = set()
        self._cited: dict[int, list[dict[str, Any]]] = {}

    def encode(self, events: Sequence[ReplyEvent]) -> bytes:
        return b"".join([self._event(event) for event in events])

    def _event(self, event: ReplyEvent) -> bytes:
        match event:
            case Delta():
                return self._delta(event)
            case PartStarted(index, part, choice):
                return self._started(index, part, choice)
            case Started():
                return self._start(event)
            case BlobGiven():
                return self._blob(event)
            case Cited(_, citation, choice):
                if (cited := annotation(citation)) is not None:
                    self._cited.setdefault(choice, []).append(cited)
            case Stopped(stop, _, choice):
                # All at once: OpenAI's SDK can't add to a list whose entries have no index.
                cited_all = self._cited.pop(choice, None)
                last = self._chunk(choice, {"annotations": cited_all}) if cited_all else b""
                return self._begin(choice) + last + self._chunk(choice, {}, FINISH[stop])
            case UsageGiven(usage):
                self._usage = usage
            case Ended():
                return self._end()
            case Failed(fault):
                error = openai.fault_object(fault, own_field)
                return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"
        return b""

    def _start(self, event: Started) -> bytes:
        context = self._context
        self._usage = event.usage or self._usage
        self._head = {
            "id": reply_id(event.id, context),
            "object": "chat.completion.chunk",
            "created": context.now_s if event.created_s is None else event.created_s,
            "model": event.model or context.model,
            "service_tier": event.service_tier or None,
            "system_fingerprint": None,
        }
        return b""

    def _chunk(
        self, choice: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None
    ) -> bytes:
        if not self._head:
            self._start(Started())
        told = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return b"data: " + msgspec.json.encode({**self._head, "choices": [told]}) + b"\n\n"

    def _begin(self, choice: int) -> bytes:
        """The role stands in the first chunk of each choice."""
        if choice in self._begun:
            return b""
        self._begun.add(choice)
        return self._chunk(choice, {"role": "assistant", "content": "", "refusal": None})

    def _started(self, index: int, part: object, choice: int) -> bytes:
        count = self._counts.get((choice, type(part)), 0)
        self._counts[choice, type(part)] = count + 1
        self._parts[choice, index] = (part, count)
        begin = self._begin(choice)
        if isinstance(part, ToolCall):
            call = {"index": count, **call_object(part, part.arguments)}
            return begin + self._chunk(choice, {"tool_calls": [call]})
        return begin

    def _delta(self, event: Delta) -> bytes:
        part, place = self._parts[event.choice, event.index]
        text = event.text
        match part:
            case Text():
                logprobs = None
                if event.logprobs is not None:
                    logprobs = {"content": list(event.logprobs), "refusal": None}
                return self._chunk(event.choice, {"content": text}, None, logprobs)
            case ToolCall(_, _, _, _, _, custom):
                field = {"custom": {"input": text}} if custom else {"function": {"arguments": text}}
                return self._chunk(event.choice, {"tool_calls": [{"index": place, **field}]})
            case Reasoning():
                detail = {"type": "reasoning.text", "text": text, "format": "unknown", "index": place}
                return self._chunk(event.choice, {"reasoning_content": text, "reasoning_details": [detail]})
            case Refusal():
                return self._chunk(event.choice, {"refusal": text})
        return b""

    def _blob(self, event: BlobGiven) -> bytes:
        part, place = self._parts[event.choice, event.index]
        data = tagged(event.blob)
        if isinstance(part, ToolCall):
            # OpenAI's SDK wants a function in every piece of a call.
            call = {"index": place, "function": {"arguments": ""}, "extra_content": thought(data)}
            return self._chunk(event.choice, {"tool_calls": [call]})
        if not isinstance(part, Reasoning):
            return b""
        detail: dict[str, Any] = {"format": "unknown", "index": place}
        if event.hidden:
            detail |= {"type": "reasoning.encrypted", "data": data}
        else:
            detail |= {"type": "reasoning.text", "signature": data}
        return self._chunk(event.choice, {"reasoning_details": [detail]})

    def _end(self) -> bytes:
        if self._usage is None or not self._context.include_usage:
            return _DONE
        if not self._head:
            self._start(Started())
        told = {**self._head, "choices": [], "usage": usage_object(self._usage)}
        return b"data: " + msgspec.json.encode(told) + b"\n\n" + _DONE
