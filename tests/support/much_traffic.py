"""A month of a company's calls for the ledger: teams, customers, failures, and what nobody knows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Eligible, Record
from modelbroker.core.usage import EXACT, UNKNOWN, Usage
from modelbroker.journal.reading import Position
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.place import default_url
from modelbroker.ledger.rows import rows_of

from .ledgers import DAY_S, id_at, trees

TEAMS = ("payments", "search", "support", "research")
CUSTOMERS = ("acme", "globex", "initech", "umbrella", "")
FEATURES = ("summaries", "chat", "triage", "extraction", "")
MEMBERS = {
    "reasoning-tier": ("anthropic/claude-opus-4-7", "openai/gpt-5-thinking", "bedrock/claude-opus-4-7"),
    "standard-tier": ("anthropic/claude-sonnet-4-6", "openai/gpt-5-mini"),
}
_BATCH = 2_000


def calls(count: int, now_s: float, days: float = 30, seed: int = 1) -> Iterator[Record]:
    """The oldest first, the last one at `now_s`; more by day than by night, some in vain."""
    draw = random.Random(seed)
    step_s = days * DAY_S / count
    for number in range(count):
        yield _call(draw, number, now_s - (count - 1 - number) * step_s)


def _call(draw: random.Random, number: int, at_s: float) -> Record:
    pool = draw.choices(list(MEMBERS), [1, 3])[0]
    members = MEMBERS[pool]
    first, *others = draw.sample(members, len(members))
    fails, is_denied = draw.random() < 0.03, draw.random() < 0.01
    attempts = [] if is_denied else [_attempt(draw, first, at_s, fails)]
    if fails and not is_denied:
        attempts.append(_attempt(draw, others[0], at_s + 0.4, False))
    took_ms = sum(one.duration_ms for one in attempts) + 3
    last = attempts[-1] if attempts else None
    team = draw.choices(TEAMS, [5, 3, 2, 1])[0]
    record = Record(
        request_id=id_at(at_s, number),
        started_s=at_s,
        duration_ms=took_ms,
        first_byte_ms=last.first_byte_ms if last else 2.0,
        status=429 if is_denied else 200,
        method="POST",
        path="/v1/messages",
        caller=f"{team}-agent",
        agent=f"{team}-agent",
        user=f"user-{draw.randrange(40)}",
        team=team,
        customer=draw.choice(CUSTOMERS),
        feature=draw.choice(FEATURES),
        dialect="anthropic-messages",
        model=pool,
        stream=draw.random() < 0.6,
        rule="",
        pool=pool,
        member=last.member if last else "",
        revision="6c4b190fad7d",
        outcome="refused" if is_denied else "ok",
        error_source="broker" if is_denied else "",
        code="budget_exceeded" if is_denied else "",
        budget="month-of-payments" if is_denied else "",
        attempts_made=len(attempts),
        eligible=() if is_denied else tuple(Eligible(one, 1 / len(members)) for one in members),
        queue_ms=0.0,
        added_ms=1.4,
        context_tokens=draw.randrange(200, 60_000),
    )
    record.attempts = tuple(attempts)
    record.price_revision = "book-1"
    if last is None:
        record.cost = Cost(0, {})
        return record
    record.usage, record.usage_state = last.usage, last.usage_state
    costs = [one.cost for one in attempts if one.cost is not None]
    known = sum(cost.total or 0 for cost in costs)
    record.cost = Cost(known if all(cost.total is not None for cost in costs) else None, {"input": known})
    return record


def _attempt(draw: random.Random, member: str, at_s: float, fails: bool) -> Attempt:
    if fails:
        made = Attempt(
            member, 529, 380.0, 370.0, started_s=at_s, code="member_overloaded", cause="overloaded"
        )
        made.usage, made.usage_state, made.cost = Usage(), EXACT, Cost(0, {})
        return made
    first_ms = draw.lognormvariate(6.2, 0.5)
    made = Attempt(member, 200, first_ms + draw.lognormvariate(7.2, 0.8), first_ms, first_ms, started_s=at_s)
    if draw.random() < 0.002:
        made.usage, made.usage_state, made.cost = None, UNKNOWN, Cost(None, {})
        return made
    usage = Usage(draw.randrange(200, 20_000), output=draw.randrange(20, 1_500))
    input_nano, output_nano = usage.input * 3_000, usage.output * 15_000
    made.usage, made.usage_state = usage, EXACT
    made.cost = Cost(input_nano + output_nano, {"input": input_nano, "output": output_nano})
    return made


def filled(folder: Path, count: int, now_s: float, days: float = 30) -> str:
    """The URL of a new ledger in this state folder with so many calls."""
    url = default_url(folder)
    with Ledger(url) as ledger:
        batch: list[Record] = []

        def write() -> None:
            rows = rows_of(trees(batch), "filled")
            ledger.take(rows, "filled", "filled", Position(), int(now_s * 1000))
            batch.clear()

        for one in calls(count, now_s, days):
            batch.append(one)
            if len(batch) >= _BATCH:
                write()
        write()
    return url
