"""What a captured request says, in the words of OpenTelemetry's conventions for generative AI. Pure.

Source: https://github.com/open-telemetry/semantic-conventions-genai, model/gen-ai/gen-ai-input-messages.json,
gen-ai-system-instructions.json and gen-ai-tool-definitions.json.

The dialects' own decoders refuse what no other dialect could say. Here nothing is passed on to a model, and
redaction may have left holes: what can be read is, and what can't is named by its kind alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .texts import TOO_DEEP, Nested, Object, Texts, name_of

_DATA = "data:"
# Parts that hold parts: an answer of a tool may hold a document that holds texts. Each is five of OTLP's
# messages, and readers of protobuf give up at a hundred of those, with all that is in the same request.
_DEEPEST = 4
_MEDIA_NOTE = "[media"  # how redaction begins what it leaves of media
_TEXTS = ("text", "input_text", "output_text", "summary_text", "reasoning_text")
_MEDIA = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "document": "document",
    "document_url": "document",
    "file": "document",
    "input_file": "document",
}
_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


class Asked(NamedTuple):
    """`instructions`: parts; `messages` with a role and parts each; `tools` by their definitions."""

    instructions: list[Object]
    messages: list[Object]
    tools: list[Object]


def read_request(dialect: str, body: bytes, texts: Texts) -> Asked | None:
    """None where the body is no JSON object."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict):
        return None
    reader = _Reader(texts)
    if dialect == "openai-responses":
        instructions, given = request.get("instructions"), request.get("input")
        messages = reader.items([{"role": "user", "content": given}] if isinstance(given, str) else given)
    else:
        instructions, messages = request.get("system"), reader.messages(request.get("messages"))
    tools = [*_objects(request.get("tools")), *_objects(request.get("functions"))]
    return Asked(reader.content(instructions), messages, [reader.tool(one) for one in tools])


def message(role: str, parts: list[Object], name: Any = None) -> Object:
    named: Object = {"name": told} if (told := name_of(name)) else {}
    return {"role": role, "parts": [*parts], **named}


def text_part(text: str, texts: Texts, kind: str = "text") -> Object:
    return {"type": kind, "content": texts.text(text)}


def call_part(ident: Any, name: Any, arguments: Any, texts: Texts) -> Object:
    """`arguments`: JSON, or its text."""
    told: Object = {"type": "tool_call", "name": name_of(name), "arguments": _arguments(arguments, texts)}
    return {**told, **_identified(ident)}


