"""A conversation as Converse's `system` and `messages`: turns that alternate, tool results first.

Source: Amazon Bedrock API reference, Message, ContentBlock, ToolResultBlock, CachePointBlock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from ..blobs import readable
from ..conversation import (
    Audio,
    Cached,
    Chat,
    Document,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Upstream,
)
from ..translation import CannotCarry
from .blobs import redacted_kind, signature_kind
from .media import Block, DocumentNames, audio_block, document_block, image_block
from .models import ModelFacts

# Where Bedrock wants a block with text and there is none; several models refuse blank ones.
PLACEHOLDER = "."
_NO_OUTPUT = "(no output)"
_MOST_CACHE_POINTS = 4
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_.:-]")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])

Place = tuple[int, ...]  # of a message, of a part in it, of a part in that


@dataclass(slots=True)
class Turn:
    role: str
    results: list[Block] = field(default_factory=list)
    others: list[Block] = field(default_factory=list)
    has_documents: bool = False
    lost_reasoning: bool = False  # another provider's, which this model can't get


class Content:
    """Puts blocks together for one request. `dropped` gets the knobs that found no place."""

    def __init__(self, model: ModelFacts, upstream: Upstream, dropped: list[str]) -> None:
        self._model = model
        self._upstream = upstream
        self._dropped = dropped
        self._names = DocumentNames()
        self._has_points = False
        self.tool_names: dict[str, None] = {}  # of the calls in the history, in their order
        self.system: list[Block] = []
        self.turns: list[Turn] = []
        self._signature = signature_kind(model.family)
        self._redacted = redacted_kind(model.family)

    def read(self, chat: Chat) -> None:
        for text in chat.system:
            self._add_system(text)
        for place, message in enumerate(chat.messages):
            self._add_message(message, place)
        if not self._model.prefills and self.turns and self.turns[-1].role == "assistant":
            raise _refused((len(chat.messages) - 1,), "this model does not go on with the assistant's words")
        if chat.cached is not None:
            self._point_at_the_end(chat.cached)

    def messages(self) -> list[Block]:
        """The turns as they go on the wire."""
        messages: list[Block] = []
        turns = self.turns
        if not turns or (turns[0].role != "user" and not self._model.begins_anyhow):
            messages.append({"role": "user", "content": [{"text": PLACEHOLDER}]})
        for turn in turns:
            if turn.has_documents:
                _accompany_documents(turn.others)
            if self._model.results_alone and turn.results and turn.others:
                # Bedrock puts turns of one role together again, so an answer has to stand between.
                messages.append({"role": "user", "content": turn.results})
                messages.append({"role": "assistant", "content": [{"text": PLACEHOLDER}]})
                messages.append({"role": "user", "content": turn.others})
            else:
                messages.append({"role": turn.role, "content": turn.results + turn.others})
        return messages

    def loop_thinks(self) -> bool:
        """Does the tool loop that is under way begin with reasoning that the model gets back?

        Anthropic takes the assistant's messages of a loop for one turn, which has to begin with its
        thinking where there is a budget for it ("Extended thinking with tool use"); and a turn of
        another provider's in between has none that it takes. True where no loop is under way.
        """
        loop: list[Turn] = []
        for turn in reversed(self.turns):
            if turn.role == "assistant":
                loop.append(turn)
            elif not turn.results:
                break
        if not loop:
            return True
        first = (loop[-1].others or loop[-1].results)[0]
        return "reasoningContent" in first and not any(turn.lost_reasoning for turn in loop)

    # -- cache points

    def cache_point(self, cached: Cached) -> Block | None:
        """A point to be put behind what it stands for; None where the model has none."""
        if not self._model.cache_ttls:
            self._dropped.append("cached")
            return None
        point: Block = {"type": "default"}
        if cached.ttl in self._model.cache_ttls:
            point["ttl"] = cached.ttl
        elif cached.ttl:
            self._dropped.append("cached")
        self._has_points = True
        return {"cachePoint": point}

    def _cache(self, blocks: list[Block], cached: Cached | None) -> None:
        """Puts a point behind the last block."""
        if cached is None or not blocks or (point := self.cache_point(cached)) is None:
            return
        at = len(blocks)
        while at and "document" in blocks[at - 1] and not self._stays(blocks[at - 1]["document"]):
            at -= 1
        if at == 0:
            self._dropped.append("cached")
        elif "cachePoint" in blocks[at - 1]:
            blocks[at - 1] = point
        else:
            blocks.insert(at, point)

    def _stays(self, document: Block) -> bool:
        """May a cache point follow this document? Behind others the service refuses it."""
        return self._model.family == "anthropic" and (
            document.get("format") == "pdf" or "citations" in document
        )

    def _point_at_the_end(self, cached: Cached) -> None:
        if self.turns:
            turn = self.turns[-1]
            self._cache(turn.others or turn.results, cached)
        else:
            self._cache(self.system, cached)

    def settle_cache_points(self, tools: list[Block]) -> None:
        """At most four points, the last ones of the messages before others; and as Bedrock wants it, none
        that lives shorter stands in front of one that lives longer."""
        if not self._has_points:
            return
        lists = [tools, self.system]
        for turn in self.turns:
            lists += [turn.results, turn.others]
        places = [(blocks, block) for blocks in lists for block in blocks if "cachePoint" in block]
        excess = len(places) - _MOST_CACHE_POINTS
        if excess > 0:
            self._dropped.append("cached")
            # What is in front of all messages serves every turn: the oldest points in messages go first.
            order = [place for place in places if place[0] is not tools and place[0] is not self.system]
            order += [place for place in places if place[0] is self.system or place[0] is tools]
            for blocks, block in order[:excess]:
                blocks[:] = [other for other in blocks if other is not block]
                places = [place for place in places if place[1] is not block]
        longest = ""
        for _, block in reversed(places):
            point = block["cachePoint"]
            if point.get("ttl") == "1h":
                longest = "1h"
            elif longest:
                point["ttl"] = longest

    # -- blocks

    def _add_system(self, text: Text) -> None:
        if text.text.strip():
            self.system.append({"text": text.text})
            self._cache(self.system, text.cached)

    def _add_message(self, message: Message, place: int) -> None:
        if message.name:
            self._dropped.append("name")
        if message.role == "system":  # it has no place in the middle
            for part in message.parts:
                if not isinstance(part, Text):
                    raise _refused((place,), "a system message holds only text")
                self._add_system(part)
            return
        turns = self.turns
        turn = turns[-1] if turns and turns[-1].role == message.role else Turn(message.role)
        for index, part in enumerate(message.parts):
            self._ADDERS[type(part)](self, turn, part, (place, index))
        if (turn.results or turn.others) and (not turns or turns[-1] is not turn):
            turns.append(turn)

    def _add_text(self, turn: Turn, part: Text, place: Place) -> None:
        if part.citations:
            self._dropped.append("citations")
        if part.text.strip():  # a blank text is refused, and says nothing
            turn.others.append({"text": part.text})
        if part.cached is not None:
            self._cache(turn.others, part.cached)

    def _add_refusal(self, turn: Turn, part: Refusal, place: Place) -> None:
        if part.text.strip():
            turn.others.append({"text": part.text})

    def _add_media(self, turn: Turn, part: Image | Document | Audio, place: Place) -> None:
        if turn.role != "user":
            raise _refused(place, "Bedrock takes media only from the user")
        turn.others.append(self._media(part, place))
        if isinstance(part, Audio):
            return
        turn.has_documents |= isinstance(part, Document)
        self._cache(turn.others, part.cached)

    def _media(self, part: Image | Document | Audio, place: Place) -> Block:
        match part:
            case Image():
                if part.detail not in ("", "auto"):
                    self._dropped.append("detail")
                return image_block(part, where(place))
            case Document():
                return document_block(part, self._model, self._names, self._dropped, where(place))
            case Audio():
                return audio_block(part, self._model, where(place))

    def _add_reasoning(self, turn: Turn, part: Reasoning, place: Place) -> None:
        blob = part.blob
        if not self._model.returns_reasoning:
            return
        if blob is not None and readable(blob, self._upstream, self._redacted):
            turn.others.append({"reasoningContent": {"redactedContent": blob.data}})
        elif blob is not None and readable(blob, self._upstream, self._signature):
            said = {"text": part.text, "signature": blob.data}
            turn.others.append({"reasoningContent": {"reasoningText": said}})
        else:
            turn.lost_reasoning = True

    def _add_call(self, turn: Turn, part: ToolCall, place: Place) -> None:
        name = part.name
        if name not in self.tool_names:
            self.tool_names[name] = None
        block = {"toolUseId": tool_id(part.id), "name": name, "input": tool_input(part.arguments)}
        turn.others.append({"toolUse": block})
        if part.cached is not None:
            self._cache(turn.others, part.cached)

    def _add_result(self, turn: Turn, part: ToolResult, place: Place) -> None:
        content: list[Block] = []
        hints = [part.cached] if part.cached is not None else []
        for index, inner in enumerate(part.parts):
            if isinstance(inner, Text):
                if inner.text.strip():
                    content.append({"text": inner.text})
            elif isinstance(inner, Image | Document):
                content.append(self._result_media(inner, (*place, index)))
                if isinstance(inner, Document):
                    _accompany_documents(content)
            else:
                raise _refused((*place, index), "Bedrock takes text, images and documents as results")
            if inner.cached is not None:  # a point can't stand inside
                hints.append(inner.cached)
        block: Block = {
            "toolUseId": tool_id(part.call_id),
            "content": content or [{"text": _NO_OUTPUT}],
        }
        if self._model.result_status:
            block["status"] = "error" if part.is_error else "success"
        elif part.is_error:
            raise _refused(place, "this model can't be told that a tool failed")
        turn.results.append({"toolResult": block})
        for cached in hints:
            self._cache(turn.results, cached)

    def _result_media(self, part: Image | Document, place: Place) -> Block:
        kind = "image" if isinstance(part, Image) else "document"
        if kind not in self._model.result_media:
            raise _refused(place, f"this model takes no {kind} in a tool's result")
        return self._media(part, place)

    # Of the class: bound methods kept in the object itself would be a cycle.
    _ADDERS: ClassVar[dict[type, Callable[[Any, Turn, Any, Place], None]]] = {
        Text: _add_text,
        Refusal: _add_refusal,
        Reasoning: _add_reasoning,
        ToolCall: _add_call,
        ToolResult: _add_result,
        Image: _add_media,
        Document: _add_media,
        Audio: _add_media,
    }


def where(place: Place) -> str:
    message, *parts = place
    return f"messages[{message}]" + "".join(f".parts[{part}]" for part in parts)


def _refused(place: Place, why: str) -> CannotCarry:
    return CannotCarry(where(place), why, where(place))


def _accompany_documents(blocks: list[Block]) -> None:
    """Bedrock wants a text beside documents; without one it refuses them or leaves them out."""
    name = next((block["document"]["name"] for block in blocks if "document" in block), None)
    if name is not None and not any("text" in block for block in blocks):
        blocks.insert(0, {"text": name})


def tool_id(ident: str) -> str:
    """Ids of other providers may hold more than Bedrock allows; call and result get the same new one."""
    if _ID.fullmatch(ident):
        return ident
    digest = hashlib.sha256(ident.encode()).hexdigest()[:16]
    return f"{_NOT_IN_IDS.sub('_', ident)[:47]}_{digest}"


def tool_input(arguments: str) -> msgspec.Raw | Block:
    """The arguments as they stand where they are a JSON object. Some models write `null` for none."""
    if arguments.strip() in ("", "null"):
        return {}
    raw = arguments.encode()
    try:
        _OBJECT.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return {"raw_arguments": arguments}
    return msgspec.Raw(raw)
