"""The facts of a request, read at the front: of every call, so no more of it is parsed than they need, and
in one pass that skips all else: each search of a large body costs half as much as to parse it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from .. import openai
from ..base import ABSENT, RequestFacts, decode_json
from ..blobs import MARK, id_and_owner
from ..body import Routed, decoder_of, estimate_tokens, holds, last_is_array, read_routed
from .messages_in import KINDS

# What stands in the place of an object is nobody's fact: whether it is an error is the provider's to say.
_Odd: TypeAlias = str | int | float | bool | list[Any] | None
_NULL = msgspec.Raw(b"null")


class _Part(msgspec.Struct, gc=False):
    type: msgspec.Raw = ABSENT
    file: msgspec.Raw = ABSENT
    image_url: msgspec.Raw = ABSENT
    document_url: msgspec.Raw = ABSENT


class _Message(msgspec.Struct, gc=False):
    """Where most contents are texts: to decode one would cost more than to skip all the rest."""

    content: msgspec.Raw = _NULL
    audio: msgspec.Raw = ABSENT


class _InParts(msgspec.Struct, gc=False):
    """Where most contents are parts: their texts are skipped in the same pass."""

    content: list[_Part | _Odd] | dict[str, msgspec.Raw] | str | int | float | bool | None = None
    audio: msgspec.Raw = ABSENT


class _Named(msgspec.Struct, gc=False):
    id: msgspec.Raw = ABSENT
    file_id: msgspec.Raw = ABSENT


class _Request(Routed):
    stream: msgspec.Raw = ABSENT
    stream_options: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    reasoning_effort: msgspec.Raw = ABSENT
    reasoning: msgspec.Raw = ABSENT  # OpenRouter's
    max_tokens: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT
    n: msgspec.Raw = ABSENT
    audio: msgspec.Raw = ABSENT
    modalities: msgspec.Raw = ABSENT
    store: msgspec.Raw = ABSENT
    web_search_options: msgspec.Raw = ABSENT
    moderation: msgspec.Raw = ABSENT


class _OfTexts(_Request):
    messages: list[_Message | _Odd] | dict[str, msgspec.Raw] | str | int | float | bool | None = None


class _OfParts(_Request):
    messages: list[_InParts | _Odd] | dict[str, msgspec.Raw] | str | int | float | bool | None = None


class _Kind(msgspec.Struct):
    """A tool, as far as it says whether others know it. One that takes any text can be carried, but not
    where a grammar bounds the text."""

    type: str = "function"
    custom: msgspec.Raw = ABSENT

    def is_foreign(self) -> bool:
        return self.type != "function" and (self.type != "custom" or b'"grammar"' in bytes(self.custom))


_texts_decoder = decoder_of(_OfTexts)
_parts_decoder = decoder_of(_OfParts)
_parts = msgspec.json.Decoder(list[_Part | _Odd])
_named = msgspec.json.Decoder(_Named)
_kinds_of_tools = msgspec.json.Decoder(list[_Kind])
_MARK = MARK.encode()
_ALL_ABSENT = (ABSENT,) * 6
# The kinds of parts that nearly all are.
_TEXTS = frozenset((b'"text"', b'"refusal"', b'"thinking"'))
_ARRAY = ord("[")
# Results of tools are mostly texts, and most of what is said where there are any.
_RESULT = b'"tool_call_id"'
_LAST_BYTES = 32_768
# Words without which all tools can be carried.
_HOSTED = b'"openrouter:'
_TOOL_WORDS = (b'"grammar"', _HOSTED)
# What a part begins with that is to be fetched. The data of the others may be long.
_URL = re.compile(rb'"https?:')
_HEAD_BYTES = 300


class _Content(msgspec.Struct):
    """What the messages hold beside text."""

    kinds: set[str]
    ids: list[tuple[str, str]]
    foreign: str = ""  # the first field that only this dialect has
    image_urls: bool = False
    document_urls: bool = False


_NOTHING_NAMED = _Named()


def read(body: bytes) -> RequestFacts:
    content = _Content(set(), [])
    request: _Request
    if last_is_array(body, b'"content"') and body.rfind(_RESULT, -_LAST_BYTES) < 0:
        in_parts, model, span = read_routed(_parts_decoder, body)
        request, messages = in_parts, in_parts.messages
        if type(messages) is list:
            _see_parts(messages, content)
    else:
        in_texts, model, span = read_routed(_texts_decoder, body)
        request, given = in_texts, in_texts.messages
        if type(given) is list:
            _see_texts(given, content)
    # Most requests have none of these fields, and this is asked of every call.
    is_usual = (
        request.audio,
        request.modalities,
        request.moderation,
        request.n,
        request.store,
        request.web_search_options,
    ) == _ALL_ABSENT
    tools = request.tools is not ABSENT and openai.is_set(request.tools)
    is_stream = request.stream is not ABSENT and bytes(request.stream) == b"true"
    own = "" if is_usual else _own_field(request)
    own_tool = _own_tool(request.tools) if tools else ""
    return RequestFacts(
        model=model,
        model_span=span,
        context_tokens=estimate_tokens(body),
        max_output_tokens=openai.positive_int(request.max_completion_tokens)
        or openai.positive_int(request.max_tokens),
        tools=tools or (request.functions is not ABSENT and openai.is_set(request.functions)),
        images="image_url" in content.kinds,
        documents="file" in content.kinds or "document_url" in content.kinds,
        schema=request.response_format is not ABSENT and b"json_schema" in bytes(request.response_format),
        reasoning=_reasons(request),
        stream=is_stream,
        audio="input_audio" in content.kinds,
        choices=1 if is_usual else openai.positive_int(request.n) or 1,
        same_dialect=own or own_tool or content.foreign,
        ids=tuple(content.ids),
        marked=body.rfind(_MARK) >= 0
        or (bool(content.ids) and _is_owned(content))
        or (is_stream and request.stream_options is not ABSENT and not _ASKS_USAGE(request.stream_options)),
        stateful=not is_usual and bytes(request.store) == b"true",
        hosted_tools=(own_tool != "" and holds(bytes(request.tools), _HOSTED))
        or (not is_usual and _searches(request)),
        files=bool(content.ids),
        image_urls=content.image_urls,
        document_urls=content.document_urls,
        binds=not is_usual and (b'"audio"' in bytes(request.modalities) or openai.is_set(request.audio)),
        adds_usage=is_stream
        and (request.stream_options is ABSENT or bytes(request.stream_options) == b"null"),
        hides_usage=is_stream and _hides_usage(request.stream_options),
    )


# What is in there are flags: no text could hold this.
_ASKS_USAGE = re.compile(rb'"include_usage"\s*:\s*true').search


def _hides_usage(options: msgspec.Raw) -> bool:
    return options is not ABSENT and bytes(options) != b"null" and not _ASKS_USAGE(options)


def _is_owned(content: _Content) -> bool:
    return any(id_and_owner(ident)[1] for _, ident in content.ids)


def _reasons(request: _Request) -> bool:
    if request.reasoning is ABSENT and request.reasoning_effort is ABSENT:
        return False
    if openai.is_set(request.reasoning_effort):
        return bytes(request.reasoning_effort) != b'"none"'
    if not openai.is_set(request.reasoning):
        return False
    asked = decode_json(request.reasoning)
    return isinstance(asked, dict) and asked.get("enabled") is not False and asked.get("effort") != "none"


def _own_field(request: _Request) -> str:
    """The first field of the request itself that only members of this dialect can serve."""
    for name, raw in (
        ("audio", request.audio),
        ("web_search_options", request.web_search_options),
        ("moderation", request.moderation),
    ):
        if openai.is_set(raw) or (name == "web_search_options" and _searches(request)):
            return name
    if b'"audio"' in bytes(request.modalities):
        return "modalities"
    return "store" if bytes(request.store) == b"true" else ""


def _searches(request: _Request) -> bool:
    """{} asks for a search as well."""
    return bytes(request.web_search_options)[:1] == b"{"


def _own_tool(tools: msgspec.Raw) -> str:
    return _foreign_tool(tools) if holds(bytes(tools), *_TOOL_WORDS) else ""


def _foreign_tool(tools: msgspec.Raw) -> str:
    try:
        kinds = _kinds_of_tools.decode(tools)
    except msgspec.DecodeError:
        return ""  # whether it is an error is told where the request is translated
    return next((f"tools[{n}]" for n, kind in enumerate(kinds) if kind.is_foreign()), "")


def _see_texts(messages: Iterable[_Message | _Odd], content: _Content) -> None:
    for n, message in enumerate(messages):
        if type(message) is _Message:
            if message.audio is not ABSENT:
                _hear(message.audio, n, content)
            if memoryview(message.content)[0] == _ARRAY:
                _see(_parts_of(message.content), n, content)


def _see_parts(messages: Iterable[_InParts | _Odd], content: _Content) -> None:
    for n, message in enumerate(messages):
        if type(message) is _InParts:
            if message.audio is not ABSENT:
                _hear(message.audio, n, content)
            if type(message.content) is list:
                _see(message.content, n, content)


def _hear(audio: msgspec.Raw, message: int, content: _Content) -> None:
    """What a model said aloud, by its id."""
    if (ident := _text(_named_in(audio).id)) is not None:
        content.foreign = content.foreign or f"messages[{message}].audio"
        content.ids.append((f"messages[{message}].audio.id", ident))


def _see(parts: Iterable[_Part | _Odd], message: int, content: _Content) -> None:
    for place, part in enumerate(parts):
        if type(part) is not _Part or (part.file is ABSENT and bytes(part.type) in _TEXTS):
            continue
        if (kind := _text(part.type)) is None:
            continue
        field = f"messages[{message}].content[{place}]"
        content.kinds.add(kind)
        if kind == "image_url":
            content.image_urls = content.image_urls or _is_url(part.image_url)
        elif kind in ("file", "document_url"):
            given = part.file if kind == "file" else part.document_url
            content.document_urls = content.document_urls or _is_url(given)
        if kind not in KINDS:
            content.foreign = content.foreign or f"{field}.type"
        if part.file is not ABSENT and (ident := _text(_named_in(part.file).file_id)) is not None:
            content.foreign = content.foreign or f"{field}.file.file_id"
            content.ids.append((f"{field}.file.file_id", ident))


def _is_url(raw: msgspec.Raw) -> bool:
    return _URL.search(memoryview(raw)[:_HEAD_BYTES]) is not None


def _text(raw: msgspec.Raw) -> str | None:
    value = decode_json(raw)
    return value if isinstance(value, str) else None


def _parts_of(raw: msgspec.Raw) -> list[_Part | _Odd]:
    try:
        return _parts.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []  # a text that is none, in the place of a part


def _named_in(raw: msgspec.Raw) -> _Named:
    try:
        return _named.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NOTHING_NAMED
