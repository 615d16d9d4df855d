"""A client's request → Chat. Source: OpenAI API reference, "Create chat completion"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...core.errors import BadRequest
from ..base import decode_json
from ..blobs import untagged
from ..conversation import (
    Audio,
    Blob,
    Cached,
    Chat,
    Document,
    Effort,
    Image,
    Inline,
    Message,
    OutputSchema,
    Part,
    Reasoning,
    Refusal,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Url,
)

REASONING = "openai-chat.reasoning_details"
_READ = frozenset(
    (  # noqa: SIM905 - a list of so many words would take a page
        "model messages tools tool_choice parallel_tool_calls functions function_call max_tokens seed stop n "
        "max_completion_tokens temperature top_p top_k frequency_penalty presence_penalty logprobs "
        "top_logprobs response_format reasoning_effort verbosity service_tier user safety_identifier "
        "metadata prompt_cache_key stream stream_options store modalities"
    ).split()
)


def decode_request(body: bytes) -> Chat:
    request = decode_json(body)
    if not isinstance(request, dict):
        raise _wrong("the body", "is not a JSON object")
    _refuse_own(request)
    system, messages = _conversation(request.get("messages"))
    stop = request.get("stop")
    usage = request.get("stream_options")
    return Chat(
        model=_text(request.get("model"), "model"),
        messages=messages,
        system=system,
        tools=_tools(request),
        tool_choice=_choice(request),
        parallel_tools=_flag(request, "parallel_tool_calls"),
        max_output_tokens=_integer(request, "max_completion_tokens") or _integer(request, "max_tokens"),
        temperature=_number(request, "temperature"),
        top_p=_number(request, "top_p"),
        top_k=_integer(request, "top_k"),
        frequency_penalty=_number(request, "frequency_penalty"),
        presence_penalty=_number(request, "presence_penalty"),
        seed=_integer(request, "seed"),
        stop=(stop,) if isinstance(stop, str) else tuple(_texts(stop, "stop")),
        choices=_integer(request, "n") or 1,
        logprobs=request.get("logprobs") is True,
        top_logprobs=_integer(request, "top_logprobs"),
        output=_output(request.get("response_format")),
        effort=_effort(request.get("reasoning_effort")),
        verbosity=_optional(request.get("verbosity")),
        service_tier=_optional(request.get("service_tier")),
        user=_optional(request.get("safety_identifier")) or _optional(request.get("user")),
        metadata=_mapping(request.get("metadata"), "metadata"),
        cache_key=_optional(request.get("prompt_cache_key")),
        stream=request.get("stream") is True,
        include_usage=isinstance(usage, dict) and usage.get("include_usage") is True,
        dropped=tuple(name for name, value in request.items() if name not in _READ and value is not None),
    )


def own_only(request: Mapping[str, Any]) -> str:
    """The first field that only members of this dialect can serve; "" where there is none."""
    for name in ("audio", "web_search_options", "moderation"):
        if request.get(name):
            return name
    if request.get("store") is True:
        return "store"
    modalities = request.get("modalities")
    return "modalities" if isinstance(modalities, list) and "audio" in modalities else ""


def _refuse_own(request: Mapping[str, Any]) -> None:
    if name := own_only(request):
        raise _cannot(name, "only members of this dialect have it")


def _wrong(field: str, what: str) -> BadRequest:
    return BadRequest(400, "invalid_request", f"{field}: {what}", param=field)


def _cannot(field: str, what: str) -> BadRequest:
    return BadRequest(400, "content_not_supported", f"{field}: {what}", param=field)


def _list(value: Any, field: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(field, "has to be a list")
    return value


def _texts(value: Any, field: str) -> list[str]:
    return [_text(each, f"{field}[{n}]") for n, each in enumerate(_list(value, field))]


def _mapping(value: Any, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(field, "has to be an object")
    return value


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise _wrong(field, "has to be a string")
    return value


def _optional(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _flag(request: Mapping[str, Any], name: str) -> bool | None:
    value = request.get(name)
    return value if isinstance(value, bool) else None


def _number(request: Mapping[str, Any], name: str) -> float | None:
    value = request.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(name, "has to be a number")
    return value


def _integer(request: Mapping[str, Any], name: str) -> int | None:
    value = _number(request, name)
    if value is None or (isinstance(value, float) and not value.is_integer()):
        if value is None:
            return None
        raise _wrong(name, "has to be a whole number")
    return int(value)


# -- messages


def _conversation(value: Any) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """(the instructions in front, all else)"""
    if value is None:
        raise _wrong("messages", "is missing")
    system: list[Text] = []
    messages: list[Message] = []
    for n, message in enumerate(_list(value, "messages")):
        field = f"messages[{n}]"
        message = _mapping(message, field)
        role = message.get("role")
        reader = _ROLES.get(role) if isinstance(role, str) else None
        if reader is None:
            raise _wrong(f"{field}.role", "has to be developer, system, user, assistant, tool or function")
        read = Message(
            "system" if role in ("system", "developer") else "assistant" if role == "assistant" else "user",
            tuple(reader(message, field)),
            _optional(message.get("name")) if role != "function" else "",
        )
        if read.role == "system" and not messages:
            system += [part for part in read.parts if isinstance(part, Text)]
        else:
            messages.append(read)
    return tuple(system), tuple(messages)


def _content(message: dict[str, Any], field: str) -> Iterator[Part]:
    content, field = message.get("content"), f"{field}.content"
    if content is None:
        return
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    if not isinstance(content, list):
        raise _wrong(field, "has to be a string or a list of parts")
    for n, part in enumerate(content):
        here = f"{field}[{n}]"
        part = _mapping(part, here)
        kind = part.get("type")
        reader = _PARTS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise _cannot(f"{here}.type", f"{kind!r} can't be translated")
        yield reader(part, here)


def _cached(part: dict[str, Any]) -> Cached | None:
    """OpenRouter's and others' `cache_control`; OpenAI's own `prompt_cache_breakpoint`."""
    hint = part.get("cache_control") or part.get("prompt_cache_breakpoint")
    return Cached(_optional(hint.get("ttl"))) if isinstance(hint, dict) else None


