"""What a call asks for, in one text for its record: records/entries.py reads it."""

from __future__ import annotations

import functools

from ..core.call import Facts

HOLDS = ("tools", "images", "documents", "audio", "schema", "reasoning", "hosted_tools", "files", "stateful")


def asked(facts: Facts) -> str:
    """`context tokens,most output tokens or nothing,choices,what it holds`"""
    holds = _holds(
        facts.tools,
        facts.images,
        facts.documents,
        facts.audio,
        facts.schema,
        facts.reasoning,
        facts.hosted_tools,
        facts.files,
        facts.stateful,
    )
    most = facts.max_output_tokens
    return f"{facts.context_tokens},{'' if most is None else most},{facts.choices},{holds}"


@functools.lru_cache(maxsize=512)
def _holds(*flags: bool) -> str:
    return " ".join(name for name, holds in zip(HOLDS, flags, strict=True) if holds)