def media_part(modality: str, url: str, data: str, texts: Texts, media_type: str = "") -> Object:
    """Of media there is a note: their bytes never go out. `url`: where they are; it may hold them."""
    if _holds_data(url):
        head, _, data = url.strip().partition(",")
        media_type, url = head[len(_DATA) :].partition(";")[0], ""
    note = next((told for told in (url, data) if told.startswith(_MEDIA_NOTE)), "")
    named: Object = {"mime_type": told} if (told := name_of(media_type)) else {}
    if note:
        return {"type": "media", "modality": modality, **named, "note": texts.text(note)}
    if url:
        return {"type": "uri", "modality": modality, **named, "uri": texts.text(url)}
    return {"type": "media", "modality": modality, **named, "bytes": len(data) * 3 // 4}


def _holds_data(url: str) -> bool:
    return url.lstrip()[: len(_DATA)].lower() == _DATA


class _Reader:
    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._depth = 0  # of the part in hand, in others

    # -- messages

    def messages(self, value: Any) -> list[Object]:
        """Of the dialects that have them."""
        return [self._message(one) for one in _objects(value)]

    def _message(self, one: Mapping[str, Any]) -> Object:
        role = name_of(one.get("role")) or "unknown"
        if role in ("tool", "function"):
            ident = one.get("tool_call_id") or one.get("name")
            return message(role, [self._answer(ident, one.get("content"))])
        parts = [*self._thoughts(one), *self.content(one.get("content"))]
        if refusal := _text(one, "refusal"):
            parts.append(text_part(refusal, self._texts, "refusal"))
        for call in _objects(one.get("tool_calls")):
            used = _object(call, "function") or _object(call, "custom")
            arguments = used.get("arguments", used.get("input"))
            parts.append(call_part(call.get("id"), used.get("name"), arguments, self._texts))
        if used := _object(one, "function_call"):
            parts.append(call_part(None, used.get("name"), used.get("arguments"), self._texts))
        return message(role, parts, one.get("name"))

    def _thoughts(self, one: Mapping[str, Any]) -> list[Object]:
        text = _text(one, "reasoning_content") or _text(one, "reasoning")
        return [text_part(text, self._texts, "reasoning")] if text else []

    def items(self, value: Any) -> list[Object]:
        """Of openai-responses."""
        return [self._item(one) for one in _objects(value)]

    def _item(self, one: Mapping[str, Any]) -> Object:
        kind = name_of(one.get("type"))
        if kind in _CALLS:
            arguments = one.get("arguments", one.get("input"))
            call = call_part(one.get("call_id"), one.get("name"), arguments, self._texts)
            return message("assistant", [call])
        if kind in _OUTPUTS:
            return message("tool", [self._answer(one.get("call_id"), one.get("output"))])
        if kind == "reasoning":
            pieces = [*_objects(one.get("summary")), *_objects(one.get("content"))]
            thoughts = [text_part(text, self._texts, "reasoning") for each in pieces if (text := _text(each))]
            return message("assistant", thoughts)
        if kind in ("", "message"):
            return message(name_of(one.get("role")) or "unknown", self.content(one.get("content")))
        return message("assistant", [_served(kind, one.get("id"), one.get("name") or kind)])

    # -- what is in them

    def content(self, value: Any) -> list[Object]:
        if isinstance(value, str):
            return [text_part(value, self._texts)] if value else []
        given = value if isinstance(value, list) else [value]
        texts = ({"type": "text", "text": one} if isinstance(one, str) else one for one in given)
        parts = [one for one in texts if isinstance(one, dict)]
        if parts and self._depth == _DEEPEST:
            return [text_part(TOO_DEEP, self._texts)]
        self._depth += 1
        told = [self._part(one) for one in parts]
        self._depth -= 1
        return told

    def _part(self, part: Mapping[str, Any]) -> Object:
        kind = name_of(part.get("type")) or "unknown"
        if kind in _TEXTS:
            return text_part(_text(part), self._texts)
        if kind in _MEDIA:
            return self._media(_MEDIA[kind], part)
        match kind:
            case "refusal":
                return text_part(_text(part, "refusal"), self._texts, kind)
            case "thinking":
                return text_part(_thought(part.get("thinking")), self._texts, "reasoning")
            case "tool_use":
                return call_part(part.get("id"), part.get("name"), part.get("input"), self._texts)
            case "tool_result":
                return self._answer(part.get("tool_use_id"), part.get("content"))
            case "search_result":
                told: Object = {name: self._texts.text(_text(part, name)) for name in ("title", "source")}
                return {"type": kind, **told, "content": [*self.content(part.get("content"))]}
            case "server_tool_use" | "mcp_tool_use":
                return _served(kind, part.get("id"), part.get("name"))
        if kind.endswith("_tool_result"):
            answered: Object = {
                "type": "server_tool_call_response",
                "server_tool_call_response": {"type": kind},
            }
            return {**answered, **_identified(part.get("tool_use_id"))}
        return {"type": kind}

    def _answer(self, ident: Any, content: Any) -> Object:
        """A tool's: its text, or its parts."""
        response: Nested = self._texts.text(content) if isinstance(content, str) else [*self.content(content)]
        return {"type": "tool_call_response", "response": response, **_identified(ident)}

    def _media(self, modality: str, part: Mapping[str, Any]) -> Object:
        holders = [part, *(_object(part, name) for name in ("source", "file", "image_url", "input_audio"))]

        def first(*names: str) -> str:
            return next((text for one in holders for name in names if (text := _text(one, name))), "")

        source = _object(part, "source")
        if source.get("type") in ("text", "content"):  # a document that is told as text
            return {"type": "document", "content": [*self.content(source.get("data", source.get("content")))]}
        if ident := name_of(first("file_id")):
            return {"type": "file", "modality": modality, "file_id": ident}
        url, data = first("url", "image_url", "file_url", "document_url"), first("data", "file_data")
        url = url or (data if _holds_data(data) else "")
        return media_part(modality, url, data, self._texts, first("media_type"))

    def tool(self, one: Mapping[str, Any]) -> Object:
        """By what the client says of it, whichever dialect it is in."""
        told = _object(one, "function") or _object(one, "custom") or one
        kind = name_of(one.get("type")) or "function"
        schema = next((told[name] for name in ("parameters", "input_schema") if told.get(name)), None)
        if kind == "custom" and schema is not None:
            kind = "function"  # as Anthropic's says of those that clients run
        made: Object = {"type": kind, "name": name_of(told.get("name") or told.get("server_label")) or kind}
        if description := _text(told, "description"):
            made["description"] = self._texts.text(description)
        if schema is not None and (parameters := self._texts.whole(schema)) is not None:
            made["parameters"] = parameters
        return made


def _served(kind: str, ident: Any, name: Any) -> Object:
    """A tool that ran at the provider."""
    made: Object = {
        "type": "server_tool_call",
        "name": name_of(name) or kind,
        "server_tool_call": {"type": kind},
    }
    return {**made, **_identified(ident)}


def _identified(ident: Any) -> Object:
    return {"id": told} if (told := name_of(ident)) else {}


def _arguments(value: Any, texts: Texts) -> Nested:
    if not isinstance(value, str):
        return texts.json(value)
    try:
        return texts.json(json.loads(value))
    except (ValueError, RecursionError):
        return texts.text(value)


def _thought(value: Any) -> str:
    return value if isinstance(value, str) else "".join(_text(one) for one in _objects(value))


# -- looking into what may be anything


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}


def _text(value: Mapping[str, Any], name: str = "text") -> str:
    text = value.get(name)
    return text if isinstance(text, str) else ""
