"""What a call used, as its provider counts it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in disjoint buckets, but for `reasoning`, which is a part of `output`.

    `input` are the uncached ones. None: the provider does not say. `beside`: what other models used on the
    way to this very reply (an advisor), by their names at the provider; it is in none of the other buckets.
    """

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int | None = None
    audio_input: int | None = None  # a part of `input`
    web_searches: int | None = None  # that the provider ran and bills one by one
    beside: tuple[Beside, ...] = ()

    @property
    def prompt(self) -> int:
        """All that was read: what OpenAI and Gemini call prompt or input tokens."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


@dataclass(frozen=True, slots=True)
class Beside:
    """What another model used, by its name at the provider."""

    model: str
    usage: Usage


# What is known of an attempt's usage.
EXACT = "exact"  # all of it, by the provider's own word
PARTIAL = "partial"  # what was told before the reply broke off, or nobody waited for it any more
UNKNOWN = "unknown"  # the provider may have worked, and did not say how much
NOTHING = "none"  # it used nothing: an error reply, nothing that was sent, an operation that is free
