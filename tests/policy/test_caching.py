"""Who shares cached replies, which calls are cached, and when two have the same key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.call import Caller
from modelbroker.core.catalog import CACHE_SCOPES, Caching
from modelbroker.policy.caching import (
    MOST_KEYED_BYTES,
    NO_WISH,
    CacheKey,
    Tenant,
    Wish,
    cache_key,
    members_revision,
    tenant_of,
    why_not,
    wish_of,
)
from support.catalogs import catalog, facts

WORDS = st.sampled_from(["", "a", "b", "a', 'b", "é", "\0"]) | st.text(max_size=3)
CALLERS = st.builds(
    Caller, name=WORDS, agent=WORDS, user=WORDS, team=WORDS, customer=WORDS, feature=WORDS, tier=WORDS
)
# What makes two callers the same tenant.
IDENTITY: dict[str, Any] = {
    "caller": lambda one: (one.name, one.agent, one.user, one.team, one.customer),
    "user": lambda one: (one.user, one.team),
    "team": lambda one: one.team,
    "customer": lambda one: one.customer,
    "all": lambda one: "",
}
NEEDED = {"caller": "name", "user": "user", "team": "team", "customer": "customer"}


@given(st.sampled_from(CACHE_SCOPES), CALLERS, CALLERS, st.binary(max_size=8))
def test_two_tenants_with_equal_calls_never_share(
    scope: str, one: Caller, other: Caller, content: bytes
) -> None:
    tenants = tenant_of(scope, one), tenant_of(scope, other)
    for caller, tenant in zip((one, other), tenants, strict=True):
        assert (tenant is None) == (scope != "all" and not getattr(caller, NEEDED[scope]))
    if tenants[0] is not None and tenants[1] is not None:
        keys = [cache_key(tenant, "pool", content=content) for tenant in tenants if tenant is not None]
        assert (keys[0] == keys[1]) == (IDENTITY[scope](one) == IDENTITY[scope](other))
        assert (keys[0].text == keys[1].text) == (keys[0] == keys[1])  # also where only the text is compared


@given(st.sampled_from(CACHE_SCOPES), st.sampled_from(CACHE_SCOPES), CALLERS)
def test_no_scope_finds_anothers_replies(one: str, other: str, caller: Caller) -> None:
    tenants = tenant_of(one, caller), tenant_of(other, caller)
    if tenants[0] is not None and tenants[1] is not None:
        keys = {cache_key(tenant, content=b"").digest for tenant in tenants if tenant is not None}
        assert (len(keys) == 1) == (one == other)


TOLD = st.lists(st.text(max_size=3) | st.tuples(st.text(max_size=2), st.text(max_size=2)), max_size=3)


@given(TOLD, TOLD, st.binary(max_size=6), st.binary(max_size=6))
def test_whatever_differs_is_another_key(one: list[Any], other: list[Any], this: bytes, that: bytes) -> None:
    tenant = Tenant("team", ("red",))
    keys = [cache_key(tenant, *told, content=content) for told, content in ((one, this), (other, that))]
    assert (keys[0] == keys[1]) == ((one, this) == (other, that))


@pytest.mark.parametrize(
    ("scope", "names"),
    [("team", ()), ("team", ("",)), ("caller", ("", "a")), ("all", ("a",)), ("planet", ("a",))],
)
def test_there_is_no_tenant_without_a_name(scope: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="scope"):
        Tenant(scope, names)


@pytest.mark.parametrize("tenant", [None, "red", ("team", "red")])
def test_there_is_no_key_without_a_tenant(tenant: Any) -> None:
    with pytest.raises(TypeError, match="tenant"):
        cache_key(tenant, "pool", content=b"")
    with pytest.raises(TypeError, match="tenant"):
        CacheKey(tenant, b"digest")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"context_tokens": 4_000}, ""),
        ({"context_tokens": 4_001}, "long-context"),
        ({"stateful": True}, "stateful"),
        ({"owners": ("openai",)}, "stateful"),
        ({"unowned_ids": "input[0].id"}, "stateful"),
        ({"files": True}, "stateful"),
        ({"images": True}, ""),
        ({"image_urls": True}, "remote-content"),
        ({"document_urls": True}, "remote-content"),
        ({"tools": True}, ""),
        ({"hosted_tools": True}, "tools"),
        ({"stream": True, "choices": 3, "reasoning": True}, ""),
    ],
)
def test_which_calls_are_cached(fields: dict[str, Any], reason: str) -> None:
    assert why_not(facts("m", **fields), Caching(), 100) == reason


def test_further_calls_that_are_or_are_not() -> None:
    assert why_not(facts("m", hosted_tools=True), Caching(tool_effects=True), 100) == ""
    assert why_not(facts("m"), Caching(), MOST_KEYED_BYTES + 1) == "long-context"
    assert why_not(facts("m", dialect="openai-embeddings"), Caching(), 100) == ""
    assert why_not(facts("m", dialect="anthropic-count-tokens"), Caching(), 100) == "operation"


@pytest.mark.parametrize(
    ("said", "wish"),
    [
        ("", NO_WISH),
        ("no-store", Wish(stores=False)),
        ("No-Store, max-age=0", Wish(stores=False, reads=False, most_age_s=0)),
        ("no-cache", Wish(reads=False)),
        ("max-age=0", Wish(reads=False, most_age_s=0)),
        (' private , max-age="60"', Wish(most_age_s=60)),
        ("max-age=soon", NO_WISH),
        ("max-age=-1", NO_WISH),
        ("max-age=²", NO_WISH),
        ("no-storey", NO_WISH),
        (",=,", NO_WISH),
    ],
)
def test_what_a_client_wishes(said: str, wish: Wish) -> None:
    assert wish_of(said) == wish


def test_the_revision_of_a_pools_members() -> None:
    members = [{"provider": "a", "model": "x", "weight": 3}, {"provider": "b", "model": "y"}]

    def revision(members: list[dict[str, Any]], **changed: Any) -> str:
        loaded = catalog(pools=[{"name": "p", "members": members}])
        providers = {**loaded.providers, "b": replace(loaded.providers["b"], **changed)}
        return members_revision(loaded.pools["p"], replace(loaded, providers=providers))

    before = revision(members)
    same = [members[1], {**members[0], "weight": 9, "priority": 2}]
    assert revision(same) == before
    assert revision(members, concurrency=7) == before
    others = [
        revision([members[0]]),
        revision([*members, {"provider": "c", "model": "y"}]),
        revision([members[0], {"provider": "b", "model": "z"}]),
        revision(members, base_url="http://elsewhere"),
        revision(members, models={"y": "y-2"}),
        revision(members, headers=(("x-version", "2"),)),
    ]
    assert len({before, *others}) == 7
