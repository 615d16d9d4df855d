"""What a reply says, read straight from a provider's wire or from an official SDK's object.

It is written against the wire formats alone and shares nothing with the product, so that the two can't
share a mistake.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai.types.chat as chat_types
import openai.types.responses as responses_types
from botocore.eventstream import EventStreamBuffer


@dataclass
class Essence:
    """`prompt` counts all input tokens, cached ones too; `output` all output, reasoning too."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    stop: str = ""
    prompt: int | None = None
    cache_read: int = 0
    cache_write: int = 0
    output: int | None = None


def arguments(text: str) -> Any:
    """Arguments as JSON, or as they stand where they are none; no arguments are an empty object."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


# -- providers' whole replies

_CHAT_STOPS = {"stop": "end", "length": "max_tokens", "function_call": "tool_calls"}
_ANTHROPIC_STOPS = {
    "end_turn": "end",
    "tool_use": "tool_calls",
    "model_context_window_exceeded": "context_window",
    "pause_turn": "pause",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


def of_chat(body: Mapping[str, Any]) -> Essence:
    choice = body["choices"][0]
    message = choice["message"]
    essence = Essence(stop=_CHAT_STOPS.get(choice["finish_reason"], choice["finish_reason"]))
    _chat_content(essence, message)
    for call in message.get("tool_calls") or ():
        essence.calls.append((call["function"]["name"], arguments(call["function"]["arguments"])))
    _chat_usage(essence, body.get("usage"))
    return essence


def _chat_content(essence: Essence, message: Mapping[str, Any]) -> None:
    content = message.get("content") or ""
    if isinstance(content, list):  # Mistral's
        for part in content:
            if part["type"] == "thinking":
                essence.reasoning += "".join(t["text"] for t in part["thinking"] if t["type"] == "text")
            else:
                essence.text += part.get("text", "")
    else:
        essence.text += content
    essence.reasoning += message.get("reasoning_content") or message.get("reasoning") or ""
    essence.refusal += message.get("refusal") or ""


def _chat_usage(essence: Essence, usage: Mapping[str, Any] | None) -> None:
    if not usage:
        return
    details = usage.get("prompt_tokens_details") or {}
    essence.prompt, essence.output = usage["prompt_tokens"], usage["completion_tokens"]
    # Mistral tells cached tokens beside the others.
    essence.cache_read = details.get("cached_tokens") or usage.get("num_cached_tokens") or 0
    # OpenRouter tells tokens that were written and read again in both.
    written = details.get("cache_write_tokens") or 0
    essence.cache_write = min(written, max(essence.prompt - essence.cache_read, 0))


def of_responses(body: Mapping[str, Any]) -> Essence:
    essence = Essence(stop="end")
    for item in body["output"]:
        if item["type"] == "message":
            for part in item["content"]:
                essence.text += part.get("text", "")
                essence.refusal += part.get("refusal", "")
        elif item["type"] == "reasoning":
            texts = [part["text"] for part in (item.get("content") or item.get("summary") or ())]
            essence.reasoning += "\n\n".join(texts)
        elif item["type"] == "function_call":
            essence.calls.append((item["name"], arguments(item["arguments"])))
    if essence.calls:
        essence.stop = "tool_calls"
    if body["status"] == "incomplete":
        essence.stop = {"max_output_tokens": "max_tokens"}.get(
            body["incomplete_details"]["reason"], "content_filter"
        )
    if usage := body.get("usage"):
        details = usage.get("input_tokens_details") or {}
        essence.prompt, essence.output = usage["input_tokens"], usage["output_tokens"]
        essence.cache_read = details.get("cached_tokens") or 0
        essence.cache_write = details.get("cache_write_tokens") or 0
    return essence


def of_messages(body: Mapping[str, Any]) -> Essence:
    essence = Essence(stop=_ANTHROPIC_STOPS.get(body["stop_reason"], body["stop_reason"]))
    for block in body["content"]:
        if block["type"] == "text":
            essence.text += block["text"]
        elif block["type"] == "thinking":
            essence.reasoning += block["thinking"]
        elif block["type"] == "tool_use":
            essence.calls.append((block["name"], block["input"]))
    _messages_usage(essence, body["usage"])
    return essence


def _messages_usage(essence: Essence, usage: Mapping[str, Any]) -> None:
    essence.cache_read = usage.get("cache_read_input_tokens") or 0
    essence.cache_write = usage.get("cache_creation_input_tokens") or 0
    essence.prompt = usage["input_tokens"] + essence.cache_read + essence.cache_write
    essence.output = usage["output_tokens"]


def of_bedrock(body: Mapping[str, Any]) -> Essence:
    essence = Essence(stop=_ANTHROPIC_STOPS.get(body["stopReason"], body["stopReason"]))
    for block in body["output"]["message"]["content"]:
        if "text" in block:
            essence.text += block["text"]
        elif "reasoningContent" in block:
            essence.reasoning += block["reasoningContent"].get("reasoningText", {}).get("text", "")
        elif "toolUse" in block:
            essence.calls.append((block["toolUse"]["name"], block["toolUse"]["input"]))
    _bedrock_usage(essence, body["usage"])
    return essence


def _bedrock_usage(essence: Essence, usage: Mapping[str, Any]) -> None:
    essence.cache_read = usage.get("cacheReadInputTokens") or 0
    essence.cache_write = usage.get("cacheWriteInputTokens") or 0
    essence.prompt = usage["inputTokens"] + essence.cache_read + essence.cache_write
    essence.output = usage["outputTokens"]


_GEMINI_STOPS = {"STOP": "end", "MAX_TOKENS": "max_tokens"}


def of_gemini(chunks: Iterable[Mapping[str, Any]]) -> Essence:
    """One reply, or the chunks of a stream."""
    essence = Essence()
    for chunk in chunks:
        for candidate in chunk.get("candidates") or ():
            for part in (candidate.get("content") or {}).get("parts") or ():
                if "functionCall" in part:
                    call = part["functionCall"]
                    essence.calls.append((call["name"], call.get("args") or {}))
                elif part.get("thought"):
                    essence.reasoning += part.get("text", "")
                else:
                    essence.text += part.get("text", "")
            if reason := candidate.get("finishReason"):
                essence.stop = _GEMINI_STOPS.get(reason, "content_filter")
        if (chunk.get("promptFeedback") or {}).get("blockReason"):
            essence.stop = "content_filter"
        if usage := chunk.get("usageMetadata"):
            essence.prompt = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
            essence.cache_read = usage.get("cachedContentTokenCount", 0)
            essence.output = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
    if essence.calls and essence.stop == "end":
        essence.stop = "tool_calls"
    return essence


# -- providers' streams


def sse(text: str) -> list[Any]:
    """The JSON of each event's data."""
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].lstrip(" ") for line in block.split("\n") if line.startswith("data:"))
        if data and data != "[DONE]":
            events.append(json.loads(data))
    return events


