"""What a text rests on: grounding of searches, and sources that it recites.

Sources: Gemini API reference, `GroundingMetadata`, `CitationMetadata`: their places count bytes of UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..conversation import UrlCitation
from . import wire


class Mention(msgspec.Struct, frozen=True):
    """A source, and the bytes `start` up to `end` of a text that rest on it; `end` None: it does not say.
    `said` is what stands there, "" where it is not told: the answer's own words, and not the source's."""

    url: str
    title: str
    start: int = 0
    end: int | None = None
    said: str = ""


def mentions(grounding: wire.Grounding | None, recited: wire.CitationMetadata | None) -> Iterator[Mention]:
    if grounding is not None:
        yield from _grounded(grounding)
    if recited is not None:
        for source in (*recited.citation_sources, *recited.citations):
            if source.uri:
                yield Mention(source.uri, source.title, source.start_index, source.end_index)


def _grounded(grounding: wire.Grounding) -> Iterator[Mention]:
    sources = [chunk.web or chunk.maps or chunk.retrieved_context for chunk in grounding.grounding_chunks]
    for support in grounding.grounding_supports:
        segment = support.segment or wire.Segment()
        for place in support.grounding_chunk_indices:
            source = sources[place] if 0 <= place < len(sources) else None
            if source is not None and source.uri:
                yield Mention(source.uri, source.title, segment.start_index, segment.end_index, segment.text)
    if not grounding.grounding_supports:
        for source in sources:
            if source is not None and source.uri:
                yield Mention(source.uri, source.title)


def placed(mention: Mention, text: str) -> UrlCitation:
    """In code points of `text`; without a place where the bytes named do not hold what they should."""
    start, end = _span(mention, text)
    return UrlCitation(mention.url, mention.title, start, end)


def _span(mention: Mention, text: str) -> tuple[int | None, int | None]:
    if mention.end is not None:
        told = text.encode()
        before, there = told[: mention.start], told[mention.start : mention.end]
        if mention.start <= mention.end <= len(told):
            said = there.decode("utf-8", "replace")
            if said == (mention.said or said):
                start = len(before.decode("utf-8", "ignore"))
                return start, start + len(said)
    if mention.said and (found := text.find(mention.said)) >= 0:
        return found, found + len(mention.said)
    return None, None
