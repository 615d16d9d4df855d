"""OpenAI chat completions, whole and streamed, and models.

https://platform.openai.com/docs/api-reference/chat/object
https://platform.openai.com/docs/api-reference/chat-streaming
https://platform.openai.com/docs/api-reference/models
"""

from collections.abc import Iterator
from typing import Any

from . import sse
from .answers import Answer, ToolUse, braid
from .requests import Call

_FINGERPRINT = "fp_simulator0"
_MAX_CHOICES = 8


def _usage(answer: Answer, choices: int) -> dict[str, Any]:
    used = answer.usage
    output = used.output * choices
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": output,
        "total_tokens": used.prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": used.cache_read,
            "cache_write_tokens": used.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning * choices,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choices(call: Call) -> int:
    wanted = call.fields.get("n")
    return min(max(wanted, 1), _MAX_CHOICES) if isinstance(wanted, int) else 1


def _tool(tool: ToolUse, arguments: str) -> dict[str, Any]:
    function = {"name": tool.name, "arguments": arguments}
    return {"id": f"call_{tool.id}", "type": "function", "function": function}


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or (None if answer.tools else ""),
        "refusal": None,
        "annotations": [],
    }
    if answer.shown_reasoning:
        # Not OpenAI's own: DeepSeek and others that speak this dialect show their reasoning here.
        message["reasoning_content"] = answer.shown_reasoning
    if answer.tools:
        message["tool_calls"] = [_tool(tool, tool.arguments) for tool in answer.tools]
    return message


def whole(answer: Answer, call: Call) -> dict[str, Any]:
    """A chat.completion object."""
    count = _choices(call)
    message = _message(answer)
    choices = [
        {"index": n, "message": message, "logprobs": None, "finish_reason": answer.finish}
        for n in range(count)
    ]
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": choices,
        "usage": _usage(answer, count),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    first = None if answer.tools and not answer.text else ""
    yield {"role": "assistant", "content": first, "refusal": None}
    if answer.shown_reasoning:
        yield {"reasoning_content": answer.shown_reasoning}
    for piece in answer.pieces:
        yield {"content": piece}
    strands = [_call_deltas(index, tool) for index, tool in enumerate(answer.tools)]
    yield from ({"tool_calls": [call]} for call in braid(strands, answer.interleave))


def _call_deltas(index: int, tool: ToolUse) -> list[dict[str, Any]]:
    pieces = [{"index": index, "function": {"arguments": piece}} for piece in tool.pieces]
    return [{"index": index, **_tool(tool, "")}, *pieces]


def chunks(answer: Answer, call: Call) -> list[dict[str, Any]]:
    """The chat.completion.chunk objects; the usage chunk only when stream_options.include_usage asks."""
    options = call.fields.get("stream_options")
    with_usage = isinstance(options, dict) and options.get("include_usage") is True
    count = _choices(call)
    base: dict[str, Any] = {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    tail = {"usage": None} if with_usage else {}

    def chunk(index: int, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**base, "choices": [choice], **tail}

    out = [chunk(n, delta, None) for delta in _deltas(answer) for n in range(count)]
    out += [chunk(n, {}, answer.finish) for n in range(count)]
    if with_usage:
        out.append({**base, "choices": [], "usage": _usage(answer, count)})
    return out


def events(answer: Answer, call: Call) -> list[bytes]:
    """The stream's events."""
    return [*map(sse.event, chunks(answer, call)), sse.DONE]


def models(names: list[str]) -> dict[str, Any]:
    """The list of models."""
    return {"object": "list", "data": [model(name) for name in names]}


def model(name: str) -> dict[str, Any]:
    """One model."""
    return {"id": name, "object": "model", "created": 1_735_689_600, "owned_by": "simulator"}
