"""Which members of a pool can serve a call, and which sets of them can arise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..core.call import Facts, RuledOut, Surface
from ..core.catalog import Capabilities, Catalog, Member, Pool, Provider

_NOTHING: Mapping[str, str] = MappingProxyType({})
# What a call's content may ask for, by the name of the fact and of the capability, and how it is said.
_CONTENT = {
    "tools": "tools",
    "images": "images",
    "documents": "documents",
    "audio": "audio",
    "schema": "structured output",
    "reasoning": "reasoning",
}
# Codes of what a call asks for that a member can't do, and not of what is out at the moment.
BY_CONTENT = frozenset(
    (
        *(f"no_{name}" for name in _CONTENT),
        "one_choice_only",
        "context_too_large",
        "output_too_large",
        "needs_dialect",
        "no_translation",
        "keeps_no_replies",
    )
)


@dataclass(frozen=True, slots=True)
class State:
    """What is true now and not in the configuration: providers that can't be used, and why; and, where a
    credential stands in Envoy's configuration itself, provider → its digest."""

    providers_out: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    signing: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


def served_dialect(provider: Provider, surface: Surface) -> str:
    """The dialect in which a provider gets calls of `surface`: the call's own, or the first of the provider's
    that it can be translated into; "" where there is none."""
    if surface.dialect in provider.dialects:
        return surface.dialect
    return next((dialect for dialect in provider.dialects if dialect in surface.served_by), "")


def eligible_members(
    facts: Facts, pool: Pool, catalog: Catalog, state: State, only_model: str | None
) -> tuple[tuple[Member, ...], tuple[RuledOut, ...]]:
    eligible: list[Member] = []
    ruled_out: list[RuledOut] = []
    for member in pool.members:
        provider = catalog.providers[member.provider]
        out = _standing(member, provider, facts.surface, state, only_model) or _lacking(
            member.capabilities, provider, facts
        )
        if out is None:
            eligible.append(member)
        else:
            ruled_out.append(RuledOut(member, *out))
    return tuple(eligible), tuple(ruled_out)


def _standing(
    member: Member, provider: Provider, surface: Surface, state: State, only_model: str | None
) -> tuple[str, str] | None:
    """(code, why) where the member can't serve any call of this surface."""
    spoken = ", ".join(provider.dialects)
    if not provider.built:
        return "dialect_not_built", f"this version does not speak {spoken} yet"
    if why := state.providers_out.get(member.provider):
        return "credential_missing", why
    if not served_dialect(provider, surface):
        return "no_translation", f"the call is {surface.name}, the provider speaks {spoken}"
    if only_model is not None and member.model != only_model:
        return "other_model", f"the call asks for {only_model}"
    if member.weight == 0:
        return "weight_zero", "its weight is 0"
    return None


def _lacking(can: Capabilities, provider: Provider, facts: Facts) -> tuple[str, str] | None:
    """(code, why) where the member can't carry this very call. What is not known refuses nothing."""
    speaks_it = facts.surface.dialect in provider.dialects
    if facts.same_dialect and not speaks_it:
        return "needs_dialect", f"{facts.same_dialect} is known in {facts.surface.dialect} only"
    if facts.stateful and not speaks_it:
        return "keeps_no_replies", "the reply is to be kept, and this provider can't keep it"
    if facts.unowned_ids and not speaks_it:
        return "other_account", f"{facts.unowned_ids} names what lives at another provider"
    if facts.owners and not (speaks_it and facts.owners == (provider.name,)):
        return "other_account", f"the call names what lives at {', '.join(facts.owners)}"
    for name, said in _CONTENT.items():
        if getattr(can, name) is False and getattr(facts, name):
            return f"no_{name}", f"it can't do {said}"
    if can.choices is False and facts.choices > 1:
        return "one_choice_only", f"it gives one answer, the call asks for {facts.choices}"
    if can.context_tokens is not None and facts.context_tokens > can.context_tokens:
        return (
            "context_too_large",
            f"about {facts.context_tokens} tokens are more than its {can.context_tokens}",
        )
    asked = facts.max_output_tokens
    if asked is not None and can.max_output_tokens is not None and asked > can.max_output_tokens:
        return "output_too_large", f"{asked} output tokens are more than its {can.max_output_tokens}"
    return None


def class_members(
    pool: Pool, catalog: Catalog, state: State, surfaces: Iterable[Surface]
) -> Iterator[tuple[Member, ...]]:
    """Every eligible set that a call of these surfaces can meet in this pool, each once.

    What a call may ask for cuts the members of a surface down to those that have it, and calls may ask for
    any of it together: the sets are all intersections of the cuts.
    """
    seen: set[tuple[Member, ...]] = set()
    models = (None, *sorted({m.model for m in pool.members} if catalog.limits.concrete_models else ()))
    for surface in surfaces:
        members = [
            m
            for m in pool.members
            if _standing(m, catalog.providers[m.provider], surface, state, None) is None
        ]
        for only_model in models:
            base = frozenset(i for i, m in enumerate(members) if only_model is None or m.model == only_model)
            for chosen in _intersections(base, _cuts(members, catalog, surface)):
                eligible = tuple(m for i, m in enumerate(members) if i in chosen)
                if eligible not in seen:
                    seen.add(eligible)
                    yield eligible


def _cuts(members: list[Member], catalog: Catalog, surface: Surface) -> set[frozenset[int]]:
    """What each single demand of a call leaves of `members`, by their places."""
    places = range(len(members))
    can = [m.capabilities for m in members]
    cuts = {frozenset(i for i in places if getattr(can[i], name) is not False) for name in _CONTENT}
    cuts.add(frozenset(i for i in places if can[i].choices is not False))
    for limits in ([c.context_tokens for c in can], [c.max_output_tokens for c in can]):
        for limit in {limit for limit in limits if limit is not None}:
            cuts.add(frozenset(i for i in places if limits[i] is None or limits[i] > limit))  # type: ignore[operator]
    providers = [catalog.providers[m.provider] for m in members]
    speaks = frozenset(i for i in places if surface.dialect in providers[i].dialects)
    cuts.add(speaks)
    accounts = {providers[i].name for i in speaks}
    if len(accounts) > 1:
        # Ids live at one account of the client's dialect; what another dialect's account issued never
        # comes back as an id.
        for name in accounts:
            cuts.add(frozenset(i for i in places if providers[i].name == name))
    return cuts


def _intersections(base: frozenset[int], cuts: set[frozenset[int]]) -> set[frozenset[int]]:
    """`base` cut by any of `cuts` in any number; without the empty set."""
    found = {base} if base else set()
    for cut in cuts:
        if base <= cut:
            continue
        found |= {smaller for each in found if (smaller := each & cut)}
    return found
