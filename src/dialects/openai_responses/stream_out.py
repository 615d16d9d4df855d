"""Canonical events → the client's stream, and whole replies by the very same way, so that both say one thing.

Source: OpenAI API reference, "Streaming events"; the accumulator of the official SDK
(lib/streaming/responses).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from .. import openai
from ..blobs import tagged
from ..conversation import Blob, Citation, Image, Inline, Part, Reasoning, Refusal, Text, ToolCall
from ..replies import (
    Alive,
    BlobGiven,
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
from ..sse import PING
from ..streaming import OneAtATime, explode, in_words
from ..translation import Context
from .fields import own_field
from .replies_out import Head, Object, annotation, ending, is_placed, usage_object
from .wire import NO_BLOB, attached

_encode = msgspec.json.Encoder().encode
# Codes that the SDK's ResponseError knows, among those that the broker's clients are told.
_RESPONSE_CODES = {"rate_limit_exceeded": "rate_limit_exceeded", "content_policy_violation": "invalid_prompt"}


class _Part:
    """The part in hand. `head` and `tail` are its delta event around the text and the number."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.texts: list[str] = []
        self.logprobs: list[Mapping[str, Any]] = []
        self.unplaced: list[Citation] = []
        self.blob: Blob | None = None
        self.head = b""
        self.tail = b""

    @property
    def text(self) -> str:
        return "".join(self.texts)


