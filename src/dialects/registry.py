"""The dialects that there are, what can be translated into what, and which operation a path names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..core.call import Surface
from ..core.deviation import Deviation
from .anthropic_messages import AnthropicMessages
from .base import Dialect
from .bedrock_converse import BedrockConverse
from .gemini import Gemini
from .openai_chat import OpenAiChat
from .openai_embeddings import OpenAiEmbeddings
from .openai_responses import OpenAiResponses
from .translation import ClientDialect, CountsTokens, MakesEmbeddings, ProviderDialect

_CHAT, _RESPONSES, _EMBEDDINGS, _MESSAGES = (
    OpenAiChat(),
    OpenAiResponses(),
    OpenAiEmbeddings(),
    AnthropicMessages(),
)
_CLIENTS: tuple[ClientDialect, ...] = (_CHAT, _RESPONSES, _EMBEDDINGS, _MESSAGES)
_CLIENT_NAMED: Mapping[str, ClientDialect] = MappingProxyType({d.name: d for d in _CLIENTS})
_BEDROCK, _GEMINI = BedrockConverse(), Gemini()
_PROVIDERS: tuple[ProviderDialect, ...] = (_CHAT, _RESPONSES, _MESSAGES, _BEDROCK, _GEMINI)
_PROVIDER_NAMED: Mapping[str, ProviderDialect] = MappingProxyType({d.name: d for d in _PROVIDERS})
_COUNTS: Mapping[str, CountsTokens] = MappingProxyType(
    {_RESPONSES.name: _RESPONSES, _MESSAGES.name: _MESSAGES, _BEDROCK.name: _BEDROCK, _GEMINI.name: _GEMINI}
)
_EMBEDS: Mapping[str, MakesEmbeddings] = MappingProxyType({_BEDROCK.name: _BEDROCK, _GEMINI.name: _GEMINI})

# What can serve each operation of a client's, beside the client's own dialect.
_SERVED_BY: Mapping[str, frozenset[str]] = MappingProxyType(
    {"chat": frozenset(_PROVIDER_NAMED), "count": frozenset(_COUNTS), "embed": frozenset(_EMBEDS)}
)

# Dialects that clients speak; all that this version speaks; and those that a configuration may name.
CLIENT_DIALECTS = frozenset(_CLIENT_NAMED)
BUILT = CLIENT_DIALECTS | frozenset(_PROVIDER_NAMED)
KNOWN = BUILT
# Dialect → what its providers may say under `deviations`.
DEVIATIONS: Mapping[str, Mapping[str, Deviation]] = MappingProxyType(
    {dialect.name: dialect.deviations for dialect in _PROVIDERS}
)


def _surface(surface: Surface) -> Surface:
    served_by = _SERVED_BY[surface.operation] - {surface.dialect}
    return Surface(surface.name, surface.dialect, surface.path, surface.suffix, surface.operation, served_by)


SURFACES: tuple[Surface, ...] = tuple(_surface(s) for dialect in _CLIENTS for s in dialect.surfaces)
_BY_PATH = {surface.path: surface for surface in SURFACES}
_BY_NAME = {surface.name: surface for surface in SURFACES}


def dialect_named(name: str) -> Dialect:
    """A dialect that clients speak. KeyError where there is none of that name."""
    return _CLIENT_NAMED[name]


def client_dialect(name: str) -> ClientDialect:
    """The same, with what translation needs."""
    return _CLIENT_NAMED[name]


def provider_dialect(name: str) -> ProviderDialect:
    """A dialect that conversations can be translated into. KeyError where there is none of that name."""
    return _PROVIDER_NAMED[name]


def counts_tokens(name: str) -> CountsTokens:
    """A provider's dialect that counts tokens. KeyError where there is none of that name."""
    return _COUNTS[name]


def makes_embeddings(name: str) -> MakesEmbeddings:
    """A provider's dialect that embeddings can be translated into. KeyError where there is none."""
    return _EMBEDS[name]


def embeddings_client() -> OpenAiEmbeddings:
    """The one dialect in which clients ask for embeddings."""
    return _EMBEDDINGS


def surface_named(name: str) -> Surface:
    """KeyError where there is none of that name."""
    return _BY_NAME[name]


def surface_for_path(path: str) -> Surface | None:
    """The operation behind a request path (query and a trailing slash left aside)."""
    return _BY_PATH.get(path.partition("?")[0].rstrip("/"))


def dialect_for_path(path: str) -> Dialect:
    """Whose shape an error on this path has: Anthropic's under /v1/messages, else OpenAI's."""
    return _CLIENT_NAMED["anthropic-messages" if path.startswith("/v1/messages") else "openai-chat"]
