"""Messages → Anthropic's messages: user and assistant in turn, tool results first, no empty texts.

Source: Anthropic API reference, "Messages"; "Tool use", section "Handling tool results"; "Mid-conversation
system messages"; "Vision"; "PDF support"; "Prompt caching".
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from ..blobs import readable
from ..conversation import (
    Audio,
    Cached,
    Citation,
    Document,
    DocumentCitation,
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
from .models import Traits
from .wire import REDACTED, SIGNATURE

Wire = dict[str, Any]
_Write: TypeAlias = Callable[["Writer", Any], Wire | None]

_IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LOCATIONS: Mapping[str, tuple[str, str, str, int]] = {
    "char": ("char_location", "start_char_index", "end_char_index", 0),
    "page": ("page_location", "start_page_number", "end_page_number", 1),
    "block": ("content_block_location", "start_block_index", "end_block_index", 0),
}
_EMPTY_ERROR = "error"


def located(citation: DocumentCitation) -> Wire:
    """A citation of a document of the request, as both directions write it. Pages are counted from 1."""
    kind, first, behind, base = _LOCATIONS[citation.unit]
    return {
        "type": kind,
        "cited_text": citation.quote,
        "document_index": citation.document,
        "document_title": citation.title or None,
        first: citation.first + base,
        behind: citation.behind + base,
    }


def input_of(arguments: str) -> msgspec.Raw:
    """A tool call's input: the arguments as they stand where they are an object. Some models write `null`
    for none."""
    text = arguments.strip()
    if text in ("", "null"):
        return msgspec.Raw(b"{}")
    try:
        _object.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode({"raw_arguments": arguments}))
    return msgspec.Raw(text.encode())


class Writer:
    """Writes one request's system prompt and messages. `marks` are cache hints with the blocks that carry
    them, in the prompt's order; `dropped` knobs that have no place."""

    def __init__(self, upstream: Upstream, traits: Traits) -> None:
        self._upstream = upstream
        late = upstream.deviations.get("system_messages")
        self._late_system = late == "inline" if late else traits.late_system and not upstream.variant
        self._ids: dict[str, str] = {}
        self.system: list[Wire] = []
        self.messages: list[Wire] = []
        self.system_marks: list[tuple[Wire, Cached]] = []
        self.marks: list[tuple[Wire, Cached]] = []
        self.dropped: dict[str, None] = {}

    def write(self, system: Sequence[Text], messages: Sequence[Message]) -> None:
        self._to_system(system)
        late: list[Text] = []
        number = 0
        try:
            for number, message in enumerate(messages):  # noqa: B007 - said below
                if message.name:
                    self.dropped["name"] = None
                if message.role == "user":
                    self._user(message)
                elif message.role == "assistant":
                    self._assistant(message, late)
                else:
                    late += [part for part in message.parts if isinstance(part, Text)]
        except CannotCarry as wrong:
            wrong.param = f"messages[{number}]{wrong.param}"
            raise
        self._say_late(late)
        for turn in self.messages:
            results = turn.pop("results", None)
            if results:
                turn["content"][:0] = results

    # -- system

    def _to_system(self, texts: Sequence[Text]) -> None:
        for text in texts:
            self._add(self.system, self._text_block(text), text.cached, self.system_marks)

    def _say_late(self, late: list[Text]) -> None:
        """A system message stands behind the user's turn, in front of the assistant's: where it can't, its
        text goes to the end of the system prompt."""
        if self._late_system and self.messages and self.messages[-1]["role"] == "user":
            blocks: list[Wire] = []
            for text in late:
                self._add(blocks, self._text_block(text), text.cached, self.marks)
            if blocks:
                self.messages.append({"role": "system", "content": blocks})
        else:
            self._to_system(late)
        late.clear()

    # -- turns

    def _turn(self, role: str) -> Wire:
        """The turn that goes on, or a new one."""
        if self.messages and self.messages[-1]["role"] == role:
            return self.messages[-1]
        turn: Wire = {"role": role, "content": []}
        self.messages.append(turn)
        return turn

    def _user(self, message: Message) -> None:
        results: list[Wire] = []
        others: list[Wire] = []
        self._write(message.parts, _OF_USER, others, "stands in no user's message", results)
        if results or others:
            turn = self._turn("user")
            turn.setdefault("results", []).extend(results)
            turn["content"] += others

    def _assistant(self, message: Message, late: list[Text]) -> None:
        blocks: list[Wire] = []
        self._write(message.parts, _OF_ASSISTANT, blocks, "stands in no assistant's message", blocks)
        if blocks:
            self._say_late(late)
            self._turn("assistant")["content"] += blocks

    def _write(
        self,
        parts: Sequence[Part],
        writers: Mapping[type, _Write],
        blocks: list[Wire],
        why_not: str,
        results: list[Wire],
    ) -> None:
        """`parts` to the end of `blocks`, tool results to the end of `results`."""
        number = 0
        try:
            for number, part in enumerate(parts):  # noqa: B007 - said below
                kind = type(part)
                write = writers.get(kind)
                if write is None:
                    raise _cannot(part, why_not)
                block = write(self, part)
                to = results if kind is ToolResult else blocks
                cached = None if kind is Reasoning or kind is Refusal else part.cached  # type: ignore[union-attr]
                if cached is not None:
                    self._add(to, block, cached, self.marks)
                elif block is not None:
                    to.append(block)
        except CannotCarry as wrong:
            wrong.param = f".parts[{number}]{wrong.param}"
            raise

    def _add(
        self,
        blocks: list[Wire],
        block: Wire | None,
        cached: Cached | None,
        marks: list[tuple[Wire, Cached]],
    ) -> None:
        if block is not None:
            blocks.append(block)
        if cached is None:
            return
        # A hint on a text that is left out holds for what stands in front of it.
        if blocks and "thinking" not in blocks[-1]["type"] and not (marks and marks[-1][0] is blocks[-1]):
            marks.append((blocks[-1], cached))
        elif block is not None or not blocks:
            self.dropped["cached"] = None

    # -- parts

    def _text_block(self, part: Text) -> Wire | None:
        """None: texts of white space alone are refused."""
        return {"type": "text", "text": part.text} if part.text.strip() else None

    def _spoken(self, part: Text) -> Wire | None:
        block = self._text_block(part)
        if block is not None and part.citations:
            block["citations"] = self._citations(part.citations)
        return block

    def _citations(self, citations: Sequence[Citation]) -> list[Wire]:
        written = [located(one) for one in citations if isinstance(one, DocumentCitation)]
        if len(written) != len(citations):
            self.dropped["citations"] = None
        return written

    def _refusal(self, part: Refusal) -> Wire | None:
        return self._text_block(Text(part.text))

    def _reasoning(self, part: Reasoning) -> Wire | None:
        """Only what this provider issued goes back to it."""
        blob = part.blob
        if readable(blob, self._upstream, SIGNATURE):
            return {"type": "thinking", "thinking": part.text, "signature": blob.data}  # type: ignore[union-attr]
        if readable(blob, self._upstream, REDACTED):
            return {"type": "redacted_thinking", "data": blob.data}  # type: ignore[union-attr]
        return None

    def _call(self, part: ToolCall) -> Wire:
        return {
            "type": "tool_use",
            "id": self._id(part.id),
            "name": part.name,
            "input": input_of(part.arguments),
        }

    def _result(self, part: ToolResult) -> Wire:
        content: list[Wire] = []
        self._write(part.parts, _IN_RESULT, content, "stands in no tool result", content)
        result: Wire = {"type": "tool_result", "tool_use_id": self._id(part.call_id)}
        if content:
            result["content"] = content
        if part.is_error:
            result.setdefault("content", [{"type": "text", "text": _EMPTY_ERROR}])
            result["is_error"] = True
        return result

    def _id(self, ident: str) -> str:
        """The same id where it can be; other dialects' ids may hold what is refused here."""
        if _ID.fullmatch(ident):
            return ident
        clean = self._ids.get(ident)
        if clean is None:
            clean = f"{_NOT_IN_ID.sub('_', ident)}_{zlib.crc32(ident.encode()):08x}"
            self._ids[ident] = clean
        return clean

    # -- media

    def _image(self, part: Image) -> Wire:
        if part.detail not in ("", "auto"):
            self.dropped["detail"] = None
        match part.source:
            case Inline(media_type, data):
                kind = "image/jpeg" if media_type.lower() == "image/jpg" else media_type.lower()
                if kind not in _IMAGES:
                    why = "Anthropic takes JPEG, PNG, GIF, WebP"
                    raise CannotCarry(f"an image of type {media_type}", why)
                return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}
            case Url(url):
                return {"type": "image", "source": self._url(url, "an image")}
        raise CannotCarry("an image as text", "no image is that")

    def _url(self, url: str, what: str) -> Wire:
        if self._upstream.variant == "bedrock":
            raise CannotCarry(f"{what} by its URL", "Bedrock fetches none; send it inline")
        return {"type": "url", "url": url}

    def _document(self, part: Document) -> Wire:
        block: Wire = {"type": "document", "source": self._document_source(part.source)}
        if part.name:
            block["title"] = part.name
        if part.context:
            block["context"] = part.context
        if part.cite:
            block["citations"] = {"enabled": True}
        return block

    def _document_source(self, source: Source) -> Wire:
        match source:
            case PlainText(text):
                return {"type": "text", "media_type": "text/plain", "data": text}
            case Url(url):
                return self._url(url, "a document")
            case Inline(media_type, data):
                kind = media_type.partition(";")[0].strip().lower()
                if kind == "application/pdf":
                    return {"type": "base64", "media_type": kind, "data": data}
                if kind.startswith("text/") or kind == "application/json":
                    return {"type": "text", "media_type": "text/plain", "data": _plain(data, media_type)}
                raise CannotCarry(f"a document of type {media_type}", "Anthropic takes PDF and text")


def _plain(data: str, media_type: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise CannotCarry(f"a document of type {media_type}", "its bytes are no UTF-8 text") from None


def _cannot(part: Part, why: str) -> CannotCarry:
    if isinstance(part, Audio):
        return CannotCarry("audio", "Anthropic takes none")
    kind = {"ToolCall": "a tool call", "ToolResult": "a tool result"}.get(type(part).__name__)
    return CannotCarry(kind or f"a part of kind {type(part).__name__.lower()}", f"it {why}")


_IN_RESULT: Mapping[type, _Write] = {
    Text: Writer._text_block,
    Image: Writer._image,
    Document: Writer._document,
}
_OF_USER: Mapping[type, _Write] = {
    **_IN_RESULT,
    Refusal: Writer._refusal,
    ToolResult: Writer._result,
}
_OF_ASSISTANT: Mapping[type, _Write] = {
    Text: Writer._spoken,
    Refusal: Writer._refusal,
    Reasoning: Writer._reasoning,
    ToolCall: Writer._call,
}
