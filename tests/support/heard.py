"""What an official SDK's object says, in words that all three client dialects share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai.types.chat as chat_types
import openai.types.responses as responses_types

# (url, title, start, end, quote); a dialect without a place or a quote has None or "" there.
Cited = tuple[str, str, int | None, int | None, str]
Token = tuple[str, float, tuple[tuple[str, float], ...]]


@dataclass
class Heard:
    """`parts`: (kind, text) or ("call", name, arguments), in their order; reasoning that nobody can read is
    ("hidden",). `stop` is the dialect's own word. Counts are None where the object has none."""

    parts: list[tuple[Any, ...]] = field(default_factory=list)
    stop: str = ""
    stop_sequence: str | None = None
    model: str = ""
    prompt: int | None = None
    cache_read: int = 0
    cache_write: int = 0
    output: int | None = None
    reasoning: int | None = None
    citations: list[Cited] = field(default_factory=list)
    logprobs: list[Token] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def differences(heard: Heard, told: Heard) -> dict[str, tuple[Any, Any]]:
    """Field → (what was heard, what was told), where they differ."""
    pairs = ((name, getattr(heard, name), getattr(told, name)) for name in Heard.__dataclass_fields__)
    return {name: (mine, theirs) for name, mine, theirs in pairs if mine != theirs}


def _arguments(text: str) -> Any:
    value = json.loads(text)
    assert isinstance(value, dict), text
    return value


def of_completion(completion: chat_types.ChatCompletion) -> Heard:
    choice = completion.choices[0]
    heard = Heard(stop=choice.finish_reason, model=completion.model)
    message: Any = choice.message
    extra = message.model_extra or {}
    if thought := extra.get("reasoning_content"):
        heard.parts.append(("reasoning", thought))
    elif extra.get("reasoning_details"):
        heard.parts.append(("hidden",))
    if message.content:
        heard.parts.append(("text", message.content))
    if message.refusal:
        heard.parts.append(("refusal", message.refusal))
    for call in message.tool_calls or ():
        assert call.id
        heard.parts.append(("call", call.function.name, _arguments(call.function.arguments)))
    for annotation in message.annotations or ():
        cited = annotation.url_citation
        heard.citations.append((cited.url, cited.title, cited.start_index, cited.end_index, ""))
    if choice.logprobs is not None:
        for token in choice.logprobs.content or ():
            assert token.bytes == list(token.token.encode())
            heard.logprobs.append(_token(token))
    heard.others = [other.message.content or "" for other in completion.choices[1:]]
    if (usage := completion.usage) is not None:
        heard.prompt, heard.output = usage.prompt_tokens, usage.completion_tokens
        if (details := usage.prompt_tokens_details) is not None:
            heard.cache_read = details.cached_tokens or 0
            heard.cache_write = details.cache_write_tokens or 0
        if (counted := usage.completion_tokens_details) is not None:
            heard.reasoning = counted.reasoning_tokens
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return heard


def _token(token: Any) -> Token:
    return token.token, token.logprob, tuple((top.token, top.logprob) for top in token.top_logprobs)


def of_response(response: responses_types.Response) -> Heard:
    stop = response.status or ""
    if response.incomplete_details is not None:
        stop = f"{stop}: {response.incomplete_details.reason}"
    heard = Heard(stop=stop, model=str(response.model))
    for item in response.output:
        match item.type:
            case "reasoning":
                texts = [part.text for part in item.content or ()] or [part.text for part in item.summary]
                heard.parts.append(("reasoning", "\n\n".join(texts)) if texts else ("hidden",))
            case "message":
                for part in item.content:
                    _content(heard, part)
            case "function_call":
                assert item.call_id and item.id
                heard.parts.append(("call", item.name, _arguments(item.arguments)))
            case kind:
                raise AssertionError(kind)
    if (usage := response.usage) is not None:
        heard.prompt, heard.output = usage.input_tokens, usage.output_tokens
        heard.cache_read = usage.input_tokens_details.cached_tokens
        heard.cache_write = usage.input_tokens_details.cache_write_tokens or 0
        heard.reasoning = usage.output_tokens_details.reasoning_tokens
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    return heard


def _content(heard: Heard, part: Any) -> None:
    if part.type == "refusal":
        heard.parts.append(("refusal", part.refusal))
        return
    if part.text:
        heard.parts.append(("text", part.text))
    for cited in part.annotations:
        heard.citations.append((cited.url, cited.title, cited.start_index, cited.end_index, ""))
    heard.logprobs += [_token(token) for token in part.logprobs or ()]


def of_message(message: anthropic.types.Message) -> Heard:
    heard = Heard(stop=str(message.stop_reason), stop_sequence=message.stop_sequence, model=message.model)
    for block in message.content:
        match block.type:
            case "text":
                if block.text:
                    heard.parts.append(("text", block.text))
                for cited in block.citations or ():
                    assert cited.type == "web_search_result_location" and cited.encrypted_index
                    heard.citations.append((cited.url, cited.title or "", None, None, cited.cited_text))
            case "thinking":
                assert block.signature
                heard.parts.append(("reasoning", block.thinking) if block.thinking else ("hidden",))
            case "redacted_thinking":
                assert block.data
                heard.parts.append(("hidden",))
            case "tool_use":
                assert block.id and isinstance(block.input, dict)
                heard.parts.append(("call", block.name, block.input))
            case kind:
                raise AssertionError(kind)
    usage = message.usage
    heard.cache_read = usage.cache_read_input_tokens or 0
    heard.cache_write = usage.cache_creation_input_tokens or 0
    heard.prompt = usage.input_tokens + heard.cache_read + heard.cache_write
    heard.output = usage.output_tokens
    if usage.output_tokens_details is not None:
        heard.reasoning = usage.output_tokens_details.thinking_tokens
    return heard
