"""The dialects that there are, and which operation a path names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..core.call import Surface
from .anthropic_messages import AnthropicMessages
from .base import Dialect
from .openai_chat import OpenAiChat
from .openai_embeddings import OpenAiEmbeddings
from .openai_responses import OpenAiResponses

_DIALECTS: tuple[Dialect, ...] = (OpenAiChat(), OpenAiResponses(), OpenAiEmbeddings(), AnthropicMessages())
_BY_NAME: Mapping[str, Dialect] = MappingProxyType({dialect.name: dialect for dialect in _DIALECTS})

# Dialects that this version speaks, and those that a configuration may already name.
BUILT = frozenset(_BY_NAME)
KNOWN = BUILT | {"bedrock-converse", "gemini"}

SURFACES: tuple[Surface, ...] = tuple(surface for dialect in _DIALECTS for surface in dialect.surfaces)
_BY_PATH = {surface.path: surface for surface in SURFACES}


def dialect_named(name: str) -> Dialect:
    """KeyError where this version does not speak it."""
    return _BY_NAME[name]


def surface_for_path(path: str) -> Surface | None:
    """The operation behind a request path (query and a trailing slash left aside)."""
    return _BY_PATH.get(path.partition("?")[0].rstrip("/"))


def dialect_for_path(path: str) -> Dialect:
    """Whose shape an error on this path has: Anthropic's under /v1/messages, else OpenAI's."""
    return _BY_NAME["anthropic-messages" if path.startswith("/v1/messages") else "openai-chat"]
