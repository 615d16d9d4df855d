"""The facts of a recorded call, as its decision had them, and as another configuration would."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from ..core.call import Caller, Facts, Surface
from ..core.catalog import NO_ITEMS, CallerEntry, Catalog
from ..dialects import SURFACES, surface_for_path

ANYONE = Caller()
_FIRST: Mapping[str, Surface] = MappingProxyType({surface.dialect: surface for surface in reversed(SURFACES)})


class Told(Protocol):
    """What of a record the facts are made of: a core.record.Record, or a Recorded."""

    path: str
    caller: str
    agent: str
    user: str
    team: str
    customer: str
    feature: str
    tier: str
    dialect: str
    model: str
    stream: bool
    context_tokens: int | None
    max_output_tokens: int | None
    choices: int
    holds: tuple[str, ...]
    same_dialect: str
    owners: tuple[str, ...]
    unowned_ids: str
    headers: dict[str, str]
    cost_estimate: int | None


def facts_of(record: Told, catalog: Catalog, caller: Caller | None = None) -> Facts:
    """The facts of the call, as they were when it was decided by `catalog`. `caller`: who it would be by that
    catalog, where that was found already. KeyError where the record's caller is none of the catalog's.

    A call that was lost has no path: it is taken for one of its dialect's usual operation. Of `owned_ids`,
    which only name fields in an error, nothing is recorded."""
    holds = record.holds
    return Facts(
        caller=caller or caller_of(record, catalog),
        surface=surface_of(record),
        model=record.model,
        context_tokens=record.context_tokens or 0,
        max_output_tokens=record.max_output_tokens,
        tools="tools" in holds,
        images="images" in holds,
        documents="documents" in holds,
        schema="schema" in holds,
        reasoning="reasoning" in holds,
        stream=record.stream,
        audio="audio" in holds,
        choices=record.choices,
        same_dialect=record.same_dialect,
        owners=record.owners,
        unowned_ids=record.unowned_ids,
        stateful="stateful" in holds,
        hosted_tools="hosted_tools" in holds,
        files="files" in holds,
        image_urls="image_urls" in holds,
        document_urls="document_urls" in holds,
        cost_estimate=record.cost_estimate,
        headers=record.headers or NO_ITEMS,
    )


def surface_of(record: Told) -> Surface:
    return (surface_for_path(record.path) if record.path else None) or _FIRST[record.dialect]


def caller_of(record: Told, catalog: Catalog) -> Caller:
    """Who the call's caller is by this catalog. What the catalog says of a caller with a key goes first;
    what a token or certificate told, and what the caller is trusted to say, is what the record has. KeyError
    where the catalog has no caller of that name."""
    if not catalog.callers:
        return ANYONE
    entry = next((entry for entry in catalog.callers if entry.name == record.caller), None)
    if entry is None:
        raise KeyError(record.caller)
    feature = record.feature if "feature" in entry.trusted_for else ""
    customer = (record.customer if "customer" in entry.trusted_for else "") or entry.customer
    if _is_told(entry):
        agent, user, team, tier = record.agent, record.user, record.team, record.tier
        customer = record.customer
    else:
        agent, user, team, tier = entry.agent, entry.user, entry.team, entry.tier
    return Caller(
        name=entry.name,
        agent=agent,
        user=user,
        team=team,
        customer=customer,
        feature=feature,
        tier=tier,
        pools=entry.pools,
        trusted_for=entry.trusted_for,
    )


def _is_told(entry: CallerEntry) -> bool:
    """Does a token or a certificate tell more than the entry's name?"""
    return entry.token is not None or bool(entry.spiffe)
