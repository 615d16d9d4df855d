"""`explain`: facts → rule → pool → members, by the very functions that serve calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from ..core.call import FACT_KINDS, Caller, Decision, Facts
from ..core.errors import CallError, Misconfigured
from ..exchange import Inbound, OuterCall
from ..exchange.view import View
from ..policy import State, decide, served_dialect
from .runtime import Overrides, prepare_path
from .secrets import caller_of


@dataclass(frozen=True, slots=True)
class Question:
    """A call that is not sent. `path` "": told from the body. `caller` "": told from the headers."""

    headers: Sequence[tuple[str, str]]
    body: bytes
    path: str = ""
    caller: str = ""
    assume_credentials: bool = False


def explain_call(config: Path, question: Question, as_json: bool) -> int:
    """Prints the story of one call. 1: it would be refused."""
    view = prepare_path(config, Overrides()).view
    if question.assume_credentials:
        view = replace(view, state=State())
    call = OuterCall(view, "explain")
    path = question.path or _path_of(question.body)
    inbound = Inbound([(":method", "POST"), (":path", path), *question.headers])
    if question.caller:
        call.assume(_named(view, question.caller))
    story: dict[str, Any] = {"revision": view.catalog.revision, "path": path}
    try:
        facts = call.facts(inbound, question.body)
        story["facts"] = {name: facts.get(name) for name in [*FACT_KINDS, *view.catalog.fact_headers]}
        story["facts"] |= _further(facts)
        story |= _story(decide(facts, view.catalog, view.state), facts, view)
    except CallError as error:
        story["refused"] = {"status": error.status, "code": error.code, "message": error.message}
        story["providers_out"] = dict(view.state.providers_out)
    print(json.dumps(story, indent=2) if as_json else _text(story))
    return 1 if "refused" in story else 0


def _path_of(body: bytes) -> str:
    """The operation that a body is most likely for; `--path` says it for certain."""
    try:
        request = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "/v1/chat/completions"
    if not isinstance(request, dict) or "messages" not in request:
        is_responses = isinstance(request, dict) and (
            "instructions" in request or "max_output_tokens" in request
        )
        has_input = isinstance(request, dict) and "input" in request
        return (
            "/v1/embeddings"
            if has_input and not is_responses and "stream" not in request
            else "/v1/responses"
        )
    anthropic = "max_tokens" in request and ("system" in request or "anthropic_version" in request)
    return "/v1/messages" if anthropic else "/v1/chat/completions"


def _named(view: View, name: str) -> Caller:
    for entry in view.catalog.callers:
        if entry.name == name:
            return caller_of(entry)
    known = ", ".join(entry.name for entry in view.catalog.callers) or "none"
    raise Misconfigured(500, "unknown_caller", f"there is no caller {name!r}; there are: {known}")


def _further(facts: Facts) -> dict[str, Any]:
    """What else decides who can serve the call; rules can't match on it."""
    return {
        "same_dialect": facts.same_dialect or None,
        "owners": ", ".join(facts.owners) or None,
        "unowned_ids": facts.unowned_ids or None,
        "stateful": facts.stateful or None,
        "choices": facts.choices if facts.choices > 1 else None,
    }


def _story(decision: Decision, facts: Facts, view: View) -> dict[str, Any]:
    total = sum(member.weight for member in decision.eligible if member.priority == _first(decision))
    eligible = [
        {
            "member": member.id,
            "weight": member.weight,
            "priority": member.priority,
            "chance": round(member.weight / total, 4) if member.priority == _first(decision) else 0.0,
            "dialect": served_dialect(view.catalog.providers[member.provider].dialects, facts.surface),
        }
        for member in decision.eligible
    ]
    return {
        "rule": decision.rule or None,
        "pool": decision.pool,
        "dialect": facts.surface.dialect,
        "failover": decision.failover,
        "eligible": eligible,
        "ruled_out": [{"member": o.member.id, "code": o.code, "why": o.why} for o in decision.ruled_out],
    }


def _first(decision: Decision) -> int:
    return min(member.priority for member in decision.eligible)


def _text(story: dict[str, Any]) -> str:
    lines = [f"call     POST {story['path']}", "facts"]
    facts = story.get("facts", {})
    lines += [f"  {name:18} {_shown(value)}" for name, value in facts.items() if value is not None]
    if refused := story.get("refused"):
        lines.append(f"refused  {refused['status']} {refused['code']}: {refused['message']}")
        lines += [f"  - {name}: {why}" for name, why in story["providers_out"].items()]
        return "\n".join([*lines, f"revision {story['revision']}"])
    lines.append(f"rule     {story['rule'] or 'none matches: `model` names the pool'}")
    lines.append(f"pool     {story['pool']}  (up to {story['failover']} further attempts)")
    lines.append("members")
    for member in story["eligible"]:
        chance = f"first with {member['chance']:.0%}" if member["chance"] else f"level {member['priority']}"
        into = f", translated into {member['dialect']}" if member["dialect"] != story["dialect"] else ""
        lines.append(f"  + {member['member']:40} weight {member['weight']}, {chance}{into}")
    lines += [f"  - {out['member']:40} {out['why']} ({out['code']})" for out in story["ruled_out"]]
    lines.append(f"revision {story['revision']}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
