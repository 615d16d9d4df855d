"""Snapshots: versions follow content, names of what is immutable do too, and unions serve all times."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.keys import content_hash
from modelbroker.dialects import SURFACES
from modelbroker.envoyapi import api
from modelbroker.policy import State
from modelbroker.xds.build import Memory, build, generation_of
from modelbroker.xds.snapshot import Snapshot, Union, snapshot
from modelbroker.xds.types import CLUSTER, ENDPOINTS, LISTENER, OUTER_LISTENER, SECRET
from support.catalogs import PROVIDERS, catalog

Sections = dict[str, Any]
BASE: Sections = {
    "pools": [{"name": "p", "members": [{"provider": "a", "model": "x"}, {"provider": "b", "model": "y"}]}]
}


def made(sections: Sections, memory: Memory | None = None, before: Snapshot | None = None) -> Snapshot:
    loaded = catalog(**sections)
    resources = build(loaded, State(), SURFACES, dict.fromkeys("abcr", "k"), memory)
    return snapshot(generation_of(loaded, State()), loaded.revision, resources, before)


def with_pool(**fields: Any) -> Sections:
    return {"pools": [{**BASE["pools"][0], **fields}]}


def with_provider(**fields: Any) -> Sections:
    return BASE | {"providers": [{**PROVIDERS[0], **fields}, *PROVIDERS[1:]]}


VARIANTS: list[Sections] = [
    BASE,
    BASE | {"limits": {"request_bytes": "1MiB"}},
    BASE | {"limits": {"concurrency": 77}},
    BASE | {"limits": {"idle": "77s"}},
    BASE | {"limits": {"concrete_models": True}},
    BASE | {"listen": {"port": 7777}},
    BASE | {"facts": {"headers": {"task": "x-task"}}},
    with_pool(failover=1),
    with_pool(ejection="off"),
    with_pool(ejection={"consecutive_errors": 9}),
    with_pool(timeouts={"connect": "1s"}),
    with_pool(timeouts={"reply": "1s", "first_event": "2s"}),
    with_pool(members=[{"provider": "a", "model": "x", "weight": 7}, {"provider": "b", "model": "y"}]),
    with_pool(members=[{"provider": "a", "model": "x", "priority": 2}, {"provider": "c", "model": "y"}]),
    with_provider(base_url="http://127.0.0.1:9999/else"),
    with_provider(credential={"env": "OTHER"}),
    with_provider(auth="bearer"),
    with_provider(auth="none", credential="none"),
    with_provider(headers={"x-more": "1"}),
    with_provider(models={"x": "z"}),
    with_provider(api_version="2024-01-01"),
    with_provider(base_url="https://models.example.com", ca_file="/etc/ca.pem"),
    with_provider(dialect=["anthropic-messages", "openai-chat"]),
]


def test_listeners_and_clusters_of_one_name_have_one_content() -> None:
    """They are never edited in place: connections that are kept would stay on the old ones."""
    for one, other in itertools.combinations(map(made, VARIANTS), 2):
        for of in (CLUSTER, LISTENER):
            for name in one.resources[of].keys() & other.resources[of].keys() - {OUTER_LISTENER}:
                assert one.resources[of][name].version == other.resources[of][name].version, (
                    name,
                    one.resources[of][name].tree,
                    other.resources[of][name].tree,
                )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(VARIANTS), min_size=2, max_size=6))
def test_a_memory_changes_nothing(sections: list[Sections]) -> None:
    memory, before = Memory(), None
    for each in sections:
        remembered, fresh = made(each, memory, before), made(each)
        before = remembered
        assert remembered.resources.keys() == fresh.resources.keys()
        for of, resources in fresh.resources.items():
            versions = {name: resource.version for name, resource in resources.items()}
            assert {name: r.version for name, r in remembered.resources[of].items()} == versions
            for name, resource in resources.items():
                assert remembered.resources[of][name].tree == resource.tree


def test_what_is_the_same_is_taken_over() -> None:
    memory = Memory()
    before = made(BASE, memory)
    second = {"name": "q", "members": [{"provider": "c", "model": "z"}]}
    after = made({"pools": [*BASE["pools"], second]}, memory, before)
    for of in (CLUSTER, ENDPOINTS):
        assert all(after.resources[of][name] is resource for name, resource in before.resources[of].items())


def test_a_version_follows_the_content() -> None:
    one, same, other = made(BASE), made(BASE), made(with_pool(ejection="off"))
    assert {r.version for r in one.resources[CLUSTER].values()} == {
        r.version for r in same.resources[CLUSTER].values()
    }
    assert one.resources[CLUSTER].keys() != other.resources[CLUSTER].keys()


def test_no_secret_is_shown_or_guessable() -> None:
    new = made(BASE)
    assert "inline_string" not in repr(new) + repr(new.resources[SECRET])
    for resource in new.resources[SECRET].values():
        assert resource.version != content_hash("", msgspec.json.encode(resource.tree))


def test_a_resource_becomes_the_protobuf_that_envoy_reads_once() -> None:
    new = made(BASE)
    for of, resources in new.resources.items():
        for resource in resources.values():
            assert not resource.is_encoded
            first = resource.encoded(api(), of)
            assert resource.is_encoded
            assert resource.encoded(api(), of) is first


def test_what_names_nothing_is_found() -> None:
    loaded = catalog(**BASE)
    resources = {k: dict(v) for k, v in build(loaded, State(), SURFACES, {}).items()}
    resources[LISTENER].popitem()
    with pytest.raises(ValueError, match="which is not there"):
        snapshot("g", "r", resources)
    resources[ENDPOINTS].clear()
    with pytest.raises(ValueError, match="has no endpoints"):
        snapshot("g", "r", resources)


def hosts(tree: Any) -> dict[str, tuple[int, int, list[str]]]:
    """Listener → (level, weight, classes)."""
    return {
        host["endpoint"]["address"]["envoy_internal_address"]["server_listener_name"].rpartition("/")[0]: (
            locality["priority"],
            host["load_balancing_weight"],
            host["metadata"]["filter_metadata"]["envoy.lb"]["class"],
        )
        for locality in tree["endpoints"]
        for host in locality["lb_endpoints"]
    }


def test_endpoints_of_all_times_each_in_its_own_classes() -> None:
    old = made(with_pool(members=[{"provider": "b", "model": "old"}, {"provider": "b", "model": "y"}]))
    new = made(with_pool(members=[{"provider": "b", "model": "y", "weight": 9}]))
    union = Union()(new, [old])
    (name,) = new.resources[ENDPOINTS]
    merged, before, after = (
        hosts(resources[ENDPOINTS][name].tree) for resources in (union, old.resources, new.resources)
    )
    assert merged["member/b/old"] == before["member/b/old"]
    assert merged["member/b/y"] == (0, 9, sorted(before["member/b/y"][2] + after["member/b/y"][2]))
    assert set(union[LISTENER]) == {*old.resources[LISTENER], *new.resources[LISTENER]}


def test_endpoints_of_all_times_can_be_picked_by_name() -> None:
    """A further attempt is for one member: a host that lost its name would be found by nobody."""

    def told(tree: Any) -> dict[str, Any]:
        every = [host for locality in tree["endpoints"] for host in locality["lb_endpoints"]]
        metadata = [host["metadata"]["filter_metadata"]["envoy.lb"] for host in every]
        return {of["member"]: {k: v for k, v in of.items() if k != "class"} for of in metadata}

    old = made(with_pool(members=[{"provider": "b", "model": "old"}, {"provider": "b", "model": "y"}]))
    new = made(with_pool(members=[{"provider": "b", "model": "y", "weight": 9}]))
    (merged,) = Union()(new, [old])[ENDPOINTS].values()
    (before,), (after,) = old.resources[ENDPOINTS].values(), new.resources[ENDPOINTS].values()
    assert told(merged.tree) == told(before.tree) | told(after.tree)
    assert len(told(merged.tree)) == 2


def test_levels_have_no_gaps_in_a_union() -> None:
    """Envoy refuses endpoints whose priorities leave one out."""
    levels = [{"provider": "b", "model": str(n), "priority": n} for n in range(3)]
    old, new = made(with_pool(members=levels)), made(with_pool(members=levels[:1]))
    (endpoints,) = Union()(new, [old])[ENDPOINTS].values()
    assert [locality["priority"] for locality in endpoints.tree["endpoints"]] == [0, 1, 2]


def test_a_union_with_nothing_older_is_the_snapshot_itself() -> None:
    new, union = made(BASE), Union()
    assert union(new, []) == new.resources
    again = made(BASE)
    assert union(new, [again])[ENDPOINTS] == new.resources[ENDPOINTS]  # the same content merges into itself


def test_a_union_remembers_what_it_merged() -> None:
    old, new, union = made(BASE), made(with_pool(members=[{"provider": "c", "model": "z"}])), Union()
    (name,) = new.resources[ENDPOINTS]
    assert union(new, [old])[ENDPOINTS][name] is union(new, [old])[ENDPOINTS][name]
