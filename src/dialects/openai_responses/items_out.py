"""Messages → the items of a provider's `input`. Source: OpenAI API reference, "Responses", `input`."""

from __future__ import annotations

import hashlib
from typing import Any

from ..blobs import readable
from ..conversation import (
    Audio,
    Cached,
    Chat,
    Document,
    Image,
    Inline,
    Message,
    Part,
    PlainText,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Upstream,
    Url,
)
from ..translation import CannotCarry
from .wire import ENCRYPTED, deviation, unsealed

Item = dict[str, Any]

_LONGEST_ID = 64
_DETAILS = frozenset(("low", "high", "auto", "original"))
_NAMES = {"application/pdf": "document.pdf"}
# OpenAI has two lifetimes, longer than all others'.
_TTLS = {"1h": "30m"}


class ItemWriter:
    """Items of one request. `dropped` are knobs that found no place; `has_own`: encrypted reasoning of this
    very provider is among the items."""

    def __init__(self, upstream: Upstream) -> None:
        self.items: list[Item] = []
        self.dropped: dict[str, None] = {}
        self.has_own = False
        self._upstream = upstream
        self._system_role = deviation(upstream, "system_role")
        self._breakpoints = bool(deviation(upstream, "cache_breakpoints"))
        self._custom: set[str] = set()  # ids of calls of free-text tools

    def write(self, chat: Chat) -> None:
        for place, message in enumerate(chat.messages):
            if message.name:
                self.dropped["name"] = None
            if message.role == "assistant":
                for number, part in enumerate(message.parts):
                    self._said(part, f"messages[{place}].parts[{number}]")
            else:
                self._leave_dangling()
                self._heard(message, place)
        self._leave_dangling()

    def _leave_dangling(self) -> None:
        """OpenAI refuses reasoning that nothing follows: what it led to was cut, or could not be carried."""
        while self.items and self.items[-1]["type"] == "reasoning":
            self.items.pop()

    # -- of the assistant

    def _said(self, part: Part, place: str) -> None:
        match part:
            case Text(text):
                if text:
                    self.items.append({"type": "message", "role": "assistant", "content": text})
            case ToolCall():
                self._call(part)
            case Reasoning(_, blob):
                if blob is not None and readable(blob, self._upstream, ENCRYPTED):
                    self._reasoning(part, blob.data)
            case Refusal(text):
                content = [{"type": "refusal", "refusal": text}]
                self.items.append(
                    {
                        "type": "message",
                        "id": f"msg_{len(self.items)}",
                        "role": "assistant",
                        "status": "completed",
                        "content": content,
                    }
                )
            case _:
                name = type(part).__name__.lower()
                raise CannotCarry(place, f"openai-responses has no place for an assistant's {name}", place)

    def _reasoning(self, part: Reasoning, data: str) -> None:
        item_id, encrypted = unsealed(data)
        self.has_own = True
        item: Item = {
            "type": "reasoning",
            "id": item_id or part.id or f"rs_{len(self.items)}",
            "summary": [],
            "encrypted_content": encrypted,
        }
        if part.text and part.summary:
            item["summary"] = [{"type": "summary_text", "text": part.text}]
        self.items.append(item)

    def _call(self, call: ToolCall) -> None:
        call_id = short_id(call.id)
        if call.custom:
            self._custom.add(call.id)
            item = {
                "type": "custom_tool_call",
                "call_id": call_id,
                "name": call.name,
                "input": call.arguments,
            }
        else:
            arguments = call.arguments or "{}"
            item = {"type": "function_call", "call_id": call_id, "name": call.name, "arguments": arguments}
        self.items.append(item)

    # -- of the user, and what the system says meanwhile

    def _heard(self, message: Message, place: int) -> None:
        content: list[Item] = []
        for number, part in enumerate(message.parts):
            where = f"messages[{place}].parts[{number}]"
            if isinstance(part, ToolResult):
                self._result(part, where)
            else:
                content += self._content(part, where)
        if not content:
            return
        role = self._system_role if message.role == "system" else "user"
        only = content[0]
        plain = len(content) == 1 and only["type"] == "input_text" and len(only) == 2
        self.items.append({"type": "message", "role": role, "content": only["text"] if plain else content})

    def _result(self, result: ToolResult, where: str) -> None:
        if result.cached is not None:
            self.dropped["cached"] = None
        parts = _with_error(result.parts) if result.is_error else result.parts
        output: str | list[Item]
        if all(isinstance(part, Text) and part.cached is None for part in parts) and len(parts) < 2:
            output = "".join(part.text for part in parts if isinstance(part, Text))
        else:
            output = [
                item
                for number, part in enumerate(parts)
                for item in self._content(part, f"{where}.parts[{number}]")
            ]
        kind = "custom_tool_call_output" if result.call_id in self._custom else "function_call_output"
        self.items.append({"type": kind, "call_id": short_id(result.call_id), "output": output})

    def _content(self, part: Part, where: str) -> list[Item]:
        match part:
            case Text(text, cached):
                return [self._hinted({"type": "input_text", "text": text}, cached)]
            case Image(source, detail, cached):
                if detail not in _DETAILS:
                    detail = "auto"
                item = {"type": "input_image", "detail": detail, "image_url": _image_url(source, where)}
                return [self._hinted(item, cached)]
            case Document():
                return self._document(part)
            case Refusal(text):
                return [{"type": "input_text", "text": text}]
            case Audio():
                raise CannotCarry(where, "openai-responses takes no audio", where)
        name = type(part).__name__.lower()
        raise CannotCarry(where, f"openai-responses has no place for a user's {name}", where)

    def _document(self, document: Document) -> list[Item]:
        """Text as text, since few models take text files. What is said of a file stands before it."""
        if document.cite:
            self.dropped["cite"] = None
        items: list[Item] = []
        if document.context:
            items.append({"type": "input_text", "text": document.context})
        match document.source:
            case PlainText(text):
                if document.name:
                    items.append({"type": "input_text", "text": document.name})
                item: Item = {"type": "input_text", "text": text}
            case Url(url):
                if document.name:
                    items.append({"type": "input_text", "text": document.name})
                item = {"type": "input_file", "file_url": url}
            case Inline(media_type, data):
                name = document.name or _NAMES.get(media_type) or f"document.{media_type.rpartition('/')[2]}"
                item = {
                    "type": "input_file",
                    "filename": name,
                    "file_data": f"data:{media_type};base64,{data}",
                }
        return [*items, self._hinted(item, document.cached)]

    def _hinted(self, item: Item, cached: Cached | None) -> Item:
        """Only the newest models take hints; the others cache by themselves, and refuse them."""
        if cached is None:
            return item
        if not self._breakpoints:
            self.dropped["cached"] = None
            return item
        hint = {"mode": "explicit"} | ({"ttl": _TTLS[cached.ttl]} if cached.ttl in _TTLS else {})
        return {**item, "prompt_cache_breakpoint": hint}


def short_id(call_id: str) -> str:
    """OpenAI refuses call ids of more than 64 characters; others' may be longer."""
    if len(call_id) <= _LONGEST_ID:
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:48]}"


def _with_error(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """There is no field that says a result is an error: its text has to."""
    first = parts[0] if parts else None
    if isinstance(first, Text):
        if first.text.lower().startswith("error"):
            return parts
        return (Text(f"Error: {first.text}", first.cached), *parts[1:])
    return (Text("Error:"), *parts)


def _image_url(source: Source, where: str) -> str:
    match source:
        case Url(url):
            return url
        case Inline(media_type, data):
            return f"data:{media_type};base64,{data}"
    raise CannotCarry(where, "an image is no text", where)
