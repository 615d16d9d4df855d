"""How OpenTelemetry's conventions for generative AI call what we know by other names.

Source: https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md
(`gen_ai.operation.name`, `gen_ai.provider.name`)
"""

from __future__ import annotations

from urllib.parse import urlsplit

from .catalog import Provider

# The broker itself, where no provider answered.
OWN_NAME = "modelbroker"

_EMBEDDINGS = frozenset(("openai-embeddings",))
_OF_VARIANT = {"azure": "azure.ai.openai", "bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai"}
_OF_DIALECT = {"bedrock-converse": "aws.bedrock", "gemini": "gcp.gemini"}
# By the end of the host's name.
_OF_HOST = {
    "openai.com": "openai",
    "anthropic.com": "anthropic",
    "amazonaws.com": "aws.bedrock",
    "api.aws": "aws.bedrock",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "openai.azure.com": "azure.ai.openai",
    "cohere.com": "cohere",
    "cohere.ai": "cohere",
    "deepseek.com": "deepseek",
    "groq.com": "groq",
    "mistral.ai": "mistral_ai",
    "moonshot.ai": "moonshot_ai",
    "perplexity.ai": "perplexity",
    "x.ai": "x_ai",
}


def operation_of(dialect: str) -> str:
    """`gen_ai.operation.name` of a call in the client's dialect."""
    return "embeddings" if dialect in _EMBEDDINGS else "chat"


def provider_of(provider: Provider) -> str:
    """`gen_ai.provider.name`: the convention's own where it has one, else the configuration's."""
    if provider.variant:
        return _OF_VARIANT.get(provider.variant, provider.name)
    host = urlsplit(provider.base_url).hostname or ""
    for end, name in _OF_HOST.items():
        if host == end or host.endswith(f".{end}"):
            return name
    return next((_OF_DIALECT[each] for each in provider.dialects if each in _OF_DIALECT), provider.name)
