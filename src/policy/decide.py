"""facts + catalog + state → decision."""

from __future__ import annotations

import difflib

from ..core.call import Caller, Decision, Facts, RuledOut
from ..core.catalog import Catalog, Member, Pool
from ..core.errors import BadRequest, CallError, Refused, Unavailable
from ..core.globs import glob_matches
from .eligible import (
    ASKED_BY,
    BY_CONTENT,
    State,
    Wants,
    at_best,
    eligible_members,
    is_out_now,
    wants_of,
    without_reasoning,
)
from .match import rule_matches


def decide(facts: Facts, catalog: Catalog, state: State) -> Decision:
    """Rules first; where none matches, `model` names a pool, an alias or, if allowed, a member's model.

    Raises Refused (denied, unknown pool, not this caller's pool), BadRequest (what the call holds, no member
    takes; ids of nobody knows whose account) or Unavailable (who could serve it is out).
    """
    rule_name, pool, only_model = _choose_pool(facts, catalog)
    return _decide_in(pool, rule_name, only_model, facts, catalog, state)


def decide_in(pool_name: str, rule_name: str, facts: Facts, catalog: Catalog, state: State) -> Decision:
    """The same for a call that goes on in another pool than it was for, as its first pool says (`on`)."""
    if (pool := catalog.pools.get(pool_name)) is None:
        raise Unavailable(503, "no_eligible_member", f"there is no pool {pool_name} any more", rule=rule_name)
    return _decide_in(pool, rule_name, None, facts, catalog, state, is_entered=True)


def _decide_in(
    pool: Pool,
    rule_name: str,
    only_model: str | None,
    facts: Facts,
    catalog: Catalog,
    state: State,
    is_entered: bool = False,
) -> Decision:
    # Where a pool sends its own calls is the operator's to say: its callers need not be named there.
    if not is_entered and not _may_use(facts.caller, pool.name):
        allowed = ", ".join(allowed_pools(facts.caller, catalog)) or "none"
        raise Refused(
            403,
            "pool_not_allowed",
            f"{facts.caller.name or 'this caller'} may not use the pool {pool.name}; it may use: {allowed}",
            param="model",
            rule=rule_name,
            pool=pool.name,
        )
    _refuse_unusable_ids(facts, catalog, rule_name, pool)
    wants, eligible, ruled_out = able_members(facts, only_model, pool, catalog, state)
    at_their_best = at_best(ruled_out, wants, catalog) if facts.unowned_ids or not eligible else []
    if facts.unowned_ids:
        # Who is out at the moment may be the very one that issued the id.
        able = {member.provider for member in eligible}
        able.update(out.member.provider for out in at_their_best if is_out_now(out))
        if len(able) > 1:
            raise _ambiguous(facts, rule_name, pool, sorted(able))
    if not eligible:
        raise _nobody(facts, rule_name, pool, at_their_best)
    return Decision(catalog.revision, rule_name, pool.name, eligible, ruled_out, pool.failover)


def able_members(
    facts: Facts, only_model: str | None, pool: Pool, catalog: Catalog, state: State
) -> tuple[Wants, tuple[Member, ...], tuple[RuledOut, ...]]:
    """(what it takes to serve the call, who can, the others and why not)."""
    wants = wants_of(facts, only_model)
    eligible, ruled_out = eligible_members(wants, pool, catalog, state)
    if not eligible and "reasoning" in wants.needs:
        wants = without_reasoning(wants)
        eligible, ruled_out = eligible_members(wants, pool, catalog, state)
    return wants, eligible, ruled_out


def _refuse_unusable_ids(facts: Facts, catalog: Catalog, rule: str, pool: Pool) -> None:
    """Ids of several accounts, or of one that the pool does not have, are good for no member."""
    if not facts.owners:
        return
    field, owner = facts.owned_ids[0] if facts.owned_ids else "an id in the call", facts.owners[0]
    if len(facts.owners) > 1:
        named = zip(facts.owned_ids, facts.owners, strict=False)
        places = [f"{place} at {name[:100]}" for place, name in named]
        message = (
            f"ids in the call live at several accounts ({', '.join(places)}), and one account serves a call: "
            "send ids of one account only"
        )
        raise BadRequest(400, "several_accounts", message, param=field, rule=rule, pool=pool.name)
    dialect = facts.surface.dialect
    own = (member for member in pool.members if member.provider == owner)
    if not any(dialect in catalog.providers[member.provider].dialects for member in own):
        message = (
            f"{field}: the id lives at {owner[:100]!r}, and the pool {pool.name} has no such account that "
            f"speaks {dialect}; go on without the id"
        )
        raise BadRequest(400, "unknown_account", message, param=field, rule=rule, pool=pool.name)


