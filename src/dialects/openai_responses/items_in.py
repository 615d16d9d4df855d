"""The items of a client's `input` → messages. Source: OpenAI API reference, "Responses", `input`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from ...core.errors import BadRequest
from .. import openai
from ..base import ABSENT
from ..conversation import (
    Audio,
    Cached,
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
    Url,
)
from .facts import ItemKind
from .wire import CARRIED_ITEMS, detached

Role = Literal["system", "user", "assistant"]


class _Breakpoint(msgspec.Struct, gc=False):
    ttl: str | None = None


class _AudioData(msgspec.Struct, gc=False):
    data: str
    format: str


class _Part(msgspec.Struct, gc=False):
    """A content part of any type."""

    type: str
    text: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    refusal: str | None = None
    input_audio: _AudioData | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class _Item(msgspec.Struct, gc=False):
    """An item of any type that other dialects can say."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    phase: str | None = None
    content: str | list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[_Part] | None = None
    result: str | None = None
    output_format: str | None = None
    namespace: msgspec.Raw = ABSENT
    caller: msgspec.Raw = ABSENT
    is_async: msgspec.Raw = msgspec.field(default=ABSENT, name="async")

    @property
    def is_odd(self) -> bool:
        """Has what most items have not, and only OpenAI may know."""
        return self.namespace is not ABSENT or self.caller is not ABSENT or self.is_async is not ABSENT


_input = msgspec.json.Decoder(str | list[_Item]).decode
_item = msgspec.json.Decoder(_Item).decode
_kind = msgspec.json.Decoder(ItemKind).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_part = msgspec.json.Decoder(_Part).decode
_TEXTS = ("input_text", "output_text")  # what nearly all parts are
_ROLES: Mapping[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}


def bad(field: str, why: str, code: str = "invalid_request") -> BadRequest:
    return BadRequest(400, code, f"{field}: {why}", param=field)


def only_own(field: str, what: str) -> BadRequest:
    """What no other dialect can say: such calls are for members of this dialect."""
    return bad(field, f"{what} is known in openai-responses only", "content_not_supported")


class Items:
    """Puts items together: what follows one another of the assistant is one message, as are tool results."""

    def __init__(self) -> None:
        self.system: list[Text] = []
        self.messages: list[Message] = []
        self.dropped: dict[str, None] = {}
        self._role: Role | None = None  # of the message that is being put together
        self._parts: list[Part] = []

    def read(self, raw: msgspec.Raw) -> None:
        """BadRequest naming the item and the field where something is wrong."""
        given: str | Iterable[_Item]
        try:
            given = _input(raw)
        except msgspec.DecodeError:
            given = _explained_items(raw)
        if isinstance(given, str):
            self._add("user", [Text(given)])
        else:
            raws: list[msgspec.Raw] = []
            for number, item in enumerate(given):
                field = f"input[{number}]"
                if item.is_odd or (item.type or "") not in CARRIED_ITEMS or not (item.type or item.role):
                    raws = raws or _raws(raw)
                    _refuse_own(field, raws[number])
                self._read_item(field, item)
        self._close()

    def _read_item(self, field: str, item: _Item) -> None:
        match item.type:
            case "function_call" | "custom_tool_call":
                self._call(field, item)
            case "function_call_output" | "custom_tool_call_output":
                self._result(field, item)
            case "reasoning":
                self._reasoning(item)
            case "image_generation_call":
                form, data = item.output_format or "png", item.result or ""
                self._said([Image(Inline(f"image/{form}", data))])
            case _:
                self._message(field, item)

    # -- kinds of items

    def _message(self, field: str, item: _Item) -> None:
        role = _ROLES.get(item.role or "")
        if role is None:
            raise bad(f"{field}.role", f"{item.role!r} is none of {', '.join(_ROLES)}")
        if item.content is None:
            raise bad(f"{field}.content", "is missing")
        if item.phase is not None:
            self.dropped["input.phase"] = None
        parts = self._content(f"{field}.content", item.content)
        if role == "system":
            self._system(field, parts)
        elif role == "assistant":
            self._said(parts)
        else:
            self._close()
            self._add(role, parts)
            self._close()

    def _system(self, field: str, parts: list[Part]) -> None:
        texts = [part for part in parts if isinstance(part, Text)]
        if len(texts) != len(parts):
            raise bad(f"{field}.content", "a system or developer message holds text only")
        self._close()
        if self.messages:
            self._add("system", list(texts))
            self._close()
        else:
            self.system += texts

    def _call(self, field: str, item: _Item) -> None:
        name, call_id = item.name, item.call_id
        if not name or not call_id:
            raise bad(f"{field}.{'call_id' if name else 'name'}", "is missing")
        if item.type == "function_call":
            if item.arguments is None:
                raise bad(f"{field}.arguments", "is missing")
            arguments = item.arguments
        else:
            arguments = openai.custom_arguments(item.input or "")
        self._said([ToolCall(call_id, name, arguments)])

    def _result(self, field: str, item: _Item) -> None:
        if not item.call_id:
            raise bad(f"{field}.call_id", "is missing")
        if item.output is None:
            raise bad(f"{field}.output", "is missing")
        parts = tuple(self._content(f"{field}.output", item.output))
        if self._role != "user":
            self._close()
        self._add("user", [ToolResult(item.call_id, parts)])

    def _reasoning(self, item: _Item) -> None:
        """What may be sent back to its issuer; a blob of the part in front goes to that part."""
        blob, is_attached = detached(item.encrypted_content or "")
        if is_attached:
            last = self._parts[-1] if self._role == "assistant" and self._parts else None
            if isinstance(last, (Text, ToolCall)) and last.blob is None:
                self._parts[-1] = msgspec.structs.replace(last, blob=blob)
            return
        summary = "\n\n".join(part.text or "" for part in item.summary or ())
        content = item.content if isinstance(item.content, list) else ()
        text = summary or "\n\n".join(part.text or "" for part in content)
        if text or blob is not None:
            said = Reasoning(text, blob, not text, item.id or "", bool(summary))
            self._said([said])

    # -- their contents

    def _content(self, field: str, content: str | list[_Part]) -> list[Part]:
        if isinstance(content, str):
            return [Text(content)]
        return [
            Text(part.text)
            if part.text is not None and part.type in _TEXTS and part.prompt_cache_breakpoint is None
            else self._part(field, number, part)
            for number, part in enumerate(content)
        ]

    def _part(self, field: str, number: int, part: _Part) -> Part:
        hint = part.prompt_cache_breakpoint
        cached = None if hint is None else Cached("1h" if hint.ttl else "")
        match part.type:
            case "input_text" | "output_text" if part.text is not None:
                return Text(part.text, cached)
            case "refusal" if part.refusal is not None:
                return Refusal(part.refusal)
            case "input_image":
                return _image(f"{field}[{number}]", part, cached)
            case "input_file":
                if part.detail is not None:
                    self.dropped["input.input_file.detail"] = None
                return _document(f"{field}[{number}]", part, cached)
            case "input_audio" if part.input_audio is not None:
                return Audio(part.input_audio.format, part.input_audio.data)
            case "input_text" | "output_text" | "refusal" | "input_audio":
                name = "text" if part.type.endswith("text") else part.type
                raise bad(f"{field}[{number}].{name}", "is missing")
        raise bad(f"{field}[{number}].type", f"{part.type!r} is not known here", "content_not_supported")

    # -- messages

    def _said(self, parts: list[Part]) -> None:
        if self._role != "assistant":
            self._close()
        self._add("assistant", parts)

    def _add(self, role: Role, parts: list[Part]) -> None:
        self._role = role
        self._parts += parts

    def _close(self) -> None:
        if self._role is not None and self._parts:
            self.messages.append(Message(self._role, tuple(self._parts)))
        self._role, self._parts = None, []


