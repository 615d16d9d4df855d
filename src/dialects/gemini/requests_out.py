"""Chat → a generateContent or countTokens request.

Sources: Gemini API reference, `models.generateContent`, `GenerationConfig`, `ToolConfig`; Vertex AI REST
reference, `publishers.models.generateContent`; the wire as google-genai spells it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from ..conversation import Chat, Effort, Encoded, Text, Tool, ToolChoice, Upstream
from ..translation import CannotCarry
from .contents_out import FUNCTION_NAME, WHY_NOT_A_NAME, Contents, Wire
from .models import Traits, traits
from .places import is_vertex, path, resource
from .schemas import written

_MOST_STOPS = 5
_MOST_CANDIDATES = 8
_MOST_LOGPROBS = 20
_MOST_LABELS = 64
_INT32 = range(-(2**31), 2**31)
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_TIERS = {
    "flex": "flex",
    "priority": "priority",
    "standard": "standard",
    "default": "standard",
    "standard_only": "standard",
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "only": "ANY"}
# Google's own reading of OpenAI's reasoning efforts ("OpenAI compatibility", section "Thinking").
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM"}
_LEVEL_ORDER = ("MINIMAL", "LOW", "MEDIUM", "HIGH")

_PLAIN_KNOBS = (
    ("max_output_tokens", "maxOutputTokens"),
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
)


def encode_request(chat: Chat, upstream: Upstream) -> Encoded:
    body, dropped = _body(chat, upstream)
    operation = "streamGenerateContent?alt=sse" if chat.stream else "generateContent"
    return Encoded(path(upstream, operation), msgspec.json.encode(body), (), dropped)


def encode_count(chat: Chat, upstream: Upstream) -> Encoded:
    """The same prompt, system and tools too, for countTokens."""
    body, dropped = _body(chat, upstream)
    if is_vertex(upstream):
        counted: Wire = {key: body[key] for key in ("contents", "systemInstruction", "tools") if key in body}
    else:
        counted = {"generateContentRequest": {"model": resource(upstream), **body}}
    return Encoded(path(upstream, "countTokens"), msgspec.json.encode(counted), (), dropped)


def decode_count(body: bytes) -> int:
    try:
        count = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"it is no JSON: {wrong}") from None
    tokens = count.get("totalTokens") if isinstance(count, dict) else None
    if not isinstance(tokens, int) or isinstance(tokens, bool):
        raise ValueError("it has no totalTokens")
    return tokens


def _body(chat: Chat, upstream: Upstream) -> tuple[Wire, tuple[str, ...]]:
    model = traits(upstream.model)
    contents = Contents(upstream, model)
    dropped = contents.dropped
    body: Wire = {"contents": contents.write(chat.messages)}
    if system := [{"text": text.text} for text in _system(chat) if text.text]:
        body["systemInstruction"] = {"parts": system}
    _add_tools(body, chat, model, dropped)
    config = _generation_config(chat, dropped)
    _add_output(config, body, chat, model)
    if chat.effort is not None and (thinking := _thinking(chat.effort, model, dropped)):
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    _add_accounting(body, chat, upstream, dropped)
    for name in ("verbosity", "user", "cache_key"):
        if getattr(chat, name):
            dropped[name] = None
    if chat.cached is not None or any(text.cached is not None for text in _system(chat)):
        dropped["cached"] = None
    return body, tuple(dropped)


def _system(chat: Chat) -> Iterator[Text]:
    """The system prompt, and behind it what later system messages say: Gemini has no such messages."""
    yield from chat.system
    for number, message in enumerate(chat.messages):
        if message.role != "system":
            continue
        for place, part in enumerate(message.parts):
            if not isinstance(part, Text):
                where = f"messages[{number}].parts[{place}]"
                raise CannotCarry(where, "Gemini's system prompt holds text only", where)
            yield part


# -- tools


def _add_tools(body: Wire, chat: Chat, model: Traits, dropped: dict[str, None]) -> None:
    choice = chat.tool_choice
    if not chat.tools:
        return
    if chat.parallel_tools is False:
        dropped["parallel_tools"] = None
    if choice and choice.mode == "none" and chat.output is not None and not model.joins_tools_and_schema:
        return  # what may not be called need not be said, and may not be said beside a schema
    body["tools"] = [
        {"functionDeclarations": [_declaration(tool, place) for place, tool in enumerate(chat.tools)]}
    ]
    if any(tool.cached is not None for tool in chat.tools):
        dropped["cached"] = None
    if config := _calling(choice, any(tool.strict for tool in chat.tools), model):
        body["toolConfig"] = {"functionCallingConfig": config}


def _declaration(tool: Tool, place: int) -> Wire:
    if not FUNCTION_NAME.fullmatch(tool.name):
        raise CannotCarry(f"tools[{place}].name", WHY_NOT_A_NAME, f"tools[{place}].name")
    declaration: Wire = {"name": tool.name, "description": tool.description}
    if tool.schema is not None:
        declaration["parametersJsonSchema"] = written(tool.schema)
    return declaration


def _calling(choice: ToolChoice | None, strict: bool, model: Traits) -> Wire:
    """VALIDATED is AUTO whose calls are held to their schemas; it also bounds what may be called."""
    names = list(choice.names) if choice else []
    mode = _MODES[choice.mode] if choice else "AUTO"
    if mode == "AUTO" and model.validates_calls and (strict or names):
        mode = "VALIDATED"
    elif mode == "AUTO" and names:
        raise CannotCarry("tool_choice", "this model's choice of tools can't be bounded", "tool_choice")
    elif choice is None:
        return {}
    if names and mode != "NONE":
        return {"mode": mode, "allowedFunctionNames": names}
    return {"mode": mode}


# -- generationConfig


def _generation_config(chat: Chat, dropped: dict[str, None]) -> Wire:
    config: Wire = {}
    for name, own in _PLAIN_KNOBS:
        if (value := getattr(chat, name)) is not None:
            config[own] = value
    if chat.seed is not None:
        if chat.seed in _INT32:
            config["seed"] = chat.seed
        else:
            dropped["seed"] = None
    if chat.stop:
        if len(chat.stop) > _MOST_STOPS:
            raise CannotCarry("stop", f"Gemini takes {_MOST_STOPS} stop sequences at most", "stop")
        config["stopSequences"] = list(chat.stop)
    if chat.choices != 1:
        if chat.choices > _MOST_CANDIDATES:
            raise CannotCarry("choices", f"Gemini gives {_MOST_CANDIDATES} at most", "choices")
        config["candidateCount"] = chat.choices
    if chat.logprobs:
        config["responseLogprobs"] = True
        if chat.top_logprobs is not None:
            config["logprobs"] = min(chat.top_logprobs, _MOST_LOGPROBS)
    return config


def _add_output(config: Wire, body: Wire, chat: Chat, model: Traits) -> None:
    output = chat.output
    if output is None:
        return
    if "tools" in body and not model.joins_tools_and_schema:
        raise CannotCarry("output", "models before Gemini 3 take no schema beside tools", "output")
    config["responseMimeType"] = "application/json"
    if output.schema is None:
        return
    schema = output.schema
    if output.description and "description" not in schema:
        schema = {**schema, "description": output.description}
    config["responseJsonSchema"] = written(schema)


def _thinking(effort: Effort, model: Traits, dropped: dict[str, None]) -> Wire:
    if model.thinking == "none":
        if effort.enabled and effort.level != "none":
            dropped["effort"] = None
        return {}
    if not effort.enabled or effort.level == "none":
        return _least_thinking(model, dropped)
    by_level = model.thinking == "level"
    thinking = _thinking_level(effort, model) if by_level else _thinking_budget(effort, model)
    if effort.show:
        thinking["includeThoughts"] = True
    return thinking


def _least_thinking(model: Traits, dropped: dict[str, None]) -> Wire:
    """None at all where the model can; the least, and said so, where it can't."""
    if model.thinking == "level":
        if model.levels[0] != "MINIMAL":
            dropped["effort"] = None
        return {"thinkingLevel": model.levels[0]}
    if model.can_stop:
        return {"thinkingBudget": 0}
    dropped["effort"] = None
    return {"thinkingBudget": model.least_budget}


