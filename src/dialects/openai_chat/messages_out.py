"""Messages of a Chat → a provider's messages.

Answers of tools are messages of their own, and hold text only: pictures and documents among them go into the
user's message behind them. Source: OpenAI API reference, "Create chat completion", `messages`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
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
from . import reasoning
from .deviations import Deviations

Wire = dict[str, Any]

# OpenAI refuses longer ids of calls; others make them, and so do clients.
_MOST_ID_CHARACTERS = 40
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORMATS = {"x-wav": "wav", "wave": "wav", "mpeg": "mp3"}
_ENDINGS = {
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/html": "html",
    "text/csv": "csv",
    "application/json": "json",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_PLAIN = {"type", "text"}


def hint_at(holder: Wire, cached: Cached, style: str, dropped: list[str]) -> None:
    """A cache hint in the provider's way; without one it is dropped."""
    if style == "cache_control":
        holder["cache_control"] = {"type": "ephemeral", **({"ttl": cached.ttl} if cached.ttl else {})}
    elif style == "prompt_cache_breakpoint":
        holder["prompt_cache_breakpoint"] = {"mode": "explicit"}
    else:
        dropped.append("cached")


def call_id(ident: str, form: str) -> str:
    """The id of a call as the provider takes it; the same one always becomes the same."""
    if form == "9-alphanumeric":
        if len(ident) == 9 and ident.isascii() and ident.isalnum():
            return ident
        number = int.from_bytes(hashlib.sha256(ident.encode()).digest()[:8], "big")
        return "".join(_DIGITS[number // 62**place % 62] for place in range(9))
    if len(ident) <= _MOST_ID_CHARACTERS:
        return ident
    return "call_" + hashlib.sha256(ident.encode()).hexdigest()[:32]


class MessageWriter:
    """Used for one request."""

    def __init__(self, chat: Chat, upstream: Upstream, said: Deviations, dropped: list[str]) -> None:
        self._chat = chat
        self._upstream = upstream
        self._said = said
        self._dropped = dropped
        self._names: dict[str, str] = {}  # id of a call → its function
        self._out: list[Wire] = []
        self._shown: list[Wire] = []  # what answers of tools hold beside text

    def written(self, instructions: str) -> list[Wire]:
        self._system(instructions)
        for n, message in enumerate(self._chat.messages):
            field = f"messages[{n}]"
            if message.role == "user":
                self._user(message, field)
                continue
            self._flush()
            if message.role == "assistant":
                self._assistant(message, field)
            elif self._said.late_system:
                self._say(self._said.system_role, self._texts(message.parts, field), message.name)
        self._flush()
        return self._out

    # -- instructions

    def _system(self, instructions: str) -> None:
        texts = list(self._chat.system)
        if not self._said.late_system:
            late = [m for m in self._chat.messages if m.role == "system"]
            texts += [part for m in late for part in m.parts if isinstance(part, Text)]
        if instructions:
            texts.append(Text(instructions))
        if texts:
            self._say(self._said.system_role, texts, "")

    def _texts(self, parts: Sequence[Part], field: str) -> list[Text]:
        for part in parts:
            if not isinstance(part, Text):
                raise CannotCarry(field, f"instructions have no {type(part).__name__}", field)
        return [part for part in parts if isinstance(part, Text)]

    def _say(self, role: str, texts: Sequence[Text], name: str) -> None:
        """One text: not all that speak this dialect take a list of them here. With hints it has to be one."""
        style = self._said.cache
        if style and any(text.cached is not None for text in texts):
            content: Any = [self._text(text) for text in texts]
        else:
            self._drop_hints(texts)
            content = "\n\n".join(text.text for text in texts)
        self._out.append(self._named({"role": role, "content": content}, name))

    def _drop_hints(self, texts: Sequence[Text]) -> None:
        if any(text.cached is not None for text in texts):
            self._dropped.append("cached")

    def _named(self, message: Wire, name: str) -> Wire:
        if name and "name" in self._said.unsupported:
            self._dropped.append("name")
        elif name:
            message["name"] = name
        return message

    # -- users and tools

    def _user(self, message: Message, field: str) -> None:
        rest: list[Wire] = []
        for n, part in enumerate(message.parts):
            if isinstance(part, ToolResult):
                self._tool_result(part, f"{field}.parts[{n}]")
            else:
                rest += self._parts(part, f"{field}.parts[{n}]")
        if rest:
            shown, self._shown = self._shown, []
            self._add_user([*shown, *rest], message.name)

    def _flush(self) -> None:
        """What the answers of tools showed, where no user says more behind them."""
        if self._shown:
            shown, self._shown = self._shown, []
            self._add_user(shown, "")

    def _add_user(self, parts: list[Wire], name: str) -> None:
        content: Any = parts
        if not self._said.parts:
            content = "\n\n".join(part["text"] for part in parts)
        elif len(parts) == 1 and parts[0].keys() == _PLAIN:
            content = parts[0]["text"]
        if self._said.after_tool and self._out and self._out[-1]["role"] == "tool":
            self._out.append({"role": "assistant", "content": self._said.after_tool})
        self._out.append(self._named({"role": "user", "content": content}, name))

    def _tool_result(self, result: ToolResult, field: str) -> None:
        texts: list[str] = []
        shown: list[Wire] = []
        for part in result.parts:
            if isinstance(part, Text):
                texts.append(part.text)
                self._drop_hints((part,))
            else:
                shown += self._parts(part, field)
        content = "\n\n".join(texts)
        if shown:
            name = self._names.get(result.call_id, "")
            told = f"What the tool {name} showed:" if name else "What the tool showed:"
            self._shown += [{"type": "text", "text": told}, *shown]
            content = content or "See the user's next message."
        if result.is_error and not content.lower().startswith("error"):
            content = f"Error: {content}" if content else "Error"
        ident = call_id(result.call_id, self._said.tool_call_ids)
        said: Any = content
        if result.cached is not None and self._said.cache:
            said = [{"type": "text", "text": content}]
            hint_at(said[0], result.cached, self._said.cache, self._dropped)
        elif result.cached is not None:
            self._dropped.append("cached")
        self._out.append({"role": "tool", "tool_call_id": ident, "content": said})

    # -- parts

    def _text(self, part: Text) -> Wire:
        written: Wire = {"type": "text", "text": part.text}
        if part.cached is not None:
            hint_at(written, part.cached, self._said.cache, self._dropped)
        return written

    def _parts(self, part: Part, field: str) -> list[Wire]:
        match part:
            case Text():
                return [self._text(part)]
            case Refusal(text):
                return [{"type": "text", "text": text}]
            case Image(source, detail, cached):
                image = {"url": _url(source, field)}
                if detail:
                    image["detail"] = detail
                return [self._kind("image_url", image, cached, "images", field)]
            case Audio(format, data):
                audio = {"data": data, "format": _FORMATS.get(format, format)}
                return [self._kind("input_audio", audio, None, "audio", field)]
            case Document():
                return self._document(part, field)
        raise CannotCarry(field, f"a user's message has no {type(part).__name__}", field)

    def _kind(self, kind: str, value: Any, cached: Cached | None, what: str, field: str) -> Wire:
        if kind not in self._said.parts:
            raise CannotCarry(field, f"this provider takes no {what} in messages", field)
        written: Wire = {"type": kind, kind: value}
        if cached is not None:
            hint_at(written, cached, self._said.cache, self._dropped)
        return written

    def _document(self, part: Document, field: str) -> list[Wire]:
        if part.cite:
            self._dropped.append("cite")
        if isinstance(part.source, PlainText) and "file" not in self._said.parts:
            title = f"Document {part.name}:" if part.name else "Document:"
            head = f"{title}\n{part.context}\n\n" if part.context else f"{title}\n\n"
            return [self._text(Text(head + part.source.text, part.cached))]
        url = _url(part.source, field)
        if "document_url" in self._said.parts:
            written = self._kind("document_url", url, part.cached, "documents", field)
            if part.name:
                written["document_name"] = part.name
        elif isinstance(part.source, Url) and not self._said.document_urls:
            raise CannotCarry(field, "this provider takes documents as base64 only, not as a URL", field)
        else:
            file = {"filename": part.name or _file_name(part.source), "file_data": url}
            written = self._kind("file", file, part.cached, "documents", field)
        # What the client says of the document has no other place.
        return [{"type": "text", "text": part.context}, written] if part.context else [written]

    # -- assistants

    def _assistant(self, message: Message, field: str) -> None:
        texts: list[Text] = []
        refusals: list[str] = []
        calls: list[Wire] = []
        thoughts: list[Reasoning] = []
        for part in message.parts:
            match part:
                case Text():
                    texts.append(part)
                case ToolCall():
                    calls.append(self._call(part))
                case Reasoning():
                    thoughts.append(part)
                case Refusal(text):
                    refusals.append(text)
                case _:
                    what = f"an assistant's message has no {type(part).__name__}"
                    raise CannotCarry(field, what, field)
        said: Wire = {"role": "assistant", "content": self._spoken(texts, refusals)}
        if said["content"] is None and not calls and not refusals:
            return  # it was only reasoning, which another one can't read
        if refusals and "refusal" not in self._said.unsupported:
            said["refusal"] = "".join(refusals)
        self._reason(thoughts, bool(calls), said)
        if calls:
            said["tool_calls"] = calls
        self._out.append(self._named(said, message.name))

    def _spoken(self, texts: list[Text], refusals: list[str]) -> Any:
        """Texts behind one another are one: they were cut for citations only."""
        words = [text.text for text in texts]
        if "refusal" in self._said.unsupported:
            words += refusals
        if not words:
            return None
        if any(text.cached is not None for text in texts):
            if self._said.cache:
                return [self._text(text) for text in texts]
            self._dropped.append("cached")
        return "".join(words)

    def _reason(self, thoughts: list[Reasoning], has_calls: bool, said: Wire) -> None:
        """Only what this provider issued itself goes back."""
        entries: list[Wire] = []
        words: list[str] = []
        for part in thoughts:
            if part.blob is None:
                continue
            if readable(part.blob, self._upstream, reasoning.DETAILS):
                if (entry := reasoning.joined(part, part.blob)) is not None:
                    entries.append(entry)
            elif readable(part.blob, self._upstream, reasoning.ECHO):
                words.append(part.text)
        if entries:
            said["reasoning_details"] = entries
        # Who wants it back refuses calls that lack it, even those that another one has made.
        if self._said.reasoning_field and (words or has_calls):
            said[self._said.reasoning_field] = "".join(words)

    def _call(self, call: ToolCall) -> Wire:
        self._names[call.id] = call.name
        ident = call_id(call.id, self._said.tool_call_ids)
        if call.cached is not None:
            self._dropped.append("cached")
        if call.custom:
            custom = {"name": call.name, "input": call.arguments}
            return {"id": ident, "type": "custom", "custom": custom}
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        written: Wire = {"id": ident, "type": "function", "function": function}
        blob = call.blob
        if blob is not None and readable(blob, self._upstream, reasoning.THOUGHT):
            written["extra_content"] = {"google": {"thought_signature": blob.data}}
        return written


def _url(source: Source, field: str) -> str:
    match source:
        case Url(url):
            return url
        case Inline(media_type, data):
            return f"data:{media_type};base64,{data}"
        case PlainText(text):
            return f"data:text/plain;base64,{base64.b64encode(text.encode()).decode()}"


def _file_name(source: Source) -> str:
    """OpenAI tells by the ending what a file is."""
    match source:
        case PlainText():
            return "document.txt"
        case Inline(media_type):
            return f"document.{_ENDINGS.get(media_type, 'pdf')}"
    return "document"
