"""A session, under any interleaving of edits, acknowledgements, refusals, expiries and new connections."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.dialects import SURFACES
from modelbroker.policy import State
from modelbroker.xds.build import build, generation_of
from modelbroker.xds.session import DeltaRequest, DeltaResponse, Session
from modelbroker.xds.snapshot import Snapshot, Versions, snapshot
from modelbroker.xds.store import LINGER_S, Store
from modelbroker.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET
from support.catalogs import catalog
from support.envoy_model import TYPES, EnvoyModel, filters_of, secrets_of

MEMBERS = ("a/x", "b/x", "b/y", "c/x")
Pools = dict[str, dict[str, int]]  # pool → member → weight


@functools.cache
def _snapshot(
    pools: tuple[tuple[str, tuple[tuple[str, int], ...]], ...], size: str, key: str, issuers: str
) -> Snapshot:
    entries = [
        {
            "name": name,
            "members": [
                {"provider": member[0], "model": member[2:], "weight": weight} for member, weight in members
            ],
        }
        for name, members in pools
    ]
    vouching = [
        {"name": name, "issuer": name, "audiences": "any", "jwks": f"https://{name}.example.com/keys"}
        for name in issuers
    ]
    callers = [{"name": name, "jwt": name} for name in issuers]
    made = catalog(pools=entries, limits={"request_bytes": size}, issuers=vouching, callers=callers)
    resources = build(made, State(), SURFACES, dict.fromkeys("abc", key))
    return snapshot(generation_of(made, State()), made.revision, resources)


def snapshot_of(pools: Pools, size: str = "1MiB", key: str = "k", issuers: str = "") -> Snapshot:
    """`issuers`: a letter for each that vouches for callers."""
    members = tuple((name, tuple(members.items())) for name, members in pools.items())
    return _snapshot(members, size, key, issuers)


class World:
    """One Envoy and one control plane, whose messages arrive when the test says so."""

    def __init__(self) -> None:
        self.store, self.envoy, self.now = Store(), EnvoyModel(), 0.0
        self.bad: set[tuple[str, str]] = set()  # (type, version) that Envoy will refuse
        self.session = self.envoy.connect()
        self.sent = 0

    def publish(self, new: Snapshot) -> None:
        self.now += 1
        self.store.commit(self.store.plan(new, self.now))
        self.session.forgive()
        self.respond()

    def expire(self) -> None:
        self.now += LINGER_S
        if plan := self.store.expired(self.now):
            self.store.commit(plan)
            self.respond()

    def reconnect(self) -> None:
        self.session = self.envoy.connect()

    def deliver(self) -> bool:
        """One request of Envoy's reaches the control plane."""
        request = self.envoy.next_request()
        if request is None:
            return False
        if (nack := self.session.receive(request)) and self.store.concerns(nack):
            self.store.refused("node", nack, self.now)
        self.respond()
        return True

    def respond(self) -> None:
        target = self.target
        for response in self.session.respond(target):
            self.sent += 1
            if response.type_url == ROUTES and response.changed:
                self.check_routes(target)
                self.store.routed()
            self.envoy.received.append((response, target))
        if self.session.is_synced(target):
            self.store.accepted()

    @property
    def target(self) -> Versions:
        return self.store.target or {of: {} for of in TYPES}

    def check_routes(self, target: Versions) -> None:
        """All that calls decided from now on rest on is there and acknowledged, and listeners are warm."""
        assert not self.envoy.received, "routes went out while something was under way"
        for of in (CLUSTER, LISTENER, ENDPOINTS, EXTENSION):
            lacking = {
                name
                for name, resource in target[of].items()
                if name not in self.envoy.has[of] or self.envoy.has[of][name].version != resource.version
            }
            assert not lacking or self.bad, (of, lacking)
        for name in self.envoy.has[LISTENER].keys() & target[LISTENER].keys():
            resource = self.envoy.has[LISTENER][name]
            assert secrets_of(resource.tree) <= self.envoy.has[SECRET].keys()
            assert filters_of(resource.tree) <= self.envoy.has[EXTENSION].keys()

    def take(self) -> bool:
        """One response reaches Envoy."""
        if not self.envoy.received:
            return False
        before = set(self.envoy.dangling())
        response = self.envoy.take(self.bad)
        if response.type_url == EXTENSION or (response.removed and response.type_url in (CLUSTER, LISTENER)):
            assert set(self.envoy.dangling()) <= before, response
        return True

    def settle(self) -> None:
        for _ in range(2000):
            if not self.take() and not self.deliver():
                return
        raise AssertionError("it goes on and on")

    def check_settled(self) -> None:
        for of in TYPES:
            has = {name: resource.version for name, resource in self.envoy.has[of].items()}
            assert has == {name: resource.version for name, resource in self.target[of].items()}, of
        assert self.session.is_synced(self.target)
        assert self.session.respond(self.target) == []


