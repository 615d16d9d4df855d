"""A canonical request as Converse's.

Source: Amazon Bedrock API reference, Converse, ConverseStream, CountTokens; botocore's service model of
`bedrock-runtime`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from ..conversation import Chat, Encoded, OutputSchema, Tool, ToolChoice, Upstream
from ..translation import CannotCarry
from .content_out import Content
from .effort import Reasons, limit, reasons
from .media import Block
from .models import BASE_MODEL, LATENCY, ModelFacts, claude_of, model_of, without_geography
from .schemas import OpenSchema, enforced

_TIERS = {"priority": "priority", "default": "default", "flex": "flex", "reserved": "reserved"}
_TIERS["standard_only"] = "default"  # Anthropic's word
_METADATA_KEY = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{1,256}")
_METADATA_VALUE = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{0,256}")
_MOST_METADATA = 16
_MOST_STOPS = 2500
_ANY_OBJECT: Block = {"type": "object", "properties": {}}
# Claude says which stop sequence it met only where it is asked; whole replies and streams spell it two ways.
_STOP_PATHS = ["/stop_sequence", "/delta/stop_sequence"]
_encode = msgspec.json.encode


def model_path(model: str, operation: str) -> str:
    """The id is percent-encoded as the AWS SDKs do it: ARNs have colons and slashes."""
    return f"/model/{quote(model, safe='-._~')}/{operation}"


def encode_request(chat: Chat, upstream: Upstream) -> Encoded:
    dropped: list[str] = []
    body = _body(chat, upstream, dropped)
    operation = "converse-stream" if chat.stream else "converse"
    return Encoded(
        model_path(upstream.model, operation), _encode(body), dropped=tuple(dict.fromkeys(dropped))
    )


def encode_count(chat: Chat, upstream: Upstream) -> Encoded:
    """Only foundation models count, no inference profiles; what is no part of the prompt stays away."""
    body = _body(chat, upstream, [])
    counted = ("messages", "system", "toolConfig", "additionalModelRequestFields")
    converse = {name: body[name] for name in counted if name in body}
    base = upstream.deviations.get(BASE_MODEL) or upstream.model
    path = model_path(without_geography(str(base)), "count-tokens")
    return Encoded(path, _encode({"input": {"converse": converse}}))


def _body(chat: Chat, upstream: Upstream, dropped: list[str]) -> Block:
    model = model_of(upstream.model, upstream.deviations)
    if chat.choices != 1:
        raise CannotCarry("choices", "Bedrock gives one answer to a request", "choices")
    content = Content(model, upstream, dropped)
    content.read(chat)
    thinking = reasons(chat, model, upstream, content.loop_thinks())
    if thinking.dropped:
        dropped.append("effort")
    fields = dict(thinking.fields)
    tool_config = _tool_config(chat, content, model, fields, dropped)
    content.settle_cache_points(tool_config.get("tools", []))
    body: Block = {"messages": content.messages()}
    if content.system:
        body["system"] = content.system
    if inference := _inference(chat, model, thinking, upstream, fields, dropped):
        body["inferenceConfig"] = inference
    if tool_config:
        body["toolConfig"] = tool_config
    if chat.output is not None:
        body["outputConfig"] = _output(chat.output, model)
    if fields:
        body["additionalModelRequestFields"] = fields
    if chat.stop and model.family == "anthropic":
        body["additionalModelResponseFieldPaths"] = _STOP_PATHS
    _add_service(body, chat, upstream, dropped)
    _drop_the_rest(chat, dropped)
    return body


def _inference(
    chat: Chat,
    model: ModelFacts,
    thinking: Reasons,
    upstream: Upstream,
    fields: Block,
    dropped: list[str],
) -> Block:
    """inferenceConfig; topK goes into `fields`."""
    config: Block = {}
    most = thinking.max_tokens if thinking.max_tokens is not None else limit(chat, upstream)
    if most is None and model.family == "anthropic" and claude_of(model.name).stops_at_the_window:
        most = upstream.max_output_tokens  # Bedrock's own default is 4096 for some of them
    if most is not None and not thinking.nova_high:
        config["maxTokens"] = max(1, most)
    samples = model.samples and not thinking.nova_high
    thinks = thinking.manual or thinking.adaptive
    if (temperature := chat.temperature) is not None:
        if not samples or (thinks and temperature != 1):
            dropped.append("temperature")
        else:
            config["temperature"] = min(temperature, 1.0)  # OpenAI's go up to 2
            if temperature > 1:
                dropped.append("temperature")
    if (top_p := chat.top_p) is not None:
        beside_temperature = "temperature" in config and not model.samples_both
        if not samples or beside_temperature or (thinks and top_p < 0.95):
            dropped.append("top_p")
        else:
            config["topP"] = top_p
    if chat.top_k is not None:
        if model.top_k == "anthropic" and not thinks:
            fields["top_k"] = chat.top_k
        elif model.top_k == "nova" and samples:
            fields["inferenceConfig"] = {"topK": chat.top_k}
        else:
            dropped.append("top_k")
    # Anthropic refuses blank ones.
    stops = [stop for stop in chat.stop if model.family != "anthropic" or stop.strip()][:_MOST_STOPS]
    if stops:
        config["stopSequences"] = stops
    if len(stops) < len(chat.stop):
        dropped.append("stop")
    return config


# -- tools


def _tool_config(chat: Chat, content: Content, model: ModelFacts, fields: Block, dropped: list[str]) -> Block:
    """toolConfig, and Claude's own `tool_choice` in `fields`, where Converse has no word for it.

    Converse wants a toolConfig as soon as the history has tool blocks, and has no choice `none`. So tools
    that may not be called are left out where there is no such history; else they stay, and Claude is told
    in its own words not to call them. Converse refuses a choice that stands in both places.
    """
    has_history = bool(content.tool_names) or any(turn.results for turn in content.turns)
    choice = chat.tool_choice or ToolChoice("auto")
    is_claude = model.family == "anthropic"
    if not chat.tools:
        if not has_history:
            return {}
        choice = ToolChoice("none")
    elif choice.mode == "none" and not has_history and not is_claude:
        return {}
    config: Block = {"tools": _tools(chat, choice, content, model, dropped)}
    if not chat.tools and not config["tools"]:  # results without a call
        config["tools"] = [_spec("tool", _ANY_OBJECT)]
    said = _choice(choice, config["tools"], model, dropped)
    if choice.mode == "none":
        if is_claude:
            fields["tool_choice"] = {"type": "none"}
        elif chat.tools:
            dropped.append("tool_choice")
    elif chat.parallel_tools is False and is_claude:
        fields["tool_choice"] = {**_claudes_own(said), "disable_parallel_tool_use": True}
    elif said is not None:
        config["toolChoice"] = said
    if chat.tools and chat.parallel_tools is False and not is_claude:
        dropped.append("parallel_tools")
    return config


def _choice(choice: ToolChoice, tools: list[Block], model: ModelFacts, dropped: list[str]) -> Block | None:
    """toolConfig.toolChoice; None for auto, which is the default. `tools` has no more than may be called."""
    match choice.mode:
        case "required" | "only":
            specs = [tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool]
            if choice.mode == "only" and len(choice.names) == 1 and "tool" in model.choices:
                return {"tool": {"name": choice.names[0]}}
            if specs and "any" in model.choices:
                return {"any": {}}
            dropped.append("tool_choice")
    return None


def _claudes_own(choice: Block | None) -> Block:
    match choice:
        case {"tool": {"name": name}}:
            return {"type": "tool", "name": name}
        case {"any": _}:
            return {"type": "any"}
    return {"type": "auto"}


def _tools(
    chat: Chat, choice: ToolChoice, content: Content, model: ModelFacts, dropped: list[str]
) -> list[Block]:
    """The tools that may be called. Where the client gives none any more, those of the history."""
    if not chat.tools:
        return [_spec(name, _ANY_OBJECT) for name in content.tool_names]
    # One named tool is said by toolChoice, where the model has it; then all stay, and a cached prompt fits.
    one = choice.mode == "only" and len(choice.names) == 1 and "tool" in model.choices
    bound = frozenset(choice.names) if choice.names and not one and choice.mode != "none" else None
    blocks: list[Block] = []
    for tool in chat.tools:
        if bound is not None and tool.name not in bound:
            continue
        blocks.append(_tool(tool, model, dropped))
        if tool.cached is not None:
            if not model.caches_tools:
                dropped.append("cached")
            elif (point := content.cache_point(tool.cached)) is not None:
                blocks.append(point)
    if not any("toolSpec" in block for block in blocks):
        raise CannotCarry("tool_choice", "it names no tool of the request", "tool_choice")
    return blocks


def _tool(tool: Tool, model: ModelFacts, dropped: list[str]) -> Block:
    schema: Mapping[str, Any] = tool.schema if tool.schema is not None else _ANY_OBJECT
    if "type" not in schema:
        schema = {"type": "object", **schema}
    strict = tool.strict is True and model.enforces_schemas
    if strict:
        try:
            schema = enforced(schema)
        except OpenSchema:
            strict = False
    if tool.strict is True and not strict:
        dropped.append("strict")
    return _spec(tool.name, schema, tool.description, strict)


def _spec(name: str, schema: Mapping[str, Any], description: str = "", strict: bool = False) -> Block:
    spec: Block = {"name": name, "inputSchema": {"json": schema}}
    if description:
        spec["description"] = description
    if strict:
        spec["strict"] = True
    return {"toolSpec": spec}


# -- the rest


def _output(output: OutputSchema, model: ModelFacts) -> Block:
    if output.schema is None:
        raise CannotCarry(
            "output", "Bedrock has no mode for just any JSON object; give a JSON schema", "output"
        )
    if not model.enforces_schemas:
        raise CannotCarry("output", "this model has no structured output at Bedrock", "output")
    try:
        schema = enforced(output.schema)
    except OpenSchema as wrong:
        raise CannotCarry("output", f"Bedrock enforces closed schemas only: {wrong}", "output") from None
    definition: Block = {"schema": _encode(schema).decode()}
    if output.name:
        definition["name"] = output.name
    if output.description:
        definition["description"] = output.description
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}


def _add_service(body: Block, chat: Chat, upstream: Upstream, dropped: list[str]) -> None:
    if tier := _TIERS.get(chat.service_tier):
        body["serviceTier"] = {"type": tier}
    elif chat.service_tier not in ("", "auto"):
        dropped.append("service_tier")
    if latency := upstream.deviations.get(LATENCY):
        body["performanceConfig"] = {"latency": latency}
    if chat.metadata:
        fitting = {
            name: value
            for name, value in chat.metadata.items()
            if _METADATA_KEY.fullmatch(name) and _METADATA_VALUE.fullmatch(value)
        }
        kept = dict(list(fitting.items())[:_MOST_METADATA])
        if len(kept) < len(chat.metadata):
            dropped.append("metadata")
        if kept:
            body["requestMetadata"] = kept


def _drop_the_rest(chat: Chat, dropped: list[str]) -> None:
    """What Converse has no word for."""
    if chat.logprobs or chat.top_logprobs is not None:
        dropped.append("logprobs")
    numbers = ("frequency_penalty", "presence_penalty", "seed")
    dropped += [name for name in numbers if getattr(chat, name) is not None]
    dropped += [name for name in ("verbosity", "user", "cache_key") if getattr(chat, name)]