def _image(field: str, part: _Part, cached: Cached | None) -> Image:
    if part.file_id:
        raise only_own(f"{field}.file_id", "a file by its id")
    if not part.image_url:
        raise bad(f"{field}.image_url", "is missing")
    return Image(_source(f"{field}.image_url", part.image_url), part.detail or "", cached)


def _document(field: str, part: _Part, cached: Cached | None) -> Document:
    if part.file_id:
        raise only_own(f"{field}.file_id", "a file by its id")
    name = part.filename or ""
    if part.file_data:
        where = f"{field}.file_data"
        if part.file_data.startswith("data:"):
            source = _source(where, part.file_data)
        elif name and not name.lower().endswith(".pdf"):
            raise bad(where, "has to be a data URL: data:<type>;base64,…")
        else:
            source = Inline("application/pdf", part.file_data)
        return Document(_readable(source), name, cached=cached)
    if part.file_url:
        return Document(_source(f"{field}.file_url", part.file_url), name, cached=cached)
    raise bad(f"{field}.file_data", "is missing; give file_data or file_url")


def _source(field: str, url: str) -> Source:
    if not url.startswith("data:"):
        return Url(url)
    comma = url.find(",")
    media_type, *options = url[5 : max(comma, 5)].split(";")
    if comma < 0 or not media_type or "base64" not in options:
        raise bad(field, "a data URL has to be data:<type>;base64,…")
    return Inline(media_type.strip().lower(), url[comma + 1 :])


def _readable(source: Source) -> Source:
    """Text as text: all providers can be told it."""
    if not (isinstance(source, Inline) and source.media_type.startswith("text/")):
        return source
    try:
        return PlainText(base64.b64decode(source.data, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return source


# -- what is wrong, and where


def _refuse_own(field: str, raw: msgspec.Raw) -> None:
    """BadRequest where it is an item that only this dialect knows."""
    try:
        kind = _kind(raw)
    except msgspec.DecodeError:
        return
    if not kind.is_own:
        return
    if not kind.type:
        raise only_own(field, "a reference to an item")
    odd = " (of tool search, of a program, or asynchronous)" if kind.type in CARRIED_ITEMS else ""
    raise only_own(field, f"an item of type {kind.type}{odd}")


def _explained_items(raw: msgspec.Raw) -> Iterator[_Item]:
    """One item after the other, up to the one that can't be read: those in front may be wrong otherwise."""
    try:
        raws = _raws(raw)
    except msgspec.DecodeError:
        raise bad("input", "has to be a text or a list of items") from None
    for number, each in enumerate(raws):
        field = f"input[{number}]"
        try:
            item = _item(each)
        except msgspec.DecodeError as wrong:
            _refuse_own(field, each)
            raise _explained(field, each, wrong) from None
        yield item


def _explained(field: str, raw: msgspec.Raw, wrong: msgspec.DecodeError) -> BadRequest:
    """Which part of an item is wrong: the parser says only that one of them is."""
    message, _, path = str(wrong).partition(" - at ")
    name = path.strip("`").removeprefix("$")
    if "[...]" not in name:
        return bad(field + name, message)
    member, _, _ = name[1:].partition("[...]")
    try:
        for number, part in enumerate(_raws(_fields(raw)[member])):
            try:
                _part(part)
            except msgspec.DecodeError as inner:
                message, _, path = str(inner).partition(" - at ")
                rest = path.strip("`").removeprefix("$")
                return bad(f"{field}.{member}[{number}]{rest}", message)
    except (msgspec.DecodeError, KeyError):
        pass
    return bad(field + name.partition("[")[0], message)
