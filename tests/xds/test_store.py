"""What every Envoy is to have, over edits, refusals and time."""

from __future__ import annotations

from typing import Any

from modelbroker.dialects import SURFACES
from modelbroker.policy import State
from modelbroker.xds.build import Memory, build, generation_of
from modelbroker.xds.session import Nack
from modelbroker.xds.snapshot import Snapshot, snapshot
from modelbroker.xds.store import LINGER_S, MAX_RETAINED, Store
from modelbroker.xds.types import CLUSTER, LISTENER, SECRET
from support.catalogs import catalog


def made(weight: int = 1, model: str = "x", key: str = "k", **more: Any) -> Snapshot:
    members = [
        {"provider": "a", "model": model, "weight": weight},
        {"provider": "b", "model": "y", "weight": 1},
    ]
    loaded = catalog(pools=[{"name": "p", "members": members}], **more)
    resources = build(loaded, State(), SURFACES, dict.fromkeys("abc", key))
    return snapshot(generation_of(loaded, State()), loaded.revision, resources)


class Clocked(Store):
    """A store whose edits reach an Envoy at once, unless told otherwise."""

    now = 0.0

    def edit(self, new: Snapshot, *, served: bool = True) -> None:
        self.now += 1
        self.commit(self.plan(new, self.now))
        if served:
            self.routed()
            self.accepted()

    def nack(self, of: str, new: Snapshot, name: str) -> Nack:
        return Nack(of, {name: new.resources[of][name].version}, f"{name}: no")


def names(store: Store, of: str) -> set[str]:
    assert store.target is not None
    return set(store.target[of])


def a_listener(new: Snapshot) -> str:
    return next(name for name in new.resources[LISTENER] if name.startswith("member/a/"))


def test_an_older_one_stays_while_calls_may_rest_on_it() -> None:
    store, first, second = Clocked(), made(model="old"), made(model="new")
    store.edit(first)
    store.edit(second)
    assert store.generations() == [second.generation, first.generation]
    assert names(store, LISTENER) == {*first.resources[LISTENER], *second.resources[LISTENER]}
    assert store.expired(store.now + LINGER_S - 1) is None
    plan = store.expired(store.now + LINGER_S)
    assert plan is not None
    store.commit(plan)
    assert store.generations() == [second.generation]
    assert store.target == second.resources


def test_back_and_forth_keeps_each_once() -> None:
    store, first, second = Clocked(), made(1), made(2)
    for new in (first, second, first, second, first):
        store.edit(new)
    assert store.generations() == [first.generation, second.generation]


def test_what_no_envoy_was_given_is_not_kept() -> None:
    store = Clocked()
    store.edit(made(1))
    for weight in range(2, 9):
        store.edit(made(weight), served=False)
    assert store.generations() == [made(8).generation, made(1).generation]


def test_many_edits_keep_a_bounded_number() -> None:
    store = Clocked()
    for weight in range(1, MAX_RETAINED + 20):
        store.edit(made(weight))
    assert len(store.generations()) == MAX_RETAINED + 1


def test_a_rotated_secret_replaces_the_older_one() -> None:
    store, old, new = Clocked(), made(key="old"), made(key="new")
    assert old.generation == new.generation
    store.edit(old)
    store.edit(new)
    assert store.generations() == [new.generation]
    assert store.target is not None
    assert store.target[SECRET] == new.resources[SECRET]


def test_keys_that_sign_leave_nothing_behind_when_they_are_replaced() -> None:
    """They stand in listeners of their own. One every ten seconds, for hours: those that calls may rest on
    stay, and in the end there is the newest alone."""
    provider = {"name": "a", "dialect": "bedrock-converse", "base_url": "http://h", "region": "r"}
    provider["credential"] = "aws"
    pool = {"name": "p", "members": [{"provider": "a", "model": "x"}]}
    signed, memory, store = catalog(providers=[provider], pools=[pool]), Memory(), Clocked()

    def with_keys(number: int) -> Snapshot:
        state = State({}, {"a": str(number)})
        resources = build(signed, state, SURFACES, {"a": f"ASIA:secret{number}:token"}, memory)
        return snapshot(generation_of(signed, state), signed.revision, resources)

    for number in range(1_000):
        newest = with_keys(number)
        store.edit(newest)
        store.now += 9
        assert len(names(store, LISTENER)) <= len(newest.resources[LISTENER]) + MAX_RETAINED
        assert names(store, CLUSTER) == set(newest.resources[CLUSTER])
        assert len(memory.trees) == len(newest.resources[LISTENER]) + len(newest.resources[CLUSTER])
    plan = store.expired(store.now + LINGER_S)
    assert plan is not None
    store.commit(plan)
    assert names(store, LISTENER) == set(newest.resources[LISTENER])


def test_a_refusal_brings_the_last_good_one_back_and_keeps_nothing_of_the_bad_one() -> None:
    store, good, bad = Clocked(), made(model="good"), made(model="bad")
    store.edit(good)
    store.edit(bad, served=False)
    nack = store.nack(LISTENER, bad, a_listener(bad))
    assert store.concerns(nack)
    assert store.refused("node", nack, store.now) is good
    assert store.target == good.resources
    assert store.refusal is not None
    assert store.refusal.revision == bad.revision
    assert not store.concerns(nack)
    assert not store.accepted()  # good was good before: the refusal is not over
    assert store.refusal is not None
    mended = made(model="mended")
    store.edit(mended)
    assert store.refusal is None
    assert store.current is mended


def test_a_late_refusal_of_what_was_replaced_is_none_of_the_newer_one() -> None:
    store, good, bad, newer = Clocked(), made(model="good"), made(model="bad"), made(model="newer")
    store.edit(good)
    store.edit(bad, served=False)
    store.edit(newer, served=False)
    assert not store.concerns(store.nack(LISTENER, bad, a_listener(bad)))
    same = next(iter(newer.resources[CLUSTER]))
    assert store.concerns(store.nack(CLUSTER, newer, same))


def test_the_first_refusal_is_the_reason() -> None:
    store, bad = Clocked(), made()
    store.edit(bad, served=False)
    for name in bad.resources[LISTENER]:
        assert store.refused("node", store.nack(LISTENER, bad, name), store.now) is None
    assert store.refusal is not None
    assert list(store.refusal.nack.versions) == [next(iter(bad.resources[LISTENER]))]
    assert store.current is bad  # nothing to come back to: what is good in it is served


def test_one_from_before_a_restart_is_come_back_to() -> None:
    store, before, bad = Clocked(), made(model="before"), made(model="bad")
    store.commit(store.plan(before, 0), proven=True)
    store.edit(bad, served=False)
    assert store.generations() == [bad.generation, before.generation]
    assert store.refused("node", store.nack(LISTENER, bad, a_listener(bad)), 1) is before


def test_a_plan_that_was_overtaken_is_made_anew() -> None:
    store, first, second, third = Clocked(), made(1), made(2), made(3)
    store.edit(first)
    plan = store.plan(third, store.now)
    store.edit(second)
    store.commit(plan)
    assert store.generations() == [third.generation, second.generation, first.generation]
    plan = store.plan(first, store.now)
    store.routed()  # meanwhile calls began to be decided by the third
    store.commit(plan)
    assert third.generation in store.generations()
