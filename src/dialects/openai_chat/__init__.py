"""`openai-chat`: Chat Completions, as OpenAI and most others speak it."""

from .surface import OpenAiChat

__all__ = ["OpenAiChat"]
