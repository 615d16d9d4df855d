"""What a pool says of time and of members that fail: one pydantic model a mapping."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator

from ..core.catalog import Ejection, Timeouts
from . import values
from .fields import HOUR, Flag, Model, Wait, field


class TimeoutsIn(Model):
    """How long to wait for a member before the next one is tried."""

    connect: Wait = field("To connect.", "duration", 'give e.g. "5s"', Timeouts().connect_ms)
    first_event: Wait = field(
        "A stream, up to its first event.", "duration", 'give e.g. "60s"', Timeouts().first_event_ms
    )
    reply: Wait = field("A whole reply, up to its end.", "duration", 'give e.g. "10m"', Timeouts().reply_ms)
    between_events: Wait = field(
        "The silence of a stream that has begun; pings and reasoning count as life. At most `limits.idle`.",
        "duration",
        'give e.g. "2m"',
        Timeouts().between_events_ms,
    )
    call: Annotated[int, BeforeValidator(values.duration_or_none(1, 24 * HOUR))] = field(
        "The whole call, with all of its attempts, to its last byte.",
        "duration or `none`",
        'give e.g. "30m", or none',
        Timeouts().call_ms,
    )
    wait: Annotated[int, BeforeValidator(values.duration(1, HOUR // 2))] = field(
        "Where every member has said that it takes no calls now: how long a call waits for the one that will "
        "be ready first. A caller's own timeout (`x-stainless-timeout`) counts too.",
        "duration",
        'give e.g. "10s", at most "30m"',
        Timeouts().wait_ms,
    )


class EjectionIn(Model):
    """When a member that fails is left out for a while. `ejection: off` and `ejection: on` do, too."""

    enabled: Flag = field("Whether members are ejected.", "true or false", "give true or false", True)
    consecutive_errors: Annotated[int, Field(ge=1, le=1000)] = field(
        "So many failures one after the other eject it (429, 529, 5xx, no connection).",
        "whole number, 1 to 1000",
        "give a whole number from 1 to 1000, e.g. 3",
        Ejection().consecutive_errors,
    )
    base: Wait = field(
        "How long the first time; longer each time.", "duration", 'give e.g. "10s"', Ejection().base_ms
    )
    max: Wait = field("How long at most.", "duration", 'give e.g. "5m"', Ejection().max_ms)
    ramp: Wait = field(
        "How long it takes a member that is back until it has its whole share again.",
        "duration",
        'give e.g. "10s"',
        Ejection().ramp_ms,
    )


class RoutingIn(Model):
    """Which member is first. `routing: cheapest` is short for `routing: {by: cheapest}`."""

    by: Annotated[str, PlainValidator(values.routing_by)] = field(
        "`priority-weighted`: by weight. `cheapest`: who is estimated to cost least for this very call; who "
        "has no price is last. Both are in the lowest priority that is up.",
        "word",
        "give priority-weighted or cheapest",
        "priority-weighted",
    )
    tolerance: Annotated[int, BeforeValidator(values.discount)] = field(
        "With `cheapest`: weights decide among members that cost at most so much more than the cheapest. "
        "Left out: among those that cost the same.",
        "percentage",
        "give e.g. 10%",
        0,
    )
    output: Annotated[int, BeforeValidator(values.tokens)] = field(
        "How long answers are as a rule, for estimates of what a call costs. Left out: as long as the call "
        "allows, and 1k where it does not say.",
        "number of tokens",
        "give e.g. 500",
        0,
    )


class AffinityIn(Model):
    """Calls that belong together go to one member. `affinity: user` is short for `affinity: {by: user}`."""

    by: Annotated[str, PlainValidator(values.affinity_by)] = field(
        "What they share: a `session`, a `user`, or a `prefix` (what the conversation begins with).",
        "word",
        "give session, user or prefix",
    )
    header: Annotated[str, PlainValidator(values.affinity_header)] = field(
        "Where to look first for the name of the session or user.", "name", "give e.g. x-my-session", ""
    )


class HedgeIn(Model):
    """A second attempt beside a slow first one. `hedge: 2s` is short for `hedge: {after: 2s}`."""

    after: Wait = field(
        "How long a stream may give no first event before another member is tried beside the first; the "
        "first answer wins, and the other call is cancelled.",
        "duration",
        'give e.g. "2s"',
    )
    reply_after: Annotated[int, BeforeValidator(values.duration_or_none(1, 24 * HOUR))] = field(
        "The same for whole replies, which come with the end of the answer; `none`: they are not hedged.",
        "duration or `none`",
        'give e.g. "20s", or none',
        0,
    )
    share: Annotated[float, BeforeValidator(values.percent)] = field(
        "Of the pool's calls at most so many are hedged, since both attempts cost.",
        "percentage",
        "give e.g. 5%",
        5.0,
    )
