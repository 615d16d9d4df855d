"""All that is different between two catalogs, section by section: nothing that has another revision is left
out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import NamedTuple

from ..core.budgets import Budget, OnUnknown
from ..core.catalog import Catalog, Rule
from ..core.prices import NO_PRICES, PriceBook, dollars
from ..core.trials import is_made
from . import whom
from .fields import ARROW, differences
from .pairs import ADDED, CHANGED, REMOVED, pairs
from .pools import of_pool, trials_of
from .prices import of_prices
from .written import conditions, limit, listing, step, value_of

# What the functions below tell of; all other fields of a catalog come as they are.
_TOLD = frozenset(
    ("revision", "providers", "callers", "pools", "rules", "issuers", "prices", "budgets", "trials")
)
# The words of the configuration, where the catalog has others.
_SECTIONS = {
    "budget": "budgets",
    "rate_limit": "rate_limits",
    "fact_headers": "facts",
    "wires": "dialects",
    "fleet": "redis",
}
_NOBODY: frozenset[str] = frozenset()


class Change(NamedTuple):
    """`kind` is ADDED, REMOVED or CHANGED; `what` it says, a line each; `whom`: the callers whose calls it
    can concern; `everybody`: all of them, or it is nothing of single callers."""

    section: str
    name: str
    kind: str
    what: tuple[str, ...]
    whom: frozenset[str] = _NOBODY
    everybody: bool = False


def changes(
    old: Catalog,
    new: Catalog,
    old_prices: PriceBook = NO_PRICES,
    new_prices: PriceBook = NO_PRICES,
    *,
    at_s: int = 0,
) -> tuple[Change, ...]:
    """In the order in which people ask: who may call, where calls go, what that may cost, the rest. Prices
    are compared as they are at `at_s` (unix time)."""
    found = [
        *_callers(old, new),
        *_issuers(old, new),
        *_rules(old, new),
        *_pools(old, new),
        *_budgets(old, new),
        *_prices(old, new, old_prices, new_prices, at_s),
        *_providers(old, new),
        *_rest(old, new),
    ]
    everybody = frozenset(caller.name for one in (old, new) for caller in one.callers)
    return tuple(
        change._replace(everybody=change.everybody or (bool(everybody) and change.whom >= everybody))
        for change in found
    )


# -- who may call


def _callers(old: Catalog, new: Catalog) -> Iterator[Change]:
    before, now = ({caller.name: caller for caller in one.callers} for one in (old, new))
    for pair in pairs(before, now):
        if pair.old is not None and pair.new is not None:
            what = tuple(differences(pair.old, pair.new))
        else:
            entry = pair.either
            said = [f"{field} {value}" for field in ("team", "tier") if (value := getattr(entry, field))]
            may = f"{'could' if pair.new is None else 'may'} use {listing(entry.pools)}"
            what = (", ".join([may, *said]),)
        yield Change("callers", pair.name, pair.kind, what, frozenset([pair.name]))


def _issuers(old: Catalog, new: Catalog) -> Iterator[Change]:
    before, now = ({issuer.name: issuer for issuer in one.issuers} for one in (old, new))
    for pair in pairs(before, now):
        callers = (new if pair.new is not None else old).callers
        concerned = frozenset(one.name for one in callers if one.token and one.token.issuer == pair.name)
        known = pair.old is not None and pair.new is not None
        what = tuple(differences(pair.old, pair.new)) if known else (value_of("issuer", pair.either.issuer),)
        yield Change("issuers", pair.name, pair.kind, what, concerned)


# -- where calls go


def _rules(old: Catalog, new: Catalog) -> Iterator[Change]:
    before, now = _keyed(old.rules), _keyed(new.rules)
    for pair in pairs(before, now):
        a, b = pair.old, pair.new
        if a is not None and b is not None and (a.conditions, _to(a)) == (b.conditions, _to(b)):
            continue  # one that has no name of its own has another number
        concerned = (whom.of_rule(old, a) if a else _NOBODY) | (whom.of_rule(new, b) if b else _NOBODY)
        if a is not None and b is not None:
            what = [] if a.conditions == b.conditions else [f"for {_for(a)} → for {_for(b)}"]
            what += [] if _to(a) == _to(b) else [f"{_to(a)} → {_to(b)}"]
        else:
            what = [f"for {_for(pair.either)}: {_to(pair.either)}"]
        yield Change("rules", pair.either.name, pair.kind, tuple(what), concerned)
    # Which of two rules comes first decides the calls of both.
    kept = [[name for name in one if name in before and name in now] for one in (before, now)]
    if kept[0] != kept[1]:
        moved = [now[a] for a, b in zip(*kept, strict=True) if a != b]
        concerned = frozenset().union(*(whom.of_rule(new, rule) for rule in moved))
        order = ", ".join(rule.name for rule in now.values())
        yield Change("rules", "order", CHANGED, (f"now {order}",), concerned)


def _keyed(rules: tuple[Rule, ...]) -> dict[str, Rule]:
    """By their names; those that have none but their number by what they match, for they keep that where one
    is put before them."""
    found: dict[str, Rule] = {}
    for number, rule in enumerate(rules, 1):
        key = rule.name if rule.name != f"rule-{number}" else f"\0{_for(rule)}"
        while key in found:
            key += "'"
        found[key] = rule
    return found


def _for(rule: Rule) -> str:
    return conditions(rule.conditions)


def _to(rule: Rule) -> str:
    if rule.deny is None:
        return f"pool {rule.pool}"
    says_its_name = rule.deny == f"rule {rule.name} does not allow this call"  # where it says nothing else
    return "refused" if says_its_name else f"refused ({value_of('deny', rule.deny)})"


def _pools(old: Catalog, new: Catalog) -> Iterator[Change]:
    trials = {pair.name: tuple(trials_of(pair.old, pair.new)) for pair in pairs(old.trials, new.trials)}
    found = {pair.name: pair for pair in pairs(old.pools, new.pools)}
    for name in sorted({*found, *(name for name, what in trials.items() if what)}):
        pair = found.get(name)
        kind = pair.kind if pair is not None else CHANGED
        # Pools that the broker makes for candidates come and go with what tries them.
        if is_made(name) and kind != CHANGED:
            continue
        what = tuple(of_pool(pair.old, pair.new)) if pair is not None else ()
        concerned = whom.of_pool(old, name) | whom.of_pool(new, name)
        yield Change("pools", name, kind, (*what, *trials.get(name, ())), concerned)


# -- what that may cost


def _budgets(old: Catalog, new: Catalog) -> Iterator[Change]:
    """Section by section. A rate limit may have several limits, one for each unit."""
    before, now = (_limits(one.budgets) for one in (old, new))
    found = []
    for pair in pairs(before, now):
        a, b = pair.old or {}, pair.new or {}
        concerned = frozenset().union(*(_of_budget(old, one) for one in a.values()))
        concerned |= frozenset().union(*(_of_budget(new, one) for one in b.values()))
        what: list[str] = []
        for each in pairs(a, b):
            if each.old is not None and each.new is not None:
                what += _of_limits(each.old, each.new)
            else:
                first, *more = _of_one(each.either)
                ends = {ADDED: ", is new", REMOVED: ", goes"}[each.kind] if pair.kind == CHANGED else ""
                what += [f"{first}{ends}", *more]
        kind = next(iter(pair.either.values())).kind
        said = tuple(dict.fromkeys(what))  # what holds for all of its limits is told once
        found.append(Change(_SECTIONS.get(kind, kind), pair.name, pair.kind, said, concerned))
    yield from sorted(found, key=lambda change: change.section)


def _limits(budgets: Iterable[Budget]) -> dict[str, dict[str, Budget]]:
    """Name → unit → its limit."""
    found: dict[str, dict[str, Budget]] = {}
    for one in budgets:
        found.setdefault(one.name, {})[one.unit] = one
    return found


def _of_one(budget: Budget) -> Iterator[str]:
    """All that is said of one that is new, or goes."""
    by = f" for each {', '.join(budget.by)}" if budget.by else ""
    yield f"{_limit(budget)}{by}, for {conditions(budget.conditions)}: {_steps(budget)}"
    if budget.lender:
        yield f"borrows from {budget.lender}"
    if budget.output_tokens:
        yield f"reserves {budget.output_tokens:,} tokens of an answer at most"
    if budget.unknown_cost != OnUnknown.DENY:
        unknown = budget.unknown_cost
        cost = unknown if isinstance(unknown, str) else f"counts ${dollars(unknown)}"
        yield f"of unknown cost: {cost}"


def _of_limits(old: Budget, new: Budget) -> tuple[str, ...]:
    what = [] if _limit(old) == _limit(new) else [f"{_limit(old)} → {_limit(new)}"]
    what += [] if old.steps == new.steps else [f"{_steps(old)} → {_steps(new)}"]
    if old.conditions != new.conditions:
        what.append(f"for {conditions(old.conditions)} → for {conditions(new.conditions)}")
    if old.window != new.window:  # also of another time zone
        what.append(f"window: {old.window} → {new.window}")
    told = frozenset(("limit", "unit", "window", "steps", "conditions"))
    return (*what, *differences(old, new, told))


def _limit(budget: Budget) -> str:
    return limit(budget.limit, budget.unit, budget.window)


def _steps(budget: Budget) -> str:
    return ", ".join(map(step, budget.steps))


def _of_budget(catalog: Catalog, budget: Budget | None) -> frozenset[str]:
    return whom.of_conditions(catalog, budget.conditions) if budget is not None else _NOBODY


def _prices(
    old: Catalog, new: Catalog, old_prices: PriceBook, new_prices: PriceBook, at_s: int
) -> Iterator[Change]:
    told = list(of_prices(old, new, old_prices, new_prices, at_s))
    for provider, model, pools, what in told:
        yield Change("prices", f"{provider}/{model}", CHANGED, what, whom.of_pools(new, pools))
    if not told and old.prices != new.prices:
        yield Change("prices", "prices", CHANGED, ("what members cost now is the same",))


# -- the rest


def _providers(old: Catalog, new: Catalog) -> Iterator[Change]:
    for pair in pairs(old.providers, new.providers):
        concerned = whom.of_provider(old, pair.name) | whom.of_provider(new, pair.name)
        if pair.old is not None and pair.new is not None:
            what = tuple(differences(pair.old, pair.new))
        else:
            one = pair.either
            at = value_of("base_url", one.base_url) if one.base_url else "no address yet"
            what = (f"{', '.join(one.dialects)} at {at}",)
        yield Change("providers", pair.name, pair.kind, what, concerned)


def _rest(old: Catalog, new: Catalog) -> Iterator[Change]:
    for one in fields(new):
        before, now = getattr(old, one.name), getattr(new, one.name)
        if before == now or one.name in _TOLD:
            continue
        section = _SECTIONS.get(one.name, one.name)
        if isinstance(now, Mapping) and isinstance(before, Mapping):
            found = list(pairs(before, now))
        else:
            found = list(pairs({section: before}, {section: now}))
        for pair in found:
            known = pair.kind == CHANGED and is_dataclass(pair.old)
            what = tuple(differences(pair.old, pair.new)) if known else ()
            values = [value_of(section, value) for value in (pair.old, pair.new) if value is not None]
            yield Change(section, pair.name, pair.kind, what or (ARROW.join(values),), everybody=True)
