"""What became of a case at a candidate, and how good it was found. Pure; as it is on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .answers import Answer, answer_from

# Codes by which the run's own budget ends it: such a call says nothing of its candidate.
OUT_OF_MONEY = ("budget_exceeded", "budget_cost_unknown")
# What may be better a moment later.
AGAIN = frozenset(
    {
        "rate_limited",
        "pool_rate_limited",
        "no_healthy_member",
        "no_member_ready",
        "broker_reloading",
        "broker_overloaded",
        "upstream_rate_limited",
        "upstream_overloaded",
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` 0: no answer came. `code`: of the broker's error, or `broken`, `unreadable`. `answer`: None
    where there was none. `first_event_ms`: of a stream, until its first event that says something; None else.
    `request_ids`: of all tries, the last one's answer counts."""

    case: str
    candidate: str
    status: int = 0
    code: str = ""
    answer: Answer | None = None
    latency_ms: float = 0.0
    first_event_ms: float | None = None
    member: str = ""
    request_ids: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return self.answer is None

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "candidate": self.candidate,
            "status": self.status,
            "code": self.code,
            "answer": self.answer.as_json() if self.answer is not None else None,
            "latency_ms": round(self.latency_ms, 3),
            "first_event_ms": None if self.first_event_ms is None else round(self.first_event_ms, 3),
            "member": self.member,
            "request_ids": list(self.request_ids),
        }


def outcome_from(tree: Mapping[str, Any]) -> Outcome:
    """What `as_json` gave."""
    answer = tree.get("answer")
    return Outcome(
        str(tree["case"]),
        str(tree["candidate"]),
        int(tree["status"]),
        str(tree["code"]),
        answer_from(answer) if answer is not None else None,
        float(tree["latency_ms"]),
        tree.get("first_event_ms"),
        str(tree.get("member", "")),
        tuple(tree.get("request_ids", ())),
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """One scorer's word. `value` None: it could say nothing (the judge failed): `why` has it."""

    case: str
    candidate: str
    scorer: str
    value: float | None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "candidate": self.candidate,
            "scorer": self.scorer,
            "value": self.value,
            "why": self.why,
        }


def scored_from(tree: Mapping[str, Any]) -> Scored:
    return Scored(
        str(tree["case"]),
        str(tree["candidate"]),
        str(tree["scorer"]),
        tree["value"],
        str(tree.get("why", "")),
    )


@dataclass(frozen=True, slots=True)
class Billed:
    """What the broker's record says of a call. `cost` in nano-dollars; None: unknown, of which `known` is
    known."""

    request_id: str
    cost: int | None = None
    known: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    revision: str = ""
    price_revision: str = ""
    purpose: str = ""

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def billed_of_record(record: Mapping[str, Any]) -> Billed:
    """A line of calls.jsonl."""
    cost = record.get("cost") or {}
    usage = record.get("usage") or {}
    total = cost.get("total")
    read = [usage.get(name) or 0 for name in ("input", "cache_read", "cache_write_5m", "cache_write_1h")]
    # A call for which nobody was asked costs nothing, and that is known.
    nothing = not record.get("attempts_made") and not cost
    return Billed(
        str(record.get("request_id", "")),
        0 if nothing else total,
        sum((cost.get("buckets") or {}).values()),
        sum(read) if usage else None,
        usage.get("output") if usage else None,
        str(record.get("revision") or ""),
        str(record.get("price_revision") or ""),
        str(record.get("purpose") or ""),
    )
