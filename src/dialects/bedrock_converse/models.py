"""What the models behind Converse take, and where they take it otherwise.

Converse is one API for the models of many vendors; what a model does not know it refuses with 400. Sources:
Amazon Bedrock user guide, "Supported models and model features", "Tool use", "Prompt caching", "Structured
output", "Adaptive thinking"; where it says nothing or another thing than the service does, what was found by
live calls and is kept in pydantic-ai's `providers/bedrock.py` and `profiles/anthropic.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from ...core.deviation import Deviation

BASE_MODEL = "base_model"
LATENCY = "latency"
DEVIATIONS: Mapping[str, Deviation] = MappingProxyType(
    {
        BASE_MODEL: Deviation("the foundation model behind an ARN, which itself does not tell it", ""),
        LATENCY: Deviation("performanceConfig.latency of every call", "", ("standard", "optimized")),
    }
)

_GEOGRAPHIES = ("us-gov", "us", "eu", "apac", "jp", "au", "ca", "in", "global")
_ARN = re.compile(r"arn:[^:]+:bedrock:[^:]*:[^:]*:(?:inference-profile|foundation-model)/(.+)")
_VERSION_SUFFIX = re.compile(r"-v\d+(?::\d+)?$|:\d+$")
_CLAUDE = re.compile(r"claude-(?:([a-z]+)-)?(\d{1,2})(?!\d)(?:-(\d{1,2})(?!\d))?")

Choices = frozenset[Literal["any", "tool"]]
_ALL_CHOICES: Choices = frozenset(("any", "tool"))
_NO_CHOICES: Choices = frozenset()


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model. What is not known of a model is believed: it is sent, and the provider answers for it."""

    family: str = ""  # its vendor, as model ids spell it; "" unknown
    name: str = ""  # without vendor, geography and version
    choices: Choices = _ALL_CHOICES  # of toolConfig.toolChoice, beside auto
    enforces_schemas: bool = True  # outputConfig.textFormat and toolSpec.strict
    cache_ttls: tuple[str, ...] = ()
    caches_tools: bool = False
    samples: bool = True  # temperature, topP
    samples_both: bool = True  # temperature together with topP
    top_k: Literal["", "anthropic", "nova"] = ""
    cites: bool = True
    hears: bool = True  # audio blocks
    results_alone: bool = False  # nothing may stand beside toolResult blocks
    result_status: bool = True
    result_media: frozenset[str] = frozenset(("image", "document"))
    begins_anyhow: bool = False  # a conversation may begin with the assistant
    prefills: bool = True  # goes on with an assistant's message
    returns_reasoning: bool = True  # takes its own reasoning back


@dataclass(frozen=True, slots=True)
class ClaudeFacts:
    """How a Claude thinks. `adaptive`: it takes {"type": "adaptive"} and an effort; `manual`: it takes a
    budget of tokens."""

    tier: str
    version: tuple[int, int]

    @property
    def manual(self) -> bool:
        return (3, 7) <= self.version < (4, 7)

    @property
    def adaptive(self) -> bool:
        return self.version >= (4, 6)

    @property
    def takes_xhigh(self) -> bool:
        return self.version >= (4, 7)

    @property
    def takes_display(self) -> bool:
        return self.version >= (4, 7)

    @property
    def thinks_unasked(self) -> bool:
        return self.version >= (5, 0)

    @property
    def thinks_always(self) -> bool:
        return self.tier in ("fable", "mythos") or (self.tier == "opus" and self.version >= (5, 5))

    @property
    def stops_between_tools(self) -> bool:
        """Thinking is turned off by {"type": "between_tools"}."""
        return self.tier == "sonnet" and self.version >= (5, 5)

    @property
    def can_be_forced(self) -> bool:
        """Takes toolChoice any and tool."""
        if self.tier in ("fable", "mythos"):
            return self.version < (5, 1)
        return self.tier == "haiku" or self.version < (5, 5)

    @property
    def stops_at_the_window(self) -> bool:
        """Input plus maxTokens may exceed the context window; older ones answer that with 400."""
        return self.version >= (4, 5)


def vendor_and_name(model: str) -> tuple[str, str]:
    """`us.anthropic.claude-haiku-4-5-20251001-v1:0` → (`anthropic`, `claude-haiku-4-5-20251001`);
    an id that names no vendor: ("", id)."""
    vendor, found, name = without_geography(model).partition(".")
    if not found or ":" in vendor or "/" in vendor:
        return "", model
    return vendor, _VERSION_SUFFIX.sub("", name)


def without_geography(model: str) -> str:
    """The model's own id: of a system-defined inference profile or its ARN, the foundation model's."""
    if match := _ARN.fullmatch(model):
        model = match[1]
    geography, found, rest = model.partition(".")
    return rest if found and geography in _GEOGRAPHIES else model


