"""How a pool is set up, in words."""

from __future__ import annotations

from modelbroker.changes.set_up import set_up
from modelbroker.core.catalog import Catalog, Pool
from modelbroker.revisions.compiled import compiled

TEXT = """
pools:
  - name: plain
    members: [{provider: openai, model: gpt-5}]
  - name: full
    routing: {by: cheapest, tolerance: 10%, output: 2k}
    failover: 2
    ejection: {consecutive_errors: 5, base: 20s}
    timeouts: {first_event: 30s, call: 2m}
    hedge: {after: 2s, reply_after: 30s, share: 3%}
    cache: {ttl: 10m, scope: team}
    guard: full
    usage_event: pass
    on: {context-overflow: plain, overloaded: client}
    aliases: [a, b-*]
    shadow: {to: openai/gpt-5-mini, share: 20%, match: {team: x}}
    rollout: {to: plain, stages: [{shadow: 5%}, {share: 10%}, {share: 100%}]}
    members: [{provider: openai, model: gpt-5, concurrency: 7}, {provider: anthropic, model: claude-opus-4-7}]
  - name: sticky
    failover: none
    ejection: off
    affinity: {by: session, header: x-session}
    members: [{provider: openai, model: gpt-5}]
callers: [{name: a, key: {sha256: "9567b0c0e3297724f42961f13fd3a1cf0e46147901bba63b51c49a743843e769"}}]
"""


def catalog() -> Catalog:
    return compiled({"broker.yaml": TEXT}, 1_796_000_000).catalog


def said(name: str) -> dict[str, str]:
    made = catalog()
    return {
        one.name: one.said for one in set_up(made.pools[name], made.trials.get(name)) if not one.is_default
    }


def test_what_nobody_said_is_the_default() -> None:
    assert said("plain") == {}
    assert {one.name: one.said for one in set_up(Pool("p", ()))} == {
        "routing": "priority-weighted",
        "failover": "up to 3",
        "ejection": "consecutive_errors 3, base 10s, max 5m, ramp 10s",
        "timeouts": "connect 5s, first_event 1m, reply 10m, between_events 15m, wait 10s, call none",
        "guard": "first-event",
        "usage_event": "strip",
    }


def test_all_that_is_said_is_told() -> None:
    assert said("full") == {
        "routing": "cheapest, tolerance 10%, output 2,000 tokens",
        "failover": "up to 2",
        "ejection": "consecutive_errors 5, base 20s, max 5m, ramp 10s",
        "timeouts": "connect 5s, first_event 30s, reply 10m, between_events 15m, wait 10s, call 2m",
        "guard": "full",
        "usage_event": "pass",
        "hedge": "after 2s, reply_after 30s, share 3%",
        "cache": "up to 4,000 tokens, ttl 10m, scope team",
        "on": "context-overflow: plain, overloaded: client",
        "aliases": "a, b-*",
        "concurrency": "7 of openai/gpt-5",
        "shadow": "20% to openai/gpt-5-mini, of team is x",
        "rollout": "to plain, shadow → 10% → 100%",
    }
    assert said("sticky") == {"failover": "none", "ejection": "off", "affinity": "session, header x-session"}
