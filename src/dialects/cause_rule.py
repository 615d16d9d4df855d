"""One rule about the words of a provider's error, and how its needles are written.

Errors quote what the client sent: its values in the middle of a message, its fields' names under `param`. A
needle that blames the member or our account for a status that bad requests have, too (400, 404, 422),
therefore names the key that it stands under: `"code":"insufficient_quota"`, or `"message":"your credit
balance` for the beginning of a message. Inside a JSON string those quotation marks would have backslashes
before them, so that no client can have them said. A header's word stands in a line of its own in front of the
body. Needles are ASCII in small letters (other characters are escaped in some bodies), and a blank behind a
colon is gone when they are looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.causes import Cause


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits where the status is one of `statuses` (none: any), and the body has one of `needles` (none: any
    body), one of `also` (none: no more is asked) and none of `lacks`."""

    whose: str  # words these are; for readers
    statuses: tuple[int, ...]
    needles: tuple[str, ...]
    cause: Cause
    also: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def fits(self, status: int, text: str) -> bool:
        """`text` in small letters, a character a byte."""
        if self.statuses and status not in self.statuses:
            return False
        if self.needles and not _has_one(text, self.needles):
            return False
        return (not self.also or _has_one(text, self.also)) and not _has_one(text, self.lacks)


def _has_one(text: str, needles: tuple[str, ...]) -> bool:
    return any(needle in text for needle in needles)


def code_is(*words: str) -> tuple[str, ...]:
    return tuple(f'"code":"{word}"' for word in words)


def type_is(*words: str) -> tuple[str, ...]:
    return tuple(f'"type":"{word}"' for word in words)


def status_is(*words: str) -> tuple[str, ...]:
    """Google's."""
    return tuple(f'"status":"{word}"' for word in words)


def reason_is(*words: str) -> tuple[str, ...]:
    """Google's."""
    return tuple(f'"reason":"{word}"' for word in words)


def thrown(*words: str) -> tuple[str, ...]:
    """Amazon's exceptions, by the beginnings of their names: out of a header, or of the body."""
    return tuple(needle for word in words for needle in (f"\n{word}", f'"__type":"{word}'))


def begins(*words: str) -> tuple[str, ...]:
    """Messages, by their beginnings."""
    return tuple(f'"message":"{word}' for word in words)


def begins_bare(*words: str) -> tuple[str, ...]:
    """As `begins`, also where the message stands right under `error`: xAI, Ollama, Hugging Face."""
    return tuple(f'"{key}":"{word}' for word in words for key in ("message", "error"))
