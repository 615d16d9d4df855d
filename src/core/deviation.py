"""What a provider may say of itself under `deviations`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deviation:
    """One way in which a provider may speak a dialect otherwise than the dialect's owner does.

    `meaning` stands in docs/deviations.md. `usual` is the value where nothing is said; its type is the type
    of all values: a text, true or false, or a tuple of texts. `words` are the texts that are known (of a
    tuple, those that it may hold), () where any will do; an empty text or tuple is good if `usual` is empty
    or a tuple.
    """

    meaning: str
    usual: str | bool | tuple[str, ...]
    words: tuple[str, ...] = ()
