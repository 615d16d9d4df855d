"""What the models behind Converse take, and where they take it otherwise.

Converse is one API for the models of many vendors; what a model does not know it refuses with 400. Sources:
Amazon Bedrock user guide, "Supported models and model features", "Tool use", "Prompt caching", "Structured
output", "Adaptive thinking"; where it says nothing or another thing than the service does, what was found by
live calls and is kept in pydantic-ai's `providers/bedrock.py`. What Claudes do anywhere is in `..claude`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from ...core.deviation import Deviation
from ..claude import Claude, claude

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


def model_of(model: str, deviations: Mapping[str, Any]) -> ModelFacts:
    base = deviations.get(BASE_MODEL)
    return _facts(base if isinstance(base, str) and base else model)


@lru_cache(maxsize=512)
def _facts(model: str) -> ModelFacts:
    vendor, name = vendor_and_name(model)
    if vendor == "anthropic":
        return _claude_facts(name, claude_of(name))
    known = _VENDORS.get(vendor)
    return replace(_refined(known, name), name=name) if known else ModelFacts(name=name)


def claude_of(name: str) -> Claude:
    """By its name as `vendor_and_name` gives it: the oldest have lost their numbers there."""
    return claude(f"{name}-2" if name in ("claude", "claude-instant") else name)


def _claude_facts(name: str, model: Claude) -> ModelFacts:
    version = model.version
    return ModelFacts(
        family="anthropic",
        name=name,
        choices=_ALL_CHOICES if model.can_be_forced else _NO_CHOICES,
        # The user guide's "Structured outputs" begins with 4.5; Fable was found to refuse it here.
        enforces_schemas=model.enforces_schemas and version >= (4, 5) and model.tier != "fable",
        cache_ttls=("5m", "1h") if version >= (4, 5) else ("5m",) if version >= (3, 5) else (),
        caches_tools=version >= (3, 5),
        samples=model.samples,
        samples_both=model.samples_both,
        top_k="anthropic" if model.samples else "",
        hears=False,
        prefills=model.prefills,
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
