"""What a captured reply says, in the words of OpenTelemetry's conventions for generative AI. Pure.

Source: https://github.com/open-telemetry/semantic-conventions-genai, model/gen-ai/gen-ai-output-messages.json
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..dialects import Upstream, provider_dialect
from ..dialects.conversation import Image, Inline, Part, Reasoning, Refusal, Text, ToolCall, Url
from ..dialects.replies import Ended, Failed, Reply, ReplyEvent, Stop, Stopped
from ..dialects.streaming import fold
from .asked import call_part, media_part, message, text_part
from .texts import Object, Texts, name_of

_STOPS = {
    Stop.END: "stop",
    Stop.STOP_SEQUENCE: "stop",
    Stop.MAX_TOKENS: "length",
    Stop.CONTEXT_WINDOW: "length",
    Stop.TOOL_CALLS: "tool_call",
    Stop.CONTENT_FILTER: "content_filter",
}
_ERROR = "error"
CUT = "cut"  # the stream has no end: it broke off, or its client left


class Answered(NamedTuple):
    """`stops`: why each of the messages ended. `id`: the reply's, as the client got it."""

    messages: list[Object]
    stops: list[str]
    id: str = ""


def read_reply(dialect: str, body: bytes, is_stream: bool, texts: Texts) -> Answered | None:
    """Of a reply that is not an error's, also of one that was cut; None where it is none of the dialect."""
    try:
        speaks = provider_dialect(dialect)
    except KeyError:
        return None
    upstream = Upstream("", dialect, "")
    if not is_stream or body.lstrip().startswith((b"{", b"[")):
        try:
            return _told(speaks.decode_reply(body, upstream), texts)
        except ValueError:
            return None
    decoder = speaks.stream_decoder(upstream)
    events = [*decoder.feed(body), *decoder.end()]
    failed = any(isinstance(event, Failed) for event in events)
    if failed and len(events) == 1:  # not even a beginning
        return None
    return _told(fold(events, is_whole=False), texts, _unsaid(events, failed), _ended(events))


def _unsaid(events: Sequence[ReplyEvent], failed: bool) -> str:
    """Why a choice ended that does not say so; "": as the reply has it."""
    if failed:
        return _ERROR
    return "" if any(isinstance(event, Ended) for event in events) else CUT


def _ended(events: Sequence[ReplyEvent]) -> set[int]:
    return {event.choice for event in events if isinstance(event, Stopped)}


def _told(reply: Reply, texts: Texts, unsaid: str = "", ended: set[int] | None = None) -> Answered:
    messages, stops = [], []
    for choice in reply.choices:
        is_said = not unsaid or choice.index in (ended or ())
        stop = _STOPS.get(choice.stop, choice.stop.value) if is_said else unsaid
        parts = [part for one in choice.parts if (part := _part(one, texts)) is not None]
        messages.append({**message("assistant", parts), "finish_reason": stop})
        stops.append(stop)
    return Answered(messages, stops, name_of(reply.id))


def _part(part: Part, texts: Texts) -> Object | None:
    match part:
        case Text(text) if text:
            return text_part(text, texts)
        case Reasoning(text) if text:
            return text_part(text, texts, "reasoning")
        case Refusal(text):
            return text_part(text, texts, "refusal")
        case ToolCall(ident, name, arguments):
            return call_part(ident, name, arguments, texts)
        case Image(Url(url)):
            return media_part("image", url, "", texts)
        case Image(Inline(media_type, data)):
            return media_part("image", "", data, texts, media_type)
    return None
