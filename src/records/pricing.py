"""What a call cost: that of all of its attempts, also those that were in vain."""

from __future__ import annotations

from dataclasses import replace

from ..core.prices import Cost, PriceBook
from ..core.record import Attempt, Record
from ..core.usage import NOTHING, PARTIAL
from ..policy.prices import BESIDE, NO_COST, cost_of

_UNTOLD = Cost(None, unknown=("usage",))


def price(record: Record, book: PriceBook) -> None:
    """Give the record and its attempts their costs, by the prices that held when each attempt began."""
    record.price_revision = book.revision
    costs = [cost_of_attempt(attempt, book) for attempt in record.attempts]
    for attempt, cost in zip(record.attempts, costs, strict=True):
        attempt.cost = cost
    if record.attempts_made > len(costs):  # of one of them nobody told
        costs.append(_UNTOLD)
    record.cost = total_of(costs)
    if record.saved is not None:
        provider, _, model = record.member.partition("/")
        found = book.find(provider, model, int(record.started_s))
        record.saved.cost = cost_of(record.saved.usage, found, record.saved.service_tier)


def cost_of_attempt(attempt: Attempt, book: PriceBook) -> Cost:
    if attempt.usage_state == NOTHING:
        return NO_COST
    provider, _, model = attempt.member.partition("/")
    found = book.find(provider, model, int(attempt.started_s))
    cost = cost_of(attempt.usage, found, attempt.service_tier)
    if attempt.usage is not None and attempt.usage.beside and BESIDE in cost.unknown:
        cost = _with_beside(cost, attempt, provider, book)
    if attempt.usage_state != PARTIAL or (found is not None and found.commitment):
        return cost
    return replace(cost, total=None, unknown=(*cost.unknown, "rest"))


def _with_beside(cost: Cost, attempt: Attempt, provider: str, book: PriceBook) -> Cost:
    """With what other models used on the way, where each of them has a price at that provider."""
    nano = 0
    for one in attempt.usage.beside if attempt.usage is not None else ():
        found = book.find(provider, one.model, int(attempt.started_s))
        total = cost_of(one.usage, found, attempt.service_tier).total
        if total is None:
            return cost
        nano += total
    buckets = {**cost.buckets, BESIDE: nano} if nano else cost.buckets
    unknown = tuple(bucket for bucket in cost.unknown if bucket != BESIDE)
    return Cost(None if unknown else sum(buckets.values()), buckets, unknown)


def total_of(costs: list[Cost]) -> Cost:
    """Of all together: known where each of them is."""
    if len(costs) == 1:  # nearly always
        return costs[0]
    buckets: dict[str, int] = {}
    for cost in costs:
        for bucket, nano in cost.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + nano
    unknown = tuple(dict.fromkeys(bucket for cost in costs for bucket in cost.unknown))
    return Cost(None if unknown else sum(buckets.values()), buckets, unknown)
