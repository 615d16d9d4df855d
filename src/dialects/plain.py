"""Replies of the plainest kind, which most are: nothing but text, to its proper end. They are told by a look
at the few fields that could say otherwise, at a fraction of what the reading of all costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from .anthropic_messages.replies_in import MessageOut

_Things = list[msgspec.Raw] | None


class _Beside(msgspec.Struct, kw_only=True):
    """What may stand beside text. `None` for a type: who says anything there is not plain."""

    refusal: str | None = None
    tool_calls: _Things = None
    function_call: None = None
    annotations: _Things = None
    images: _Things = None
    reasoning_details: _Things = None
    extra_content: None = None

    def is_there(self) -> bool:
        return bool(
            self.refusal or self.tool_calls or self.annotations or self.images or self.reasoning_details
        )


class _ChatMessage(_Beside, kw_only=True):
    content: str


class _ChatChoice(msgspec.Struct):
    message: _ChatMessage
    finish_reason: str
    error: None = None


class _Completion(msgspec.Struct):
    choices: list[_ChatChoice]
    search_results: _Things = None
    citations: _Things = None


class _Delta(_Beside, kw_only=True):
    content: str | None = None
    audio: None = None


class _ChunkChoice(msgspec.Struct):
    delta: _Delta
    index: int = 0
    finish_reason: str | None = None
    error: None = None


class _Chunk(msgspec.Struct):
    choices: list[_ChunkChoice]
    error: None = None
    search_results: None = None
    citations: None = None


class _Content(msgspec.Struct):
    type: str
    text: str
    annotations: _Things = None


class _Item(msgspec.Struct):
    type: str
    content: list[_Content] | None = None
    encrypted_content: None = None


class _Response(msgspec.Struct):
    status: str
    output: list[_Item]


_completion = msgspec.json.Decoder(_Completion).decode
_chunk = msgspec.json.Decoder(_Chunk).decode
_message = msgspec.json.Decoder(MessageOut).decode
_response = msgspec.json.Decoder(_Response).decode


def _is_plain_completion(body: bytes) -> bool:
    told = _completion(body)
    if not told.choices or told.search_results or told.citations:
        return False
    for choice in told.choices:
        says = choice.message
        if choice.finish_reason != "stop" or not says.content or says.is_there():
            return False
    return True


def _is_plain_message(body: bytes) -> bool:
    told = _message(body)
    if told.type != "message" or told.stop_reason not in ("end_turn", "stop_sequence") or told.stop_details:
        return False
    blocks = told.content
    return any(block.text for block in blocks) and all(
        block.type == "text" and not block.citations for block in blocks
    )


def _is_plain_response(body: bytes) -> bool:
    told = _response(body)
    says = False
    for item in told.output if told.status == "completed" else ():
        if item.type == "reasoning":
            continue
        if item.type != "message":
            return False
        for content in item.content or ():
            if content.type != "output_text" or content.annotations:
                return False
            says = says or bool(content.text)
    return says


_DATA, _DONE = b"data: ", b"data: [DONE]\n\n"


def _is_plain_chat_stream(body: bytes) -> bool:
    """Of one answer, in events of one line each."""
    if not body.endswith(_DONE) or b"\r" in body:
        return False
    events = body[: -len(_DONE)].split(b"\n\n")
    if events.pop() or body.count(b"\n") != 2 * (len(events) + 1):
        return False
    says = ended = False
    for event in events:
        if not event.startswith(_DATA):
            return False
        choices = _chunk(event[len(_DATA) :]).choices
        if not choices:
            continue
        if ended or len(choices) > 1:
            return False
        (choice,) = choices
        delta = choice.delta
        if choice.index or delta.is_there():
            return False
        if reason := choice.finish_reason:
            if reason != "stop":
                return False
            ended = True
        says = says or bool(delta.content)
    return says and ended


_BY_DIALECT: Mapping[str, Callable[[bytes], bool]] = {
    "openai-chat": _is_plain_completion,
    "anthropic-messages": _is_plain_message,
    "openai-responses": _is_plain_response,
}


def is_plain(dialect: str, is_stream: bool, body: bytes) -> bool:
    """It is whole, says something, ended well, calls nothing, and can be told in another form without loss.
    False: whoever wants to know has to read all of it."""
    if is_stream and dialect != "openai-chat":
        return False
    try:
        if not body.isascii():
            body.decode()  # what is passed over is not looked at for that
        return _is_plain_chat_stream(body) if is_stream else _BY_DIALECT[dialect](body)
    except (ValueError, RecursionError):  # msgspec's and those of UTF-8, too
        return False
