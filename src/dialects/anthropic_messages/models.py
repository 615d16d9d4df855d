"""What Claude models take, by their names. Others that speak this dialect are believed to take everything
that the dialect's first version had.

Sources: Anthropic's documentation, "Troubleshooting thinking" (table by model), "Effort", "Structured
outputs", "Forcing tool use", "Mid-conversation system messages", "Prefill not supported", "Models overview";
where it says nothing, what live calls found and pydantic-ai's `profiles/anthropic.py` keeps:

| models            | thinking             | off by          | sampling | forced tools | schema | prefill |
|-------------------|----------------------|-----------------|----------|--------------|--------|---------|
| before 3.7        | none                 |                 | yes      | yes          | no     | yes     |
| 3.7 up to 4.5     | budget               | absent          | yes      | yes          | ≥ 4.5  | yes     |
| 4.6               | adaptive, budget     | absent          | yes      | yes          | yes    | no      |
| 4.7, 4.8          | adaptive             | absent          | no       | yes          | yes    | no      |
| 5 (opus, sonnet)  | adaptive, unasked    | disabled        | no       | yes          | yes    | no      |
| haiku 5.5         | adaptive, unasked    | disabled        | no       | yes          | yes    | no      |
| sonnet 5.5        | adaptive, unasked    | between_tools   | no       | no           | yes    | no      |
| opus 5.5          | adaptive, always     | can't be        | no       | no           | yes    | no      |
| fable, mythos     | adaptive, always     | can't be        | no       | before 5.1   | yes    | no      |

Schemas are enforced by Opus 4.1 too. Temperature and top_p together are refused from 4.1 on.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...core.deviation import Deviation
from ..conversation import Upstream

_CLAUDE = re.compile(r"claude-(?:v|instant-v)?(?:([a-z]+)-)?(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
DEVIATIONS: Mapping[str, Deviation] = MappingProxyType(
    {
        "base_model": Deviation("the model behind an ARN or an alias", ""),
        "thinking": Deviation(
            "how its models think, where their names do not tell it", "", ("adaptive", "budget", "none")
        ),
        "system_messages": Deviation(
            "`inline`: it takes instructions in the middle of a conversation; `hoist`: they go to the end of "
            "the system prompt; empty: what is known of the model",
            "",
            ("inline", "hoist"),
        ),
    }
)
_ALWAYS = ("fable", "mythos")


@dataclass(frozen=True, slots=True)
class Traits:
    """`budget`: takes thinking with a budget of tokens; `adaptive`: thinks as much as it wants, steered by an
    effort. `off`: the thinking.type that stops it; "" where none is needed, None where nothing can."""

    budget: bool = True
    adaptive: bool = False
    off: str | None = ""
    takes_xhigh: bool = False
    takes_display: bool = False
    samples: bool = True
    samples_both: bool = True  # temperature and top_p together
    can_be_forced: bool = True  # tool_choice any and tool
    enforces_schemas: bool = True
    prefills: bool = True  # goes on with an assistant's message
    late_system: bool = False  # takes system messages behind a user's
    default_output: int = 4096  # max_tokens where the client does not say


_OTHERS = Traits()


@functools.lru_cache(maxsize=512)
def _traits(name: str) -> Traits:
    name = name.lower()
    if "claude" not in name:
        return _OTHERS
    match = _CLAUDE.search(name)
    if match is None:  # claude-mythos-preview
        tier, version = next((word for word in _ALWAYS if word in name), "opus"), (5, 0)
    else:
        first, major, minor = match.groups()
        tier = first or next((word for word in ("opus", "sonnet", "haiku") if word in name), "")
        version = (int(major), int(minor or 0))
    return _of_claude(tier, version)


def _of_claude(tier: str, version: tuple[int, int]) -> Traits:
    always = tier in _ALWAYS or (tier == "opus" and version >= (5, 5))
    between = tier == "sonnet" and version >= (5, 5)
    off: str | None = ""
    if always:
        off = None
    elif between:
        off = "between_tools"
    elif version >= (5, 0):
        off = "disabled"
    return Traits(
        budget=(3, 7) <= version < (4, 7),
        adaptive=version >= (4, 6),
        off=off,
        takes_xhigh=version >= (4, 7),
        takes_display=version >= (4, 7),
        samples=version < (4, 7),
        samples_both=version < (4, 1),
        can_be_forced=not (between or (always and version >= (5, 1))),
        enforces_schemas=version >= (4, 5) or (tier == "opus" and version == (4, 1)),
        prefills=version < (4, 6),
        late_system=always or version >= (5, 5) or (tier == "opus" and version >= (4, 8)),
        # Up to 4.1 a request is refused if prompt and max_tokens together exceed the context window.
        default_output=32_000 if version >= (4, 5) else 8192 if version >= (3, 5) else 4096,
    )


def traits_of(upstream: Upstream) -> Traits:
    """`deviations` may say `base_model` (the model behind an ARN or an alias) and `thinking`: `adaptive`,
    `budget` or `none`."""
    deviations = upstream.deviations
    traits = _traits(str(deviations.get("base_model") or upstream.model))
    thinking = deviations.get("thinking")
    return _with_thinking(traits, thinking) if thinking else traits


def _with_thinking(traits: Traits, thinking: Any) -> Traits:
    fields = {name: getattr(traits, name) for name in Traits.__slots__}
    fields |= {"budget": thinking == "budget", "adaptive": thinking == "adaptive"}
    if thinking == "none":
        fields["off"] = ""
    return Traits(**fields)
