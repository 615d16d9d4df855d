"""What the models behind this dialect take: Claudes, and others that speak it. Of others it is believed that
they take everything that the dialect's first version had."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ...core.deviation import Deviation
from ..claude import claude
from ..conversation import Upstream

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


@dataclass(frozen=True, slots=True)
class Traits:
    """As `Claude` has them."""

    budget: bool = True
    adaptive: bool = False
    off: str | None = ""
    takes_xhigh: bool = False
    takes_display: bool = False
    samples: bool = True
    samples_both: bool = True
    can_be_forced: bool = True
    enforces_schemas: bool = True
    prefills: bool = True
    late_system: bool = False
    default_output: int = 4096  # max_tokens where the client does not say


_OTHERS = Traits()
_OF_CLAUDE = [name for name in Traits.__slots__ if name != "default_output"]


@functools.lru_cache(maxsize=512)
def _traits(name: str) -> Traits:
    if "claude" not in name.lower():
        return _OTHERS
    model = claude(name)
    facts = {name: getattr(model, name) for name in _OF_CLAUDE}
    # Older ones refuse a request if prompt and max_tokens together exceed the context window.
    output = 32_000 if model.stops_at_the_window else 8192 if model.version >= (3, 5) else 4096
    return Traits(**facts, default_output=output)


def traits_of(upstream: Upstream) -> Traits:
    """`deviations` may say `base_model` and `thinking`."""
    deviations = upstream.deviations
    traits = _traits(str(deviations.get("base_model") or upstream.model))
    thinking = deviations.get("thinking")
    return _with_thinking(traits, thinking) if thinking else traits


def _with_thinking(traits: Traits, thinking: Any) -> Traits:
    off = "" if thinking == "none" else traits.off
    return replace(traits, budget=thinking == "budget", adaptive=thinking == "adaptive", off=off)
