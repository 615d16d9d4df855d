"""`explain`: facts → rule → pool → members, by the very functions that serve calls."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.call import FACT_KINDS, Caller, Decision, Facts, caller_of
from ..core.catalog import Member, Pool
from ..core.errors import CallError, Misconfigured, Refused
from ..core.prices import PriceBook, dollars
from ..dialects import likely_path
from ..exchange import (
    Belongs,
    Foreseen,
    Forward,
    Inbound,
    Moment,
    OuterCall,
    Proof,
    View,
    at_member,
    belongs,
    looked_at,
)
from ..exchange.budgeting import shown
from ..exchange.cheapest import in_reach
from ..policy import State, decide
from ..policy.cheapest import Costs, by_cost, chances
from ..policy.estimates import COST_FACT, with_estimate
from ..policy.seats import claims_of
from .explain_capture import capture_line, capture_story
from .explain_trials import trials_lines, trials_story
from .prices import in_short, price_list_here
from .runtime import Overrides, prepare_path


@dataclass(frozen=True, slots=True)
class Question:
    """A call that is not sent. `path` "": told from the body. `caller` "": told from the headers, and from
    what Envoy would have verified: `claims` (JSON) of a good token, and the `certificate`'s SPIFFE ID."""

    headers: Sequence[tuple[str, str]]
    body: bytes
    path: str = ""
    caller: str = ""
    assume_credentials: bool = False
    claims: str = ""
    certificate: str = ""
    request_id: str = ""  # whose lots are drawn; "": nobody's


def explain_call(config: Path | str, question: Question, as_json: bool) -> int:
    """Prints the story of one call. 1: it would be refused."""
    ready = prepare_path(config, Overrides(), price_list=price_list_here()[0])
    view = ready.view
    if question.assume_credentials:
        view = replace(view, state=State(), capture_is_out=False)
    call = OuterCall(view, question.request_id or "explain")
    path = question.path or _path_of(question)
    inbound = Inbound([(":method", "POST"), (":path", path), *question.headers])
    if question.caller:
        call.assume(_named(view, question.caller))
    proof = _proof(view, question)
    story: dict[str, Any] = {"revision": view.catalog.revision, "path": path, "guessed": not question.path}
    try:
        now_s = time.time()
        known = call.facts(inbound, question.body, proof)
        facts = with_estimate(known, view.catalog, view.state, view.estimates, now_s)
        story["facts"] = {name: facts.get(name) for name in [*FACT_KINDS, *view.catalog.fact_headers]}
        story["facts"] |= _further(facts)
        decision = decide(facts, view.catalog, view.state)
        outcome = call.on_body(question.body, Moment(now_s, 0))
        if not isinstance(outcome, Forward):
            raise Misconfigured(500, "broker_defect", "a call was decided, and then refused")
        ends = [
            at_member(view.catalog.providers[member.provider], member, inbound, outcome, question.body)
            for member in decision.eligible
        ]
        pool = view.catalog.pools[decision.pool]
        costs = view.estimates.costs(facts, pool, decision.eligible, now_s)
        owner = belongs(pool, in_reach(pool, decision, costs), facts, inbound.first, question.body, _all_well)
        story |= _story(pool, decision, facts, ends, owner, costs, ready.prices)
        story["budgets"] = _budgets(view, facts, decision, now_s)
        asked = (question.body, question.request_id)
        story["capture"] = capture_story(view, facts, decision.pool, *asked)
        if (trials := trials_story(view, facts, decision, inbound, *asked)) is not None:
            story["trials"] = trials
        if pool.affinity is not None:
            story["affinity"] = {
                "by": pool.affinity.by,
                "found": owner.source if owner else None,
                "member": owner.member.id if owner else None,
            }
        if pool.cache is not None:
            looked = looked_at(pool.cache, facts, inbound, question.body)
            bypass = looked if isinstance(looked, str) else None
            story["cache"] = {"scope": pool.cache.scope, "bypass": bypass}
    except CallError as error:
        story["refused"] = {"status": error.status, "code": error.code, "message": error.message}
        story["providers_out"] = _out_in_pool(error, view)
    print(json.dumps(story, indent=2) if as_json else _text(story))
    return 0 if any(member["way"] != "impossible" for member in story.get("eligible", ())) else 1


