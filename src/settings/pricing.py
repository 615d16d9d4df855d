"""What YAML may say of prices."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints

from ..core.prices import Rates
from . import values
from .fields import Flag, Model, field

MODEL_PATTERN = r"^[!-~]{1,256}$"

Rate = Annotated[int | None, PlainValidator(values.rate)]
Day = Annotated[int | None, PlainValidator(values.day)]
Tokens = Annotated[int, BeforeValidator(values.tokens)]
_RATE = ("dollars per million", "give dollars per million tokens, e.g. 2.50")
_DAY = ("date", "give a day, e.g. 2026-06-01")


class RatesIn(Model):
    """Dollars per million tokens, exactly as written, to at most 9 decimals. A bucket that is left out is
    *unknown* (not free), and so is the cost of a call that has tokens in it."""

    input: Rate = field("Of the prompt, what was not read from a cache.", *_RATE, None)
    cache_read: Rate = field("Of the prompt, what was read from a cache.", *_RATE, None)
    cache_write_5m: Rate = field(
        "Of the prompt, what was written to a cache (for five minutes, where there is a choice).",
        *_RATE,
        None,
    )
    cache_write_1h: Rate = field("What was written to a cache for an hour.", *_RATE, None)
    output: Rate = field("Of the answer.", *_RATE, None)
    reasoning: Rate = field(
        "Of the answer, what is reasoning, where it costs otherwise than `output`.", *_RATE, None
    )
    audio_input: Rate = field(
        "Of `input`, what was heard. Left out, the cost of a call with audio is unknown.", *_RATE, None
    )
    request: Rate = field("A million calls as such, where they cost something.", *_RATE, None)
    web_searches: Rate = field(
        "A million searches of the web that the provider runs: $10 a thousand are 10000.", *_RATE, None
    )

    def rates(self) -> Rates:
        return Rates(**{name: getattr(self, name) for name in _RATES})


_RATES = tuple(RatesIn.model_fields)


class ScaleIn(RatesIn):
    """A whole set of rates: what it leaves out is unknown for these calls."""

    above: dict[Tokens, RatesIn] = field(
        "Size of the prompt in tokens → what rates become for a whole call whose prompt, with its cached "
        "tokens, is larger. A bucket that is left out stays as it is.",
        "mapping of tokens: rates",
        "give e.g. {200k: {input: 2.50, output: 15}}",
        dict,
    )


_SCALE = ("mapping of rates", "give e.g. {input: 1.25, output: 5}")


class _TermIn(Model):
    """Whose price, and when."""

    provider: str = field("Whose models.", "name", "give the name of a provider, e.g. openai")
    model: Annotated[str, StringConstraints(pattern=MODEL_PATTERN)] | None = field(
        "The model, by the name that members or the provider have for it, or a pattern of models. All of the "
        "provider's where it is left out of a discount or commitment. A name goes before a pattern, and a "
        "longer pattern before a shorter one.",
        "name or pattern",
        "give the name of a model, or a pattern, e.g. gpt-5-*",
        None,
    )
    from_: Day = Field(
        None,
        alias="from",
        description="The first day (UTC). The latest that is not after the call wins. Left out: since ever.",
        json_schema_extra={"kind": _DAY[0], "right": _DAY[1]},
    )
    until: Day = field("The last day (UTC). Left out: no end.", *_DAY, None)
    discount: Annotated[int | None, PlainValidator(values.discount)] = field(
        "In place of rates: so much off whatever price applies below, the broker's own or one of `prices` "
        "that this entry goes before. Discounts don't add up.",
        "percentage",
        "give e.g. 12%",
        None,
    )
    commitment: Flag = field(
        "In place of rates: `true` where these calls are paid otherwise (provisioned throughput, a flat "
        "rate, one's own machines). Their cost is then known to be 0.",
        "true or false",
        "give true",
        False,
    )


class PriceIn(ScaleIn, _TermIn):
    """What a provider's models cost, where the broker does not know it or knows it otherwise: rates in
    dollars per million tokens, a discount on whatever else applies to these models, or a commitment. A bucket
    that is left out is unknown, not free. docs/prices.md"""

    batch: ScaleIn | None = field("The rates of the service tier `batch`.", *_SCALE, None)
    flex: ScaleIn | None = field("The rates of the service tier `flex`.", *_SCALE, None)
    priority: ScaleIn | None = field("The rates of the service tier `priority`.", *_SCALE, None)
    fast: ScaleIn | None = field("The rates of the service tier, or speed, `fast`.", *_SCALE, None)

    def gives_rates(self) -> bool:
        return any(name not in _TERM for name in self.model_fields_set)


_TERM = frozenset(_TermIn.model_fields)
