"""The facts of a request, read at the front: of every call, so no more of it is parsed than they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from .. import openai
from ..base import ABSENT, RequestFacts, decode_json
from ..blobs import MARK, id_and_owner
from ..body import Routed, decoder_of, estimate_tokens, holds, read_routed
from .messages_in import KINDS


class _Request(Routed):
    messages: msgspec.Raw = ABSENT
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


class _Kind(msgspec.Struct):
    """A tool, as far as it says whether others know it. One that takes any text can be carried, but not
    where a grammar bounds the text."""

    type: str = "function"
    custom: msgspec.Raw = ABSENT

    def is_foreign(self) -> bool:
        return self.type != "function" and (self.type != "custom" or b'"grammar"' in bytes(self.custom))


_decoder = decoder_of(_Request)
_kinds_of_tools = msgspec.json.Decoder(list[_Kind])
_MARK = MARK.encode()
# Words without which messages hold text and calls only: pictures (and films, which only some take), files,
# and audio, given or named by its id.
_PART_WORDS = (b'_url"', b'"file', b"input_audio", b'"audio_')
# Words without which all tools can be carried.
_TOOL_WORDS = (b'"grammar"', b'"openrouter:')


class _Content(msgspec.Struct):
    """What the messages hold beside text."""

    kinds: set[str]
    ids: list[tuple[str, str]]
    foreign: str = ""  # the first field that only this dialect has


_NOTHING_ELSE = _Content(set(), [])


def read(body: bytes) -> RequestFacts:
    request, model, span = read_routed(_decoder, body)
    content = _content(request) if holds(body, *_PART_WORDS) else _NOTHING_ELSE
    is_stream = bytes(request.stream) == b"true"
    asks_audio = b'"audio"' in bytes(request.modalities) or openai.is_set(request.audio)
    return RequestFacts(
        model=model,
        model_span=span,
        context_tokens=estimate_tokens(body),
        max_output_tokens=openai.positive_int(request.max_completion_tokens)
        or openai.positive_int(request.max_tokens),
        tools=openai.is_set(request.tools) or openai.is_set(request.functions),
        images="image_url" in content.kinds,
        documents=not content.kinds.isdisjoint(("file", "document_url")),
        schema=b"json_schema" in bytes(request.response_format),
        reasoning=_reasons(request),
        stream=is_stream,
        audio="input_audio" in content.kinds,
        choices=openai.positive_int(request.n) or 1,
        same_dialect=_only_own(request) or content.foreign,
        ids=tuple(content.ids),
        marked=body.rfind(_MARK) >= 0 or (bool(content.ids) and _is_owned(content)),
        stateful=bytes(request.store) == b"true",
        binds=asks_audio,
        adds_usage=is_stream and request.stream_options is ABSENT,
    )


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


def _only_own(request: _Request) -> str:
    """The first field of the request itself that only members of this dialect can serve."""
    for name, raw in (
        ("audio", request.audio),
        ("web_search_options", request.web_search_options),
        ("moderation", request.moderation),
    ):
        if raw is not ABSENT and openai.is_set(raw):
            return name
    if b'"audio"' in bytes(request.modalities):
        return "modalities"
    if bytes(request.store) == b"true":
        return "store"
    if openai.is_set(request.tools) and holds(bytes(request.tools), *_TOOL_WORDS):
        return _foreign_tool(request.tools)
    return ""


def _foreign_tool(tools: msgspec.Raw) -> str:
    try:
        kinds = _kinds_of_tools.decode(tools)
    except msgspec.DecodeError:
        return ""  # whether it is an error is told where the request is translated
    return next((f"tools[{n}]" for n, kind in enumerate(kinds) if kind.is_foreign()), "")


def _content(request: _Request) -> _Content:
    content = _Content(set(), [])
    messages = decode_json(request.messages)
    for n, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        audio = message.get("audio")
        if isinstance(audio, dict) and isinstance(audio.get("id"), str):
            content.foreign = content.foreign or f"messages[{n}].audio"
            content.ids.append((f"messages[{n}].audio.id", audio["id"]))
        for place, part in _parts(message):
            _part(f"messages[{n}].content[{place}]", part, content)
    return content


def _parts(message: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    said = message.get("content")
    for n, part in enumerate(said if isinstance(said, list) else ()):
        if isinstance(part, dict):
            yield n, part


def _part(field: str, part: dict[str, Any], content: _Content) -> None:
    kind = part.get("type")
    if not isinstance(kind, str):
        return
    content.kinds.add(kind)
    if kind not in KINDS:
        content.foreign = content.foreign or f"{field}.type"
    file = part.get("file")
    ident = file.get("file_id") if isinstance(file, dict) else None
    if isinstance(ident, str):
        content.foreign = content.foreign or f"{field}.file.file_id"
        content.ids.append((f"{field}.file.file_id", ident))
