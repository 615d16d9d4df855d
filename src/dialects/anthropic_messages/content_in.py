"""Blocks of a client's request → canonical parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...core.errors import BadRequest
from .. import conversation as canonical
from ..conversation import (
    Cached,
    DocumentCitation,
    Inline,
    Part,
    PlainText,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Url,
    UrlCitation,
)
from . import blocks
from .wire import REDACTED, SIGNATURE, detached

_TEXTS_APART = "\n\n"


def own_only(param: str, what: str) -> BadRequest:
    """What can't be said in another dialect."""
    return BadRequest(
        400, "content_not_supported", f"{param}: {what} is known in anthropic-messages only", param=param
    )


def invalid(param: str, why: str) -> BadRequest:
    return BadRequest(400, "invalid_request", f"{param}: {why}", param=param)


class Within(Exception):
    """What is wrong inside a block. Each level that it passes puts its own place in front; only then is it
    spelled, so that good requests pay nothing for it."""

    def __init__(self, place: str, words: str, own: bool = False) -> None:
        super().__init__(words)
        self.place = place
        self._words = words
        self._own = own

    def told(self, at: str) -> BadRequest:
        return (own_only if self._own else invalid)(at + self.place, self._words)


def cached_of(control: blocks.CacheControl | None) -> Cached | None:
    return None if control is None else Cached(control.ttl or "")