def _thinking_budget(effort: Effort, model: Traits) -> Wire:
    if effort.budget_tokens is not None:
        budget = effort.budget_tokens
    elif effort.level:
        budget = _BUDGETS.get(effort.level, model.most_budget)
    else:
        return {"thinkingBudget": -1} if effort.adaptive else {}
    return {"thinkingBudget": max(model.least_budget, min(budget, model.most_budget))}


def _thinking_level(effort: Effort, model: Traits) -> Wire:
    """The least of the model's levels that is not below what is asked for."""
    if effort.level:
        level = _LEVELS.get(effort.level, "HIGH")
    elif effort.budget_tokens is not None:
        tokens = effort.budget_tokens
        level = "LOW" if tokens <= _BUDGETS["low"] else "MEDIUM" if tokens <= _BUDGETS["medium"] else "HIGH"
    else:
        return {}
    least = _LEVEL_ORDER.index(level)
    return {"thinkingLevel": next(own for own in model.levels if _LEVEL_ORDER.index(own) >= least)}


# -- who pays, and how


def _add_accounting(body: Wire, chat: Chat, upstream: Upstream, dropped: dict[str, None]) -> None:
    if chat.service_tier and chat.service_tier != "auto":
        if tier := _TIERS.get(chat.service_tier):
            body["serviceTier"] = tier
        else:
            dropped["service_tier"] = None
    if not chat.metadata:
        return
    labels = _labels(chat.metadata) if is_vertex(upstream) else {}
    if labels:
        body["labels"] = labels
    if len(labels) < len(chat.metadata):
        dropped["metadata"] = None


def _labels(metadata: Mapping[str, str]) -> dict[str, str]:
    """What of `metadata` Google Cloud takes as labels."""
    fitting = [
        (key, value)
        for key, value in metadata.items()
        if _LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)
    ]
    return dict(fitting[:_MOST_LABELS])
