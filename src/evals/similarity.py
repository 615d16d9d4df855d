"""How alike two texts are, from 0 to 1. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_NGRAM = 3


def alike(one: str, other: str) -> float:
    """The cosine of counts of n-grams of characters: spelling counts, order over longer stretches does
    not."""
    a, b = _grams(one), _grams(other)
    if not a or not b:
        return 1.0 if a == b else 0.0
    return cosine_of(a, b)


def _grams(text: str) -> Counter[str]:
    plain = f" {' '.join(text.lower().split())} " if text.strip() else ""
    return Counter(plain[i : i + _NGRAM] for i in range(max(0, len(plain) - _NGRAM + 1)))


def cosine_of(a: Counter[str], b: Counter[str]) -> float:
    shared = sum(count * b[gram] for gram, count in a.items() if gram in b)
    return shared / math.sqrt(sum(c * c for c in a.values()) * sum(c * c for c in b.values()))


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Of embeddings; below 0 counts as 0."""
    size = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return max(0.0, min(1.0, sum(x * y for x, y in zip(a, b, strict=True)) / size)) if size else 0.0
