"""A client's messages → the system prompt and the conversation behind it.

Source: OpenAI API reference, "Create chat completion", `messages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from .. import openai
from ..blobs import untagged
from ..conversation import (
    Audio,
    Blob,
    Cached,
    Document,
    Image,
    Inline,
    Message,
    Part,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from . import reasoning
from .wire import items, mapping, only_own, optional_text, text, wrong

_AT_ACCOUNT = "it lives at one provider's account, and can't be translated"


class Conversation(msgspec.Struct, frozen=True):
    system: tuple[Text, ...]
    messages: tuple[Message, ...]


def read_messages(value: Any) -> Conversation:
    if value is None:
        raise wrong("messages", "is missing")
    system: list[Text] = []
    messages: list[Message] = []
    legacy: dict[str, list[str]] = {}  # function → ids of its calls that have no answer yet
    results: list[Part] = []  # answers of tools that stand behind one another are one message
    for n, given in enumerate(items(value, "messages")):
        field = f"messages[{n}]"
        message = mapping(given, field)
        role = message.get("role")
        if role == "tool":
            results.append(_tool_result(message, field))
            continue
        if role == "function":
            results.append(_function_result(message, field, legacy, n))
            continue
        if results:
            messages.append(Message("user", tuple(results)))
            results = []
        read = _ROLES.get(role) if isinstance(role, str) else None
        if read is None:
            raise wrong(f"{field}.role", "has to be developer, system, user, assistant, tool or function")
        said = read(message, field, n)
        if said.role == "assistant" and message.get("function_call"):
            legacy.setdefault(message["function_call"]["name"], []).append(_legacy_id(n))
        if said.role == "system" and not messages:
            system += [part for part in said.parts if isinstance(part, Text)]
        elif said.parts:
            messages.append(said)
    if results:
        messages.append(Message("user", tuple(results)))
    return Conversation(tuple(system), tuple(messages))


# -- content


def cache_hint(holder: Mapping[str, Any]) -> Cached | None:
    """OpenRouter's `cache_control`; OpenAI's `prompt_cache_breakpoint`, whose lifetimes (30 minutes and
    more) are all nearer to an hour than to five minutes."""
    if "cache_control" in holder and isinstance(control := holder["cache_control"], dict):
        ttl = control.get("ttl")
        return Cached(ttl if isinstance(ttl, str) else "")
    if "prompt_cache_breakpoint" in holder and isinstance(point := holder["prompt_cache_breakpoint"], dict):
        return Cached("1h" if point.get("ttl") else "")
    return None


def source_of(url: str) -> Source:
    """A data: URL holds the thing itself. One that is not base64 stays a URL."""
    if url.startswith("data:"):
        head, found, data = url.partition(";base64,")
        if found:
            return Inline(head.removeprefix("data:").partition(";")[0], data)
    return Url(url)


def _text_part(part: Mapping[str, Any], field: str) -> Part:
    return Text(text(part.get("text"), f"{field}.text"), cache_hint(part))


def _image_part(part: Mapping[str, Any], field: str) -> Part:
    image = part.get("image_url")
    if isinstance(image, str):  # Mistral's
        return Image(source_of(image), "", cache_hint(part))
    image = mapping(image, f"{field}.image_url")
    url = text(image.get("url"), f"{field}.image_url.url")
    return Image(
        source_of(url), optional_text(image.get("detail"), f"{field}.image_url.detail"), cache_hint(part)
    )


def _audio_part(part: Mapping[str, Any], field: str) -> Part:
    audio = mapping(part.get("input_audio"), f"{field}.input_audio")
    return Audio(
        text(audio.get("format"), f"{field}.input_audio.format"),
        text(audio.get("data"), f"{field}.input_audio.data"),
    )


def _file_part(part: Mapping[str, Any], field: str) -> Part:
    field = f"{field}.file"
    file = mapping(part.get("file"), field)
    if file.get("file_id") is not None:
        raise only_own(f"{field}.file_id", _AT_ACCOUNT)
    data = text(file.get("file_data"), f"{field}.file_data")
    source = source_of(data)
    if isinstance(source, Url) and not data.startswith(("http://", "https://")):
        if ":" in data:
            raise wrong(f"{field}.file_data", "has to be a URL like data:application/pdf;base64,…")
        source = Inline("application/pdf", data)  # bare base64: OpenAI took nothing but PDF for long
    return Document(source, optional_text(file.get("filename"), f"{field}.filename"), cached=cache_hint(part))


def _document_part(part: Mapping[str, Any], field: str) -> Part:
    """Mistral's."""
    name = optional_text(part.get("document_name"), f"{field}.document_name")
    return Document(source_of(text(part.get("document_url"), f"{field}.document_url")), name)


def _thinking_part(part: Mapping[str, Any], field: str) -> Part:
    """Mistral's: what a model thought, as it stood in its reply."""
    said = part.get("thinking")
    if isinstance(said, str):
        return Reasoning(said)
    pieces = [mapping(piece, f"{field}.thinking") for piece in items(said, f"{field}.thinking")]
    return Reasoning("".join(optional_text(piece.get("text"), f"{field}.thinking") for piece in pieces))


def _refusal_part(part: Mapping[str, Any], field: str) -> Part:
    return Refusal(text(part.get("refusal"), f"{field}.refusal"))


PartReader = Callable[[Mapping[str, Any], str], Part]

_TEXTS: Mapping[str, PartReader] = {"text": _text_part}
_SPOKEN: Mapping[str, PartReader] = {
    "text": _text_part,
    "refusal": _refusal_part,
    "thinking": _thinking_part,
}
_CONTENT: Mapping[str, PartReader] = {
    "text": _text_part,
    "image_url": _image_part,
    "input_audio": _audio_part,
    "file": _file_part,
    "document_url": _document_part,
}
# Content that can be translated; calls with any other go to members of this dialect only.
KINDS = frozenset(_CONTENT) | frozenset(_SPOKEN)


