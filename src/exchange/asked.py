"""What a call asks for, in two texts for its record: records/facts.py reads them."""

from __future__ import annotations

import functools
import hashlib

import msgspec

from ..core.call import Facts

HOLDS = (
    *("tools", "images", "documents", "audio", "schema", "reasoning", "hosted_tools", "files", "stateful"),
    *("image_urls", "document_urls"),
)
# What clients chose themselves is cut: names of fields and accounts, and values of headers.
_MOST_NAME, _MOST_VALUE = 200, 1_000


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
        facts.image_urls,
        facts.document_urls,
    )
    most = facts.max_output_tokens
    return f"{facts.context_tokens},{'' if most is None else most},{facts.choices},{holds}"


@functools.lru_cache(maxsize=512)
def _holds(*flags: bool) -> str:
    return " ".join(name for name, holds in zip(HOLDS, flags, strict=True) if holds)


def replay(facts: Facts, conversation: str = "", fingerprint: str = "") -> str:
    """`conversation,fingerprint,cost estimate or nothing,the rest as JSON or nothing`: what else a decision
    depends on; "" where that is nothing, as of nearly all calls."""
    cost, rest = facts.cost_estimate, ""
    if facts.same_dialect or facts.owners or facts.unowned_ids or facts.headers:
        rest = _rest(facts)
    if not (conversation or fingerprint or rest) and cost is None:
        return ""
    return f"{conversation},{fingerprint},{'' if cost is None else cost},{rest}"


def _rest(facts: Facts) -> str:
    told = (
        facts.same_dialect[:_MOST_NAME],
        [owner[:_MOST_NAME] for owner in facts.owners],
        facts.unowned_ids[:_MOST_NAME],
        {name: value[:_MOST_VALUE] for name, value in facts.headers.items()},
    )
    try:
        return msgspec.json.encode(told).decode()
    except UnicodeEncodeError:  # bytes in a header that are no UTF-8
        headers = {name: value.encode("utf-8", "replace").decode() for name, value in told[3].items()}
        return msgspec.json.encode((*told[:3], headers)).decode()


def keyed(what: bytes, key: bytes) -> str:
    """16 hex digits, equal for equal things; they tell nothing of them to who has not the key. "" where there
    is no key."""
    return hashlib.blake2b(what, key=key[:64], digest_size=8).hexdigest() if key else ""
