"""What is known of members' health, laid over their pools' endpoints: the last thing before these are sent.

Configured weights stay what they are; a pool whose members are all well is sent as it was built.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from .snapshot import Versioned, Versions, as_versioned
from .types import ENDPOINTS, Tree

# Weights are whole numbers: small shares of small weights need room below.
_SCALE = 100
_MOST_WEIGHT = 2**32 - 1  # of all endpoints of a level together; Envoy refuses more

# (pool, member id) → its share of its weight, above 0 and up to 1; 0: it is out.
ShareOf = Callable[[str, str], float]
Holders = Mapping[str, tuple[str, ...]]  # member id → clusters that have it


def holders_of(resources: Versions, known: dict[str, tuple[Versioned, frozenset[str]]]) -> Holders:
    """Which clusters' endpoints have a member. `known` is a memory: what did not change is not read again."""
    holders: dict[str, list[str]] = {}
    for cluster, resource in resources[ENDPOINTS].items():
        remembered = known.get(cluster)
        if remembered is None or remembered[0] is not resource:
            remembered = known[cluster] = resource, frozenset(_members(resource.tree))
        for member in remembered[1]:
            holders.setdefault(member, []).append(cluster)
    for gone in known.keys() - resources[ENDPOINTS].keys():
        del known[gone]
    return {member: tuple(clusters) for member, clusters in holders.items()}


def _members(tree: Tree) -> Iterable[str]:
    for locality in tree["endpoints"]:
        for host in locality["lb_endpoints"]:
            yield _member(host)


def _member(host: Tree) -> str:
    member: str = host["endpoint"]["address"]["envoy_internal_address"]["endpoint_id"]
    return member


def pool_of(cluster: str) -> str:
    """`pool/<name>/<hash>` → the name"""
    return cluster.removeprefix("pool/").rpartition("/")[0]


class Overlay:
    """`notable` are the members of which something is known; `share_of` says what. What it made is kept."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Versioned, dict[str, float], Versioned]] = {}

    def __call__(
        self, base: Versions, holders: Holders, notable: Collection[str], share_of: ShareOf
    ) -> Versions:
        """`base` itself where all is well; its other parts are shared."""
        shares: dict[str, dict[str, float]] = {}
        for member in notable:
            for cluster in holders.get(member, ()):
                if (share := share_of(pool_of(cluster), member)) < 1.0:
                    shares.setdefault(cluster, {})[member] = share
        made: dict[str, tuple[Versioned, dict[str, float], Versioned]] = {}
        for cluster, of_members in shares.items():
            resource = base[ENDPOINTS][cluster]
            old = self._made.get(cluster)
            if old is not None and old[0] is resource and old[1] == of_members:
                made[cluster] = old
            else:
                tree = overlaid(resource.tree, of_members)
                made[cluster] = resource, of_members, as_versioned(ENDPOINTS, tree)
        self._made = made
        if not made:
            return base
        endpoints = {**base[ENDPOINTS], **{cluster: new for cluster, (_, _, new) in made.items()}}
        return {**base, ENDPOINTS: endpoints}


def overlaid(tree: Tree, shares: Mapping[str, float]) -> Tree:
    """The endpoints with a share of their weight, or unhealthy where that is 0. Members that are not in
    `shares` have all of theirs. Envoy keeps what it knows of a host (ejections) through both."""
    scale = 1
    if any(share > 0.0 for share in shares.values()):
        levels = [
            sum(host["load_balancing_weight"] for host in of["lb_endpoints"]) for of in tree["endpoints"]
        ]
        scale = max(1, min(_SCALE, _MOST_WEIGHT // max(1, *levels)))
    localities = [
        {
            **of,
            "lb_endpoints": [
                _host(host, shares.get(_member(host), 1.0), scale) for host in of["lb_endpoints"]
            ],
        }
        for of in tree["endpoints"]
    ]
    return {**tree, "endpoints": localities}


def _host(host: Tree, share: float, scale: int) -> Tree:
    weight = host["load_balancing_weight"] * scale
    if share <= 0.0:
        return {**host, "load_balancing_weight": weight, "health_status": "UNHEALTHY"}
    return {**host, "load_balancing_weight": max(1, round(weight * share))}