def claude(name: str) -> ClaudeFacts:
    """The facts of a Claude by its bare name: `claude-3-7-sonnet-20250219`, `claude-opus-4-7`."""
    if match := _CLAUDE.match(name):
        first, major, minor = match.groups()
        tier = first or next((word for word in name.split("-") if word in ("opus", "sonnet", "haiku")), "")
        return ClaudeFacts(tier, (int(major), int(minor or 0)))
    if name in ("claude", "claude-instant"):  # their numbers were taken for a version suffix
        return ClaudeFacts("", (2, 0))
    return ClaudeFacts(name.split("-")[1] if "-" in name else "", (5, 0))  # claude-mythos-preview


def model_of(model: str, deviations: Mapping[str, Any]) -> ModelFacts:
    base = deviations.get(BASE_MODEL)
    return _facts(base if isinstance(base, str) and base else model)


@lru_cache(maxsize=512)
def _facts(model: str) -> ModelFacts:
    vendor, name = vendor_and_name(model)
    if vendor == "anthropic":
        return _claude_facts(name, claude(name))
    known = _VENDORS.get(vendor)
    return replace(_refined(known, name), name=name) if known else ModelFacts(name=name)


def _claude_facts(name: str, facts: ClaudeFacts) -> ModelFacts:
    version = facts.version
    return ModelFacts(
        family="anthropic",
        name=name,
        choices=_ALL_CHOICES if facts.can_be_forced else _NO_CHOICES,
        enforces_schemas=version >= (4, 5) and facts.tier != "fable",
        cache_ttls=("5m", "1h") if version >= (4, 5) else ("5m",) if version >= (3, 5) else (),
        caches_tools=version >= (3, 5),
        samples=version < (4, 7),
        samples_both=version < (4, 1),
        top_k="anthropic" if version < (4, 7) else "",
        hears=False,
        begins_anyhow=True,
        prefills=version < (4, 6),
    )


# What all models of a vendor share; `_refined` has the exceptions.
_OTHERS = ModelFacts(choices=_NO_CHOICES, cites=False, hears=False, returns_reasoning=False)
_VENDORS: dict[str, ModelFacts] = {
    "amazon": replace(
        _OTHERS,
        family="amazon",
        choices=_ALL_CHOICES,
        enforces_schemas=False,
        cache_ttls=("5m",),
        top_k="nova",
        hears=True,
    ),
    "meta": replace(_OTHERS, family="meta", enforces_schemas=False, results_alone=True),
    "mistral": replace(
        _OTHERS,
        family="mistral",
        choices=frozenset(("any",)),
        hears=True,
        results_alone=True,
        result_media=frozenset(("document",)),
    ),
    "cohere": replace(_OTHERS, family="cohere", enforces_schemas=False),
    "ai21": replace(_OTHERS, family="ai21", enforces_schemas=False),
    "deepseek": replace(_OTHERS, family="deepseek"),
    "openai": replace(_OTHERS, family="openai", returns_reasoning=True),
    "qwen": replace(_OTHERS, family="qwen", result_media=frozenset(), begins_anyhow=True),
    "google": replace(_OTHERS, family="google"),
    "minimax": replace(_OTHERS, family="minimax"),
    "nvidia": replace(_OTHERS, family="nvidia"),
    "writer": replace(
        _OTHERS, family="writer", enforces_schemas=False, results_alone=True, result_status=False
    ),
    "zai": replace(_OTHERS, family="zai", choices=_ALL_CHOICES, begins_anyhow=True),
    "moonshot": replace(
        _OTHERS, family="moonshot", choices=_ALL_CHOICES, result_media=frozenset(), begins_anyhow=True
    ),
    "xai": replace(_OTHERS, family="xai", choices=_ALL_CHOICES, enforces_schemas=False, samples=False),
}
_VENDORS["moonshotai"] = _VENDORS["moonshot"]


def _refined(facts: ModelFacts, name: str) -> ModelFacts:
    match facts.family:
        case "amazon" if not name.startswith("nova"):
            return replace(facts, choices=_NO_CHOICES, cache_ttls=(), top_k="", hears=False)
        case "openai" if not name.startswith("gpt-oss"):
            return replace(facts, samples=False)
        case "mistral":
            enforcing = ("magistral-small", "ministral-3", "mistral-large-3", "voxtral")
            return replace(
                facts, enforces_schemas=name.startswith(enforcing), hears=name.startswith("voxtral")
            )
        case "qwen":
            return replace(facts, enforces_schemas=name.startswith("qwen3"))
        case "deepseek":
            reasons = "r1" in name
            return replace(facts, returns_reasoning=reasons, enforces_schemas=not reasons)
    return facts
