"""A provider's whole reply → Reply. Source: OpenAI API reference, "The chat completion object"; and what
those that speak like OpenAI really send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import openai
from ..base import decode_json
from ..conversation import Blob, Part, Reasoning, Refusal, Text, ToolCall, Upstream, UrlCitation
from ..replies import Choice, Reply, Stop, Usage
from .requests_in import REASONING

_STOPS = {
    "stop": Stop.END,
    "length": Stop.MAX_TOKENS,
    "model_length": Stop.CONTEXT_WINDOW,
    "tool_calls": Stop.TOOL_CALLS,
    "function_call": Stop.TOOL_CALLS,
    "content_filter": Stop.CONTENT_FILTER,
}
THOUGHT = "openai-chat.thought_signature"


def decode_reply(body: bytes, upstream: Upstream) -> Reply:
    value = decode_json(body)
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices:
        raise ValueError("it has no choices")
    return Reply(
        id=text_of(value.get("id")),
        model=text_of(value.get("model")),
        choices=tuple(_choice(choice, n, upstream) for n, choice in enumerate(choices)),
        usage=usage_of(value),
        service_tier=text_of(value.get("service_tier")),
        created_s=value.get("created") if isinstance(value.get("created"), int) else None,
    )


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def stop_of(reason: Any, has_calls: bool) -> Stop:
    if has_calls and reason in ("stop", None):
        return Stop.TOOL_CALLS  # some say stop although they call tools
    return _STOPS.get(reason, Stop.END) if isinstance(reason, str) else Stop.END


def usage_of(value: Mapping[str, Any]) -> Usage | None:
    usage = value.get("usage")
    if not isinstance(usage, dict):
        groq = value.get("x_groq")
        usage = groq.get("usage") if isinstance(groq, dict) else None
    if not isinstance(usage, dict):
        return None
    prompt = openai.count_in(usage, "prompt_tokens") or 0
    output = openai.count_in(usage, "completion_tokens") or 0
    return openai.usage_of(
        prompt, output, usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    )


def _choice(choice: Any, n: int, upstream: Upstream) -> Choice:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise ValueError(f"choices[{n}] has no message")
    parts = tuple(_parts(message, upstream))
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    calls = any(isinstance(part, ToolCall) for part in parts)
    index = choice.get("index")
    return Choice(
        parts,
        stop_of(choice.get("finish_reason"), calls),
        index=index if isinstance(index, int) else n,
        logprobs=tuple(tokens) if isinstance(tokens, list) else None,
    )


def _parts(message: Mapping[str, Any], upstream: Upstream) -> Iterator[Part]:
    yield from reasoning_of(message, upstream)
    content = message.get("content")
    citations = tuple(citations_of(message.get("annotations")))
    if isinstance(content, list):
        yield from typed_content(content)
    elif isinstance(content, str) and content:
        yield Text(content, citations=citations)
    if refusal := text_of(message.get("refusal")):
        yield Refusal(refusal)
    for n, call in enumerate(message.get("tool_calls") or ()):
        yield _call(call, n, upstream)
    function = message.get("function_call")
    if isinstance(function, dict):
        name = text_of(function.get("name"))
        yield ToolCall(f"function:{name}", name, text_of(function.get("arguments")))


def typed_content(content: list[Any]) -> Iterator[Part]:
    """Mistral's: a list of parts, some of them what it thinks."""
    for part in content:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "thinking":
            thinking = part.get("thinking")
            inner = thinking if isinstance(thinking, list) else []
            yield Reasoning("".join(text_of(each.get("text")) for each in inner if isinstance(each, dict)))
        elif text := text_of(part.get("text")):
            yield Text(text)


def reasoning_of(message: Mapping[str, Any], upstream: Upstream) -> Iterator[Reasoning]:
    details = message.get("reasoning_details")
    if isinstance(details, list) and details:
        for detail in details:
            if isinstance(detail, dict):
                yield detail_of(detail, upstream)
        return
    text = text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))
    if text:
        yield Reasoning(text)


def detail_of(detail: Mapping[str, Any], upstream: Upstream) -> Reasoning:
    """One of OpenRouter's `reasoning_details`."""
    ident = text_of(detail.get("id"))
    if data := text_of(detail.get("data")):
        return Reasoning("", Blob(upstream.provider, REASONING, data), True, ident)
    text = text_of(detail.get("text")) or text_of(detail.get("summary"))
    signature = text_of(detail.get("signature"))
    blob = Blob(upstream.provider, REASONING, signature) if signature else None
    return Reasoning(text, blob, False, ident, "summary" in detail)


def _call(call: Any, n: int, upstream: Upstream) -> ToolCall:
    if not isinstance(call, dict):
        raise ValueError(f"tool_calls[{n}] is no object")
    ident = text_of(call.get("id")) or f"call_{n}"
    custom = call.get("custom")
    if isinstance(custom, dict):
        return ToolCall(ident, text_of(custom.get("name")), text_of(custom.get("input")), custom=True)
    function = call.get("function")
    if not isinstance(function, dict) or not text_of(function.get("name")):
        raise ValueError(f"tool_calls[{n}] names no function")
    return ToolCall(ident, function["name"], text_of(function.get("arguments")), call_blob(call, upstream))


def call_blob(call: Mapping[str, Any], upstream: Upstream) -> Blob | None:
    """Google's OpenAI-compatible API puts its thought signature here."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return Blob(upstream.provider, THOUGHT, signature) if isinstance(signature, str) else None


def citations_of(annotations: Any) -> Iterator[UrlCitation]:
    for annotation in annotations if isinstance(annotations, list) else ():
        cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
        if isinstance(cited, dict):
            first, behind = cited.get("start_index"), cited.get("end_index")
            yield UrlCitation(
                text_of(cited.get("url")),
                text_of(cited.get("title")),
                first if isinstance(first, int) else None,
                behind if isinstance(behind, int) else None,
            )
