"""Which faults strike whom: what a catalog gives."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Catalog
from modelbroker.drill.faults import FAULTS, NAMED, Kind, Simulated
from modelbroker.drill.scenarios import PoolPlan, Scenario, Target, in_turn, plan_pools, scenarios
from modelbroker.simulator import parse_script
from support.catalogs import catalog


def pool(*members: dict[str, Any] | str, **fields: Any) -> dict[str, Any]:
    made = [
        {"provider": m.partition("/")[0], "model": m.partition("/")[2]} if isinstance(m, str) else m
        for m in members
    ]
    return {"name": "tier", "members": made, **fields}


def plan_of(config: Catalog, name: str = "tier") -> PoolPlan:
    plans, _ = plan_pools(config, [name])
    return plans[0]


def struck(config: Catalog, fault: str) -> list[tuple[str, set[str]]]:
    plans, _ = plan_pools(config)
    return [(s.target.scope, set(s.target.members)) for s in scenarios(plans, config, [NAMED[fault]])]


def test_one_a_provider_pairs_and_all_each_set_of_members_once() -> None:
    config = catalog(pools=[pool("a/x", "b/x", "b/y", "c/x")])
    assert struck(config, "status-500") == [
        ("one", {"a/x"}),
        ("one", {"b/x"}),
        ("one", {"b/y"}),
        ("one", {"c/x"}),
        ("provider", {"b/x", "b/y"}),
        ("pair", {"a/x", "b/x", "b/y"}),
        ("pair", {"a/x", "c/x"}),
        ("pair", {"b/x", "b/y", "c/x"}),
        ("all", {"a/x", "b/x", "b/y", "c/x"}),
    ]


def test_what_strikes_connections_takes_all_members_of_a_provider_along() -> None:
    config = catalog(pools=[pool("a/x", "b/x", "b/y")])
    assert struck(config, "refused") == [
        ("one", {"a/x"}),
        ("provider", {"b/x", "b/y"}),
        ("all", {"a/x", "b/x", "b/y"}),
    ]


def test_a_pair_that_is_all_is_all() -> None:
    assert [scope for scope, _ in struck(catalog(pools=[pool("a/x", "b/x")]), "status-500")] == [
        "one",
        "one",
        "all",
    ]


def test_two_names_of_one_model_fail_together() -> None:
    providers = [{"name": "b", "dialect": "openai-chat", "base_url": "http://h/v1", "models": {"y": "x"}}]
    config = catalog(providers=providers, pools=[pool("b/x", "b/y")])
    assert [ids for _, ids in struck(config, "status-500")] == [{"b/x", "b/y"}]


def test_calls_are_those_that_the_pool_can_serve_and_the_rest_is_said() -> None:
    only_vectors = {"provider": "b", "model": "v", "capabilities": {"chat": False, "embeddings": True}}
    config = catalog(pools=[pool(only_vectors), pool("a/x", name="chats") | {"name": "chats"}])
    asks = {plan.name: {str(ask) for ask in plan.asks} for plan in plan_pools(config)[0]}
    assert asks["chats"] == {
        f"{dialect} ({how})"
        for dialect in ("openai-chat", "openai-responses", "anthropic-messages")
        for how in ("whole", "streamed")
    }
    # b does not speak openai-embeddings.
    assert "tier" not in asks
    assert any(
        text.startswith("pool tier: no kind of call is served there") for text in plan_pools(config)[1]
    )


def test_embeddings_are_drilled_where_a_pool_has_no_conversations() -> None:
    vectors = [
        {"name": "v", "dialect": "openai-embeddings", "base_url": "http://127.0.0.1:1/v1", "auth": "none"}
    ]
    config = catalog(providers=vectors, pools=[pool("v/text-embedding-3-small")])
    assert [str(ask) for ask in plan_of(config).asks] == ["openai-embeddings (whole)"]
    assert "error-event" not in {s.fault.name for s in scenarios(plan_pools(config)[0], config)}


def test_who_serves_first_is_the_first_level() -> None:
    spare = {"provider": "c", "model": "x", "priority": 1}
    idle = {"provider": "b", "model": "y", "weight": 0}
    plan = plan_of(catalog(pools=[pool("a/x", "b/x", spare, idle)]))
    assert plan.served_first == {"a/x", "b/x"}
    assert plan.weights == {"a/x": 0.5, "b/x": 0.5}


def scenario(config: Catalog, fault: str, *members: str) -> Scenario:
    providers = frozenset(member.partition("/")[0] for member in members)
    return Scenario(plan_of(config), NAMED[fault], Target("one", frozenset(members), providers))


THREE = ("a/x", "b/x", "c/x")


@pytest.mark.parametrize(
    ("fields", "fault", "members", "excuses"),
    [
        # (whole, streamed): "" where no error may be seen.
        ({}, "status-500", ("a/x",), ("", "")),
        ({}, "status-500", ("a/x", "b/x"), ("", "")),
        ({}, "status-500", THREE, ("nobody-left", "nobody-left")),
        ({"failover": 1}, "status-500", ("a/x",), ("", "")),
        ({"failover": 1}, "status-500", ("a/x", "b/x"), ("failover", "failover")),
        ({"failover": "none"}, "status-500", ("a/x",), ("failover", "failover")),
        ({}, "error-event", THREE, ("", "nobody-left")),
        ({}, "reset-mid-body", THREE, ("nobody-left", "")),
        ({}, "mid-stream-end", ("a/x",), ("", "after-commit")),
        ({}, "slow-headers", THREE, ("", "")),
        ({"on": {"rate-limit": "client"}}, "status-429", ("a/x",), ("on-client", "on-client")),
        ({"on": {"rate-limit": "client"}}, "status-500", ("a/x",), ("", "")),
    ],
)
def test_when_clients_may_see_errors(
    fields: dict[str, Any], fault: str, members: tuple[str, ...], excuses: tuple[str, str]
) -> None:
    case = scenario(catalog(pools=[pool(*THREE, **fields)]), fault, *members)
    found = {ask.stream: case.excuse(ask) for ask in case.plan.asks}
    assert (found[False], found[True]) == excuses


def test_what_is_found_out_by_waiting_lasts_several_times_the_wait() -> None:
    timeouts = {"first_event": "500ms", "reply": "1s"}
    config = catalog(pools=[pool("a/x", "b/x", timeouts=timeouts)])
    assert scenario(config, "stall-before-headers", "a/x").seconds(2) == 6
    assert scenario(config, "status-500", "a/x").seconds(2) == 2


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_simulators_take_every_script(fault: Any) -> None:
    told = Simulated("p").failing(fault, ("gpt-*[1]", "m"), 1000)
    script = parse_script(yaml.safe_dump(told), fault.name)
    assert script.refuse or len(script.faults) == (1 if fault.whole_provider else 2)
    if fault.kind is Kind.HARMLESS:
        assert all(f.delay_headers_ms + f.delay_first_event_ms < 1000 for f in script.faults)


members = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=6, unique=True
)


@given(members)
def test_each_fault_strikes_every_member_and_nobody_twice(drawn: list[tuple[str, str]]) -> None:
    config = catalog(pools=[pool(*("/".join(pair) for pair in drawn))])
    everyone = {"/".join(pair) for pair in drawn}
    plans, _ = plan_pools(config)
    chosen = list(scenarios(plans, config))
    for fault in FAULTS:
        sets = [s.target.members for s in chosen if s.fault is fault]
        assert len(sets) == len(set(sets))
        assert frozenset(everyone) in sets
        assert set().union(*(one for one in sets if len(one) < len(everyone) or len(sets) == 1)) == everyone
        if fault.whole_provider:
            for ids in sets:
                struck_providers = {name.partition("/")[0] for name in ids}
                assert ids == {name for name in everyone if name.partition("/")[0] in struck_providers}


@given(members, st.booleans())
def test_by_turns_no_fault_is_left_out(drawn: list[tuple[str, str]], each_scope: bool) -> None:
    config = catalog(pools=[pool(*("/".join(pair) for pair in drawn))])
    plans, _ = plan_pools(config)
    every = list(scenarios(plans, config))
    short = list(in_turn(every, each_scope=each_scope))
    kinds = {(s.fault.name, s.target.scope if each_scope else "") for s in every}
    assert [(s.fault.name, s.target.scope if each_scope else "") for s in short] == sorted(
        kinds, key=[(s.fault.name, s.target.scope if each_scope else "") for s in every].index
    )
    assert all(one in every for one in short)


@pytest.mark.parametrize(
    ("fault", "members", "keeps"),
    [
        ("status-500", ("a/x",), True),
        ("status-500", THREE, False),
        ("error-event", THREE, False),
        ("mid-stream-end", ("a/x", "b/x"), True),
        ("mid-stream-end", THREE, False),
        ("slow-headers", THREE, True),
    ],
)
def test_few_attempts_are_promised_while_a_healthy_member_is_left(
    fault: str, members: tuple[str, ...], keeps: bool
) -> None:
    assert scenario(catalog(pools=[pool(*THREE)]), fault, *members).keeps_one is keeps
