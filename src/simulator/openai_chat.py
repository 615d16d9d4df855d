"""OpenAI chat completions, whole and streamed, and models.

https://platform.openai.com/docs/api-reference/chat/object
https://platform.openai.com/docs/api-reference/chat-streaming
https://platform.openai.com/docs/api-reference/models
"""

from collections.abc import Iterator
from typing import Any

from . import hosted, requests, sse
from .answers import Answer, Token, ToolUse, braid, tokens_of
from .requests import Call

_FINGERPRINT = "fp_simulator0"
_FINISH = {"refusal": "stop", "stop_sequence": "stop"}  # the others by their own names


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


def _tool(tool: ToolUse, arguments: str) -> dict[str, Any]:
    function = {"name": tool.name, "arguments": arguments}
    return {"id": f"call_{tool.id}", "type": "function", "function": function}


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or (None if answer.tools or answer.refusal else ""),
        "refusal": answer.refusal or None,
        "annotations": _annotations(answer),
    }
    if answer.shown_reasoning:
        # Not OpenAI's own: DeepSeek and others that speak this dialect show their reasoning here.
        message["reasoning_content"] = answer.shown_reasoning
    if answer.tools:
        message["tool_calls"] = [_tool(tool, tool.arguments) for tool in answer.tools]
    return message


def _spoken(answer: Answer, call: Call) -> dict[str, Any]:
    audio = hosted.audio(answer, call)
    return {} if audio is None else {"content": None, "audio": audio}


def _spoken_deltas(audio: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None, "refusal": None}
    for name in ("transcript", "data", "expires_at"):
        yield {"audio": {"id": audio["id"], name: audio[name]}}


def _annotations(answer: Answer) -> list[dict[str, Any]]:
    out = []
    for cited in answer.citations:
        end = len(answer.text) if cited.end is None else cited.end
        place = {"start_index": cited.start or 0, "end_index": end}
        out.append(
            {"type": "url_citation", "url_citation": {"url": cited.url, "title": cited.title, **place}}
        )
    return out


def _logprobs(pieces: list[str], call: Call) -> dict[str, Any] | None:
    top = requests.wanted_logprobs(call)
    if top is None:
        return None
    return {"content": [_token(token) for token in tokens_of(pieces, top)], "refusal": None}


def _token(token: Token) -> dict[str, Any]:
    return {
        **_likely(token.text, token.logprob),
        "top_logprobs": [_likely(text, logprob) for text, logprob in token.top],
    }


def _likely(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}


def _choice(answer: Answer, call: Call, index: int) -> dict[str, Any]:
    said = answer.choice(index)
    return {
        "index": index,
        "message": _message(said) | _spoken(said, call),
        "logprobs": _logprobs(said.pieces, call),
        "finish_reason": _FINISH.get(answer.finish, answer.finish),
    }


def whole(answer: Answer, call: Call) -> dict[str, Any]:
    """A chat.completion object."""
    count = requests.choices(call)
    choices = [_choice(answer, call, n) for n in range(count)]
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


def _deltas(answer: Answer, call: Call) -> Iterator[dict[str, Any]]:
    if (audio := hosted.audio(answer, call)) is not None:
        yield from _spoken_deltas(audio)
        return
    first = None if (answer.tools or answer.refusal) and not answer.text else ""
    yield {"role": "assistant", "content": first, "refusal": None}
    if answer.shown_reasoning:
        yield {"reasoning_content": answer.shown_reasoning}
    for piece in answer.pieces:
        yield {"content": piece}
    if answer.citations:
        yield {"annotations": _annotations(answer)}
    if answer.refusal:
        yield {"refusal": answer.refusal}
    strands = [_call_deltas(index, tool) for index, tool in enumerate(answer.tools)]
    yield from ({"tool_calls": [call]} for call in braid(strands, answer.interleave))


def _call_deltas(index: int, tool: ToolUse) -> list[dict[str, Any]]:
    pieces = [{"index": index, "function": {"arguments": piece}} for piece in tool.pieces]
    return [{"index": index, **_tool(tool, "")}, *pieces]


def chunks(answer: Answer, call: Call) -> list[dict[str, Any]]:
    """The chat.completion.chunk objects; the usage chunk only when stream_options.include_usage asks."""
    options = call.fields.get("stream_options")
    with_usage = isinstance(options, dict) and options.get("include_usage") is True
    count = requests.choices(call)
    base: dict[str, Any] = {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    tail = {"usage": None} if with_usage else {}

    def chunk(index: int, delta: dict[str, Any], logprobs: Any, finish: str | None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**base, "choices": [choice], **tail}

    strands = []
    for n in range(count):
        said = answer.choice(n)
        tokens = iter((_logprobs(said.pieces, call) or {}).get("content", ()))
        deltas = list(_deltas(said, call))
        held = [{"content": [next(tokens)], "refusal": None} if _has_token(d, call) else None for d in deltas]
        strands.append([chunk(n, delta, probs, None) for delta, probs in zip(deltas, held, strict=True)])
    out = braid(strands, True)
    out += [chunk(n, {}, None, _FINISH.get(answer.finish, answer.finish)) for n in range(count)]
    if with_usage:
        out.append({**base, "choices": [], "usage": _usage(answer, count)})
    return out


def _has_token(delta: dict[str, Any], call: Call) -> bool:
    return bool(delta.get("content")) and requests.wanted_logprobs(call) is not None


def events(answer: Answer, call: Call) -> list[bytes]:
    """The stream's events."""
    return [*map(sse.event, chunks(answer, call)), sse.DONE]


def models(names: list[str]) -> dict[str, Any]:
    """The list of models."""
    return {"object": "list", "data": [model(name) for name in names]}


def model(name: str) -> dict[str, Any]:
    """One model."""
    return {"id": name, "object": "model", "created": 1_735_689_600, "owned_by": "simulator"}