def of_chat_stream(text: str) -> Essence:
    essence = Essence()
    calls: dict[int, list[str]] = {}
    for chunk in sse(text):
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            _chat_content(essence, delta)
            for position, call in enumerate(delta.get("tool_calls") or ()):
                known = calls.setdefault(call.get("index", position), ["", ""])
                known[0] = known[0] or call["function"].get("name") or ""
                known[1] += call["function"].get("arguments") or ""
            if reason := choice.get("finish_reason"):
                essence.stop = _CHAT_STOPS.get(reason, reason)
        _chat_usage(essence, chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage"))
    essence.calls = [(name, arguments(text)) for _, (name, text) in sorted(calls.items())]
    return essence


def of_responses_stream(text: str) -> Essence:
    last = [e for e in sse(text) if e["type"] in ("response.completed", "response.incomplete")]
    return of_responses(last[-1]["response"])


def of_messages_stream(text: str) -> Essence:
    blocks: dict[int, dict[str, Any]] = {}
    usage: dict[str, Any] = {}
    stop = ""
    for event in sse(text):
        if event["type"] == "message_start":
            usage = dict(event["message"]["usage"])
        elif event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            for name, into in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
                if name in delta:
                    block[into] = block.get(into, "") + delta[name]
        elif event["type"] == "message_delta":
            stop = event["delta"]["stop_reason"]
            usage |= {k: v for k, v in event["usage"].items() if v is not None}
    for block in blocks.values():
        if block["type"] == "tool_use":
            block["input"] = arguments(block["json"])
    return of_messages({"content": list(blocks.values()), "stop_reason": stop, "usage": usage})


def of_bedrock_stream(raw: bytes) -> Essence:
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    blocks: dict[int, dict[str, Any]] = {}
    body: dict[str, Any] = {"stopReason": "", "usage": {}}
    for message in buffer:
        kind, event = message.headers[":event-type"], json.loads(message.payload)
        if kind == "contentBlockStart":
            tool = {**event["start"].get("toolUse", {}), "input": ""}
            blocks[event["contentBlockIndex"]] = {"toolUse": tool}
        elif kind == "contentBlockDelta":
            delta, block = event["delta"], blocks.setdefault(event["contentBlockIndex"], {})
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            elif "toolUse" in delta:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
            elif "reasoningContent" in delta:
                inner = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
                inner["text"] += delta["reasoningContent"].get("text", "")
        elif kind == "messageStop":
            body["stopReason"] = event["stopReason"]
        elif kind == "metadata":
            body["usage"] = event["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = arguments(block["toolUse"]["input"])
    body["output"] = {"message": {"content": [blocks[index] for index in sorted(blocks)]}}
    return of_bedrock(body)


def of_recording(kind: str, body: Any) -> Essence:
    """`body` as recorded: JSON, SSE text, or {"base64"}."""
    if isinstance(body, dict) and set(body) == {"base64"}:
        return of_bedrock_stream(base64.b64decode(body["base64"]))
    streamed = isinstance(body, str)
    match kind:
        case "openai-chat" | "openai-compatible-chat":
            return of_chat_stream(body) if streamed else of_chat(body)
        case "openai-responses":
            return of_responses_stream(body) if streamed else of_responses(body)
        case "anthropic-messages":
            return of_messages_stream(body) if streamed else of_messages(body)
        case "gemini-generate-content":
            return of_gemini(sse(body) if streamed else [body])
        case "bedrock-converse":
            return of_bedrock(body)
    raise ValueError(kind)


# -- official SDKs' objects


def of_completion(completion: chat_types.ChatCompletion) -> Essence:
    return of_chat(completion.model_dump())


def of_response(response: responses_types.Response) -> Essence:
    return of_responses(response.model_dump())


def of_message(message: anthropic.types.Message) -> Essence:
    return of_messages(message.model_dump())


# What a stop becomes in each client's dialect, read back with the tables above.
SEEN_AS: Mapping[str, Mapping[str, str]] = {
    "openai-chat": {
        "stop_sequence": "end",
        "refusal": "content_filter",
        "context_window": "max_tokens",
        "pause": "end",
    },
    "openai-responses": {
        "stop_sequence": "end",
        "refusal": "content_filter",
        "context_window": "max_tokens",
        "pause": "end",
    },
    "anthropic-messages": {"content_filter": "refusal"},
}