class ResponsesEncoder:
    """One reply. `items` are the output items in their order; the last one may be open."""

    def __init__(self, context: Context, silent: bool = False) -> None:
        self._silent = silent
        self._head = Head(context)
        self._request_id = context.request_id
        self._own_field = context.named(own_field)
        self._custom = context.echo.get("custom") or ()
        self._in_summary = bool(context.echo.get("summaries"))
        self._order = OneAtATime()
        self._out: list[bytes] = []
        self._number = 0
        self._items: list[Object] = []
        self._open: Object | None = None  # the item that is not done yet
        self._part: _Part | None = None
        self._stop = Stop.END
        self._usage: Usage | None = None
        self._has_begun = self._is_over = self._refuses = False

    def encode(self, events: Sequence[ReplyEvent]) -> bytes:
        for event in self._order.order(events):
            if not self._is_over and event.__class__ in _HANDLERS and getattr(event, "choice", 0) == 0:
                _HANDLERS[event.__class__](self, event)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def whole(self, reply: Reply) -> Object:
        """The response object of a whole reply."""
        self.encode(list(explode(reply)))
        return self._response()

    # -- events

    def _say(self, kind: str, fields: Object) -> None:
        if self._silent:
            return
        message = _encode({"type": kind, **fields, "sequence_number": self._number})
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), message))
        self._number += 1

    def _alive(self, event: Alive) -> None:
        if not self._silent:
            self._out.append(PING)

    def _started(self, event: Started) -> None:
        head = self._head
        head.model = event.model or head.model
        head.created_s = event.created_s or head.created_s
        head.service_tier = event.service_tier
        self._usage = event.usage
        self._begin()

    def _begin(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        response = self._head.response("in_progress", [])
        self._say("response.created", {"response": response})
        self._say("response.in_progress", {"response": response})

    def _part_started(self, event: PartStarted) -> None:
        self._begin()
        part = self._part = _Part(event.part)
        if isinstance(event.part, Image):
            if isinstance(event.part.source, Inline):
                self._add_image(event.part.source)
                self._part = None
                return
            part = self._part = _Part(Text(in_words(event.part)))  # an item holds bytes only
        match part.part:
            case Text() | Refusal():
                self._refuses = self._refuses or isinstance(event.part, Refusal)
                self._begin_content(part)
            case Reasoning(summary=summary):
                self._begin_reasoning(part, summary or self._in_summary)
            case ToolCall():
                self._begin_call(part, part.part)
        if initial := _text_of(part.part):
            self._tell(part, initial)
        part.blob = getattr(part.part, "blob", None)

    def _delta(self, event: Delta) -> None:
        if self._part is None:
            return
        if event.logprobs:
            self._part.logprobs += event.logprobs
        if event.text or event.logprobs:
            self._tell(self._part, event.text, event.logprobs)

    def _tell(self, part: _Part, text: str, logprobs: Iterable[Mapping[str, Any]] | None = None) -> None:
        if not part.head and isinstance(part.part, Reasoning):
            self._open_reasoning(part)
        part.texts.append(text)
        if self._silent or not part.head:
            return
        tail = part.tail
        if isinstance(part.part, Text):
            tail = b',"logprobs":%b,"sequence_number":' % (_encode(logprobs) if logprobs else b"[]")
        self._out.append(b"%b%b%b%d}\n\n" % (part.head, _encode(text), tail, self._number))
        self._number += 1

    def _blob_given(self, event: BlobGiven) -> None:
        if self._part is not None:
            self._part.blob = event.blob

    def _cited(self, event: Cited) -> None:
        part = self._part
        if part is None or not isinstance(part.part, Text):
            return
        if is_placed(event.citation):
            self._annotate(part, event.citation)
        else:
            part.unplaced.append(event.citation)

    def _part_ended(self, _: PartEnded) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        match part.part:
            case Text() | Refusal():
                self._end_content(part)
            case Reasoning():
                self._end_reasoning(part)
            case ToolCall():
                self._end_call(part)
        if part.blob is not None and not isinstance(part.part, Reasoning):
            self._add_attached(part.blob)

    def _stopped(self, event: Stopped) -> None:
        self._stop = event.stop
        self._end_item(ending(event.stop, self._refuses)[0])

    def _usage_given(self, event: UsageGiven) -> None:
        self._usage = event.usage
        self._head.service_tier = event.service_tier or self._head.service_tier

    def _ended(self, _: Ended) -> None:
        self._begin()
        self._end_item("completed")
        self._is_over = True
        response = self._response()
        self._say(f"response.{response['status']}", {"response": response})

    def _failed(self, event: Failed) -> None:
        """As OpenAI does it: `error`, on which the SDK raises, and the response that failed."""
        self._is_over = True
        error = openai.fault_object(event.fault, self._own_field)
        self._say("error", {name: error[name] for name in ("code", "message", "param")} | {"error": error})
        if self._has_begun:
            code = _RESPONSE_CODES.get(str(error["code"]), "server_error")
            wrong = {"code": code, "message": error["message"]}
            response = self._head.response("failed", self._done_items(), error=wrong)
            self._say("response.failed", {"response": response})

    def _response(self) -> Object:
        status, details = ending(self._stop, self._refuses)
        usage = usage_object(self._usage) if self._usage is not None else None
        return self._head.response(status, self._items, incomplete_details=details, usage=usage)

    def _done_items(self) -> list[Object]:
        return [item for item in self._items if item is not self._open]

    # -- items

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._request_id}_{len(self._items)}"

    def _add_item(self, item: Object) -> None:
        """Begins an item. The one before it is over; it is closed only now, since a limit may have cut it."""
        self._end_item("completed")
        self._items.append(item)
        self._open = item
        self._say("response.output_item.added", {"output_index": len(self._items) - 1, "item": item})

    def _end_item(self, status: str) -> None:
        item, self._open = self._open, None
        if item is None:
            return
        if "status" in item:
            item["status"] = status
        self._say("response.output_item.done", {"output_index": len(self._items) - 1, "item": item})

    def _at(self, item: Object, **more: Any) -> Object:
        return {"item_id": item["id"], "output_index": len(self._items) - 1, **more}

    def _delta_of(self, part: _Part, kind: str, at: Object) -> None:
        fields = _encode({"type": kind, **at})[:-1]
        part.head = b'event: %b\ndata: %b,"delta":' % (kind.encode(), fields)
        part.tail = b',"sequence_number":'

    # -- messages: texts and refusals that follow one another are contents of one

    def _begin_content(self, part: _Part) -> None:
        item = self._open
        if item is None or item["type"] != "message":
            item = {
                "id": self._id("msg"),
                "type": "message",
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }
            self._add_item(item)
        is_text = isinstance(part.part, Text)
        content: Object = (
            {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            if is_text
            else {"type": "refusal", "refusal": ""}
        )
        at = self._at(item, content_index=len(item["content"]))
        self._say("response.content_part.added", {**at, "part": content})
        item["content"].append(content)
        self._delta_of(part, "response.output_text.delta" if is_text else "response.refusal.delta", at)

    def _annotate(self, part: _Part, citation: Citation) -> None:
        item = self._items[-1]
        content = item["content"][-1]
        added = annotation(citation, len(part.text))
        at = self._at(item, content_index=len(item["content"]) - 1)
        number = len(content["annotations"])
        content["annotations"].append(added)
        self._say(
            "response.output_text.annotation.added", {**at, "annotation_index": number, "annotation": added}
        )

    def _end_content(self, part: _Part) -> None:
        for citation in part.unplaced:
            self._annotate(part, citation)
        item = self._items[-1]
        content, text = item["content"][-1], part.text
        at = self._at(item, content_index=len(item["content"]) - 1)
        if isinstance(part.part, Text):
            content["text"], content["logprobs"] = text, part.logprobs
            self._say("response.output_text.done", {**at, "text": text, "logprobs": part.logprobs})
        else:
            content["refusal"] = text
            self._say("response.refusal.done", {**at, "refusal": text})
        self._say("response.content_part.done", {**at, "part": content})

    # -- reasoning

    def _begin_reasoning(self, part: _Part, in_summary: bool) -> None:
        item: Object = {"id": self._id("rs"), "type": "reasoning", "summary": []}
        if not in_summary:
            item["content"] = []
        self._add_item(item)

    def _open_reasoning(self, part: _Part) -> None:
        """Its first text: what is hidden has no pieces."""
        item = self._items[-1]
        if "content" in item:
            at = self._at(item, content_index=0)
            added = {"type": "reasoning_text", "text": ""}
            self._say("response.content_part.added", {**at, "part": added})
            self._delta_of(part, "response.reasoning_text.delta", at)
        else:
            at = self._at(item, summary_index=0)
            added = {"type": "summary_text", "text": ""}
            self._say("response.reasoning_summary_part.added", {**at, "part": added})
            self._delta_of(part, "response.reasoning_summary_text.delta", at)

    def _end_reasoning(self, part: _Part) -> None:
        item, text = self._items[-1], part.text
        if text and "content" in item:
            at, piece = self._at(item, content_index=0), {"type": "reasoning_text", "text": text}
            self._say("response.reasoning_text.done", {**at, "text": text})
            self._say("response.content_part.done", {**at, "part": piece})
            item["content"] = [piece]
        elif text:
            at, piece = self._at(item, summary_index=0), {"type": "summary_text", "text": text}
            self._say("response.reasoning_summary_text.done", {**at, "text": text})
            self._say("response.reasoning_summary_part.done", {**at, "part": piece})
            item["summary"] = [piece]
        item["encrypted_content"] = NO_BLOB if part.blob is None else tagged(part.blob)

    def _add_attached(self, blob: Blob) -> None:
        """A blob of a text or a call stands behind it, in an item of its own: clients send items back as they
        are, and a stream knows the blob only at the part's end."""
        item: Object = {
            "id": self._id("rs"),
            "type": "reasoning",
            "summary": [],
            "encrypted_content": attached(blob),
        }
        self._add_item(item)

    def _add_image(self, drawn: Inline) -> None:
        """As what OpenAI's own tool draws."""
        item: Object = {
            "id": self._id("ig"),
            "type": "image_generation_call",
            "status": "in_progress",
            "result": None,
        }
        self._add_item(item)
        self._say("response.image_generation_call.in_progress", self._at(item))
        item |= {"result": drawn.data, "output_format": drawn.media_type.removeprefix("image/")}
        self._say("response.image_generation_call.completed", self._at(item))
        self._end_item("completed")

    # -- tool calls

    def _begin_call(self, part: _Part, call: ToolCall) -> None:
        custom = call.custom or call.name in self._custom
        item: Object = {
            "id": self._id("ctc" if custom else "fc"),
            "type": "custom_tool_call" if custom else "function_call",
            "status": "in_progress",
            "input" if custom else "arguments": "",
            "call_id": call.id or self._id("call"),
            "name": call.name,
        }
        self._add_item(item)
        if not custom:
            self._delta_of(part, "response.function_call_arguments.delta", self._at(item))

    def _end_call(self, part: _Part) -> None:
        item = self._items[-1]
        at = self._at(item)
        if item["type"] == "function_call":
            if not part.text:
                self._tell(part, "{}")  # what OpenAI says for none: clients parse it
            item["arguments"] = part.text
            name, arguments = item["name"], part.text
            self._say("response.function_call_arguments.done", {**at, "name": name, "arguments": arguments})
            return
        text = part.text
        is_free = isinstance(part.part, ToolCall) and part.part.custom
        item["input"] = given = text if is_free else openai.custom_input(text)
        if given:
            self._say("response.custom_tool_call_input.delta", {**at, "delta": given})
        self._say("response.custom_tool_call_input.done", {**at, "input": given})


def _text_of(part: Part) -> str:
    """What is known of a part's text at its beginning: usually nothing."""
    match part:
        case Text(text) | Refusal(text) | Reasoning(text):
            return text
        case ToolCall(_, _, arguments):
            return arguments
    return ""


_HANDLERS: Mapping[type, Any] = {
    Alive: ResponsesEncoder._alive,
    Started: ResponsesEncoder._started,
    PartStarted: ResponsesEncoder._part_started,
    Delta: ResponsesEncoder._delta,
    BlobGiven: ResponsesEncoder._blob_given,
    Cited: ResponsesEncoder._cited,
    PartEnded: ResponsesEncoder._part_ended,
    Stopped: ResponsesEncoder._stopped,
    UsageGiven: ResponsesEncoder._usage_given,
    Ended: ResponsesEncoder._ended,
    Failed: ResponsesEncoder._failed,
}


def encode_response(reply: Reply, context: Context) -> bytes:
    return _encode(ResponsesEncoder(context, silent=True).whole(reply))