class Reader:
    """Reads the blocks of one request. `dropped` gathers knobs of the client's that have no place."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def user(self, content: Sequence[blocks.Block]) -> tuple[Part, ...]:
        """Tool results first, as the canonical conversation has them."""
        results: list[Part] = []
        others: list[Part] = []
        index = 0
        try:
            for index, block in enumerate(content):  # noqa: B007 - said below
                if type(block) is blocks.ToolResultBlock:
                    results.append(self._result(block))
                    continue
                read = _OF_USER.get(type(block))
                if read is None:
                    raise Within(".type", "no user writes such a block")
                others.append(read(self, block))
        except Within as wrong:
            wrong.place = f"[{index}]{wrong.place}"
            raise
        return (*results, *others)

    def assistant(self, content: Sequence[blocks.Block]) -> tuple[Part, ...]:
        parts: list[Part] = []
        index = 0
        try:
            for index, block in enumerate(content):  # noqa: B007 - said below
                if type(block) is blocks.RedactedBlock:
                    self._redacted(block, parts)
                    continue
                read = _OF_ASSISTANT.get(type(block))
                if read is None:
                    raise Within(".type", "no assistant writes such a block")
                parts.append(read(self, block))
        except Within as wrong:
            wrong.place = f"[{index}]{wrong.place}"
            raise
        return tuple(parts)

    def _redacted(self, block: blocks.RedactedBlock, parts: list[Part]) -> None:
        blob, backwards = detached(block.data, REDACTED)
        before = parts[-1] if parts else None
        match before:
            case Text(blob=None) | ToolCall(blob=None) if backwards:
                parts[-1] = _with_blob(before, blob)
            case _ if blob is not None:
                parts.append(Reasoning("", blob, hidden=True))

    def text(self, block: blocks.TextBlock) -> Text:
        if block.cache_control is None and not block.citations:
            return Text(block.text)
        citations = tuple(citation_of(one) for one in block.citations or ())
        if citations:  # of an earlier answer: no other dialect takes them back
            self.dropped.append("citations")
        return Text(block.text, cached_of(block.cache_control), citations)

    def _thinking(self, block: blocks.ThinkingBlock) -> Reasoning:
        blob, _ = detached(block.signature or "", SIGNATURE)
        return Reasoning(block.thinking, blob)

    def _tool_use(self, block: blocks.ToolUseBlock) -> ToolCall:
        if block.caller is not None and block.caller.type != "direct":
            raise Within(".caller", "a call by a program of the provider's", own=True)
        if block.toolset_name is not None:
            raise Within(".toolset_name", "a toolset", own=True)
        arguments = bytes(block.input)
        if not arguments.startswith(b"{"):
            raise Within(".input", "is to be an object")
        return ToolCall(block.id, block.name, arguments.decode(), None, cached_of(block.cache_control))

    def _result(self, block: blocks.ToolResultBlock) -> ToolResult:
        if block.toolset_name is not None:
            raise Within(".toolset_name", "a toolset", own=True)
        content = block.content
        parts: tuple[Part, ...]
        if isinstance(content, str):
            parts = (Text(content),) if content else ()
        else:
            parts = self._in_result(content or ())
        return ToolResult(block.tool_use_id, parts, bool(block.is_error), cached_of(block.cache_control))

    def _in_result(
        self, content: Sequence[blocks.TextBlock | blocks.ImageBlock | blocks.DocumentBlock]
    ) -> tuple[Part, ...]:
        parts: list[Part] = []
        index = 0
        try:
            for index, block in enumerate(content):  # noqa: B007 - said below
                parts.append(_OF_USER[type(block)](self, block))
        except Within as wrong:
            wrong.place = f".content[{index}]{wrong.place}"
            raise
        return tuple(parts)

    def _image(self, block: blocks.ImageBlock) -> canonical.Image:
        if bytes(block.transformations) not in (b"", b"null", b"{}"):
            self.dropped.append("messages.image.transformations")
        return canonical.Image(_source(block.source), "", cached_of(block.cache_control))

    def _document(self, block: blocks.DocumentBlock) -> canonical.Document:
        cite = block.citations is not None and bool(block.citations.enabled)
        if isinstance(block.source, blocks.ContentSource):
            source: Source = PlainText(content_text(block.source, cite))
        else:
            source = _source(block.source)
        return canonical.Document(
            source, block.title or "", block.context or "", cite, cached_of(block.cache_control)
        )


def content_text(source: blocks.ContentSource, cite: bool) -> str:
    """The text of a document that came as blocks. Within where that would not be the same: cited ones are
    counted by block, and images are no text."""
    if isinstance(source.content, str):
        return source.content
    texts = [block.text for block in source.content if isinstance(block, blocks.TextBlock)]
    if len(texts) != len(source.content) or (cite and len(texts) > 1):
        raise Within(".source.content", "a document in blocks", own=True)
    return _TEXTS_APART.join(texts)


def _source(source: blocks.Base64Source | blocks.UrlSource | blocks.TextSource | blocks.FileSource) -> Source:
    match source:
        case blocks.Base64Source(media_type, data):
            return Inline(media_type, data)
        case blocks.UrlSource(url):
            return Url(url)
        case blocks.TextSource(data):
            return PlainText(data)
    raise Within(".source.file_id", "a file at the provider", own=True)


def _with_blob(part: Text | ToolCall, blob: canonical.Blob | None) -> Part:
    match part:
        case Text(text, cached, citations):
            return Text(text, cached, citations, blob)
        case ToolCall(ident, name, arguments, _, cached):
            return ToolCall(ident, name, arguments, blob, cached)


def citation_of(citation: blocks.Citation) -> canonical.Citation:
    match citation:
        case blocks.CharLocation(quote, document, first, behind, title):
            return DocumentCitation(document, title or "", quote, "char", first, behind)
        case blocks.PageLocation(quote, document, first, behind, title):
            # Pages are counted from 1 on the wire.
            return DocumentCitation(document, title or "", quote, "page", first - 1, behind - 1)
        case blocks.BlockLocation(quote, document, first, behind, title):
            return DocumentCitation(document, title or "", quote, "block", first, behind)
        case blocks.WebLocation(quote, url, _, title):
            return UrlCitation(url, title or "", quote=quote)
        case blocks.SearchLocation(quote, source, _, _, _, title):
            return UrlCitation(source, title or "", quote=quote)


_Read = Callable[[Reader, Any], Part]
_OF_USER: Mapping[type, _Read] = {
    blocks.TextBlock: Reader.text,
    blocks.ImageBlock: Reader._image,
    blocks.DocumentBlock: Reader._document,
}
_OF_ASSISTANT: Mapping[type, _Read] = {
    **_OF_USER,
    blocks.ThinkingBlock: Reader._thinking,
    blocks.ToolUseBlock: Reader._tool_use,
}
