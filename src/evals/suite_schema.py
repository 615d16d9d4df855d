"""The YAML of a suite: pydantic at the door."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from ..settings import amounts, values
from ..settings.fields import Flag, Model, field
from ..settings.problems import refuse, show
from ..settings.scorer_schema import SLICES, WORDS, ScorerIn, Words

_DAYS = re.compile(r"([0-9]{1,6})d")


def _days(value: Any) -> int:
    right = "give 1s to 366d, e.g. 7d or 12h"
    if isinstance(value, str) and (days := _DAYS.fullmatch(value.strip())):
        if not 0 < int(days[1]) <= 366:
            refuse(f"{show(value)} is too {'long' if int(days[1]) else 'short'}", right)
        return int(days[1]) * 24 * 3_600_000
    if not isinstance(value, str) or not value.strip()[:1].isdecimal():
        refuse(f"{show(value)} is not a duration", right)
    return values.duration(1000, 366 * 24 * 3_600_000)(value)


def _dollars(value: Any) -> int:
    amount, unit = amounts.amount(value)
    if unit != "nano_dollars":
        refuse("is no amount of money", "give dollars, e.g. $5")
    return amount


class TrafficIn(Model):
    """Captured calls of clients."""

    since: Annotated[int, BeforeValidator(_days)] = field(
        "From how long ago on.", "duration", "give e.g. 7d or 12h", 7 * 24 * 3_600_000
    )
    where: dict[str, Words] = field(
        "Fields of samples and their values: `{team: [sales], pool: [support]}`. A pool's calls are also "
        "those of its rollout's candidate.",
        "mapping",
        "give {FIELD: [VALUE]}",
        dict,
    )


class DataIn(Model):
    """Where cases come from."""

    file: str | None = field(
        "A file of cases, JSON Lines (evals.md). From the suite's folder.", "path", "give a path", None
    )
    traffic: TrafficIn | None = field("Captured traffic.", "mapping", "give {since: 7d}", None)
    sample: Annotated[int, Field(ge=1, le=1_000_000)] = field(
        "How many cases at most.", "whole number", "give a number from 1 on", 200
    )
    strata: Words = field(
        "Each combination of these has its share of the sample.",
        WORDS,
        f"give some of {', '.join(SLICES)}",
        list,
    )
    seed: Annotated[int, Field(ge=0)] = field(
        "Of the draw and of the order.", "whole number", "give a number from 0 on", 0
    )


class CandidateIn(Model):
    """What is compared: a pool, a member, or a whole configuration."""

    name: str = field("What the report calls it.", "name", "give it a name")
    pool: str | None = field("A pool of the configuration.", "name", "give the name of a pool", None)
    provider: str | None = field("With `model`: a member alone.", "name", "give the name of a provider", None)
    model: str | None = field("The member's model.", "name", "give the model's name", None)
    config: str | None = field(
        "Another configuration: calls ask it for what they asked for, as who they came from.",
        "path",
        "give a path",
        None,
    )


class StopIn(Model):
    """When it is enough."""

    decided: Flag = field("As soon as every candidate is decided.", "yes or no", "give true or false", True)
    margin: Annotated[float, BeforeValidator(values.percent)] = field(
        "How much worse is still as good: points of quality.", "percentage", "give e.g. 2%", 2.0
    )
    confidence: Annotated[float, BeforeValidator(values.percent)] = field(
        "Of all that is said.", "percentage", "give e.g. 95%", 95.0
    )
    at_least: Annotated[int, Field(ge=1)] = field(
        "Cases before it may end.", "whole number", "give a number", 30
    )


class BudgetIn(Model):
    """What a run may cost."""

    spend: Annotated[int, PlainValidator(_dollars)] | None = field(
        "The most that all calls of a run may cost, judges' included. A budget in the broker holds it.",
        "dollars",
        "give e.g. $5",
        None,
    )
    on_unknown_cost: Annotated[str | int, PlainValidator(amounts.unknown_cost)] = field(
        "What becomes of calls to members without a price, as in budgets.",
        "`deny`, `allow` or dollars",
        "give deny",
        "deny",
    )
    reserve_output: Annotated[int, BeforeValidator(values.tokens)] = field(
        "The most tokens that are reserved for an answer.", "number of tokens", "give e.g. 4k", 4096
    )


class CallsIn(Model):
    """How calls are made."""

    at_a_time: Annotated[int, Field(ge=1, le=256)] = field(
        "So many cases at a time.", "whole number", "give e.g. 4", 4
    )
    timeout: Annotated[int, BeforeValidator(values.duration(1000, 3_600_000))] = field(
        "The longest that is waited for one.", "duration", "give e.g. 2m", 300_000
    )
    tries: Annotated[int, Field(ge=1, le=10)] = field(
        "How often a call that a rate limit or an outage ended is made, before it counts as failed.",
        "number",
        "give e.g. 2",
        2,
    )


class SuiteIn(Model):
    """The whole file."""

    name: str = field("What it is called.", "name", "give it a name")
    config: str | None = field("The broker's configuration. Left out: --config.", "path", "give a path", None)
    data: DataIn = field("The cases.", "mapping", "give {file: PATH} or {traffic: {since: 7d}}")
    candidates: Annotated[list[CandidateIn], Field(min_length=2)] = field(
        "At least two.", "list", "give at least two: the one that you have, and another"
    )
    baseline: str | None = field(
        "With whom the others are compared. Left out: the first.", "name", "give a candidate", None
    )
    reference: Literal["expected", "captured", "baseline"] | None = field(
        "What answers are held against. Left out: `expected` of a file, the captured reply of traffic.",
        "word",
        "give expected, captured or baseline",
        None,
    )
    scorers: Annotated[list[ScorerIn], Field(min_length=1)] = field("At least one.", "list", "give a list")
    slices: Words = field("By what figures are told apart, too.", WORDS, "give a list", list)
    budget: BudgetIn = field("What it may cost.", "mapping", "give {spend: $5}", BudgetIn)
    stop: StopIn = field("When it is enough.", "mapping", "give {margin: 2%}", StopIn)
    calls: CallsIn = field("How calls are made.", "mapping", "give {at_a_time: 4}", CallsIn)