def _source(value: str) -> Source:
    """A data: URL holds the thing itself."""
    head, found, data = value.partition(",")
    if not (head.startswith("data:") and found and head.endswith(";base64")):
        return Url(value)
    return Inline(head.removeprefix("data:").partition(";")[0], data)


def _read_text(part: dict[str, Any], field: str) -> Part:
    return Text(_text(part.get("text"), f"{field}.text"), _cached(part))


def _read_image(part: dict[str, Any], field: str) -> Part:
    image = _mapping(part.get("image_url"), f"{field}.image_url")
    url = _text(image.get("url"), f"{field}.image_url.url")
    return Image(_source(url), _optional(image.get("detail")), _cached(part))


def _read_audio(part: dict[str, Any], field: str) -> Part:
    audio = _mapping(part.get("input_audio"), f"{field}.input_audio")
    return Audio(
        _text(audio.get("format"), f"{field}.input_audio.format"),
        _text(audio.get("data"), f"{field}.input_audio.data"),
    )


def _read_file(part: dict[str, Any], field: str) -> Part:
    file = _mapping(part.get("file"), f"{field}.file")
    if file.get("file_id"):
        raise _cannot(f"{field}.file.file_id", "the file lives at one provider's account")
    data = _text(file.get("file_data"), f"{field}.file.file_data")
    source = _source(data)
    if isinstance(source, Url) and not data.startswith(("http://", "https://")):
        source = Inline("application/pdf", data)  # bare base64, which OpenAI takes for a PDF
    return Document(source, _optional(file.get("filename")), cached=_cached(part))


def _read_refusal(part: dict[str, Any], field: str) -> Part:
    return Refusal(_text(part.get("refusal"), f"{field}.refusal"))


_PARTS = {
    "text": _read_text,
    "image_url": _read_image,
    "input_audio": _read_audio,
    "file": _read_file,
    "refusal": _read_refusal,
}


def _assistant(message: dict[str, Any], field: str) -> Iterator[Part]:
    yield from _reasoning(message)
    yield from _content(message, field)
    if refusal := _optional(message.get("refusal")):
        yield Refusal(refusal)
    if message.get("audio"):
        raise _cannot(f"{field}.audio", "the audio lives at one provider's account")
    for n, call in enumerate(_list(message.get("tool_calls"), f"{field}.tool_calls")):
        yield _call(_mapping(call, f"{field}.tool_calls[{n}]"), f"{field}.tool_calls[{n}]")
    if isinstance(function := message.get("function_call"), dict):
        name = _text(function.get("name"), f"{field}.function_call.name")
        yield ToolCall(f"function:{name}", name, _optional(function.get("arguments")))


def _reasoning(message: dict[str, Any]) -> Iterator[Part]:
    """OpenRouter's `reasoning_details` say which text belongs to which blob; without them the plain text is
    a person's to read."""
    details = message.get("reasoning_details")
    if isinstance(details, list) and details:
        for detail in details:
            if isinstance(detail, dict):
                yield _detail(detail)
        return
    text = _optional(message.get("reasoning_content")) or _optional(message.get("reasoning"))
    if text:
        yield Reasoning(text)


