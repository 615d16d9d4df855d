"""How much a model is to reason: Converse has no field for it, each vendor's models have one of their own,
in `additionalModelRequestFields`.

Sources: Amazon Bedrock user guide, "Extended thinking", "Adaptive thinking"; Amazon Nova 2 user guide,
"Extended thinking"; the model cards; and what the models were found to accept (see models.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..claude import Claude
from ..conversation import Chat, Effort, Upstream
from .models import ModelFacts, claude_of

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_LEAST_BUDGET = 1024  # Anthropic's
_ROOM_FOR_THE_ANSWER = 4096

# Converse refuses some levels and does not reason at others; each goes to the nearest that works.
_GPT_OSS = {"minimal": "low", "xhigh": "high", "max": "high"}
_GPT = {"minimal": "low", "max": "xhigh"}
_QWEN = {"minimal": "low", "medium": "high", "xhigh": "high", "max": "high"}
_GLM = {"minimal": "low"}
_GROK = {"minimal": "low", "max": "xhigh"}
_NOVA = {"minimal": "low", "xhigh": "high", "max": "high"}
# Up to this version a forced tool excludes adaptive thinking too:
# https://github.com/langchain-ai/langchain-aws/pull/1151
_NOT_FORCED_AND_THINKING = (4, 7)
_GPT_ALWAYS_REASONING = ("gpt-6-astra", "gpt-6.1")


@dataclass(slots=True)
class Reasons:
    """What a request says about reasoning. `fields` go into additionalModelRequestFields. `manual`,
    `adaptive`: a Claude thinks that way. `max_tokens`: what maxTokens has to be at least so that there is
    room for the answer (None: nothing to say). `dropped`: the client's wish could not be kept."""

    fields: dict[str, Any] = field(default_factory=dict)
    manual: bool = False
    adaptive: bool = False
    max_tokens: int | None = None
    nova_high: bool = False
    dropped: bool = False


def limit(chat: Chat, upstream: Upstream) -> int | None:
    """The client's, up to what the model can write at all: Bedrock refuses more."""
    asked, most = chat.max_output_tokens, upstream.max_output_tokens
    return asked if asked is None or most is None else min(asked, most)


def reasons(chat: Chat, model: ModelFacts, upstream: Upstream, history_ok: bool) -> Reasons:
    """`history_ok`: the tool loop that is under way begins with reasoning that this model gets back."""
    effort = chat.effort
    if effort is None:
        return Reasons()
    if model.family == "anthropic":
        return _of_claude(chat, effort, claude_of(model.name), upstream, history_ok)
    wanted = effort.enabled and effort.level != "none"
    level = _level(effort) if wanted else "none"
    match model.family:
        case "amazon" if model.name.startswith("nova-2"):
            return _of_nova(chat, level)
        case "openai" if model.name.startswith("gpt-oss"):  # it can't be kept from reasoning
            return Reasons(
                {"reasoning_effort": _GPT_OSS.get(level, level) if wanted else "low"}, dropped=not wanted
            )
        case "openai":
            always = model.name.startswith(_GPT_ALWAYS_REASONING)
            level = "low" if always and not wanted else _GPT.get(level, level)
            return Reasons({"reasoning": {"effort": level}}, dropped=always and not wanted)
        case "qwen" if "qwen3" in model.name and "coder" not in model.name:
            return Reasons({"reasoning_config": _QWEN.get(level, level)})
        case "zai" if model.name.startswith("glm-5.3"):
            return Reasons(
                {"reasoning_effort": _GLM.get(level, level) if wanted else "low"}, dropped=not wanted
            )
        case "zai":
            return Reasons({"reasoning_effort": "high" if wanted else "none"})
        case "deepseek" if "r1" not in model.name:
            return Reasons({"reasoning_effort": "high" if wanted else "none"})
        case "xai":
            level = _GROK.get(level, level) if wanted else "low"
            return Reasons({"reasoning": {"effort": level}}, dropped=not wanted)
    return Reasons(dropped=wanted)


def _level(effort: Effort) -> str:
    if effort.level:
        return effort.level
    if effort.budget_tokens is None:
        return "medium"
    return next(
        (level for level in ("low", "medium", "high") if effort.budget_tokens <= _BUDGETS[level]), "xhigh"
    )


def _of_nova(chat: Chat, level: str) -> Reasons:
    """High effort takes no maxTokens: a client that set one gets medium, so that its limit holds."""
    if level == "none":
        return Reasons()
    level = _NOVA.get(level, level)
    if level == "high" and chat.max_output_tokens is not None:
        level = "medium"
    fields = {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}}
    return Reasons(fields, nova_high=level == "high")


def _of_claude(chat: Chat, effort: Effort, facts: Claude, upstream: Upstream, history_ok: bool) -> Reasons:
    if not effort.enabled or effort.level == "none":
        return _no_thinking(facts)
    adaptive = facts.adaptive and (effort.budget_tokens is None or effort.adaptive or not facts.budget)
    if adaptive:
        return _adaptive(effort, facts, _is_forced(chat) and facts.version <= _NOT_FORCED_AND_THINKING)
    if not facts.budget or not history_ok or _is_forced(chat):
        return Reasons(dropped=True)
    budget = max(_LEAST_BUDGET, effort.budget_tokens or _BUDGETS.get(effort.level, _BUDGETS["medium"]))
    most = limit(chat, upstream)
    if most is not None:
        # A client that names a level leaves the budget to us: a quarter of its limit stays for the answer.
        room = most - 1 if effort.budget_tokens is not None else max(_LEAST_BUDGET, most * 3 // 4)
        budget = min(budget, room, most - 1)
        if budget < _LEAST_BUDGET:
            return Reasons(dropped=True)
    elif upstream.max_output_tokens is not None:
        most = upstream.max_output_tokens
        budget = max(_LEAST_BUDGET, min(budget, most - _ROOM_FOR_THE_ANSWER))
    else:
        most = budget + _ROOM_FOR_THE_ANSWER
    thinking = {"type": "enabled", "budget_tokens": budget}
    return Reasons({"thinking": thinking}, manual=True, max_tokens=most)


def _no_thinking(facts: Claude) -> Reasons:
    if facts.off is None:  # the least that it can
        return Reasons(
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            adaptive=True,
            dropped=True,
        )
    return Reasons({"thinking": {"type": facts.off}} if facts.off else {})


def _adaptive(effort: Effort, facts: Claude, is_forced: bool) -> Reasons:
    """The effort may stay where a forced tool excludes thinking."""
    fields: dict[str, Any] = {}
    if not is_forced:
        thinking: dict[str, Any] = {"type": "adaptive"}
        if facts.takes_display and effort.show is not None:
            thinking["display"] = "summarized" if effort.show else "omitted"
        fields["thinking"] = thinking
    if effort.level or effort.budget_tokens is not None:
        level = _level(effort)
        if level == "minimal":
            level = "low"
        elif level == "xhigh" and not facts.takes_xhigh:
            level = "max"
        fields["output_config"] = {"effort": level}
    return Reasons(fields, adaptive=not is_forced)


def _is_forced(chat: Chat) -> bool:
    """Thinking on a budget and a forced tool exclude each other; the tool is the contract."""
    choice = chat.tool_choice
    return bool(chat.tools) and choice is not None and choice.mode in ("required", "only")
