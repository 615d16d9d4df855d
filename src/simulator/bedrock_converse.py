"""Bedrock's Converse, whole and as a stream of binary events, and its token counting.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html
"""

import base64
import binascii
import string
from typing import Any

from . import event_stream, reading_bedrock, reading_messages
from .answers import Answer, ToolUse, braid
from .reading import member, size_tokens, text_size
from .requests import Call, read_json

_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "refusal": "content_filtered",
    "stop_sequence": "stop_sequence",
}
_PADDING = string.ascii_letters + string.digits
_LATENCY_MS = 400


def is_claude(model: str | None) -> bool:
    """Whether a model is Anthropic's: those sign their reasoning, and check it."""
    return any(word in (model or "") for word in ("anthropic", "claude"))


def _usage(answer: Answer) -> dict[str, int]:
    used = answer.usage
    return {
        "cacheReadInputTokenCount": used.cache_read,
        "cacheReadInputTokens": used.cache_read,
        "cacheWriteInputTokenCount": used.cache_write,
        "cacheWriteInputTokens": used.cache_write,
        "inputTokens": used.input,
        "outputTokens": used.output,
        "totalTokens": used.prompt + used.output,
    }


def _reasoning(answer: Answer) -> dict[str, Any]:
    if answer.redacted:
        return {"redactedContent": answer.seals.seal("redacted", answer.reasoning)}
    text = {"text": answer.reasoning}
    if is_claude(answer.model):
        text["signature"] = answer.seals.seal("thinking", answer.reasoning)
    return {"reasoningText": text}


def _tool(tool: ToolUse) -> dict[str, Any]:
    return {"toolUseId": f"tooluse_{tool.id}", "name": tool.name}


def whole(answer: Answer, call: Call) -> dict[str, Any]:
    """A Converse response."""
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        content.append({"reasoningContent": _reasoning(answer)})
    if answer.spoken and answer.citations:
        cited = {"content": [{"text": answer.spoken}], "citations": _citations(answer)}
        content.append({"citationsContent": cited})
    elif answer.spoken:
        content.append({"text": answer.spoken})
    content += [{"toolUse": {**_tool(tool), "input": tool.value}} for tool in answer.tools]
    return {
        "metrics": {"latencyMs": _LATENCY_MS},
        "output": {"message": {"content": content, "role": "assistant"}},
        **_stop(answer, call),
        "usage": _usage(answer),
    }


def _citations(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "title": cited.title,
            "sourceContent": [{"text": cited.quote}] if cited.quote else [],
            "location": {"web": {"url": cited.url}},
        }
        for cited in answer.citations
    ]


def _stop(answer: Answer, call: Call) -> dict[str, Any]:
    """Which stop sequence it was stands in the model's own fields, for those who ask for it."""
    stop: dict[str, Any] = {"stopReason": _STOP[answer.finish]}
    asked = call.fields.get("additionalModelResponseFieldPaths")
    path = "/delta/stop_sequence" if call.stream else "/stop_sequence"
    if answer.stop_sequence is not None and isinstance(asked, list) and path in asked:
        found = {"stop_sequence": answer.stop_sequence}
        stop["additionalModelResponseFields"] = {"delta": found} if call.stream else found
    return stop


def _event(kind: str, **fields: Any) -> bytes:
    # The real service pads, so that sizes do not tell the text; what it pads with has this name.
    size = sum(map(len, map(str, fields.values()))) % len(_PADDING)
    return event_stream.event(kind, {**fields, "p": _PADDING[: size + 1]})


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event("contentBlockDelta", contentBlockIndex=index, delta=delta)


def events(answer: Answer, call: Call) -> list[bytes]:
    """The stream, messageStart to metadata; only tool calls have a contentBlockStart."""
    out = [_event("messageStart", role="assistant")]
    blocks = []
    if answer.reasoning:
        blocks.append(_reasoning_deltas(answer))
    if answer.spoken:
        cited = [{"citation": citation} for citation in _citations(answer)]
        blocks.append([*({"text": piece} for piece in answer.spoken_pieces), *cited])
    for index, deltas in enumerate(blocks):
        out += [_delta(index, delta) for delta in deltas]
        out.append(_event("contentBlockStop", contentBlockIndex=index))
    strands = [_call_events(tool, index) for index, tool in enumerate(answer.tools, len(blocks))]
    out += braid(strands, answer.interleave)
    out.append(_event("messageStop", **_stop(answer, call)))
    return [*out, _event("metadata", metrics={"latencyMs": _LATENCY_MS}, usage=_usage(answer))]


def _reasoning_deltas(answer: Answer) -> list[dict[str, Any]]:
    said = _reasoning(answer)
    if answer.redacted:
        return [{"reasoningContent": said}]
    parts = [{"text": answer.reasoning}]
    if "signature" in said["reasoningText"]:
        parts.append({"signature": said["reasoningText"]["signature"]})
    return [{"reasoningContent": part} for part in parts]


def _call_events(tool: ToolUse, index: int) -> list[bytes]:
    out = [_event("contentBlockStart", contentBlockIndex=index, start={"toolUse": _tool(tool)})]
    out += [_delta(index, {"toolUse": {"input": piece}}) for piece in tool.pieces]
    return [*out, _event("contentBlockStop", contentBlockIndex=index)]


def count_tokens(call: Call) -> dict[str, Any]:
    """The count of a Converse request, or of an InvokeModel body of Anthropic's."""
    asked = call.fields.get("input")
    fields = member(asked, "converse")
    reader = reading_bedrock.READER
    if not isinstance(fields, dict):
        reader, body = reading_messages.READER, member(asked, "invokeModel", "body")
        try:
            fields = read_json(base64.b64decode(body if isinstance(body, str) else ""))
        except binascii.Error:
            fields = None
    size = sum(map(text_size, reader.texts(fields if isinstance(fields, dict) else {})))
    return {"inputTokens": max(1, size_tokens(size))}
