"""What is different between two configurations: nothing is left out, and it is said for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from modelbroker.changes import Change, changes
from modelbroker.changes.told import by_section
from modelbroker.core.catalog import Catalog
from modelbroker.core.prices import Price, Rates, Scale, book_of
from support.catalogs import catalog

MEMBERS = [{"provider": "b", "model": "m", "weight": 70}, {"provider": "c", "model": "m", "weight": 30}]
CALLERS = [
    {"name": "sales-bot", "key": {"env": "S"}, "team": "sales", "tier": "premium", "pools": ["big"]},
    {"name": "dev-bot", "key": {"env": "D"}, "team": "dev", "trusted_for": ["customer"]},
]
BASE: dict[str, Any] = {
    "callers": CALLERS,
    "pools": [{"name": "big", "members": MEMBERS}, {"name": "small", "members": MEMBERS[:1]}],
    "rules": [
        {"match": {"tier": "premium"}, "pool": "big"},
        {"match": {"team": "dev", "context.tokens": "<1k"}, "pool": "small"},
    ],
    "budgets": [{"name": "daily", "amount": "$20", "per": "day", "by": ["team"], "match": {"team": "dev"}}],
}


def found(**sections: Any) -> dict[tuple[str, str], Change]:
    said = changes(catalog(**BASE), catalog(**{**BASE, **sections}))
    return {(change.section, change.name): change for change in said}


def test_the_same_is_not_different() -> None:
    assert found() == {}


def test_weights_are_told_as_shares_of_all() -> None:
    pools = [{"name": "big", "members": [{**MEMBERS[0], "weight": 30}, MEMBERS[1]]}, BASE["pools"][1]]
    (change,) = found(pools=pools).values()
    assert change.what == ("b/m: 70% → 50%", "c/m: 30% → 50%")
    assert change.everybody and change.whom == {"sales-bot", "dev-bot"}


def test_weights_that_change_nothing_are_told_as_such() -> None:
    pools = [{"name": "big", "members": [{**one, "weight": one["weight"] * 2} for one in MEMBERS]}]
    (change,) = found(pools=[*pools, BASE["pools"][1]]).values()
    assert change.what == (
        "b/m: weight 70 → 140, with the same share",
        "c/m: weight 30 → 60, with the same share",
    )


def test_members_that_come_and_go() -> None:
    members = [{"provider": "a", "model": "new", "weight": 1}, {**MEMBERS[1], "weight": 1, "priority": 1}]
    change = found(pools=[{"name": "big", "members": members}, BASE["pools"][1]])["pools", "big"]
    assert change.what == (
        "b/m goes (had 70%)",
        "c/m: 30% → 100% of level 2",
        "a/new is new: 100%",
    )


def test_a_pool_concerns_whoever_may_use_it() -> None:
    pools = [BASE["pools"][0], {**BASE["pools"][1], "timeouts": {"first_event": "30s"}}]
    (change,) = found(pools=pools).values()
    assert change.what == ("timeouts.first_event: 1m → 30s",)
    assert change.whom == {"dev-bot"} and not change.everybody


@pytest.mark.parametrize(
    ("rules", "name", "what", "whom"),
    [
        (
            [{"match": {"tier": "premium"}, "deny": "not today"}, BASE["rules"][1]],
            "rule-1",
            "pool big → refused (not today)",
            {"sales-bot"},
        ),
        (
            [BASE["rules"][0], {"match": {"team": ["dev", "ops"]}, "pool": "small"}],
            "rule-2",
            "for team is dev or ops: pool small",
            {"dev-bot"},
        ),
        (
            [{"match": {"customer": "acme"}, "pool": "small"}, *BASE["rules"]],
            "rule-1",
            "for customer is acme: pool small",
            {"dev-bot"},  # trusted to say its customer; the other one may not use the pool
        ),
    ],
)
def test_rules(rules: list[dict[str, Any]], name: str, what: str, whom: set[str]) -> None:
    change = found(rules=rules)["rules", name]
    assert what in change.what and change.whom == whom


def test_a_rule_in_front_of_others_leaves_them_as_they_are() -> None:
    said = found(rules=[{"match": {"feature": "x"}, "deny": True}, *BASE["rules"]])
    assert list(said) == [("rules", "rule-1")]
    assert said["rules", "rule-1"].what == ("for feature is x: refused",)


def test_rules_that_changed_places() -> None:
    said = found(rules=[BASE["rules"][1], BASE["rules"][0]])
    assert list(said) == [("rules", "order")]


def test_budgets() -> None:
    (change,) = found(budgets=[{**BASE["budgets"][0], "amount": "$30"}]).values()
    assert change.what == ("$20 per day → $30 per day",) and change.whom == {"dev-bot"}
    (change,) = found(budgets=[]).values()
    assert change.kind == "removed"
    assert change.what == ("$20 per day for each team, for team is dev: deny at 100%",)


def test_a_rate_limit_has_several_limits_and_none_is_left_out() -> None:
    limits = {"name": "per-bot", "by": "caller", "calls": "600/m", "concurrency": 50}
    added = found(rate_limits=[limits])["rate_limits", "per-bot"]
    each = "for each caller, for every call: deny at 100%"
    assert added.what == (f"600 calls per rolling 1m {each}", f"50 calls at a time {each}")

    def edited(new: dict[str, Any]) -> tuple[str, ...]:
        both = (catalog(**BASE, rate_limits=[one]) for one in (limits, new))
        (change,) = changes(*both)
        assert (change.section, change.name, change.kind) == ("rate_limits", "per-bot", "changed")
        return change.what

    assert edited({**limits, "calls": "700/m"}) == ("600 calls per rolling 1m → 700 calls per rolling 1m",)
    assert edited({**limits, "tokens": "2M/m"}) == (f"2,000,000 tokens per rolling 1m {each}, is new",)
    assert edited({**limits, "concurrency": None}) == (f"50 calls at a time {each}, goes",)
    assert edited({**limits, "by": "team"}) == ("by: team is new", "by: caller goes")


def test_a_new_budget_says_all_that_is_said_of_it() -> None:
    lender = {"name": "company", "amount": "$900", "per": "month"}
    daily = {**BASE["budgets"][0], "borrows_from": "company", "reserve_output": "2k"}
    said = found(budgets=[{**daily, "name": "new"}, BASE["budgets"][0], lender])
    assert said["budgets", "new"].what == (
        "$20 per day for each team, for team is dev: deny at 100%",
        "borrows from company",
        "reserves 2,000 tokens of an answer at most",
    )


def test_sections_are_told_once() -> None:
    more = [{"name": name, "amount": "$1", "per": "day"} for name in ("a", "z")]
    said = changes(
        catalog(**BASE),
        catalog(**{**BASE, "budgets": more, "rate_limits": [{"name": "m", "calls": "6/m"}]}),
    )
    assert [title for title, _ in by_section(said)] == ["budgets", "rate limits"]


def test_callers() -> None:
    said = found(callers=[{**CALLERS[0], "tier": "standard", "pools": ["big", "small"]}])
    assert said["callers", "sales-bot"].what == ("tier: premium → standard", "pools: small is new")
    assert said["callers", "dev-bot"].kind == "removed"
    assert said["callers", "dev-bot"].what == ("could use *, team dev",)


def test_prices_of_members_that_both_have() -> None:
    old, new = (
        book_of({("b", "m"): (Price(Scale(Rates(input=rate, output=10_000_000_000))),)})
        for rate in (3_000_000_000, 2_500_000_000)
    )
    same = catalog(**BASE)
    (change,) = changes(same, same, old, new)
    assert (change.section, change.name) == ("prices", "b/m")
    assert change.what == ("input: $3 → $2.5 a million",)
    (change,) = changes(same, same, old, book_of({}))
    assert change.what == ("its price is not known any more",)


# -- nothing is left out


RICH: dict[str, Any] = {
    **BASE,
    "pools": [
        {
            "name": "big",
            "members": MEMBERS,
            "cache": {"max_context_tokens": 2000, "ttl": "10m"},
            "hedge": {"after": "2s"},
            "affinity": {"by": "session"},
            "on": {"context-overflow": "small"},
            "aliases": ["large"],
            "shadow": {"to": "small", "share": "5%"},
        },
        BASE["pools"][1],
    ],
    "prices": [{"provider": "b", "model": "m", "input": 1, "output": 2}],
    "capture": {"rules": [{"match": {"team": "dev"}, "share": "1%"}], "encryption": "none"},
    "redis": {"url": "redis://127.0.0.1:1", "credential": {"env": "R"}},
    "secrets": {
        "stores": [{"name": "v", "vault": {"address": "https://v", "auth": {"token": {"env": "T"}}}}]
    },
    "ledger": {"url": "postgresql://h/d"},
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(path, value) of all that is compared."""
    if is_dataclass(value):
        for one in fields(value):
            if one.compare and one.init:
                yield from leaves(getattr(value, one.name), (*path, one.name))
    elif isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, tuple) and value:
        for place, one in enumerate(value):
            yield from leaves(one, (*path, place))
    else:
        yield path, value


