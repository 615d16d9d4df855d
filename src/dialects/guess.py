"""Which operation a body is most likely for, where nobody says the path. Only `explain` has to guess.

What only one dialect has decides, by the dialects' own tables of fields; what it holds inside counts too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import openai_embeddings
from .anthropic_messages import fields as messages_fields
from .base import decode_json
from .openai_chat import fields as chat_fields
from .openai_responses import fields as responses_fields

CHAT, RESPONSES, EMBEDDINGS, MESSAGES = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
)


def _inside(table: Iterable[str], field: str) -> frozenset[str]:
    """The names right below a field: `thinking` of `messages.thinking.signature`."""
    return frozenset(name.split(".")[1] for name in table if name.startswith(f"{field}."))


_IN_CHAT = frozenset(chat_fields.FIELDS)
# Bedrock and Vertex AI have the version in the body.
_IN_MESSAGES = frozenset(messages_fields.FIELDS) | {"anthropic_version"}
_IN_EMBEDDINGS = frozenset(openai_embeddings.FIELDS)
_IN_RESPONSES = frozenset(responses_fields.FIELDS)
_CHAT_MESSAGE = _inside(chat_fields.CONTENT_FIELDS, "messages[]") - {"content", "content[]", "name", "role"}
_CHAT_ROLES = frozenset(("developer", "function", "system", "tool"))
_PARTS = frozenset(("file", "image_url", "input_audio", "refusal"))
_BLOCKS = _inside(messages_fields.CONTENT_FIELDS, "messages") - {"content", "role", "text"}
_TOOLS = _inside(messages_fields.CONTENT_FIELDS, "tools") - {"custom"}
_CHOICES = frozenset(("any", "auto", "none", "tool"))


def likely_path(body: bytes) -> str:
    """The path of one of the operations; that of chat where the body tells nothing."""
    request = decode_json(body)
    if not isinstance(request, dict):
        return CHAT
    if "messages" in request:
        return MESSAGES if sum(_votes(request)) > 0 else CHAT
    names = request.keys()
    if names & (_IN_RESPONSES - _IN_EMBEDDINGS - _IN_CHAT):
        return RESPONSES
    if "input" in names:
        return EMBEDDINGS if _is_embedded(request) else RESPONSES
    return CHAT


def _is_embedded(request: Mapping[str, Any]) -> bool:
    """A bare text may be either's: the model that is asked for says it then."""
    value, names = request["input"], request.keys()
    if names & (_IN_EMBEDDINGS - _IN_RESPONSES):
        return True
    if not names <= _IN_EMBEDDINGS:
        return False
    if isinstance(value, list):
        return not any(isinstance(item, dict) for item in value)
    return "embed" in str(request.get("model", "")).lower()


def _votes(request: Mapping[str, Any]) -> Iterator[int]:
    """1 for each thing that only Anthropic's messages have, -1 for each that only OpenAI's chat has."""
    names = request.keys()
    yield len(names & (_IN_MESSAGES - _IN_CHAT)) - len(names & (_IN_CHAT - _IN_MESSAGES))
    for tool in _mappings(request.get("tools")):
        yield int("input_schema" in tool or tool.get("type") in _TOOLS)
        yield -int("function" in tool or isinstance(tool.get("custom"), dict))
    choice = request.get("tool_choice")
    if choice is not None:
        yield 1 if isinstance(choice, dict) and choice.get("type") in _CHOICES else -1
    for message in _mappings(request["messages"]):
        yield -int(message.get("role") in _CHAT_ROLES or not _CHAT_MESSAGE.isdisjoint(message))
        for block in _mappings(message.get("content")):
            yield int(block.get("type") in _BLOCKS or "cache_control" in block)
            yield -int(block.get("type") in _PARTS)


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
