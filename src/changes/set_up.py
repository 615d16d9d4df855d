"""How one pool is set up, in the words of the configuration; and what of it is so because nobody said it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..core.catalog import Affinity, Caching, Ejection, Hedge, Pool, Routing, Timeouts
from ..core.prices import percent
from ..core.trials import Trials
from .written import conditions, duration, listing, value_of

_DEFAULT = Pool("", ())


class Setting(NamedTuple):
    """`is_default`: it is so where the configuration says nothing of it."""

    name: str
    said: str
    is_default: bool


def set_up(pool: Pool, trials: Trials | None = None) -> tuple[Setting, ...]:
    """Where nothing is said of what has no default, there is no word about it."""
    plain = [
        Setting("routing", _routing(pool.routing), pool.routing == _DEFAULT.routing),
        Setting("failover", _failover(pool.failover), pool.failover == _DEFAULT.failover),
        Setting("ejection", _ejection(pool.ejection), pool.ejection == _DEFAULT.ejection),
        Setting("timeouts", _timeouts(pool.timeouts), pool.timeouts == _DEFAULT.timeouts),
        Setting("guard", pool.guard, pool.guard == _DEFAULT.guard),
        Setting("usage_event", pool.usage_event, pool.usage_event == _DEFAULT.usage_event),
    ]
    said = (Setting(name, words, False) for name, words in _said(pool, trials or Trials()))
    return (*plain, *said)


def _said(pool: Pool, trials: Trials) -> Iterator[tuple[str, str]]:
    if pool.hedge is not None:
        yield "hedge", _hedge(pool.hedge)
    if pool.affinity is not None:
        yield "affinity", _affinity(pool.affinity)
    if pool.cache is not None:
        yield "cache", _cache(pool.cache)
    if pool.on:
        yield "on", ", ".join(f"{cause.value}: {getattr(to, 'value', to)}" for cause, to in pool.on)
    if pool.aliases:
        yield "aliases", listing(pool.aliases, 8)
    for member in pool.members:
        if member.concurrency:
            yield "concurrency", f"{member.concurrency:,} of {member.id}"
    for one in trials.shadows:
        if one.rollout:  # a stage of the rollout, which is told below
            continue
        match = f", of {conditions(one.conditions)}" if one.conditions else ""
        yield "shadow", f"{percent(one.share_ppm)} to {one.to}{match}"
    if (rollout := trials.rollout) is not None:
        yield "rollout", f"to {rollout.to}, {' → '.join(stage.name for stage in rollout.stages)}"


def _routing(one: Routing) -> str:
    tolerance = f", tolerance {percent(one.tolerance_ppm)}" if one.tolerance_ppm else ""
    output = f", output {one.output_tokens:,} tokens" if one.output_tokens else ""
    return f"{one.by}{tolerance}{output}"


def _failover(further: int) -> str:
    return f"up to {further}" if further else "none"


def _ejection(one: Ejection) -> str:
    if not one.enabled:
        return "off"
    times = f"base {duration(one.base_ms)}, max {duration(one.max_ms)}, ramp {duration(one.ramp_ms)}"
    return f"consecutive_errors {one.consecutive_errors}, {times}"


def _timeouts(one: Timeouts) -> str:
    bounds = [
        f"{name} {duration(ms)}"
        for name, ms in (
            ("connect", one.connect_ms),
            ("first_event", one.first_event_ms),
            ("reply", one.reply_ms),
            ("between_events", one.between_events_ms),
            ("wait", one.wait_ms),
        )
    ]
    return ", ".join([*bounds, f"call {duration(one.call_ms) if one.call_ms else 'none'}"])


def _hedge(one: Hedge) -> str:
    reply = f", reply_after {duration(one.reply_after_ms)}" if one.reply_after_ms else ""
    return f"after {duration(one.after_ms)}{reply}, share {value_of('share_percent', one.share_percent)}"


def _affinity(one: Affinity) -> str:
    return f"{one.by}, header {one.header}" if one.header else one.by


def _cache(one: Caching) -> str:
    effects = ", tool_effects" if one.tool_effects else ""
    return f"up to {one.max_context_tokens:,} tokens, ttl {duration(one.ttl_ms)}, scope {one.scope}{effects}"
