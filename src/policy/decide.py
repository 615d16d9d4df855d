"""facts + catalog + state → decision."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..core.call import Caller, Decision, Facts, RuledOut, Surface
from ..core.catalog import Catalog, Member, Pool
from ..core.errors import Refused, Unavailable
from .match import glob_matches, rule_matches

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class State:
    """What is true now and not in the configuration: providers that can't be used, and why."""

    providers_out: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


def decide(facts: Facts, catalog: Catalog, state: State) -> Decision:
    """Rules first; where none matches, `model` names a pool, an alias or, if allowed, a member's model.

    Raises Refused (denied, unknown pool, not this caller's pool) or Unavailable (no eligible member).
    """
    rule_name, pool, only_model = _choose_pool(facts, catalog)
    if not _may_use(facts.caller, pool.name):
        allowed = ", ".join(allowed_pools(facts.caller, catalog)) or "none"
        raise Refused(
            403,
            "pool_not_allowed",
            f"{facts.caller.name or 'this caller'} may not use the pool {pool.name}; it may use: {allowed}",
            param="model",
            rule=rule_name,
            pool=pool.name,
        )
    eligible, ruled_out = _eligible(pool, facts.surface, catalog, state, only_model)
    if not eligible:
        reasons = "; ".join(f"{out.member.id}: {_told(out)}" for out in ruled_out)
        message = f"no member of the pool {pool.name} can serve this call: {reasons}"
        raise Unavailable(503, "no_eligible_member", message, rule=rule_name, pool=pool.name)
    return Decision(catalog.revision, rule_name, pool.name, eligible, ruled_out, pool.failover)


def _told(out: RuledOut) -> str:
    """The reason as a client may read it: where a credential should be is the operator's to know."""
    return "its provider can't be used right now" if out.code == "credential_missing" else out.why


def _choose_pool(facts: Facts, catalog: Catalog) -> tuple[str, Pool, str | None]:
    """(rule's name, pool, the one model that members may have)."""
    for rule in catalog.rules:
        if rule_matches(rule, facts):
            if rule.deny is not None:
                message = rule.deny or f"the rule {rule.name} denies this call"
                raise Refused(403, "denied_by_rule", message, rule=rule.name)
            return rule.name, catalog.pools[rule.pool], None
    if pool := catalog.pools.get(facts.model):
        return "", pool, None
    for pool in catalog.pools.values():
        if facts.model in pool.aliases:
            return "", pool, None
    globs = [
        (-len(alias), name)
        for name, pool in catalog.pools.items()
        for alias in pool.aliases
        if glob_matches(alias, facts.model)
    ]
    if globs:  # the most specific pattern wins, then the first name
        return "", catalog.pools[min(globs)[1]], None
    if catalog.limits.concrete_models:
        for pool in catalog.pools.values():
            if _may_use(facts.caller, pool.name) and any(m.model == facts.model for m in pool.members):
                return "", pool, facts.model
    raise _unknown_pool(facts, catalog)


def _unknown_pool(facts: Facts, catalog: Catalog) -> Refused:
    names = allowed_pools(facts.caller, catalog)
    nearest = difflib.get_close_matches(facts.model[:200], names, n=3, cutoff=0.5) or names[:3]
    hint = f"the nearest names are {', '.join(nearest)}" if nearest else "this caller may use no pool"
    return Refused(404, "model_not_found", f"there is no pool {facts.model[:200]!r}; {hint}", param="model")


def _may_use(caller: Caller, pool_name: str) -> bool:
    return any(allowed == pool_name or glob_matches(allowed, pool_name) for allowed in caller.pools)


def allowed_pools(caller: Caller, catalog: Catalog) -> list[str]:
    """The names that this caller may ask for: pools, each with its aliases that are plain names."""
    return [
        name
        for pool in catalog.pools.values()
        if _may_use(caller, pool.name)
        for name in (pool.name, *(a for a in pool.aliases if "*" not in a and "?" not in a))
    ]


def _eligible(
    pool: Pool, surface: Surface, catalog: Catalog, state: State, only_model: str | None
) -> tuple[tuple[Member, ...], tuple[RuledOut, ...]]:
    eligible: list[Member] = []
    ruled_out: list[RuledOut] = []
    for member in pool.members:
        out = _rule_out(member, surface, catalog, state, only_model)
        if out is None:
            eligible.append(member)
        else:
            ruled_out.append(RuledOut(member, *out))
    return tuple(eligible), tuple(ruled_out)


def _rule_out(
    member: Member, surface: Surface, catalog: Catalog, state: State, only_model: str | None
) -> tuple[str, str] | None:
    """(code, why) where the member can't serve calls of this surface."""
    provider = catalog.providers[member.provider]
    if not provider.built:
        spoken = ", ".join(provider.dialects)
        return "dialect_not_built", f"this version does not speak {spoken} yet"
    if why := state.providers_out.get(member.provider):
        return "credential_missing", why
    if surface.dialect not in provider.dialects:
        spoken = ", ".join(provider.dialects)
        return "other_dialect", f"the call is {surface.dialect}, the provider speaks {spoken}"
    if only_model is not None and member.model != only_model:
        return "other_model", f"the call asks for {only_model}"
    if member.weight == 0:
        return "weight_zero", "its weight is 0"
    return None


def class_members(
    pool: Pool, catalog: Catalog, state: State, surfaces: Iterable[Surface]
) -> Iterator[tuple[Member, ...]]:
    """Every eligible set that a call of these surfaces can meet in this pool, each once."""
    seen: set[tuple[Member, ...]] = set()
    models = {m.model for m in pool.members} if catalog.limits.concrete_models else set()
    for surface in surfaces:
        for only_model in (None, *sorted(models)):
            eligible, _ = _eligible(pool, surface, catalog, state, only_model)
            if eligible and eligible not in seen:
                seen.add(eligible)
                yield eligible
