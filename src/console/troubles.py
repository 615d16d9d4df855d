"""What is not well now, the worst first: by the broker's status, its budgets and its fleet. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ..core.trials import beside, is_made
from ..revisions.fleet import Told, drift
from .lending import is_spent, lender_of
from .not_well import not_well
from .story import pool_href
from .telling import member_words, rolled_back_words, secret_words
from .words import lasting, percent, plural

Tree = Mapping[str, Any]
WARN_AT = 0.8  # of a budget
_MOST = 6  # of one kind
_OUT = ("out", "ejected", "not-set-up")
_BAD, _WARN = "bad", "warn"


class Trouble(NamedTuple):
    """`kind`: bad: calls fail, or what is said is not done; warn: they don't yet. `href`: where more is."""

    kind: str
    what: str
    said: str
    href: str = ""


def troubles(status: Tree, budgets: Tree, fleet: Tree, now_s: float) -> list[Trouble]:
    """Empty where all is well."""
    found = [
        *_configuration(status),
        *_first(_pools(status, now_s), "pools", "/console/pools"),
        *_secrets(status, now_s),
        *_parts(status),
        *_first(_budgets(budgets, now_s), "budgets and rate limits", "/console/budgets"),
        *_fleet(fleet),
    ]
    return sorted(found, key=lambda one: one.kind != _BAD)


def _configuration(status: Tree) -> Iterator[Trouble]:
    href = "/console/revisions"
    if error := status["error"]:
        yield Trouble(_BAD, "The configuration is refused", error, href)
    if refused := status["refused_by_envoy"]:
        said = f"{refused['node']} refuses revision {refused['revision']}: {refused['error']}"
        yield Trouble(_BAD, "Envoy refuses the configuration", said, href)
    if not status["envoys"]:
        said = "calls are not served until one does"
        yield Trouble(_BAD, "No Envoy asks for the configuration", said, href)
    elif not status["in_effect"] or status["serving"] != status["revision"]:
        said = f"revision {status['revision']} is on its way; {status['serving'] or 'nothing'} is served"
        yield Trouble(_WARN, "Not in effect yet", said, href)
    if rollback := status["rollback"]:
        yield Trouble(_WARN, "Rolled back", rolled_back_words(rollback), href)
    for warning in status["warnings"][:_MOST]:
        yield Trouble(_WARN, "The configuration", warning, href)
    if (more := len(status["warnings"]) - _MOST) > 0:
        yield Trouble(_WARN, "The configuration", f"{plural(more, 'more warning')}", href)


def _pools(status: Tree, now_s: float) -> Iterator[Trouble]:
    for pool in status["pools"]:
        members = pool["members"]
        out = [one for one in members if one["state"] in _OUT and one["weight"]]
        if not out:
            continue
        serves = sum(one["weight_in_effect"] > 0 for one in members)
        said = "; ".join(f"{one['id']}: {member_words(one, now_s)}" for one in out[:_MOST])
        said += f"; {len(out) - _MOST} more" if len(out) > _MOST else ""
        href = pool_href(pool["name"])
        if serves:
            what = f"{pool['name']}: {len(out)} of {plural(len(members), 'member')} out"
            yield Trouble(_WARN, what, said, href)
        elif is_made(pool["name"]):  # whose calls would be its get another member, and copies are nobody's
            what = f"{pool['name']}, which is tried beside {beside(pool['name'])}: nobody is left"
            yield Trouble(_WARN, what, said, href)
        else:
            yield Trouble(_BAD, f"{pool['name']}: nobody is left", said, href)


def _secrets(status: Tree, now_s: float) -> Iterator[Trouble]:
    for one in status["secrets"]:
        # One that was just replaced is well, and so is the one before.
        if (one["state"] != "good" or one["failures"]) and (said := secret_words(one, now_s)):
            kind = _BAD if one["state"] == "missing" else _WARN
            yield Trouble(kind, f"Secret {one['secret']}", said)


def _parts(status: Tree) -> Iterator[Trouble]:
    for name, said in not_well(status):
        if status.get(name, {}).get("state") == "starting":
            continue
        yield Trouble(_WARN, name.capitalize(), said)


def used_share(row: Tree) -> float:
    """How much of an account is spent and reserved: 1 is all."""
    used: float = (row["spent"] + row["reserved"]) / row["limit"] if row["limit"] else 1.0
    return used


def _budgets(budgets: Tree, now_s: float) -> Iterator[Trouble]:
    rows = [(used_share(row), row) for row in budgets.get("budgets", ())]
    for share, row in sorted(rows, key=lambda one: -one[0]):
        lender = lender_of(row, budgets["budgets"]) if is_spent(row) else ""
        denies = is_spent(row) and not lender
        # A rate limit that is nearly reached does what it is there for.
        if share < WARN_AT or (row["kind"] == "rate_limit" and not is_spent(row)):
            continue
        name = "Rate limit" if row["kind"] == "rate_limit" else "Budget"
        whose = f" of {row['scope']}" if row["scope"] else ""
        said = f"{percent(share)} of it used or reserved"
        said += f"; it borrows from {lender}" if lender else ": calls are denied" if denies else ""
        said += "; it denies nothing" if row["denies_at"] is None else ""
        said += f"; it begins anew in {lasting(row['resets_s'] - now_s)}" if row["resets_s"] else ""
        yield Trouble(_BAD if denies else _WARN, f"{name} {row['budget']}{whose}", said, "/console/budgets")
    if budgets.get("kept") not in (None, "here", "redis"):
        said = "Redis is away: this broker counts alone"
        yield Trouble(_WARN, "Budgets", said, "/console/budgets")


def _fleet(fleet: Tree) -> Iterator[Trouble]:
    href = "/console/fleet"
    if fleet.get("error"):
        yield Trouble(_WARN, "Fleet", fleet["error"], href)
    told = msgspec.convert(fleet.get("brokers", []), list[Told])
    if len(told) < 2:
        return
    now_s = next((one.at_s for one in told if one.broker == fleet["broker"]), 0.0)
    found = drift(told, now_s)
    if found.behind:
        hosts = ", ".join(f"{one.host} serves {one.serving or 'nothing'}" for one in found.behind[:_MOST])
        said = f"{plural(len(found.behind), 'broker')} of {len(told)}: {hosts}; the newest is {found.newest}"
        yield Trouble(_WARN, "Brokers are behind", said, href)
    if found.away:
        hosts = ", ".join(one.host for one in found.away[:_MOST])
        yield Trouble(_WARN, "Brokers say nothing any more", hosts, href)


def _first(found: Iterator[Trouble], what: str, href: str) -> Iterator[Trouble]:
    """The worst of them, and how many more there are."""
    those: Sequence[Trouble] = sorted(found, key=lambda one: one.kind != _BAD)
    yield from those[:_MOST]
    if rest := those[_MOST:]:
        yield Trouble(rest[0].kind, f"{len(rest)} more {what}", "are not well", href)
