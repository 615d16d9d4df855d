"""A provider's whole reply → Reply.

Source: OpenAI API reference, "The chat completion object"; and what those that speak like OpenAI really send.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .. import openai
from ..conversation import Blob, Image, Part, Reasoning, Refusal, Text, ToolCall, Upstream, UrlCitation
from ..replies import Cause, Choice, Fault, ProviderFailed, Reply, Stop, Usage
from . import reasoning
from .deviations import deviations_of
from .messages_in import source_of

STOPS: Mapping[str, Stop] = {
    "stop": Stop.END,
    "length": Stop.MAX_TOKENS,
    "model_length": Stop.CONTEXT_WINDOW,  # Mistral's
    "tool_calls": Stop.TOOL_CALLS,
    "function_call": Stop.TOOL_CALLS,
    "content_filter": Stop.CONTENT_FILTER,
    # What gateways pass on in the words of other dialects.
    "max_tokens": Stop.MAX_TOKENS,
    "tool_use": Stop.TOOL_CALLS,
    "refusal": Stop.REFUSAL,
    "safety": Stop.CONTENT_FILTER,
}
# Reasons that are no end of an answer. Mistral's and OpenRouter's; DeepSeek's.
FAILURES = frozenset(("error", "insufficient_system_resource"))
_NO_ID = re.compile(r"[^a-zA-Z0-9_-]+")


def decode_reply(body: bytes, upstream: Upstream) -> Reply:
    """ValueError in words where the bytes are no reply; ProviderFailed where they say that there is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    choices = value.get("choices")
    if value.get("error") and not choices:
        raise ProviderFailed(openai.fault_from(value))
    if not isinstance(choices, list) or not choices:
        raise ValueError("it has no choices")
    created = value.get("created")
    ident = text_of(value.get("id"))
    echo = bool(deviations_of(upstream).reasoning_field)
    reader = _Reader(upstream.provider, echo, ident, sources_of(value))
    return Reply(
        id=ident,
        model=text_of(value.get("model")),
        choices=tuple(_choice(choice, n, reader) for n, choice in enumerate(choices)),
        usage=usage_of(value),
        service_tier=text_of(value.get("service_tier")),
        created_s=created if isinstance(created, int) and not isinstance(created, bool) else None,
    )


class _Reader(msgspec.Struct, frozen=True):
    """What the parts of a reply need beside themselves."""

    issuer: str
    echo: bool  # the provider wants its plain reasoning back
    reply_id: str
    sources: tuple[UrlCitation, ...] = ()


def _choice(choice: Any, n: int, reader: _Reader) -> Choice:
    message = choice.get("message") if isinstance(choice, dict) else None
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    if message is None and reason == "content_filter":
        message = {}  # Azure's, of which its filter left nothing
    if not isinstance(message, dict):
        raise ValueError(f"choices[{n}] has no message")
    if choice.get("error"):
        raise ProviderFailed(openai.fault_from(choice))
    if isinstance(reason, str) and reason in FAILURES:
        raise ProviderFailed(stopped_with(reason))
    parts = tuple(_parts(message, n, reader))
    index = choice.get("index")
    return Choice(
        parts,
        stop_of(reason, any(isinstance(part, ToolCall) for part in parts)),
        index=index if isinstance(index, int) else n,
        logprobs=tokens_of(choice.get("logprobs")),
    )


def _parts(message: Mapping[str, Any], n: int, reader: _Reader) -> Iterator[Part]:
    details = message.get("reasoning_details")
    entries = [entry for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
    thoughts = [reasoning.split(entry, reader.issuer) for entry in entries]
    if not any(part.text for part in thoughts) and (plain := plain_reasoning(message)):
        thoughts.insert(0, Reasoning(plain, echo_blob(reader.issuer) if reader.echo else None))
    yield from thoughts
    content = message.get("content")
    citations = tuple(citations_of(message.get("annotations"))) or reader.sources
    blob = thought_of(message, reader.issuer)
    if isinstance(content, list):
        yield from typed_content(content)
    elif (words := text_of(content) or spoken(message)) or blob is not None:
        yield Text(words, citations=citations, blob=blob)
    yield from images_of(message)
    if refusal := text_of(message.get("refusal")):
        yield Refusal(refusal)
    calls = message.get("tool_calls")
    for m, call in enumerate(calls if isinstance(calls, list) else ()):
        yield _call(call, made_id(reader.reply_id, n, m), reader.issuer)
    function = message.get("function_call")
    if isinstance(function, dict):
        name = text_of(function.get("name"))
        yield ToolCall(made_id(reader.reply_id, n, 0), name, arguments_of(function.get("arguments")))


def _call(call: Any, ident: str, issuer: str) -> ToolCall:
    if not isinstance(call, dict):
        raise ValueError("tool_calls holds something that is no call")
    ident = id_of(call) or ident
    custom = call.get("custom")
    if isinstance(custom, dict):
        return ToolCall(ident, text_of(custom.get("name")), text_of(custom.get("input")), custom=True)
    function = call.get("function")
    name = text_of(function.get("name")) if isinstance(function, dict) else ""
    if not isinstance(function, dict) or not name:
        raise ValueError("a tool call names no function")
    return ToolCall(ident, name, arguments_of(function.get("arguments")), thought_of(call, issuer))


# -- what whole replies and streams share


def stopped_with(reason: str) -> Fault:
    """Of a reason that is one of FAILURES."""
    return Fault(Cause.SERVER, 502, f"the provider stopped with {reason!r}", reason)


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def id_of(call: Mapping[str, Any]) -> str:
    """Mistral writes `null` as a text."""
    ident = text_of(call.get("id"))
    return "" if ident == "null" else ident


def spoken(message: Mapping[str, Any]) -> str:
    """What a model said aloud, where that is all of its answer."""
    audio = message.get("audio")
    return text_of(audio.get("transcript")) if isinstance(audio, dict) else ""


def images_of(message: Mapping[str, Any]) -> Iterator[Image]:
    """What a model drew: OpenRouter's field, which others took over."""
    images = message.get("images")
    for entry in images if isinstance(images, list) else ():
        image = entry.get("image_url") if isinstance(entry, dict) else None
        url = text_of(image.get("url")) if isinstance(image, dict) else text_of(image)
        if url:
            yield Image(source_of(url))


def arguments_of(value: Any) -> str:
    """Some give the object itself."""
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()


def made_id(reply_id: str, choice: int, place: int) -> str:
    """For a call that has none."""
    return "_".join(filter(None, ("call", _NO_ID.sub("", reply_id), str(choice), str(place))))


def stop_of(reason: Any, has_calls: bool) -> Stop:
    stop = STOPS.get(reason.lower(), Stop.END) if isinstance(reason, str) else Stop.END
    # With a tool choice that names the tool, OpenAI and others say that it just stopped.
    return Stop.TOOL_CALLS if has_calls and stop is Stop.END else stop


def tokens_of(logprobs: Any) -> tuple[Mapping[str, Any], ...] | None:
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    return tuple(token for token in tokens if isinstance(token, dict)) if isinstance(tokens, list) else None


def plain_reasoning(message: Mapping[str, Any]) -> str:
    return text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))


