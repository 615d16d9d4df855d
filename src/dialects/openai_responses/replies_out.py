"""The canonical reply → a response object. Source: OpenAI API reference, "The response object"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..conversation import Citation, DocumentCitation, UrlCitation
from ..replies import Stop, Usage
from ..translation import Context
from .wire import RESPONSE_PREFIX

Object = dict[str, Any]

# What a response says where its request does not.
_DEFAULTS: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_TIERS = frozenset(("auto", "default", "flex", "scale", "priority", "fast", "ultrafast"))
_INCOMPLETE = {
    Stop.MAX_TOKENS: "max_output_tokens",
    Stop.CONTEXT_WINDOW: "max_output_tokens",
    Stop.CONTENT_FILTER: "content_filter",
    Stop.REFUSAL: "content_filter",
}


class Head:
    """What all the response objects of one reply have in common."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.model = context.model
        self.created_s = context.now_s
        self.service_tier = ""

    def response(self, status: str, output: Sequence[Object], **more: Any) -> Object:
        """`status`: in_progress, completed, incomplete or failed."""
        context = self._context
        tier = "default" if self.service_tier == "standard" else self.service_tier
        return {
            "id": RESPONSE_PREFIX + context.request_id,
            "object": "response",
            "created_at": self.created_s,
            "status": status,
            "background": False,
            "completed_at": max(self.created_s, context.now_s) if status == "completed" else None,
            "error": None,
            "incomplete_details": None,
            "model": self.model,
            "output": output,
            "previous_response_id": None,
            "service_tier": tier if tier in _TIERS else None,
            "store": False,
            "usage": None,
            **{name: context.echo.get(name, default) for name, default in _DEFAULTS.items()},
            **more,
        }


def ending(stop: Stop, refuses: bool) -> tuple[str, Object | None]:
    """(status, incomplete_details). `refuses`: the model did so in words, which stand in the output."""
    reason = None if refuses and stop is Stop.REFUSAL else _INCOMPLETE.get(stop)
    return ("incomplete", {"reason": reason}) if reason else ("completed", None)


def usage_object(usage: Usage) -> Object:
    written = usage.cache_write_5m + usage.cache_write_1h
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.prompt + usage.output,
    }


def is_placed(citation: Citation) -> bool:
    """Does it say where in the text it belongs?"""
    return isinstance(citation, UrlCitation) and citation.start is not None and citation.end is not None


def annotation(citation: Citation, length: int) -> Object:
    """`length` of the text so far, in characters: what has no place of its own is about all of it."""
    if isinstance(citation, DocumentCitation):
        name = citation.title or f"document {citation.document}"
        return {
            "type": "file_citation",
            "file_id": f"document_{citation.document}",
            "filename": name,
            "index": length,
        }
    placed = is_placed(citation)
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start if placed else 0,
        "end_index": citation.end if placed else length,
    }


def encode_count(input_tokens: int) -> bytes:
    return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": input_tokens})
