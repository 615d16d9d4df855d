"""Where a request goes: from its path to a surface, and what the path says beside it.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
https://ai.google.dev/api and https://cloud.google.com/vertex-ai/docs/reference/rest
https://learn.microsoft.com/azure/ai-foundry/openai/reference
"""

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .script import Dialect, Surface

Platform = Literal["direct", "azure", "bedrock", "vertex"]


@dataclass(frozen=True, slots=True)
class Route:
    """A surface on a platform; `model` and `stream` are None where the body says them."""

    surface: Surface | None
    platform: Platform = "direct"
    model: str | None = None
    stream: bool | None = None
    operation: str = ""  # the method that Google's or AWS's path names


# The last path segments that name a surface: base URLs differ between providers, the ends do not.
_ENDS: tuple[tuple[str, Surface], ...] = (
    ("/chat/completions", "openai-chat"),
    ("/responses/input_tokens", "openai-count-tokens"),
    ("/responses", "openai-responses"),
    ("/embeddings", "openai-embeddings"),
    ("/messages/count_tokens", "anthropic-count-tokens"),
    ("/messages", "anthropic-messages"),
)
_BEDROCK = re.compile(
    r"/model/(?P<model>[^/]+)"
    r"/(?P<operation>converse|converse-stream|invoke|invoke-with-response-stream|count-tokens)$"
)
_GOOGLE = re.compile(r"/(?:models|endpoints|tunedModels)/(?P<model>[^/]+):(?P<method>\w+)$")
# Google's methods: surface and whether it streams.
_GEMINI: dict[str, tuple[Surface, bool]] = {
    "generateContent": ("gemini", False),
    "streamGenerateContent": ("gemini", True),
    "countTokens": ("gemini-count-tokens", False),
    "embedContent": ("gemini-embeddings", False),
    "batchEmbedContents": ("gemini-embeddings", False),
    "predict": ("gemini-embeddings", False),
}
_CLAUDE_ON_VERTEX: dict[str, bool] = {"rawPredict": False, "streamRawPredict": True}
_DEPLOYMENT = re.compile(r"/openai/deployments/(?P<model>[^/]+)/(?:chat/completions|embeddings)$")
_OPENAI: tuple[Surface, ...] = (
    "openai-chat",
    "openai-responses",
    "openai-embeddings",
    "openai-count-tokens",
    "models",
)
# What each dialect answers of the providers' own surfaces, and the platform it answers whole.
_ALLOWED: dict[Dialect, tuple[tuple[Surface, ...], Platform | None]] = {
    "openai": (_OPENAI, "azure"),
    "openai-chat": (("openai-chat", "models"), None),
    "openai-responses": (("openai-responses", "openai-count-tokens", "models"), None),
    "openai-embeddings": (("openai-embeddings", "models"), None),
    "anthropic-messages": (("anthropic-messages", "anthropic-count-tokens", "models"), None),
    "bedrock-converse": (("models",), "bedrock"),
    "gemini": (("gemini", "gemini-count-tokens", "gemini-embeddings", "models"), "vertex"),
}


def route(
    method: str, path: str, query: str, headers: Mapping[str, str], data: Any, dialect: Dialect | None
) -> Route:
    """Where a request goes; a surface that `dialect` does not speak counts as unknown."""
    found = _find(method, path.rstrip("/"), query, headers, data)
    if dialect is None or found.surface is None:
        return found
    surfaces, platform = _ALLOWED[dialect]
    known = found.surface in surfaces or found.platform == platform
    return found if known else Route(None, found.platform)


def _find(method: str, path: str, query: str, headers: Mapping[str, str], data: Any) -> Route:
    if method == "GET":
        is_models = path.endswith("/models") or "/models/" in path
        return Route("models" if is_models else None)
    if method != "POST":
        return Route(None)
    if (match := _BEDROCK.search(path)) is not None:
        return _bedrock(urllib.parse.unquote(match["model"]), match["operation"], data)
    plain = urllib.parse.unquote(path)
    if (match := _GOOGLE.search(plain)) is not None:
        return _google(match["model"], match["method"], plain)
    if (match := _DEPLOYMENT.search(plain)) is not None:
        surface: Surface = "openai-chat" if plain.endswith("/chat/completions") else "openai-embeddings"
        return Route(surface, "azure", match["model"])
    for end, named in _ENDS:
        if path.endswith(end):
            return Route(named, "azure" if _is_azure(path, query, headers) else "direct")
    return Route(None)


def _is_azure(path: str, query: str, headers: Mapping[str, str]) -> bool:
    # Others have /openai/ in their paths too; only Azure takes its key in api-key, or dates its API.
    return "/openai/" in path and ("api-key" in headers or "api-version=" in query)


def _bedrock(model: str, operation: str, data: Any) -> Route:
    if operation == "count-tokens":
        return Route("bedrock-count-tokens", "bedrock", model, False, operation)
    if operation.startswith("converse"):
        return Route("bedrock-converse", "bedrock", model, operation == "converse-stream", operation)
    fields = data if isinstance(data, dict) else {}
    embeds = any(name in fields for name in ("inputText", "texts", "singleEmbeddingParams"))
    if embeds or ("embed" in model and "messages" not in fields):
        return Route("bedrock-embeddings", "bedrock", model, False, operation)
    return Route("anthropic-messages", "bedrock", model, operation != "invoke", operation)


def _google(model: str, method: str, path: str) -> Route:
    platform: Platform = "vertex" if "/projects/" in path or "/publishers/" in path else "direct"
    if "/publishers/anthropic/" in path:
        if method not in _CLAUDE_ON_VERTEX:
            return Route(None, platform)
        if model == "count-tokens":
            return Route("anthropic-count-tokens", platform, None, False, method)
        return Route("anthropic-messages", platform, model, _CLAUDE_ON_VERTEX[method], method)
    if method not in _GEMINI or (method == "predict" and platform == "direct"):
        return Route(None, platform)
    surface, stream = _GEMINI[method]
    return Route(surface, platform, model, stream, method)