def echo_blob(issuer: str) -> Blob:
    """Says whose plain reasoning it is: only its provider gets it back."""
    return Blob(issuer, reasoning.ECHO, "")


def thought_of(holder: Mapping[str, Any], issuer: str) -> Blob | None:
    """Google's OpenAI-compatible API has a thought signature here."""
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return Blob(issuer, reasoning.THOUGHT, signature) if isinstance(signature, str) and signature else None


def typed_content(content: list[Any]) -> Iterator[Text | Reasoning]:
    """Mistral's content: a list of parts, some of which are what it thinks. Neighbours of a kind are one."""
    texts: list[str] = []
    thinks = False
    for part in content:
        if not isinstance(part, dict):
            continue
        inner = part.get("thinking")
        is_thought = part.get("type") == "thinking"
        if is_thought and isinstance(inner, list):
            text = "".join(text_of(each.get("text")) for each in inner if isinstance(each, dict))
        else:
            text = text_of(inner) if is_thought else text_of(part.get("text"))
        if not text:
            continue
        if texts and is_thought != thinks:
            yield Reasoning("".join(texts)) if thinks else Text("".join(texts))
            texts.clear()
        thinks = is_thought
        texts.append(text)
    if texts:
        yield Reasoning("".join(texts)) if thinks else Text("".join(texts))


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
                text_of(cited.get("content")),  # OpenRouter's
            )


def sources_of(value: Mapping[str, Any]) -> tuple[UrlCitation, ...]:
    """What an answer rests on, told beside it: `search_results` (Perplexity's), `citations` (xAI's too)."""
    found: list[UrlCitation] = []
    for name in ("search_results", "citations"):
        said = value.get(name)
        for source in said if isinstance(said, list) else ():
            entry = source if isinstance(source, dict) else {"url": source}
            if url := text_of(entry.get("url")):
                found.append(UrlCitation(url, text_of(entry.get("title"))))
        if found:
            break
    return tuple(found)


def usage_of(value: Mapping[str, Any]) -> Usage | None:
    usage = value.get("usage")
    if not isinstance(usage, dict):
        groq = value.get("x_groq")
        usage = groq.get("usage") if isinstance(groq, dict) else None
    if not isinstance(usage, dict):
        return None
    prompt = openai.count_in(usage, "prompt_tokens") or 0
    output = openai.count_in(usage, "completion_tokens") or 0
    details = usage.get("completion_tokens_details")
    hidden = openai.count_in(details, "reasoning_tokens") or 0
    if hidden and openai.count_in(usage, "total_tokens") == prompt + output + hidden:
        output += hidden  # xAI counts reasoning beside the output, not in it
    searches = openai.count_in(usage.get("server_tool_use_details"), "web_search_requests")  # OpenRouter's
    return openai.usage_of(prompt, output, _prompt_details(usage), details, searches)


# Where others than OpenAI tell how much of the prompt was read from the cache: Mistral, DeepSeek, Moonshot.
_CACHED = ("num_cached_tokens", "prompt_cache_hit_tokens", "cached_tokens")


def _prompt_details(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    details = usage.get("prompt_tokens_details")
    told: Mapping[str, Any] = details if isinstance(details, dict) else {}
    if openai.count_in(told, "cached_tokens") is not None:  # nearly always
        return told
    cached = next((n for name in _CACHED if (n := openai.count_in(usage, name))), 0)
    return {**told, "cached_tokens": cached}
