"""Names by content: equal content, equal name; another content, another name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from modelbroker.core.catalog import Auth, Limits, Member, Pool, Provider, SecretRef, Timeouts
from modelbroker.core.keys import (
    class_name,
    concurrency,
    levels,
    member_key,
    pool_cluster,
    provider_cluster,
    secret_name,
)

MEMBER = Member("p", "m")
WAITS = Timeouts()
PROVIDER = Provider("p", ("openai-chat",), "http://127.0.0.1:1/v1", credential=SecretRef("env", "K"))


def test_the_same_content_has_the_same_name() -> None:
    assert member_key(PROVIDER, MEMBER, Limits(), WAITS) == member_key(
        replace(PROVIDER), MEMBER, Limits(), Timeouts()
    )
    assert class_name(["a", "b"]) == class_name(["b", "a"])


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://127.0.0.1:2/v1"},
        {"auth": Auth.API_KEY},
        {"credential": SecretRef("env", "OTHER")},
        {"headers": (("x", "y"),)},
        {"ca_file": "/ca.pem"},
        {"models": {"m": "own"}},
        {"api_version": "2"},
    ],
)
def test_what_a_member_does_is_in_its_key(change: dict[str, object]) -> None:
    other = replace(PROVIDER, **change)  # type: ignore[arg-type]
    assert member_key(PROVIDER, MEMBER, Limits(), WAITS) != member_key(other, MEMBER, Limits(), Timeouts())


def test_what_a_member_does_not_do_is_not_in_its_key() -> None:
    other = replace(PROVIDER, models={"another-model": "x"})
    assert member_key(PROVIDER, MEMBER, Limits(), WAITS) == member_key(other, MEMBER, Limits(), Timeouts())
    limits = replace(Limits(), concrete_models=True)
    assert member_key(PROVIDER, MEMBER, Limits(), WAITS) == member_key(PROVIDER, MEMBER, limits, Timeouts())


def test_a_pools_cluster_keeps_its_name_through_an_edit_of_its_members() -> None:
    one = Pool("p", (Member("a", "m"),))
    two = Pool("p", (Member("a", "m", 9), Member("b", "m")), failover=1, aliases=("x",))
    assert pool_cluster(one, Limits()) == pool_cluster(two, Limits())


def test_names_tell_people_what_they_are() -> None:
    assert provider_cluster(PROVIDER, MEMBER, Limits(), 1).startswith("provider/p/")
    assert secret_name(PROVIDER).startswith("credential/p/")


def test_a_member_with_a_cap_of_its_own_is_counted_by_itself() -> None:
    def cluster(provider: Provider, member: Member) -> str:
        return provider_cluster(provider, member, Limits(), 1)

    assert cluster(PROVIDER, MEMBER) == cluster(PROVIDER, Member("p", "other"))
    capped = replace(MEMBER, concurrency=5)
    assert cluster(PROVIDER, capped) != cluster(PROVIDER, MEMBER)
    assert cluster(PROVIDER, capped) != cluster(PROVIDER, Member("p", "other", concurrency=5))
    assert cluster(replace(PROVIDER, concurrency=5), MEMBER) != cluster(PROVIDER, MEMBER)
    assert concurrency(replace(PROVIDER, concurrency=7), capped, Limits()) == 5
    assert concurrency(PROVIDER, MEMBER, Limits()) == Limits().concurrency


def test_levels_are_in_order_whatever_the_numbers() -> None:
    members = [Member("a", "m", priority=7), Member("b", "m"), Member("c", "m", priority=7)]
    assert [[m.provider for m in level] for level in levels(members)] == [["b"], ["a", "c"]]
