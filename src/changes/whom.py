"""Whose calls a change can concern: callers as they are configured. What only a token or a header says of a
caller counts as if it could be anything."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..core.catalog import CallerEntry, Catalog, Condition, Op, Pool, Rule
from ..core.globs import glob_matches

# Facts that a caller's own entry has, where nothing else can say them.
_OWN = ("agent", "user", "team", "customer", "tier")


def of_pool(catalog: Catalog, name: str) -> frozenset[str]:
    """Who may use the pool, or is led there by a rule."""
    pool = catalog.pools.get(name)
    if pool is None:
        return frozenset()
    return frozenset(caller.name for caller in catalog.callers if may_use(caller, pool))


def may_use(caller: CallerEntry, pool: Pool) -> bool:
    return any(glob_matches(pattern, name) for pattern in caller.pools for name in (pool.name, *pool.aliases))


def of_conditions(catalog: Catalog, conditions: Collection[Condition]) -> frozenset[str]:
    """Whose calls may meet all of them."""
    return frozenset(
        caller.name for caller in catalog.callers if all(_may_hold(one, caller) for one in conditions)
    )


def of_rule(catalog: Catalog, rule: Rule) -> frozenset[str]:
    concerned = of_conditions(catalog, rule.conditions)
    return concerned & of_pool(catalog, rule.pool) if rule.pool else concerned


def of_pools(catalog: Catalog, names: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*(of_pool(catalog, name) for name in names))


def of_provider(catalog: Catalog, provider: str) -> frozenset[str]:
    """Of all pools that have a member there."""
    pools = catalog.pools.values()
    return of_pools(
        catalog, (pool.name for pool in pools if any(one.provider == provider for one in pool.members))
    )


def _may_hold(condition: Condition, caller: CallerEntry) -> bool:
    value = _said(condition.fact, caller)
    if value is None or condition.op not in (Op.IN, Op.GLOB):
        return True
    if condition.op is Op.IN:
        answer = value in condition.values
    else:
        answer = bool(value) and any(glob_matches(str(pattern), value) for pattern in condition.values)
    return answer != condition.negated


def _said(fact: str, caller: CallerEntry) -> str | None:
    """By its entry, "" where that says none. None: its calls may have any value."""
    if fact == "caller":
        return caller.name
    if fact not in _OWN or fact in caller.trusted_for or caller.token is not None:
        return None
    said: str = getattr(caller, fact)
    return said
