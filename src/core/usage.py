"""What a call used, as its provider counts it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in disjoint buckets, but for `reasoning`, which is a part of `output`.

    `input` are the uncached ones. None: the provider does not say.
    """

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int | None = None
    audio_input: int | None = None  # a part of `input`

    @property
    def prompt(self) -> int:
        """All that was read: what OpenAI and Gemini call prompt or input tokens."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h