def _nobody(facts: Facts, rule: str, pool: Pool, ruled_out: list[RuledOut]) -> CallError:
    """Why there is no member. Where none could ever carry the call, it is the client's to change."""
    reasons = "; ".join(f"{out.member.id}: {_told(out)}" for out in ruled_out)
    waiting = [out for out in ruled_out if is_out_now(out)]
    if facts.owners and not waiting:
        # Whether members have a weight is not for the client to change either.
        own = [out for out in ruled_out if out.member.provider in facts.owners]
        waiting = [out for out in own if out.code == "weight_zero"]
    if not waiting and any(out.code in BY_CONTENT for out in ruled_out):
        message = f"no member of the pool {pool.name} can take this call: {reasons}"
        field = facts.same_dialect
        knob = "" if field else next((ASKED_BY[out.code] for out in ruled_out if out.code in ASKED_BY), "")
        return BadRequest(
            400, "content_not_supported", message, param=field, knob=knob, rule=rule, pool=pool.name
        )
    message = f"no member of the pool {pool.name} can serve this call: {reasons}"
    if facts.owners and waiting:
        out, field = waiting[0], facts.owned_ids[0] if facts.owned_ids else "an id in the call"
        why = "" if out.code == "credential_missing" else f" ({out.why})"
        message = (
            f"{field}: the id lives at {out.member.provider}, and that account can't be used right now{why}"
        )
    return Unavailable(503, "no_eligible_member", message, rule=rule, pool=pool.name)


def _ambiguous(facts: Facts, rule: str, pool: Pool, accounts: list[str]) -> BadRequest:
    return BadRequest(
        400,
        "ambiguous_account",
        f"{facts.unowned_ids}: an id lives at one account, and the pool {pool.name} has members at several "
        f"({', '.join(accounts)}); say which one it is, e.g. <id>@{accounts[0]}",
        param=facts.unowned_ids,
        rule=rule,
        pool=pool.name,
    )


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
    if (named := named_pool(facts, catalog)) is not None:
        return "", *named
    raise _unknown_pool(facts, catalog)


def named_pool(facts: Facts, catalog: Catalog) -> tuple[Pool, str | None] | None:
    """What the call asks for in `model`: (pool, the one model that members may have); None: nothing that is
    there."""
    if (pool := catalog.pools.get(facts.model)) is not None and not pool.is_made:
        return pool, None
    for pool in catalog.pools.values():
        if facts.model in pool.aliases:
            return pool, None
    globs = [
        (-len(alias), name)
        for name, pool in catalog.pools.items()
        for alias in pool.aliases
        if glob_matches(alias, facts.model)
    ]
    if globs:  # the most specific pattern wins, then the first name
        return catalog.pools[min(globs)[1]], None
    if catalog.limits.concrete_models:
        for pool in catalog.pools.values():
            is_open = _may_use(facts.caller, pool.name) and not pool.is_made
            if is_open and any(m.model == facts.model for m in pool.members):
                return pool, facts.model
    return None


def _unknown_pool(facts: Facts, catalog: Catalog) -> Refused:
    return unknown_model(facts.model, allowed_pools(facts.caller, catalog))


def unknown_model(name: str, names: list[str]) -> Refused:
    """`names` are those that the caller may ask for."""
    nearest = difflib.get_close_matches(name[:200], names, n=3, cutoff=0.5) or names[:3]
    hint = f"the nearest names are {', '.join(nearest)}" if nearest else "this caller may use no pool"
    return Refused(404, "model_not_found", f"there is no pool {name[:200]!r}; {hint}", param="model")


def _may_use(caller: Caller, pool_name: str) -> bool:
    if "*" in caller.pools or pool_name in caller.pools:  # nearly always
        return True
    return any(glob_matches(allowed, pool_name) for allowed in caller.pools)


def allowed_pools(caller: Caller, catalog: Catalog) -> list[str]:
    """The names that this caller may ask for: pools, each with its aliases that are plain names."""
    return [
        name
        for pool in catalog.pools.values()
        if _may_use(caller, pool.name) and not pool.is_made
        for name in (pool.name, *(a for a in pool.aliases if "*" not in a and "?" not in a))
    ]
