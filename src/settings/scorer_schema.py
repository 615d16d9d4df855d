"""What YAML may say of scorers: the same words in suites of evaluations and in rollouts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from . import values
from .fields import Flag, Model, field

Kind = Literal["exact", "json", "tools", "similarity", "regex", "rubric", "judge", "python"]
KINDS: tuple[Kind, ...] = ("exact", "json", "tools", "similarity", "regex", "rubric", "judge", "python")
SLICES = ("team", "customer", "feature", "agent", "tier", "dialect", "stream", "tools", "context", "model")
WORDS = "list of words"
Words = Annotated[list[str], BeforeValidator(values.one_or_more)]


class ScorerIn(Model):
    """How good an answer is, from 0 to 1."""

    kind: Kind = field("Which one.", "word", f"give one of {', '.join(KINDS)}")
    name: str = field("What the report calls it. Left out: its kind.", "name", "give it a name", "")
    weight: Annotated[float, Field(ge=0, le=1000)] = field(
        "Its part in the quality. 0: only told.", "number", "give a number", 1.0
    )
    match: dict[str, Words] = field(
        "Only for these cases: slices and their values.", "mapping", "give {SLICE: [VALUE]}", dict
    )
    # exact
    case: Flag = field("exact: upper and lower case differ.", "yes or no", "give true or false", False)
    # json
    schema_: dict[str, Any] | None = Field(
        default=None,
        alias="schema",
        description="json: the schema. Left out: the request's own.",
        json_schema_extra={"kind": "mapping", "right": "give a JSON schema"},
    )
    fields: Words = field(
        "json: these fields alone are compared (`a.b`). Left out: all.", WORDS, "give names", list
    )
    # tools
    arguments: Flag = field("tools: arguments are compared, too.", "yes or no", "give true or false", True)
    # regex, rubric
    pattern: str | None = field(
        "regex: what the text has to hold.", "pattern", "give a regular expression", None
    )
    rubric: list[dict[str, Any]] = field(
        "rubric: each is met or not: `{says: PATTERN}`, `{says_not: PATTERN}`, `{at_most: CHARACTERS}`, "
        "`{at_least: …}`, with a `weight`.",
        "list",
        "give e.g. [{says: refund}, {at_most: 600}]",
        list,
    )
    # similarity, judge
    pool: str | None = field(
        "similarity: a pool that makes embeddings; left out: n-grams of characters. judge: the pool that "
        "judges.",
        "name",
        "give the name of a pool",
        None,
    )
    criteria: str = field("judge: what it is to look for.", "text", "give a sentence or two", "")
    grade: Flag = field(
        "judge: marks from 0 to 10 in place of pairs.", "yes or no", "give true or false", False
    )
    allow_candidates: Flag = field(
        "judge: it may be one of the candidates.", "yes or no", "give true or false", False
    )
    # python
    function: str | None = field(
        "python: an entry point of the group `modelbroker.scorers`, or `module:function`.",
        "name",
        "give module:function",
        None,
    )