def _path_of(question: Question) -> str:
    """The operation that the call is most likely for; `--path` says it for certain."""
    guess = likely_path(question.body)
    is_anthropics = any(name == "anthropic-version" for name, _ in question.headers)
    return "/v1/messages" if is_anthropics and guess == "/v1/chat/completions" else guess


def _out_in_pool(error: CallError, view: View) -> dict[str, str]:
    """The providers of the call's pool that can't be used now, where that may be why the call is refused."""
    pool = view.catalog.pools.get(error.pool)
    if pool is None or isinstance(error, Refused):
        return {}
    out = view.state.providers_out
    return {member.provider: out[member.provider] for member in pool.members if member.provider in out}


def _named(view: View, name: str) -> Caller:
    for entry in view.catalog.callers:
        if entry.name == name:
            return caller_of(entry)
    known = ", ".join(entry.name for entry in view.catalog.callers) or "none"
    raise Misconfigured(500, "unknown_caller", f"there is no caller {name!r}; there are: {known}")


def _proof(view: View, question: Question) -> Proof:
    """What Envoy would tell of a client with this token and certificate."""
    if not question.claims:
        return Proof(certificate=question.certificate)
    try:
        claims = json.loads(question.claims)
    except ValueError as error:
        raise Misconfigured(500, "no_claims", f"--claims is not JSON ({error})") from None
    issuers = {issuer.issuer: issuer.name for issuer in view.catalog.issuers}
    said = claims.get("iss") if isinstance(claims, dict) else None
    if not isinstance(said, str) or said not in issuers:
        known = ", ".join(issuers) or "none"
        raise Misconfigured(500, "no_claims", f"--claims names no issuer in `iss`; there are: {known}")
    return Proof({issuers[said]: claims}, certificate=question.certificate)


def _further(facts: Facts) -> dict[str, Any]:
    """What else decides who can serve the call; rules can't match on it."""
    return {
        "same_dialect": facts.same_dialect or None,
        "owners": ", ".join(facts.owners) or None,
        "unowned_ids": facts.unowned_ids or None,
        "stateful": facts.stateful or None,
        "choices": facts.choices if facts.choices > 1 else None,
    }


def _all_well(member: Member) -> float:
    return 1.0


def _story(
    pool: Pool,
    decision: Decision,
    facts: Facts,
    ends: Sequence[Foreseen],
    owner: Belongs | None,
    costs: Costs,
    prices: PriceBook,
) -> dict[str, Any]:
    order = by_cost("", decision.eligible, costs, pool.routing.tolerance_ppm)
    chance = chances(in_reach(pool, decision, costs).eligible)
    eligible = [
        {
            "member": member.id,
            "weight": member.weight,
            "priority": member.priority,
            "chance": float(member == owner.member) if owner else round(chance.get(member, 0.0), 4),
            "dialect": end.dialect,
            "way": end.way,
            "dropped": list(end.dropped),
            "why": end.why or None,
            "price": in_short(prices, member.provider, member.model),
            "estimate": costs[member.id],
        }
        for member, end in zip(decision.eligible, ends, strict=True)
    ]
    return {
        "rule": decision.rule or None,
        "pool": decision.pool,
        "routing": pool.routing.by,
        "order": [member.id for member in order] if pool.routing.is_cheapest else None,
        "dialect": facts.surface.dialect,
        "failover": decision.failover,
        "eligible": eligible,
        "ruled_out": [{"member": o.member.id, "code": o.code, "why": o.why} for o in decision.ruled_out],
    }


