"""OpenTelemetry's names for what we know by other names."""

from __future__ import annotations

import pytest
from modelbroker.core.catalog import Provider
from modelbroker.core.genai import operation_of, provider_of
from modelbroker.settings.builtin import builtins

# By the convention's list of well-known values; those that it has no name for keep ours.
NAMED = {
    "anthropic": "anthropic",
    "openai": "openai",
    "azure-openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock-anthropic": "aws.bedrock",
    "bedrock-mantle": "aws.bedrock",
    "bedrock-openai": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "vertex-anthropic": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "groq": "groq",
    "xai": "x_ai",
    "deepseek": "deepseek",
    "cohere": "cohere",
    "moonshot": "moonshot_ai",
    "perplexity": "perplexity",
    "openrouter": "openrouter",
}


@pytest.mark.parametrize("name", NAMED)
def test_built_in_providers_have_the_conventions_names(name: str) -> None:
    known = builtins()[name]
    url = known.base_url.format(region="eu-west-1", project="p") or "https://it.openai.azure.com/openai/v1"
    assert provider_of(Provider(name, known.dialect, url, variant=known.variant)) == NAMED[name]


def test_another_account_at_a_well_known_place_is_that_place() -> None:
    assert provider_of(Provider("ours-eu", ("openai-chat",), "https://eu.api.openai.com/v1")) == "openai"
    assert provider_of(Provider("ours", ("openai-chat",), "http://notopenai.com/v1")) == "ours"
    assert provider_of(Provider("ours", ("bedrock-converse",), "http://127.0.0.1:9")) == "aws.bedrock"


def test_operations() -> None:
    assert operation_of("openai-embeddings") == "embeddings"
    assert operation_of("anthropic-messages") == operation_of("openai-responses") == "chat"
