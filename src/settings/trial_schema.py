"""What YAML may say of shadows and rollouts: one pydantic model a mapping."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator

from ..core.budgets import Window
from ..core.trials import COPIES, COPY_MS, Gates
from . import amounts, trial_values
from .fields import HOUR, Model, Wait, field
from .scorer_schema import ScorerIn

_SHARE = ("percentage", "give a percentage of more than 0, e.g. 5%")
Share = Annotated[int, BeforeValidator(trial_values.share)]
Margin = Annotated[int | None, PlainValidator(trial_values.margin)]
Target = Annotated[tuple[str, str], PlainValidator(trial_values.target)]
SpendCap = Annotated[tuple[int, Window] | None, PlainValidator(amounts.spend_cap)]
_TARGET = ("member or pool", "give a pool, or a member: openai/gpt-5-mini")
_CAP = ("dollars in a time", "give e.g. $20/day")
_DAY = 24 * HOUR
Hold = Annotated[int, BeforeValidator(trial_values.hold)]
MinCalls = Annotated[int, Field(ge=1, le=10_000_000)]
_HOLD = ("duration", 'give e.g. "1h"')
_MIN_CALLS = ("whole number, 1 to 10000000", "give a whole number of calls, e.g. 200")


class ShadowIn(Model):
    """Calls of the pool are also sent to another member or pool, whose replies no client gets:
    docs/shadow.md."""

    to: Target = field("Who gets the copies: a pool, or one member (`provider/model`).", *_TARGET)
    share: Share = field("Of the pool's calls so many.", *_SHARE, 50_000)
    match: dict[str, Any] = field(
        "Only calls with these facts, in the language of rules.",
        "mapping of fact: match",
        "give e.g. {team: research}",
        dict,
    )
    budget: SpendCap = field(
        "What the copies may cost, in dollars per `minute`, `hour`, `day` or `month`. It is theirs alone, "
        "and no other budget or rate limit is charged for them. Left out: nothing bounds it.",
        *_CAP,
        None,
    )
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = field(
        "Copies under way together, at most.",
        "whole number, 1 to 10000",
        "give a whole number from 1 to 10000, e.g. 16",
        COPIES,
    )
    timeout: Wait = field(
        "How long a copy may take, to its last byte.", "duration", 'give e.g. "2m"', COPY_MS
    )


class GatesIn(Model):
    """How much worse than the pool's own members a candidate may be. docs/rollout.md says how that is
    judged."""

    confidence: Annotated[int, PlainValidator(trial_values.confidence)] = field(
        "How sure a verdict has to be, over all gates and stages together.",
        "percentage",
        "give e.g. 95%",
        Gates().confidence_ppm,
    )
    errors: Margin = field(
        "Calls that fail, or that others have to answer: so many points more of all calls. `off`: errors "
        "are not looked at.",
        "percentage",
        "give e.g. 2%, or off",
        Gates().errors_ppm,
    )
    quality: Margin = field(
        "So much less of a score between 0 and 1, on average. Left out: quality is not looked at.",
        "percentage",
        "give e.g. 5%, or off",
        None,
    )
    p95: Margin = field(
        "The 95th percentile of the time that whole calls take: so much longer. Left out: not looked at.",
        "percentage",
        "give e.g. 25%, or off",
        None,
    )
    first_event: Margin = field(
        "The same of the time until the first event of streams.", "percentage", "give e.g. 25%, or off", None
    )
    cost: Margin = field(
        "What a call costs on average: so much more. Left out: not looked at.",
        "percentage",
        "give e.g. 10%, or off",
        None,
    )


class ScoresIn(Model):
    """Who says how good answers are, for the gate `quality`: docs/rollout.md."""

    by: Annotated[list[ScorerIn], Field(min_length=1, max_length=20)] = field(
        "The scorers, in the words of a suite of evaluations (docs/evals.md). Stages with `share` have one "
        "answer to a call: there the ones of use are `json` (by a schema), `regex`, `rubric`, `python`, and "
        "`judge` with `grade: true`. Stages with `shadow` have the copy's and the pool's own, which all can "
        "compare.",
        "list of scorers",
        "give e.g. [{kind: judge, pool: judges, grade: true}]",
    )
    share: Share = field(
        "So many of each arm's calls are scored (in a stage with `shadow`: of those that are copied), by a "
        "lot over the call's id.",
        *_SHARE,
        100_000,
    )
    budget: SpendCap = field(
        "What judges and embeddings may cost, in dollars per `minute`, `hour`, `day` or `month`. It is "
        "theirs alone. Left out: nothing bounds it.",
        *_CAP,
        None,
    )


class StageIn(Model):
    """A part of a rollout. It has `shadow` or `share`."""

    shadow: Share | None = field(
        "The candidate gets copies of so many calls, and no client its replies.", *_SHARE, None
    )
    share: Share | None = field("The candidate gets so many of the sessions.", *_SHARE, None)
    budget: SpendCap = field("Of a stage with `shadow`: what the copies may cost.", *_CAP, None)
    hold: Hold | None = field(
        "How long the stage lasts at least. Left out: as the rollout says.", *_HOLD, None
    )
    min_calls: MinCalls | None = field(
        "So many calls the candidate has had before it goes on. Left out: as the rollout says.",
        *_MIN_CALLS,
        None,
    )
    within: Hold | None = field(
        "What is not decided by then is rolled back. Left out: as the rollout says.", *_HOLD, None
    )
    gates: GatesIn | None = field(
        "Gates of this stage alone, in place of all of the rollout's.",
        "mapping",
        "give e.g. {errors: 1%}",
        None,
    )
    scores: ScoresIn | None = field(
        "Scores of this stage alone, in place of the rollout's.",
        "mapping",
        "give e.g. {by: [{kind: similarity}]}",
        None,
    )


class RolloutIn(Model):
    """Another member or pool takes over the pool's calls stage by stage, and is rolled back by itself where
    it is worse: docs/rollout.md."""

    to: Target = field("The candidate: a pool, or one member (`provider/model`).", *_TARGET)
    name: Annotated[str, PlainValidator(trial_values.name)] = field(
        "What records, events and commands call it. A new name begins anew. Left out: the pool's name, `>` "
        "and the candidate's.",
        "name",
        "give a name of letters, digits, `.`, `_` and `-`, e.g. try-2",
        "",
    )
    stages: Annotated[list[StageIn], Field(min_length=1, max_length=20)] = field(
        "What it goes through. Left out: shares of 1%, 10%, 50% and 100%.",
        "list of stages",
        "give e.g. [{shadow: 5%, budget: $20/day}, {share: 1%}, {share: 100%}]",
        list,
    )
    hold: Hold = field("How long a stage lasts at least.", *_HOLD, HOUR)
    min_calls: MinCalls = field("Calls that the candidate has in each stage, at least.", *_MIN_CALLS, 200)
    within: Hold = field("A stage that is not decided by then is rolled back.", *_HOLD, 7 * _DAY)
    gates: GatesIn = field(
        "How much worse it may be.", "mapping", "give e.g. {errors: 1%, p95: 25%, cost: 0.1%}", GatesIn
    )
    scores: ScoresIn | None = field(
        "Who scores answers, for the gate `quality`. Left out: whoever posts scores; in stages with `shadow` "
        "also captured replies, by how alike they are.",
        "mapping",
        "give e.g. {by: [{kind: judge, pool: judges, grade: true}], share: 20%, budget: $10/day}",
        None,
    )