def _budgets(view: View, facts: Facts, decision: Decision, now_s: float) -> list[dict[str, Any]]:
    """The accounts that the call falls into, and what it would reserve in each; those of providers wherever
    it may go."""
    if view.plan is None:
        return []
    found: dict[str, dict[str, Any]] = {}
    for member in decision.eligible:
        seats = view.plan.seats(facts.caller, decision.pool, member.provider)
        claims, _ = claims_of(seats, facts, (member,), view.ceilings, now_s, 1, (decision.pool,))
        for place, seat in enumerate(seats):
            # A member whose cost is not known is left out; where all are, the call is denied.
            amount = claims[place].amount if claims else 1 if seat.counts else None
            known = found[seat.account]["reserves"] if seat.account in found else None
            if known is not None:
                amount = max(amount or 0, known)
            found[seat.account] = {
                "budget": seat.budget.name,
                "scope": seat.scope,
                "unit": seat.budget.unit,
                "limit": seat.budget.limit,
                "lends": not seat.is_own,
                "reserves": amount,
            }
    return list(found.values())


def _reserves(one: dict[str, Any]) -> str:
    whose = f" ({one['scope']})" if one["scope"] else ""
    limit = shown(one["limit"], one["unit"])
    if one["lends"]:
        return f"  {one['budget']}{whose}: lends of {limit}"
    reserved = "?" if one["reserves"] is None else shown(one["reserves"], one["unit"])
    return f"  {one['budget']}{whose}: reserves {reserved} of {limit}"


def _text(story: dict[str, Any]) -> str:
    guessed = "  (guessed from the body; --path says another)" if story["guessed"] else ""
    lines = [f"call     POST {story['path']}{guessed}", "facts"]
    facts = story.get("facts", {})
    lines += [f"  {name:18} {_shown(name, value)}" for name, value in facts.items() if value is not None]
    if refused := story.get("refused"):
        lines.append(f"refused  {refused['status']} {refused['code']}: {refused['message']}")
        lines += [f"  - {name}: {why}" for name, why in story["providers_out"].items()]
        return "\n".join([*lines, f"revision {story['revision']}"])
    lines.append(f"rule     {story['rule'] or 'none matches: `model` names the pool'}")
    lines.append(f"pool     {story['pool']}  (up to {story['failover']} further attempts)")
    if affinity := story.get("affinity"):
        found, member = affinity["found"], affinity["member"]
        by = f"by {found}: first at {member}" if found else "which nothing in the call names: by weight"
        lines.append(f"affinity {affinity['by']}, {by}")
    if cache := story.get("cache"):
        told = f"none: {cache['bypass']}" if cache["bypass"] else f"a reply may be there, by {cache['scope']}"
        lines.append(f"cache    {told} (docs/cache.md)")
    lines.append(capture_line(story["capture"]))
    if trials := story.get("trials"):
        lines += trials_lines(trials)
    lines.append("members")
    first = min(member["priority"] for member in story["eligible"])
    for member in story["eligible"]:
        chance = f"first with {member['chance']:.0%}" if member["chance"] else f"level {member['priority']}"
        if not member["chance"] and story["order"] and member["priority"] == first:
            chance = "not among the cheapest"
        lines.append(f"  + {member['member']:40} weight {member['weight']}, {chance}: {_becomes(member)}")
        if member["dropped"]:
            lines.append(f"      without {', '.join(member['dropped'])}")
    lines += [f"  - {out['member']:40} {out['why']} ({out['code']})" for out in story["ruled_out"]]
    lines.append("prices")
    lines += [f"  {member['member']:42} {member['price']}{_cost(member)}" for member in story["eligible"]]
    if story["budgets"]:
        lines += ["budgets", *map(_reserves, story["budgets"])]
    if story["order"]:
        lines.append(f"cheapest {', '.join(story['order'])}")
    lines.append(f"revision {story['revision']}")
    return "\n".join(lines)


def _becomes(member: dict[str, Any]) -> str:
    match member["way"]:
        case "passes":
            return "passes as it is"
        case "mended":
            return f"is mended, in {member['dialect']}"
        case "translated":
            return f"is translated into {member['dialect']}"
    return f"can't be said in {member['dialect']}: {member['why']}"


def _cost(member: dict[str, Any]) -> str:
    estimate = member["estimate"]
    return "" if estimate is None else f"; this call ${dollars(estimate)}"


def _shown(name: str, value: Any) -> str:
    if name == COST_FACT:
        return f"${dollars(value)}"
    return str(value).lower() if isinstance(value, bool) else str(value)