def other(value: Any) -> Any:
    """Another value of its kind; None: there is none."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, Enum):
        return next(one for one in type(value) if one is not value)
    if isinstance(value, frozenset):
        return value | {"feature"} if "feature" not in value else value - {"feature"}
    return None


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    if not path:
        return to
    step, *rest = path
    if is_dataclass(value):
        return replace(value, **{step: changed(getattr(value, step), tuple(rest), to)})  # type: ignore[type-var]
    if isinstance(value, tuple):
        return (*value[:step], changed(value[step], tuple(rest), to), *value[step + 1 :])
    return MappingProxyType({**value, step: changed(value[step], tuple(rest), to)})


RICH_CATALOG = catalog(**RICH)
LEAVES = [path for path, value in leaves(RICH_CATALOG) if other(value) is not None and path[0] != "revision"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("path", LEAVES, ids=lambda path: ".".join(map(str, path)))
def test_nothing_that_is_different_is_left_out(path: tuple[Any, ...], turned: bool) -> None:
    value = RICH_CATALOG
    for step in path:
        value = getattr(value, step) if is_dataclass(value) else value[step]
    twin = changed(RICH_CATALOG, path, other(value))
    # Names are keys, too: a thing that has another name is told by what holds it.
    old, new = (twin, RICH_CATALOG) if turned else (RICH_CATALOG, twin)
    said = changes(old, new)
    assert said, path
    assert all(change.what and all(change.what) for change in said)
    assert all(change.whom <= {"sales-bot", "dev-bot"} or path[0] == "callers" for change in said)


def test_a_new_field_of_the_catalog_would_be_told() -> None:
    """Fields that no function tells of come as they are."""
    assert {one.name for one in fields(Catalog)} >= {"secrets", "capture", "limits"}
    said = found(limits={"concurrency": 7})
    assert said["limits", "limits"].what == ("concurrency: 100,000 → 7",)
    assert said["limits", "limits"].everybody