def _detail(detail: dict[str, Any]) -> Reasoning:
    kind, ident = detail.get("type"), _optional(detail.get("id"))
    if kind == "reasoning.encrypted":
        return Reasoning("", untagged(_optional(detail.get("data")), REASONING), True, ident)
    text = _optional(detail.get("text")) or _optional(detail.get("summary"))
    signature = _optional(detail.get("signature"))
    blob = untagged(signature, REASONING) if signature else None
    return Reasoning(text, blob, False, ident, kind == "reasoning.summary")


def _call(call: dict[str, Any], field: str) -> ToolCall:
    ident = _text(call.get("id"), f"{field}.id")
    if call.get("type") == "custom":
        custom = _mapping(call.get("custom"), f"{field}.custom")
        name = _text(custom.get("name"), f"{field}.custom.name")
        return ToolCall(ident, name, _optional(custom.get("input")), custom=True)
    function = _mapping(call.get("function"), f"{field}.function")
    name = _text(function.get("name"), f"{field}.function.name")
    return ToolCall(ident, name, _optional(function.get("arguments")), _call_blob(call))


def _call_blob(call: dict[str, Any]) -> Blob | None:
    google = call.get("extra_content")
    google = google.get("google") if isinstance(google, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return untagged(signature, "openai-chat.thought_signature") if isinstance(signature, str) else None


def _tool(message: dict[str, Any], field: str) -> Iterator[Part]:
    ident = _text(message.get("tool_call_id"), f"{field}.tool_call_id")
    yield ToolResult(ident, tuple(_content(message, field)))


def _function(message: dict[str, Any], field: str) -> Iterator[Part]:
    name = _text(message.get("name"), f"{field}.name")
    yield ToolResult(f"function:{name}", tuple(_content(message, field)))


_ROLES = {
    "system": _content,
    "developer": _content,
    "user": _content,
    "assistant": _assistant,
    "tool": _tool,
    "function": _function,
}

# -- tools and the rest


def _tools(request: Mapping[str, Any]) -> tuple[Tool, ...]:
    tools = []
    for n, tool in enumerate(_list(request.get("tools"), "tools")):
        field = f"tools[{n}]"
        tool = _mapping(tool, field)
        if tool.get("type", "function") != "function":
            raise _cannot(f"{field}.type", f"{tool.get('type')!r} can't be translated")
        function = _mapping(tool.get("function"), f"{field}.function")
        tools.append(_function_tool(function, f"{field}.function", _cached(tool)))
    for n, function in enumerate(_list(request.get("functions"), "functions")):
        tools.append(_function_tool(_mapping(function, f"functions[{n}]"), f"functions[{n}]", None))
    return tuple(tools)


def _function_tool(function: dict[str, Any], field: str, cached: Cached | None) -> Tool:
    strict = function.get("strict")
    return Tool(
        _text(function.get("name"), f"{field}.name"),
        _optional(function.get("description")),
        _mapping(function.get("parameters"), f"{field}.parameters") or None,
        strict if isinstance(strict, bool) else None,
        cached,
    )


def _choice(request: Mapping[str, Any]) -> ToolChoice | None:
    choice = request.get("tool_choice")
    if choice is None:
        choice = request.get("function_call")
        if isinstance(choice, dict):
            return ToolChoice("only", (_text(choice.get("name"), "function_call.name"),))
    match choice:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("only", (name,))
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(tools)},
        }:
            names = [
                _text(
                    _mapping(_mapping(t, "tool_choice").get("function"), "tool_choice").get("name"),
                    "tool_choice",
                )
                for t in tools
            ]
            return ToolChoice(mode, tuple(names))
    raise _wrong("tool_choice", "has to be auto, none, required, a function or allowed_tools")


def _output(value: Any) -> OutputSchema | None:
    asked = _mapping(value, "response_format")
    match asked.get("type"):
        case None | "text":
            return None
        case "json_object":
            return OutputSchema()
        case "json_schema":
            schema = _mapping(asked.get("json_schema"), "response_format.json_schema")
            strict = schema.get("strict")
            return OutputSchema(
                _optional(schema.get("name")),
                _mapping(schema.get("schema"), "response_format.json_schema.schema"),
                strict if isinstance(strict, bool) else None,
                _optional(schema.get("description")),
            )
    raise _cannot("response_format.type", f"{asked.get('type')!r} can't be translated")


def _effort(value: Any) -> Effort | None:
    if value is None:
        return None
    level = _text(value, "reasoning_effort")
    return Effort(enabled=level != "none", level=level)
