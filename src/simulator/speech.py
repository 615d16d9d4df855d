"""How each surface speaks: what makes its whole answers and its streams, and how they are labelled."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import (
    anthropic_messages,
    azure,
    bedrock_converse,
    bedrock_invoke,
    event_stream,
    gemini,
    openai_chat,
    openai_responses,
)
from .answers import Answer
from .requests import Call

_COMMENT = b": ping\n\n"
_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Speech:
    """A surface's ways; `ping` is what keeps a stream busy and says nothing."""

    whole: Callable[[Answer, Call], dict[str, Any]]
    events: Callable[[Answer, Call], list[bytes]]
    ping: bytes = _COMMENT
    whole_type: str = _JSON
    stream_type: str = _SSE


_CHAT = Speech(openai_chat.whole, openai_chat.events)
_AZURE_CHAT = Speech(azure.whole, azure.events)
_RESPONSES = Speech(openai_responses.whole, openai_responses.events)
_MESSAGES = Speech(anthropic_messages.whole, anthropic_messages.events, anthropic_messages.PING)
_INVOKE = Speech(
    anthropic_messages.whole,
    bedrock_invoke.events,
    event_stream.PING,
    stream_type=event_stream.CONTENT_TYPE,
)
_CONVERSE = Speech(
    bedrock_converse.whole,
    bedrock_converse.events,
    event_stream.PING,
    stream_type=event_stream.CONTENT_TYPE,
)
_GOOGLE_JSON = "application/json; charset=UTF-8"
_GEMINI = Speech(gemini.whole, gemini.events, whole_type=_GOOGLE_JSON, stream_type="text/event-stream")
_GEMINI_ARRAY = Speech(gemini.whole, gemini.events, b"\n", _GOOGLE_JSON, _GOOGLE_JSON)


def speech(call: Call) -> Speech:
    """The ways of a call's surface, one that makes answers."""
    match call.surface:
        case "bedrock-converse":
            return _CONVERSE
        case "gemini":
            return _GEMINI if gemini.is_sse(call) or not call.stream else _GEMINI_ARRAY
        case "anthropic-messages":
            return _INVOKE if call.platform == "bedrock" else _MESSAGES
        case "openai-responses":
            return _RESPONSES
    return _AZURE_CHAT if call.platform == "azure" else _CHAT
