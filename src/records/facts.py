"""What ext_proc tells of a call in texts of its own making: exchange/asked.py and exchange/view.py."""

from __future__ import annotations

import functools

import msgspec

from ..core.record import Eligible, Record
from ..core.tracing import trace_in

_DECODER = msgspec.json.Decoder(list[tuple[str, float]])
_REST = msgspec.json.Decoder(tuple[str, tuple[str, ...], str, dict[str, str]])


@functools.lru_cache(maxsize=4096)
def eligible_of(text: str) -> tuple[Eligible, ...]:
    """The same few come again and again."""
    return tuple(Eligible(member, chance) for member, chance in _DECODER.decode(text)) if text else ()


def tell_asked(record: Record, text: str) -> None:
    """Give the record what the call asked for; nothing where that never came whole."""
    if not text:
        return
    context, most, choices, holds = text.split(",", 3)
    record.context_tokens = int(context)
    record.max_output_tokens = int(most) if most else None
    record.choices = int(choices)
    record.holds = _words(holds)


def tell_replay(record: Record, text: str) -> None:
    """Give the record what else a decision depends on; nothing where that is nothing."""
    if not text:
        return
    record.conversation, record.fingerprint, cost, rest = text.split(",", 3)
    record.cost_estimate = int(cost) if cost else None
    if rest:
        record.same_dialect, record.owners, record.unowned_ids, record.headers = _REST.decode(rest)


def tell_trace(record: Record, text: str) -> None:
    """Give the record the ids of its span; nothing where it is not traced."""
    if (trace := trace_in(text)) is not None:
        record.trace_id, record.span_id, record.parent_span_id = trace[:3]
        record.sampled = trace.is_sampled


@functools.lru_cache(maxsize=512)
def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())
