"""`openai-responses`: the Responses API, as clients and as providers speak it.

Source: OpenAI API reference, "Responses", "Streaming events", "Input token counts"; the types of OpenAI's
Python SDK where they are newer.
"""

from __future__ import annotations

from .surface import OpenAiResponses

__all__ = ["OpenAiResponses"]
