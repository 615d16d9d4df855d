"""What YAML may say of budgets and rate limits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints

from ..core.budgets import DENY_AT_ALL, SCOPES, Fleet, OnUnknown, Step, Window
from ..core.catalog import SecretRef
from . import amounts, values
from .fields import Model, field

BUDGET_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
BudgetName = Annotated[str, StringConstraints(pattern=BUDGET_NAME)]
_NAME = "give a name of letters, digits, `.`, `_` and `-`, e.g. team-daily"
_SCOPES = ", ".join(f"`{name}`" for name in SCOPES)


class _ScopeIn(Model):
    name: BudgetName = field("What refusals, records and metrics call it.", "name", _NAME)
    by: Annotated[list[str], BeforeValidator(values.one_or_more)] = field(
        f"Each value has an account of its own, or each combination of values: {_SCOPES}. A call of which "
        "one of them is not known is in no account. Left out: one account for all.",
        "list of facts",
        "give e.g. [team], or [team, feature]",
        list,
    )
    match: dict[str, Any] = field(
        "Only calls with these facts, in the language of rules; the facts are those of `by`.",
        "mapping of fact: match",
        "give e.g. {team: research}, or {pool: reasoning-*}",
        dict,
    )


class BudgetIn(_ScopeIn):
    """So much in a window of time. What a call may cost is reserved before it is made, and what it did cost
    is charged when it has ended: docs/budgets.md."""

    amount: Annotated[tuple[int, str], PlainValidator(amounts.amount)] = field(
        "How much: `$50`, `2M tokens` or `1000 calls`.", "amount", "give $50, 2M tokens or 1000 calls"
    )
    per: Annotated[Window, PlainValidator(amounts.window)] = field(
        "In which time: `minute`, `hour`, `day`, `month` (of the calendar), or e.g. `rolling 24h` (always "
        "the last 24 hours).",
        "window",
        "give minute, hour, day, month, or e.g. rolling 24h",
    )
    time_zone: Annotated[str, PlainValidator(amounts.time_zone)] = field(
        "Where days and months begin: a name of the tz database.",
        "time zone",
        "give e.g. Europe/Berlin",
        "UTC",
    )
    borrows_from: str = field(
        "Another budget in the same unit: what does not fit here is taken from what is unspent there.",
        "name",
        "give the name of a budget",
        "",
    )
    at: Annotated[list[Annotated[Step, PlainValidator(amounts.step)]], Field(min_length=1)] = field(
        "What is done from which part of the amount on: `warn` (log, metric), `{degrade: POOL}` (calls go on "
        "in that pool) or `deny`. Left out: `[{100%: deny}]`. A list without `deny` denies nothing.",
        "list of percentage: action",
        "give e.g. [{50%: warn}, {90%: {degrade: cheap-tier}}, {100%: deny}]",
        DENY_AT_ALL,
    )
    on_unknown_cost: Annotated[str | int, PlainValidator(amounts.unknown_cost)] = field(
        "Of an amount in dollars: what becomes of a call whose cost can't be told before, since a member has "
        "no price. `deny`; `allow` (it is charged what is known of it afterwards); or what it counts as.",
        "`deny`, `allow` or dollars",
        "give deny, allow, or e.g. $0.05",
        OnUnknown.DENY,
    )
    reserve_output: Annotated[int, BeforeValidator(values.tokens)] | None = field(
        "The most tokens that are reserved for an answer, where the call may give more. Left out: what the "
        "call and its member allow, and 4096 where the call does not say.",
        "number of tokens",
        "give a number of tokens, e.g. 4k",
        None,
    )
    purpose: Annotated[str, BeforeValidator(values.purpose)] = field(
        "Of calls that are no client's: `eval`, those of callers with this `purpose`. Left out: of clients' "
        "calls.",
        "eval",
        "give eval, or leave it out",
        "",
    )


class RateLimitIn(_ScopeIn):
    """So many calls or tokens in a time that rolls on, or so many calls at a time."""

    calls: Annotated[tuple[int, Window] | None, PlainValidator(amounts.rate)] = field(
        "Calls in a time: `60/m` (s, m, h, d).", "rate", "give e.g. 60/m", None
    )
    tokens: Annotated[tuple[int, Window] | None, PlainValidator(amounts.rate)] = field(
        "Tokens in a time, read and generated ones together.", "rate", "give e.g. 100k/m", None
    )
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = field(
        "Calls under way together.", "whole number, 1 to 1000000", "give a whole number, e.g. 5", None
    )


class RedisIn(Model):
    """What the brokers of a fleet share: what is spent of budgets and rate limits, where rollouts are, and
    what each of them serves. Left out: each broker counts for itself."""

    url: Annotated[str, PlainValidator(amounts.redis_url)] = field(
        "The Redis: `redis://host:port/db`, `rediss://…` (TLS) or `unix:///path`.",
        "URL",
        "give e.g. redis://redis.internal:6379/0",
    )
    credential: Annotated[SecretRef | None, PlainValidator(values.credential)] = field(
        "Where its password is to be found.",
        "reference to a secret",
        "give {env: NAME} or {file: PATH}",
        None,
    )
    prefix: BudgetName = field(
        "What the names of all keys begin with. Brokers with the same share budgets and rollouts.",
        "name",
        "give a name, e.g. modelbroker",
        Fleet("").prefix,
    )
    timeout: Annotated[int, BeforeValidator(values.duration(1, 5_000))] = field(
        "How long a call waits for Redis. Behind that it counts as away.",
        "duration",
        "give e.g. 250ms",
        Fleet("").timeout_ms,
    )
    share: Annotated[int, PlainValidator(amounts.share)] = field(
        "The part of each limit that this broker alone may use up in a window while Redis is away.",
        "percentage",
        "give e.g. 10%, or 100% divided by the number of brokers",
        Fleet("").share_ppm,
    )
    beyond: str = field(
        "What becomes of calls beyond that share: `deny` or `allow`.", "word", "give deny or allow", "deny"
    )