def _content(message: Mapping[str, Any], field: str, readers: Mapping[str, PartReader]) -> Iterator[Part]:
    """Empty texts say nothing, and other dialects refuse them."""
    content = message.get("content")
    if isinstance(content, str):
        if content:
            yield Text(content, cache_hint(message))
        return
    field = f"{field}.content"
    if not isinstance(content, list):
        raise wrong(field, "has to be a string or a list of parts")
    for n, given in enumerate(content):
        here = f"{field}[{n}]"
        part = mapping(given, here)
        kind = part.get("type")
        reader = readers.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise only_own(f"{here}.type", f"{kind!r} can't stand here: {', '.join(readers)} can")
        read = reader(part, here)
        if not (isinstance(read, Text) and not read.text):
            yield read


# -- messages of each role


def _system(message: Mapping[str, Any], field: str, n: int) -> Message:
    return Message("system", tuple(_content(message, field, _TEXTS)), _name(message, field))


def _user(message: Mapping[str, Any], field: str, n: int) -> Message:
    return Message("user", tuple(_content(message, field, _CONTENT)), _name(message, field))


def _name(message: Mapping[str, Any], field: str) -> str:
    name = message.get("name")
    return "" if name is None else text(name, f"{field}.name")


def _assistant(message: Mapping[str, Any], field: str, n: int) -> Message:
    """What is there at all is looked at first: most messages have little of it."""
    if message.get("audio") is not None:
        raise only_own(f"{field}.audio", _AT_ACCOUNT)
    parts: list[Part] = []
    if not reasoning.FIELDS.isdisjoint(message):
        parts += reasoning.read(message, field)
    if message.get("content") is not None:
        parts += _content(message, field, _SPOKEN)
    if message.get("refusal"):
        parts.append(Refusal(text(message["refusal"], f"{field}.refusal")))
    for m, image in enumerate(items(message.get("images"), f"{field}.images") if "images" in message else ()):
        parts.append(_image_part(mapping(image, f"{field}.images[{m}]"), f"{field}.images[{m}]"))
    if "extra_content" in message and (blob := thought_of(message)) is not None:
        _sign_last_text(parts, blob)
    if calls := message.get("tool_calls"):
        for m, call in enumerate(items(calls, f"{field}.tool_calls")):
            parts.append(_call(call, f"{field}.tool_calls[{m}]"))
    if function := message.get("function_call"):
        here = f"{field}.function_call"
        parts.append(_named_call(mapping(function, here), here, _legacy_id(n), None))
    return Message("assistant", tuple(parts), _name(message, field))


def thought_of(holder: Mapping[str, Any]) -> Blob | None:
    """Where Google's OpenAI-compatible API has a thought signature: at a call, or at a message for its
    text."""
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return untagged(signature, reasoning.THOUGHT) if isinstance(signature, str) and signature else None


def _sign_last_text(parts: list[Part], blob: Blob) -> None:
    for n in range(len(parts) - 1, -1, -1):
        part = parts[n]
        if isinstance(part, Text):
            parts[n] = msgspec.structs.replace(part, blob=blob)
            return
    parts.append(Text("", blob=blob))


def _call(given: Any, field: str) -> ToolCall:
    call = mapping(given, field)
    ident = text(call.get("id"), f"{field}.id")
    if call.get("type") == "custom":
        custom = mapping(call.get("custom"), f"{field}.custom")
        name = text(custom.get("name"), f"{field}.custom.name")
        given_text = text(custom.get("input"), f"{field}.custom.input")
        return ToolCall(ident, name, openai.custom_arguments(given_text))
    function = mapping(call.get("function"), f"{field}.function")
    return _named_call(function, field, ident, thought_of(call) if "extra_content" in call else None)


def _named_call(function: Mapping[str, Any], field: str, ident: str, blob: Blob | None) -> ToolCall:
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str):
        raise wrong(f"{field}.function.name", "has to be a string")
    if arguments is not None and not isinstance(arguments, str):
        raise wrong(f"{field}.function.arguments", "has to be a string of JSON")
    return ToolCall(ident, name, arguments or "", blob)


def _tool_result(message: Mapping[str, Any], field: str) -> ToolResult:
    ident = text(message.get("tool_call_id"), f"{field}.tool_call_id")
    return _result(ident, message, field)


def _result(ident: str, message: Mapping[str, Any], field: str) -> ToolResult:
    """A hint at a part of the answer is one at the answer."""
    content = message.get("content")
    if isinstance(content, str):
        return ToolResult(ident, (Text(content),) if content else (), cached=cache_hint(message))
    parts = [] if content is None else list(_content(message, field, _CONTENT))
    cached = cache_hint(message)
    for n, part in enumerate(parts):
        if isinstance(part, (Text, Image, Document)) and part.cached is not None:
            cached = part.cached
            parts[n] = msgspec.structs.replace(part, cached=None)
    return ToolResult(ident, tuple(parts), cached=cached)


def _legacy_id(n: int) -> str:
    """Before there were tools, calls had no ids: at most one stands in the message `n`."""
    return f"function_{n}"


def _function_result(
    message: Mapping[str, Any], field: str, legacy: dict[str, list[str]], n: int
) -> ToolResult:
    name = text(message.get("name"), f"{field}.name")
    waiting = legacy.get(name)
    return _result(waiting.pop(0) if waiting else _legacy_id(n), message, field)


MessageReader = Callable[[Mapping[str, Any], str, int], Message]

_ROLES: Mapping[str, MessageReader] = {
    "system": _system,
    "developer": _system,
    "user": _user,
    "assistant": _assistant,
}
