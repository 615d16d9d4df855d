"""Which calls have nothing to do with one another: so they can be replayed apart, and it comes to the same.

Callers are coupled by what they share: an account of a budget, replies of a cache. What a token tells of a
caller is not known beforehand, so with one of these all are together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.catalog import CallerEntry, Catalog

BUCKETS = 16
_STATIC = ("agent", "user", "team", "tier")


def buckets_of(catalogs: Sequence[Catalog]) -> Mapping[str, int] | None:
    """Caller → the number of its bucket, below BUCKETS; None: all calls are one."""
    shared: set[str] = set()
    for catalog in catalogs:
        if any(pool.hedge is not None for pool in catalog.pools.values()):
            return None  # no more than a share of all calls is hedged
        if any(entry.token is not None or entry.spiffe for entry in catalog.callers):
            return None
        found = _shared_by(catalog)
        if found is None:
            return None
        shared |= found
    names = sorted({entry.name for catalog in catalogs for entry in catalog.callers})
    together = {name: name for name in names}

    def root(name: str) -> str:
        while together[name] != name:
            name = together[name]
        return name

    for catalog in catalogs:
        first: dict[tuple[str, str], str] = {}
        for entry in catalog.callers:
            for fact in shared:
                if value := _value(entry, fact):
                    together[root(entry.name)] = root(first.setdefault((fact, value), entry.name))
    roots = {name: number for number, name in enumerate(sorted({root(name) for name in names}))}
    return {name: roots[root(name)] % BUCKETS for name in names} if len(roots) > 1 else None


def _value(entry: CallerEntry, fact: str) -> str:
    value: str = getattr(entry, fact)
    return value


def _shared_by(catalog: Catalog) -> set[str] | None:
    """The facts whose equals share something; None: all callers may."""
    shared: set[str] = set()
    for budget in catalog.budgets:
        if "caller" in budget.by:
            continue
        facts = [fact for fact in budget.by if fact in _STATIC]
        if not facts:
            return None
        shared.add(facts[0])
    for pool in catalog.pools.values():
        scope = pool.cache.scope if pool.cache is not None else "caller"
        if scope in ("user", "team"):
            shared.add(scope)
        elif scope != "caller":
            return None
    return shared