POOLS: st.SearchStrategy[Pools] = st.dictionaries(
    st.sampled_from("pqr"),
    st.dictionaries(st.sampled_from(MEMBERS), st.integers(1, 3), min_size=1),
    min_size=1,
)
SNAPSHOTS = st.builds(
    snapshot_of,
    POOLS,
    st.sampled_from(["1MiB", "2MiB"]),
    st.sampled_from(["k", "l"]),
    st.sampled_from(["", "", "i", "j", "ij"]),
)
# Mostly steps of messages; an edit or another event now and then.
EVENTS = st.one_of(
    *[st.just(("take", None))] * 4,
    *[st.just(("deliver", None))] * 4,
    SNAPSHOTS.map(lambda new: ("publish", new)),
    st.just(("expire", None)),
    st.just(("reconnect", None)),
)


def play(world: World, events: list[tuple[str, Any]]) -> None:
    for event, argument in events:
        if event == "publish":
            world.publish(argument)
        else:
            getattr(world, event)()


@settings(max_examples=120, deadline=None)
@given(SNAPSHOTS, st.lists(EVENTS, max_size=60))
def test_it_converges_and_never_sends_what_has_no_ground(
    first: Snapshot, events: list[tuple[str, Any]]
) -> None:
    world = World()
    world.publish(first)
    play(world, events)
    world.settle()
    world.check_settled()
    world.expire()
    world.settle()
    world.check_settled()
    assert world.store.generations() == [world.store.current.generation]


@settings(max_examples=120, deadline=None)
@given(st.lists(SNAPSHOTS, min_size=1, max_size=4), st.lists(EVENTS, max_size=40), st.data())
def test_refusals_end_with_the_last_good_one(
    snapshots: list[Snapshot], events: list[tuple[str, Any]], data: st.DataObject
) -> None:
    world, good = World(), snapshot_of({"good": {"a/good": 1}})
    world.publish(good)
    world.settle()
    known = {r.version for of in TYPES for r in good.resources[of].values()}
    parts = sorted(
        {
            (of, r.version)
            for new in snapshots
            for of in (CLUSTER, LISTENER, EXTENSION)
            for r in new.resources[of].values()
            if r.version not in known
        }
    )
    world.bad = set(data.draw(st.lists(st.sampled_from(parts), max_size=3))) if parts else set()
    for new in snapshots:
        world.publish(new)
        play(world, [(event, argument) for event, argument in events if event != "publish"])
    world.settle()  # no refusal is answered for ever
    assert all((of, r.version) not in world.bad for of in TYPES for r in world.target[of].values())
    world.check_settled()
    world.bad.clear()
    world.publish(snapshots[-1])
    world.settle()
    assert world.store.current is snapshots[-1]
    assert world.store.refusal is None
    world.check_settled()


@settings(max_examples=60, deadline=None)
@given(SNAPSHOTS, SNAPSHOTS)
def test_nothing_is_sent_where_nothing_changed(first: Snapshot, second: Snapshot) -> None:
    world = World()
    world.publish(first)
    world.publish(second)
    world.settle()
    before = world.sent
    world.publish(Snapshot(second.generation, second.revision, dict(second.resources)))
    world.settle()
    world.reconnect()
    world.settle()
    world.check_settled()
    assert world.sent == before


def test_a_restarted_control_plane_sends_nothing_but_what_is_new() -> None:
    world = World()
    world.publish(snapshot_of({"p": {"a/x": 1, "b/x": 1}, "q": {"b/y": 1}}))
    world.settle()
    world.store = Store()
    world.reconnect()
    world.publish(snapshot_of({"p": {"a/x": 1, "b/x": 2}, "q": {"b/y": 1}}))
    world.envoy.taken.clear()
    world.settle()
    world.check_settled()
    sent = [(response.type_url, len(response.changed)) for response in world.envoy.taken]
    assert sent == [(ENDPOINTS, 1), (ROUTES, 1)]


