"""Reply → a client's whole reply. Source: OpenAI API reference, "The chat completion object"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from .. import openai
from ..blobs import tagged
from ..conversation import Blob, Citation, Image, Inline, Reasoning, Refusal, Text, ToolCall, Url, UrlCitation
from ..replies import Choice, Reply, Stop, Usage
from ..translation import Context
from . import reasoning

FINISH: Mapping[Stop, str] = {
    Stop.END: "stop",
    Stop.STOP_SEQUENCE: "stop",
    Stop.PAUSE: "stop",
    Stop.MAX_TOKENS: "length",
    Stop.CONTEXT_WINDOW: "length",
    Stop.TOOL_CALLS: "tool_calls",
    Stop.REFUSAL: "content_filter",
    Stop.CONTENT_FILTER: "content_filter",
}
_TIERS: Mapping[str, str] = {
    **{tier: tier for tier in ("auto", "default", "flex", "scale", "priority", "fast")},
    "standard": "default",
}


def encode_reply(reply: Reply, context: Context) -> bytes:
    return msgspec.json.encode(
        {
            **head_of(reply.id, reply.model, reply.created_s, reply.service_tier, context),
            "object": "chat.completion",
            "choices": [_choice(choice, context) for choice in reply.choices],
            "usage": None if reply.usage is None else usage_object(reply.usage),
        }
    )


def head_of(
    ident: str, model: str, created_s: int | None, service_tier: str, context: Context
) -> dict[str, Any]:
    """What a whole reply and each chunk of a stream begin with."""
    return {
        "id": ident if ident.startswith("chatcmpl-") else f"chatcmpl-{ident or context.request_id}",
        "object": "chat.completion.chunk",
        "created": context.now_s if created_s is None else created_s,
        "model": model or context.model,
        "service_tier": _TIERS.get(service_tier),
        "system_fingerprint": None,
    }


def knows_tools(context: Context) -> bool:
    """False: the client asks with `functions`, which came before tools, and takes one call a reply."""
    return not context.echo.get("function_call")


def custom_tools(context: Context) -> frozenset[str]:
    """Names of the client's tools that take any text: see requests_in."""
    return frozenset(context.echo.get("custom") or ())


def _choice(choice: Choice, context: Context) -> dict[str, Any]:
    texts: list[str] = []
    refusals: list[str] = []
    calls: list[ToolCall] = []
    thoughts: list[Reasoning] = []
    annotations: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    blob: Blob | None = None
    behind = 0  # characters of text so far
    for part in choice.parts:
        match part:
            case Text(text, _, citations, own):
                texts.append(text)
                annotations += annotations_of(citations, behind, len(text))
                behind += len(text)
                blob = own or blob
            case Refusal(text):
                refusals.append(text)
            case Image():
                images.append(image_object(part, len(images)))
            case ToolCall():
                calls.append(part)
            case Reasoning():
                thoughts.append(part)
    content = "".join(texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content if content or not (calls or refusals) else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    if annotations:
        message["annotations"] = annotations
    if images:
        message["images"] = images
    if thoughts:
        _reasoning(thoughts, message)
    if blob is not None:
        message["extra_content"] = thought(blob)
    finish = FINISH[choice.stop]
    if len(calls) == 1 and not knows_tools(context):
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
        finish = "function_call" if finish == "tool_calls" else finish
    elif calls:
        custom = custom_tools(context)
        message["tool_calls"] = [call_object(call, call.name in custom) for call in calls]
    logprobs = None if choice.logprobs is None else {"content": list(choice.logprobs), "refusal": None}
    return {"index": choice.index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def _reasoning(thoughts: list[Reasoning], message: dict[str, Any]) -> None:
    """Twice: for people, and in the form that clients send back."""
    words = "".join(part.text for part in thoughts)
    if words:
        message["reasoning_content"] = words
    if details := reasoning.told(thoughts):
        message["reasoning_details"] = details


def image_object(image: Image, place: int) -> dict[str, Any]:
    """What a model drew, in OpenRouter's words: OpenAI's have no place for it in a chat."""
    match image.source:
        case Inline(media_type, data):
            url = f"data:{media_type};base64,{data}"
        case Url(url):
            pass
        case _:
            raise ValueError("no reply has an image as text")
    return {"type": "image_url", "image_url": {"url": url}, "index": place}


def call_object(call: ToolCall, custom: bool) -> dict[str, Any]:
    """`custom`: the tool takes any text, and the call is one of the function that stands for it."""
    said: dict[str, Any] = {"id": call.id}
    if call.custom or custom:
        given = call.arguments if call.custom or not call.arguments else openai.custom_input(call.arguments)
        said |= {"type": "custom", "custom": {"name": call.name, "input": given}}
    else:
        said |= {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    if call.blob is not None:
        said["extra_content"] = thought(call.blob)
    return said


def thought(blob: Blob) -> dict[str, Any]:
    """Where Google's OpenAI-compatible API has its thought signatures."""
    return {"google": {"thought_signature": tagged(blob)}}


def annotations_of(citations: Iterable[Citation], behind: int, length: int) -> Iterator[dict[str, Any]]:
    """Of a text of `length` characters `behind` so many others. A citation without a place is for all of it.
    OpenAI has no word for a place in a document of the client's own."""
    for citation in citations:
        if isinstance(citation, UrlCitation):
            cited = {
                "url": citation.url,
                "title": citation.title,
                "start_index": behind + (citation.start or 0),
                "end_index": behind + (length if citation.end is None else citation.end),
            }
            if citation.quote:
                cited["content"] = citation.quote  # OpenRouter's
            yield {"type": "url_citation", "url_citation": cited}


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's prompt tokens include what was read from the cache, and what was written to it."""
    prompt_details: dict[str, Any] = {
        "cached_tokens": usage.cache_read,
        "audio_tokens": usage.audio_input or 0,
    }
    if written := usage.cache_write_5m + usage.cache_write_1h:
        prompt_details["cache_write_tokens"] = written
    said: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": prompt_details,
    }
    if usage.reasoning is not None:
        said["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return said
