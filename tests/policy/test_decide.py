"""`decide`: rules, names, permissions, eligibility."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.core.errors import Refused
from modelbroker.policy import State, decide
from support.catalogs import catalog, facts

POOLS = [
    {
        "name": "fast",
        "aliases": ["quick", "claude-*"],
        "members": [
            {"provider": "a", "model": "claude-x", "weight": 70},
            {"provider": "b", "model": "gpt-x", "weight": 25},
            {"provider": "c", "model": "gpt-y", "weight": 5, "priority": 1},
        ],
    },
    {"name": "slow", "aliases": ["claude-opus-*"], "members": [{"provider": "a", "model": "claude-y"}]},
]
NOW = State()


def pool_of(rules: list[dict[str, Any]], *args: Any, **fields: Any) -> str:
    decision = decide(facts(*args, **fields), catalog(pools=POOLS, rules=rules), NOW)
    return decision.pool


@pytest.mark.parametrize(
    ("match", "fields", "matches"),
    [
        ({"tier": "premium"}, {"caller": {"tier": "premium"}}, True),
        ({"tier": "premium"}, {"caller": {"tier": "standard"}}, False),
        ({"tier": "premium"}, {}, False),
        ({"tier": "!premium"}, {}, True),
        ({"tier": "!premium"}, {"caller": {"tier": "premium"}}, False),
        ({"team": ["sales", "ops"]}, {"caller": {"team": "ops"}}, True),
        ({"team": {"not": ["sales", "ops"]}}, {"caller": {"team": "ops"}}, False),
        ({"team": "sales-*"}, {"caller": {"team": "sales-eu"}}, True),
        ({"context.tokens": ">100k"}, {"context_tokens": 100_001}, True),
        ({"context.tokens": ">100k"}, {"context_tokens": 100_000}, False),
        ({"context.tokens": ">=100k"}, {"context_tokens": 100_000}, True),
        ({"context.tokens": {"all": [">10", "<=20"]}}, {"context_tokens": 20}, True),
        ({"context.tokens": {"all": [">10", "<=20"]}}, {"context_tokens": 21}, False),
        ({"max_output.tokens": "<1M"}, {"max_output_tokens": 5}, True),
        ({"max_output.tokens": "<1M"}, {}, False),
        ({"tools": True}, {"tools": True}, True),
        ({"tools": True}, {"tools": False}, False),
        ({"stream": False, "images": True}, {"images": True}, True),
        ({"stream": False, "images": True}, {"images": True, "stream": True}, False),
        ({"model": "fast"}, {}, True),
        ({"model": "!fast"}, {}, False),
        ({"dialect": "openai-chat"}, {}, True),
        ({"cost.estimate": ">0"}, {}, False),
        ({}, {}, True),
    ],
)
def test_a_rule_matches(match: dict[str, Any], fields: dict[str, Any], matches: bool) -> None:
    slow = {
        "name": "elsewhere",
        "members": [{"provider": "b", "model": "gpt-z"}, {"provider": "a", "model": "claude-z"}],
    }
    loaded = catalog(pools=[*POOLS, slow], rules=[{"match": match, "pool": "elsewhere"}])
    decision = decide(facts("fast", **fields), loaded, NOW)
    assert decision.pool == ("elsewhere" if matches else "fast")
    assert decision.rule == ("rule-1" if matches else "")


def test_the_first_rule_wins() -> None:
    rules = [
        {"match": {"stream": True}, "pool": "fast"},
        {"match": {}, "deny": "not today"},
    ]
    assert pool_of(rules, "whatever", stream=True) == "fast"
    with pytest.raises(Refused) as refused:
        pool_of(rules, "fast")
    assert (refused.value.status, refused.value.message) == (403, "not today")


@pytest.mark.parametrize(
    ("model", "pool"),
    [
        ("fast", "fast"),
        ("quick", "fast"),
        ("claude-haiku", "fast"),
        ("claude-opus-9", "slow"),
        ("slow", "slow"),
    ],
)
def test_model_names_a_pool_or_an_alias(model: str, pool: str) -> None:
    assert pool_of([], model, "anthropic-messages") == pool


def test_an_unknown_pool_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(Refused) as refused:
        pool_of([], "fasst")
    assert refused.value.status == 404
    assert refused.value.code == "model_not_found"
    assert "fast" in refused.value.message


def test_a_members_own_model_only_where_the_configuration_allows_it() -> None:
    with pytest.raises(Refused):
        pool_of([], "gpt-y")
    loaded = catalog(pools=POOLS, limits={"concrete_models": True})
    decision = decide(facts("gpt-y"), loaded, NOW)
    assert [member.id for member in decision.eligible] == ["c/gpt-y"]
    assert {out.code for out in decision.ruled_out} == {"other_model"}


def test_a_callers_pools_are_checked_last() -> None:
    loaded = catalog(pools=POOLS, rules=[{"match": {"stream": True}, "pool": "slow"}])
    caller = {"name": "x", "pools": ("fa*",)}
    assert decide(facts("fast", caller=caller), loaded, NOW).pool == "fast"
    for asked in (
        facts("fast", "anthropic-messages", caller=caller, stream=True),
        facts("slow", "anthropic-messages", caller=caller),
    ):
        with pytest.raises(Refused) as refused:
            decide(asked, loaded, NOW)
        assert refused.value.code == "pool_not_allowed"
        assert "fast" in refused.value.message