def test_a_weight_sends_one_pools_endpoints_and_the_routes() -> None:
    world = World()
    world.publish(snapshot_of({"p": {"a/x": 1, "b/x": 1}, "q": {"b/y": 1}}))
    world.settle()
    world.envoy.taken.clear()
    world.publish(snapshot_of({"p": {"a/x": 7, "b/x": 1}, "q": {"b/y": 1}}))
    world.settle()
    sent = [(r.type_url, [name.split("/")[0] for name in r.changed], r.removed) for r in world.envoy.taken]
    assert sent == [(ENDPOINTS, ["pool"], ()), (ROUTES, ["outer-routes"], ())]


def test_a_rotated_key_sends_its_secret_alone() -> None:
    world = World()
    world.publish(snapshot_of({"p": {"a/x": 1, "b/x": 1}}, key="old"))
    world.settle()
    world.envoy.taken.clear()
    world.publish(snapshot_of({"p": {"a/x": 1, "b/x": 1}}, key="new"))
    world.settle()
    assert [(r.type_url, len(r.changed)) for r in world.envoy.taken] == [(SECRET, 2)]
    world.check_settled()


def test_another_issuer_sends_the_filter_and_its_cluster_and_no_listener() -> None:
    world = World()
    world.publish(snapshot_of({"p": {"a/x": 1}}, issuers="i"))
    world.settle()
    world.envoy.taken.clear()
    world.publish(snapshot_of({"p": {"a/x": 1}}, issuers="j"))
    world.settle()
    sent = [r.type_url for r in world.envoy.taken if r.changed]
    assert sent == [CLUSTER, EXTENSION, ROUTES]
    world.check_settled()


def test_routes_wait_for_the_secret_of_a_new_listener() -> None:
    """Envoy acknowledges a listener before it asks for its secret: until then it is not warm."""
    world = World()
    world.publish(snapshot_of({"p": {"a/x": 1}}))
    world.settle()
    world.publish(snapshot_of({"p": {"b/x": 1}}))
    while world.take() or world.envoy.acknowledgements:
        if world.envoy.acknowledgements:
            world.deliver()  # acknowledgements only: the question for the secret is on its way still
    assert world.envoy.requests
    assert not world.session.is_synced(world.target)
    world.settle()
    world.check_settled()


def test_listeners_wait_for_clusters_that_wait() -> None:
    """With a push of clusters under way the next clusters have to wait, and what names them too."""
    world = World()
    world.publish(snapshot_of({"p": {"a/x": 1}}))
    world.settle()
    world.publish(snapshot_of({"p": {"b/x": 1}}))  # clusters are under way
    world.publish(snapshot_of({"p": {"c/x": 1}}))
    while world.take() or world.deliver():
        assert not world.envoy.dangling()
    world.check_settled()


@pytest.mark.parametrize("named", [True, False])
def test_what_a_refusal_names_is_refused_and_nothing_else(named: bool) -> None:
    session, target = Session(), snapshot_of({"p": {"a/x": 1}, "q": {"b/x": 1}}).resources
    session.receive(DeltaRequest(CLUSTER))
    (push,) = session.respond(target)
    bad = push.changed[0]
    error = f"Error adding/updating cluster(s) {bad}: no" if named else "no"
    nack = session.receive(DeltaRequest(CLUSTER, nonce=push.nonce, error=error))
    assert nack is not None
    assert set(nack.versions) == ({bad} if named else set(push.changed))
    assert session.respond(target) == []
    session.forgive()
    (again,) = session.respond(target)
    assert set(again.changed) == set(nack.versions)


def test_a_stale_nonce_and_an_unknown_type_are_no_answer() -> None:
    session, target = Session(), snapshot_of({"p": {"a/x": 1}}).resources
    assert session.receive(DeltaRequest("type.googleapis.com/envoy.unknown")) is None
    session.receive(DeltaRequest(CLUSTER))
    (push,) = session.respond(target)
    assert session.receive(DeltaRequest(CLUSTER, nonce="7000", error="late")) is None
    assert session.respond(target) == []
    session.receive(DeltaRequest(CLUSTER, nonce=push.nonce))
    assert session.respond({**target, CLUSTER: {}}) == []  # nothing is known of listeners yet


def test_a_name_that_is_asked_for_and_is_not_there_is_answered() -> None:
    session, target = Session(), snapshot_of({"p": {"a/x": 1}}).resources
    session.receive(DeltaRequest(SECRET, subscribe=("nobody",)))
    assert session.respond(target) == [DeltaResponse(SECRET, "1", (), ("nobody",))]
    assert session.respond(target) == []
