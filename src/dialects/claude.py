"""What Claude models take, and how they think: facts of the models, wherever and in whatever dialect they are
served. What only one service does otherwise stands with its dialect.

Sources: Anthropic's documentation, "Troubleshooting thinking" (table by model), "Effort", "Structured
outputs", "Forcing tool use", "Mid-conversation system messages", "Prefill not supported", "Models overview",
"What's new in Claude Opus 5.5" and "… Sonnet 5.5"; where it says nothing, what live calls found and
pydantic-ai's `profiles/anthropic.py` keeps:

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
from dataclasses import dataclass

# `claude-3-7-sonnet-20250219`, `claude-opus-4-7`, `claude-haiku-4.5`, `claude-v2:1`, `claude-instant-v1`
_NAME = re.compile(r"claude-(?:v|instant-v)?(?:([a-z]+)-)?(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
_ALWAYS = ("fable", "mythos")
_TIERS = (*_ALWAYS, "opus", "sonnet", "haiku")
# What is not known to be older is believed to be like the first of the fifth generation.
_UNNUMBERED = (5, 0)


@dataclass(frozen=True, slots=True)
class Claude:
    """One model. `budget`: takes thinking with a budget of tokens; `adaptive`: thinks as much as it wants,
    steered by an effort. `off`: the thinking.type that stops it; "" where none is needed, None where nothing
    can."""

    tier: str  # fable, mythos, opus, sonnet, haiku; "" where the name does not tell it
    version: tuple[int, int]
    budget: bool
    adaptive: bool
    off: str | None
    takes_xhigh: bool
    takes_display: bool
    samples: bool  # temperature, top_p, top_k
    samples_both: bool  # temperature and top_p together
    can_be_forced: bool  # to call some tool, or one
    enforces_schemas: bool
    prefills: bool  # goes on with an assistant's message
    late_system: bool  # takes system messages behind a user's
    stops_at_the_window: bool  # older ones refuse a prompt that exceeds it together with max_tokens


@functools.lru_cache(maxsize=512)
def claude(name: str) -> Claude:
    """By its name as any provider spells it; one that tells no version is believed to be a newer one."""
    name = name.lower()
    match = _NAME.search(name)
    first, major, minor = match.groups() if match else ("", "", "")
    tier = first or next((word for word in _TIERS if word in name), "")
    return _claude(tier, (int(major), int(minor or 0)) if major else _UNNUMBERED)


def _claude(tier: str, version: tuple[int, int]) -> Claude:
    always = tier in _ALWAYS or (tier == "opus" and version >= (5, 5))
    between = tier == "sonnet" and version >= (5, 5)
    off: str | None = "disabled" if version >= (5, 0) else ""
    if always:
        off = None
    elif between:
        off = "between_tools"
    return Claude(
        tier=tier,
        version=version,
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
        stops_at_the_window=version >= (4, 5),
    )
