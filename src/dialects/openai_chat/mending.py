"""A request of the client's own dialect at a provider that speaks it otherwise (`deviations`).

Only what the provider would refuse or misread changes; all else stays as the client said it, also what this
broker has never heard of. The same table serves calls that are translated into the dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import openai
from ..translation import CannotCarry
from .deviations import Deviations
from .fields import own_field
from .messages_out import call_id
from .requests_out import schema_in_words

Wire = dict[str, Any]

# Knobs by their names in `unsupported` → the fields of a request that say them.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "max_output_tokens": ("max_completion_tokens", "max_tokens"),
    "choices": ("n",),
    "parallel_tools": ("parallel_tool_calls",),
    "cache_key": ("prompt_cache_key",),
}
_OF_MESSAGES = frozenset(("name", "refusal", "reasoning"))
# Where a client that talks to several providers has what one of them told of its reasoning.
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")
_INSTRUCTIONS = ("system", "developer")


def mend(request: Wire, said: Deviations, reasons: bool | None = None) -> tuple[str, ...]:
    """Changes `request` in its place. The client's own names of the knobs that the provider does not get.
    CannotCarry where content has no place there. `reasons`: as in Upstream."""
    dropped: list[str] = []
    _knobs(request, said, dropped)
    _effort(request, said, reasons, dropped)
    instructions = _output(request, said, dropped)
    _tools(request, said, dropped)
    messages = request.get("messages")
    if isinstance(messages, list):
        request["messages"] = _messages(messages, said, instructions, dropped)
    return tuple(dict.fromkeys(dropped))


# -- knobs


def _knobs(request: Wire, said: Deviations, dropped: list[str]) -> None:
    count = request.get("n")
    if "choices" in said.unsupported and isinstance(count, int) and count > 1:
        raise CannotCarry("n", "this provider gives one answer to a call", "choices")
    for knob in sorted(said.unsupported - _OF_MESSAGES):
        for field in _FIELDS.get(knob, (knob,)):
            value = request.pop(field, None)
            if value is not None and field != "n":
                dropped.append(field)
    if said.max_tokens_field != "max_completion_tokens":
        _rename(request, "max_completion_tokens", said.max_tokens_field)
    _rename(request, "seed", said.seed_field)
    if not said.stream_usage:  # it tells usage unasked, or not at all
        request.pop("stream_options", None)


def _rename(request: Wire, field: str, theirs: str) -> None:
    """A field by the provider's name, at its place; what the client says by that name itself comes first."""
    if field == theirs or field not in request:
        return
    value = request.pop(field)
    if value is not None:
        request.setdefault(theirs, value)


def _effort(request: Wire, said: Deviations, reasons: bool | None, dropped: list[str]) -> None:
    if said.forced_choice == "not-thinking" and request.get("tools") and _commands(request):
        if request.pop("reasoning_effort", None) not in (None, "none"):
            dropped.append("reasoning_effort")
        request.setdefault("thinking", {"type": "disabled"})
        return
    level = request.get("reasoning_effort")
    if not isinstance(level, str):
        return
    if said.reasoning_style == "none" or reasons is False:
        del request["reasoning_effort"]
        if level != "none":
            dropped.append("reasoning_effort")
        return
    if said.reasoning_style == "thinking":
        request.setdefault("thinking", {"type": "disabled" if level == "none" else "enabled"})
        if level == "none":
            del request["reasoning_effort"]
            return
    if said.efforts and level not in said.efforts:
        closest = openai.closest_effort(level, said.efforts)
        if closest:
            request["reasoning_effort"] = closest


def _commands(request: Wire) -> bool:
    """The model has to call a tool."""
    choice = request.get("tool_choice")
    return choice == "required" or isinstance(choice, dict)


def _output(request: Wire, said: Deviations, dropped: list[str]) -> str:
    """What the instructions have to say of it, where the provider can't be held to a schema."""
    wanted = request.get("response_format")
    if said.json_schema or not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return ""
    request["response_format"] = {"type": "json_object"}
    dropped.append("response_format")
    named = wanted.get("json_schema")
    named = named if isinstance(named, dict) else {}
    return schema_in_words(named.get("schema") or {}, str(named.get("description") or ""))


def _tools(request: Wire, said: Deviations, dropped: list[str]) -> None:
    if not said.allowed_tools:
        _bound(request)
    tools = request.get("tools")
    if said.strict_tools or not isinstance(tools, list):
        return
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and function.pop("strict", None):
            dropped.append(own_field("tools.strict"))


