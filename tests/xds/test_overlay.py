"""Members' health over endpoints: weights, who is out, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects import SURFACES
from modelbroker.policy import State
from modelbroker.xds.build import build, generation_of
from modelbroker.xds.overlay import overlaid
from modelbroker.xds.snapshot import Snapshot, snapshot
from modelbroker.xds.store import Store
from modelbroker.xds.types import CLUSTER, ENDPOINTS, LISTENER, Tree
from support.catalogs import catalog


def made(**pools: list[Mapping[str, Any]]) -> Snapshot:
    loaded = catalog(pools=[{"name": name, "members": members} for name, members in pools.items()])
    resources = build(loaded, State(), SURFACES, dict.fromkeys("abc", "k"))
    return snapshot(generation_of(loaded, State()), loaded.revision, resources)


def member(provider: str, weight: int = 1, priority: int = 0, model: str = "m") -> dict[str, Any]:
    return {"provider": provider, "model": model, "weight": weight, "priority": priority}


def hosts(tree: Tree) -> dict[str, Tree]:
    return {
        host["endpoint"]["address"]["envoy_internal_address"]["endpoint_id"]: host
        for locality in tree["endpoints"]
        for host in locality["lb_endpoints"]
    }


def said(store: Store, pool: str) -> dict[str, tuple[int, str]]:
    """Member → (weight, health) as an Envoy gets them now."""
    assert store.target is not None
    (tree,) = (r.tree for name, r in store.target[ENDPOINTS].items() if name.startswith(f"pool/{pool}/"))
    return {
        name: (host["load_balancing_weight"], host.get("health_status", ""))
        for name, host in hosts(tree).items()
    }


def store_of(new: Snapshot) -> Store:
    store = Store()
    store.commit(store.plan(new, 0.0))
    return store


def know(store: Store, shares: Mapping[str, float]) -> bool:
    return store.set_health(
        shares.keys(), lambda pool, name: shares.get(f"{pool}:{name}", shares.get(name, 1.0))
    )


def test_pools_of_the_well_are_sent_as_they_were_built() -> None:
    store = store_of(made(p=[member("a", 70), member("b", 30)]))
    before = store.target
    assert not know(store, {"a/m": 1.0, "nobody/m": 0.0})
    assert store.target is before


def test_who_is_out_is_unhealthy_in_every_pool_that_has_it() -> None:
    store = store_of(
        made(p=[member("a", 70), member("b", 30)], q=[member("a"), member("b")], r=[member("b")])
    )
    assert store.target is not None
    before = store.target
    assert know(store, {"a/m": 0.0})
    assert said(store, "p") == {"a/m": (70, "UNHEALTHY"), "b/m": (30, "")}
    assert said(store, "q") == {"a/m": (1, "UNHEALTHY"), "b/m": (1, "")}
    assert not know(store, {"a/m": 0.0})
    for of in (CLUSTER, LISTENER):
        assert store.target[of] is before[of]
    (r,) = (name for name in before[ENDPOINTS] if name.startswith("pool/r/"))
    assert store.target[ENDPOINTS][r] is before[ENDPOINTS][r]
    assert know(store, {})
    assert store.target[ENDPOINTS] == before[ENDPOINTS]


def test_small_shares_of_small_weights_can_be_said() -> None:
    store = store_of(made(p=[member("a", 1), member("b", 3)]))
    know(store, {"a/m": 0.05})
    assert said(store, "p") == {"a/m": (5, ""), "b/m": (300, "")}


def test_a_share_may_be_of_one_pool() -> None:
    store = store_of(made(p=[member("a"), member("b")], q=[member("a"), member("b")]))
    know(store, {"a/m": 1.0, "p:a/m": 0.5})
    assert said(store, "p")["a/m"] == (50, "")
    assert said(store, "q")["a/m"] == (1, "")


def test_health_stays_over_edits() -> None:
    store = store_of(made(p=[member("a", 70), member("b", 30)]))
    know(store, {"a/m": 0.0})
    store.commit(store.plan(made(p=[member("a", 50), member("b", 50)], q=[member("a")]), 1.0))
    assert said(store, "p") == {"a/m": (50, "UNHEALTHY"), "b/m": (50, "")}
    assert said(store, "q") == {"a/m": (1, "UNHEALTHY")}


def test_who_is_kept_for_calls_of_before_an_edit_has_its_health_too() -> None:
    store = store_of(made(p=[member("a"), member("b")]))
    store.routed()
    store.accepted()
    store.commit(store.plan(made(p=[member("c"), member("b")]), 1.0))
    know(store, {"a/m": 0.0})
    assert said(store, "p")["a/m"] == (1, "UNHEALTHY")


SHARES = st.dictionaries(st.sampled_from(["a/m", "b/m", "c/m"]), st.just(0.0) | st.floats(0.001, 1.0))
WEIGHTS = st.integers(1, 1_000_000_000)


@given(SHARES, WEIGHTS, WEIGHTS, st.integers(0, 1))
def test_weights_are_what_envoy_takes_and_all_else_stays(
    shares: dict[str, float], one: int, other: int, level: int
) -> None:
    snapshot_ = made(p=[member("a"), member("b", 2), member("c", 3, level)])
    (resource,) = snapshot_.resources[ENDPOINTS].values()
    before = hosts(resource.tree)
    before["a/m"]["load_balancing_weight"], before["b/m"]["load_balancing_weight"] = one, other
    tree = overlaid(resource.tree, shares)
    for locality in tree["endpoints"]:
        assert sum(host["load_balancing_weight"] for host in locality["lb_endpoints"]) < 2**32
    after = hosts(tree)
    scale = (
        after["c/m"]["load_balancing_weight"] / 3 / shares.get("c/m", 1.0) if shares.get("c/m") != 0 else None
    )
    assert after.keys() == before.keys()
    for name, host in after.items():
        assert host["load_balancing_weight"] >= 1
        assert (host.get("health_status") == "UNHEALTHY") == (shares.get(name) == 0.0)
        assert (host["endpoint"], host["metadata"]) == (before[name]["endpoint"], before[name]["metadata"])
    assert scale is None or scale > 0
    assert {k: v for k, v in tree.items() if k != "endpoints"} == {
        k: v for k, v in resource.tree.items() if k != "endpoints"
    }
