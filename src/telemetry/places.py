"""Providers → where they are, and the conventions' names of them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from ..core.catalog import Provider
from .spans import Place

# `gen_ai.provider.name` of those that the conventions call otherwise than this broker does.
_OWN_NAMES = {
    "azure-openai": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}
_OF_VARIANTS = {"azure": "azure.ai.openai", "bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai"}
# An account of one's own at a house is at that house, whatever it is called.
_OF_HOSTS = (
    (".openai.azure.com", "azure.ai.openai"),
    (".amazonaws.com", "aws.bedrock"),
    (".api.aws", "aws.bedrock"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("api.openai.com", "openai"),
    ("api.anthropic.com", "anthropic"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.x.ai", "x_ai"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.perplexity.ai", "perplexity"),
    ("api.cohere.ai", "cohere"),
    ("api.moonshot.ai", "moonshot_ai"),
)
_PORTS = {"http": 80, "https": 443}


def places_of(providers: Iterable[Provider]) -> dict[str, Place]:
    return {provider.name: _place(provider) for provider in providers}


def _place(provider: Provider) -> Place:
    url = urlsplit(provider.base_url)
    host = url.hostname or ""
    return Place(_name(provider, host), host, url.port or _PORTS.get(url.scheme, 0))


def _name(provider: Provider, host: str) -> str:
    if provider.variant in _OF_VARIANTS:
        return _OF_VARIANTS[provider.variant]
    if provider.dialects == ("bedrock-converse",):
        return "aws.bedrock"
    found = (name for end, name in _OF_HOSTS if host == end or (end in host and host.endswith(end)))
    return next(found, _OWN_NAMES.get(provider.name, provider.name))