def _bound(request: Wire) -> None:
    """No more tools than may be called, where the choice can't say which. What is not well formed stays, for
    the provider to refuse."""
    choice, tools = request.get("tool_choice"), request.get("tools")
    bounds = choice.get("allowed_tools") if isinstance(choice, dict) else None
    match bounds:
        case {"mode": "auto" | "required" as mode, "tools": list(named)} if isinstance(tools, list):
            allowed = [_tool_of(tool) for tool in named]
        case _:
            return
    request["tools"] = [tool for tool in tools if _tool_of(tool) in allowed]
    if not request["tools"]:
        raise CannotCarry("tool_choice", "it names no tool of the request", "tool_choice")
    request["tool_choice"] = mode


def _tool_of(tool: Any) -> tuple[Any, Any]:
    """(kind, name) of a tool, or of a mention of it."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    own = tool.get(kind) if isinstance(kind, str) else None
    return kind, own.get("name") if isinstance(own, dict) else None


# -- messages


def _messages(messages: list[Any], said: Deviations, instructions: str, dropped: list[str]) -> list[Any]:
    mended: list[Any] = []
    for n, message in enumerate(messages):
        if not isinstance(message, dict):
            mended.append(message)
            continue
        _message(message, said, f"messages[{n}]", dropped)
        follows_tool = bool(mended) and isinstance(mended[-1], dict) and mended[-1].get("role") == "tool"
        if said.after_tool and follows_tool and message.get("role") == "user":
            mended.append({"role": "assistant", "content": said.after_tool})
        mended.append(message)
    late = [] if said.late_system else _take_late(mended)
    _instruct(mended, said, [*late, instructions] if instructions else late)
    return mended


def _message(message: Wire, said: Deviations, field: str, dropped: list[str]) -> None:
    role = message.get("role")
    if role == "developer" and said.system_role == "system":
        message["role"] = "system"
    if "name" in said.unsupported and role != "tool" and message.pop("name", None):
        dropped.append(own_field("name"))
    if "refusal" in said.unsupported:
        _say_refusal(message)
    if "reasoning" in said.unsupported:
        for name in _REASONING:
            message.pop(name, None)
    elif said.reasoning_field and said.reasoning_field not in message:
        _rename_reasoning(message, said.reasoning_field)
    _ids(message, said)
    content = message.get("content")
    if isinstance(content, list):
        message["content"] = _content(content, said, field)


def _say_refusal(message: Wire) -> None:
    refusal = message.pop("refusal", None)
    if not isinstance(refusal, str) or not refusal:
        return
    content = message.get("content")
    if isinstance(content, list):
        content.append({"type": "text", "text": refusal})
    else:
        message["content"] = f"{content or ''}{refusal}"


def _rename_reasoning(message: Wire, theirs: str) -> None:
    for name in ("reasoning_content", "reasoning"):
        words = message.pop(name, None)
        if isinstance(words, str):
            message[theirs] = words
            return


def _ids(message: Wire, said: Deviations) -> None:
    if not said.tool_call_ids:
        return
    if isinstance(ident := message.get("tool_call_id"), str):
        message["tool_call_id"] = call_id(ident, said.tool_call_ids)
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and isinstance(ident := call.get("id"), str):
            call["id"] = call_id(ident, said.tool_call_ids)


def _content(parts: list[Any], said: Deviations, field: str) -> Any:
    mended = [_part(part, said, field) for part in parts]
    if said.parts:
        return mended
    texts = [part["text"] for part in mended if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n\n".join(texts) if len(texts) == len(mended) else mended


def _part(part: Any, said: Deviations, field: str) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("image_url", "input_audio", "file") or kind in said.parts:
        return part
    file = part.get("file")
    if kind == "file" and "document_url" in said.parts and isinstance(file, dict) and "file_data" in file:
        document: Wire = {"type": "document_url", "document_url": file["file_data"]}
        if file.get("filename"):
            document["document_name"] = file["filename"]
        return document
    raise CannotCarry(field, f"this provider takes no {kind} in messages", field)


def _take_late(messages: list[Any]) -> list[str]:
    """Takes instructions out of the middle of a conversation."""
    found: list[str] = []
    begun = False
    for message in list(messages):
        if not isinstance(message, dict) or message.get("role") not in _INSTRUCTIONS:
            begun = True
        elif begun:
            messages.remove(message)
            found.append(_text_of(message.get("content")))
    return [text for text in found if text]


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n\n".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def _instruct(messages: list[Any], said: Deviations, texts: list[str]) -> None:
    """Puts `texts` behind the instructions at the beginning, or there."""
    if not texts:
        return
    first = messages[0] if messages else None
    if not isinstance(first, dict) or first.get("role") not in _INSTRUCTIONS:
        messages.insert(0, {"role": said.system_role, "content": "\n\n".join(texts)})
    elif isinstance(first.get("content"), list):
        first["content"] += [{"type": "text", "text": text} for text in texts]
    else:
        first["content"] = "\n\n".join([str(first.get("content") or ""), *texts]).lstrip()
