"""How much a model is to think, as it takes it.

Sources: Anthropic's documentation, "Thinking", "Extended thinking", "Effort", "Troubleshooting thinking",
"Thinking in tool and multi-turn workflows"; models.py has the table by model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..conversation import Chat, Effort, Upstream
from .models import Traits

# Tokens of thinking by effort, where a model wants to be told so.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_LEAST_BUDGET = 1024
_ROOM_FOR_THE_ANSWER = 4096
_THINKING = ("thinking", "redacted_thinking")


@dataclass(slots=True)
class Thought:
    """What a request says: `thinking` and `output_config.effort` (None: nothing) and `max_tokens`. `active`:
    the model thinks because it was asked to. `dropped`: the client's wish could not be kept."""

    max_tokens: int
    thinking: Mapping[str, Any] | None = None
    effort: str | None = None
    active: bool = False
    dropped: bool = False


def thought(chat: Chat, messages: Sequence[Mapping[str, Any]], traits: Traits, upstream: Upstream) -> Thought:
    """`messages` as they will be sent."""
    out = Thought(_max_tokens(chat, traits, upstream))
    effort = chat.effort
    if effort is None:
        return out
    if not effort.enabled or effort.level == "none":
        _stop(out, traits)
    elif traits.adaptive and (effort.budget_tokens is None or effort.adaptive or not traits.budget):
        _adapt(out, effort, traits, _is_forced(chat))
    elif traits.budget and not _is_forced(chat) and _can_go_on(messages):
        _spend(out, effort, chat, upstream)
    else:
        out.dropped = True
    return out


def _max_tokens(chat: Chat, traits: Traits, upstream: Upstream) -> int:
    """The client's, up to what the model can write at all, which it never exceeds anyway."""
    asked = traits.default_output if chat.max_output_tokens is None else chat.max_output_tokens
    most = upstream.max_output_tokens
    return asked if most is None else min(asked, most)


def _stop(out: Thought, traits: Traits) -> None:
    if traits.off is None:  # the least that it can
        out.effort, out.dropped = "low", True
    elif traits.off:
        out.thinking = {"type": traits.off}


def _adapt(out: Thought, effort: Effort, traits: Traits, is_forced: bool) -> None:
    """A model that has to call a tool does so without thinking: the effort is all that it can be told."""
    if not is_forced:
        thinking: dict[str, Any] = {"type": "adaptive"}
        if effort.show is not None and traits.takes_display:
            thinking["display"] = "summarized" if effort.show else "omitted"
        out.thinking, out.active = thinking, True
    level = effort.level
    if not level and effort.budget_tokens is not None:
        level = _level_of(effort.budget_tokens)
    if level == "minimal":
        level = "low"
    elif level == "xhigh" and not traits.takes_xhigh:
        level = "max"
    out.effort = level or None


def _level_of(budget: int) -> str:
    return next((level for level in ("low", "medium", "high") if budget <= _BUDGETS[level]), "xhigh")


def _spend(out: Thought, effort: Effort, chat: Chat, upstream: Upstream) -> None:
    """Thinking counts as output: a budget has to leave room for the answer."""
    budget = max(_LEAST_BUDGET, effort.budget_tokens or _BUDGETS.get(effort.level, _BUDGETS["medium"]))
    if chat.max_output_tokens is None:
        wanted = budget + _ROOM_FOR_THE_ANSWER
        most = upstream.max_output_tokens
        out.max_tokens = max(out.max_tokens, wanted if most is None else min(wanted, most))
        budget = min(budget, max(_LEAST_BUDGET, out.max_tokens - _ROOM_FOR_THE_ANSWER))
    elif effort.budget_tokens is None:
        # Who names a level leaves the budget to us: a quarter of the limit is for the answer.
        budget = min(budget, max(_LEAST_BUDGET, out.max_tokens * 3 // 4))
    budget = min(budget, out.max_tokens - 1)
    if budget < _LEAST_BUDGET:
        out.dropped = True
        return
    out.thinking, out.active = {"type": "enabled", "budget_tokens": budget}, True


def _is_forced(chat: Chat) -> bool:
    """A budget and a forced tool exclude each other; the tool is the contract."""
    choice = chat.tool_choice
    return bool(chat.tools) and choice is not None and choice.mode in ("required", "only")


def _can_go_on(messages: Sequence[Mapping[str, Any]]) -> bool:
    """With a budget, an assistant's turn that goes on (a tool loop) has to begin with its own thinking; a
    beginning of an answer can't be gone on with at all."""
    if messages and messages[-1]["role"] == "assistant":
        return False
    return loop_begins_with_thinking(messages)


def loop_begins_with_thinking(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Does the last assistant's turn of the tool loop that is under way begin with thinking? True too where
    there is none."""
    is_loop = False
    turn: Any = None
    for message in reversed(messages):
        if message["role"] == "assistant":
            turn = message["content"]
        elif message["role"] == "user":
            if turn is not None:
                break
            is_loop = is_loop or _has_results(message["content"])
    if not is_loop or turn is None:
        return True
    return isinstance(turn, list) and bool(turn) and turn[0].get("type") in _THINKING


def _has_results(content: Any) -> bool:
    return isinstance(content, list) and any(
        isinstance(block, Mapping) and block.get("type") == "tool_result" for block in content
    )
