"""What the first page says is not well, the worst first; nothing where all is well."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.console.troubles import Trouble, troubles

NOW_S = 1_000.0
OFF = {"state": "off", "error": None}
WELL: dict[str, Any] = {
    "revision": "ab",
    "serving": "ab",
    "in_effect": True,
    "error": None,
    "refused_by_envoy": None,
    "envoys": [{"node": "envoy", "synced": True}],
    "rollback": None,
    "warnings": [],
    "secrets": [],
    "records": {"state": "writing", "error": None},
    "ledger": {"state": "following", "error": None},
    "telemetry": {**OFF, "state": "starting"},
    "audit": {**OFF, "sinks": []},
    "capture": OFF,
    "pools": [],
}


def member(name: str, state: str = "well", weight: int = 1, **more: Any) -> dict[str, Any]:
    is_out = state in ("out", "ejected", "not-set-up")
    told = {
        "out": None,
        "share": 1.0,
        "until_s": NOW_S + 30,
        "cause": "overloaded",
        "asked_for_longer": False,
    }
    effect = 0 if is_out else weight
    return {"id": name, "weight": weight, "weight_in_effect": effect, "state": state, **told, **more}


def row(**more: Any) -> dict[str, Any]:
    return {
        "budget": "month",
        "kind": "budget",
        "scope": "team=search",
        "unit": "nano_dollars",
        "window": "month@UTC",
        "limit": 100,
        "denies_at": 100,
        "spent": 0,
        "reserved": 0,
        "resets_s": NOW_S + 7_200,
        **more,
    }


def told(budgets: Any = (), fleet: Any = None, **status: Any) -> list[tuple[str, str, str]]:
    found = troubles({**WELL, **status}, {"kept": "here", "budgets": list(budgets)}, fleet or {}, NOW_S)
    assert all(isinstance(one, Trouble) for one in found)
    return [(one.kind, one.what, one.said) for one in found]


def test_where_all_is_well_nothing_is_said() -> None:
    assert told([row(spent=79)], pools=[{"name": "tier", "members": [member("a/m"), member("b/m")]}]) == []
    assert troubles(WELL, {}, {}, NOW_S) == []  # where the admin port has no answer to the others


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"error": "pools.yaml:3: no such member"},
            ("bad", "The configuration is refused", "pools.yaml:3: no such member"),
        ),
        (
            {"refused_by_envoy": {"revision": "cd", "node": "envoy", "error": "no such filter"}},
            ("bad", "Envoy refuses the configuration", "envoy refuses revision cd: no such filter"),
        ),
        (
            {"envoys": [], "in_effect": False},
            ("bad", "No Envoy asks for the configuration", "calls are not served until one does"),
        ),
        (
            {"serving": "aa", "in_effect": False},
            ("warn", "Not in effect yet", "revision ab is on its way; aa is served"),
        ),
        (
            {"rollback": {"number": 3, "revision": "ab", "holds": True, "by": "ana"}},
            ("warn", "Rolled back", "to ab by ana (command), until it is released"),
        ),
        (
            {"rollback": {"revision": "ab", "holds": False, "by": "", "at_s": 1.0, "actor": "token"}},
            (
                "warn",
                "Rolled back",
                "to ab by token, since 1970-01-01 00:00:01Z, until the source says something new",
            ),
        ),
        ({"warnings": ["a price is old"]}, ("warn", "The configuration", "a price is old")),
        (
            {"ledger": {"state": "waiting", "error": "it is locked", "behind_bytes": 1_200}},
            ("warn", "Ledger", "waiting: it is locked; 1,200 bytes behind"),
        ),
        (
            {"secrets": [{"secret": "vault:a#b", "state": "missing", "error": "403", "failures": 1}]},
            ("bad", "Secret vault:a#b", "missing: 403"),
        ),
    ],
)
def test_what_is_said_of_the_broker(status: dict[str, Any], said: tuple[str, str, str]) -> None:
    assert told(**status) == [said]


def test_a_secret_that_was_replaced_is_well() -> None:
    secret = {"secret": "s", "state": "good", "failures": 0, "replaced_until_s": NOW_S + 60, "since_s": NOW_S}
    assert told(secrets=[secret]) == []


def test_pools_by_who_is_left() -> None:
    out = member("b/m", "out")
    pools = [
        {"name": "some", "members": [member("a/m"), out]},
        {"name": "none", "members": [out, member("c/m", "not-set-up", out="KEY is not set")]},
        {"name": "unused", "members": [member("a/m"), member("d/m", "out", weight=0)]},
        {"name": "eased", "members": [member("a/m", "eased", share=0.5)]},
        {"name": "some~x/m", "members": [member("x/m", "out")]},
    ]
    assert told(pools=pools) == [
        (
            "bad",
            "none: nobody is left",
            "b/m: out for 30 s more (overloaded); c/m: not set up: KEY is not set",
        ),
        ("warn", "some: 1 of 2 members out", "b/m: out for 30 s more (overloaded)"),
        # No client's call fails by that.
        (
            "warn",
            "some~x/m, which is tried beside some: nobody is left",
            "x/m: out for 30 s more (overloaded)",
        ),
    ]


def test_of_many_pools_the_worst_are_told_and_the_others_counted() -> None:
    pools = [{"name": f"p{at}", "members": [member("a/m"), member("b/m", "out")]} for at in range(9)]
    pools.append({"name": "last", "members": [member("b/m", "out")]})
    found = told(pools=pools)
    assert found[0][:2] == ("bad", "last: nobody is left")
    assert len(found) == 7 and found[-1] == ("warn", "4 more pools", "are not well")


def test_a_budget_that_borrows_denies_nothing_while_there_is_a_rest() -> None:
    team = row(spent=130, borrows_from="company", resets_s=None)
    company = row(budget="company", spent=40, scope="")
    said = "130 % of it used or reserved; it borrows from company"
    assert told([team, company]) == [("warn", "Budget month of team=search", said)]
    spent = {**company, "spent": 100}
    assert [one[0] for one in told([team, spent])] == ["bad", "bad"]


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (
            row(spent=70, reserved=15),
            ("warn", "Budget month of team=search", "85 % of it used or reserved; it begins anew in 2 h"),
        ),
        (
            row(spent=100, resets_s=None, scope=""),
            ("bad", "Budget month", "100 % of it used or reserved: calls are denied"),
        ),
        (
            row(spent=130, denies_at=None, resets_s=None, scope=""),
            ("warn", "Budget month", "130 % of it used or reserved; it denies nothing"),
        ),
        (row(kind="rate_limit", spent=95), None),  # which does what it is there for
        (
            row(kind="rate_limit", spent=100, resets_s=None),
            ("bad", "Rate limit month of team=search", "100 % of it used or reserved: calls are denied"),
        ),
        (row(limit=0, denies_at=0, scope=None), ("bad", "Budget month", None)),
    ],
)
def test_budgets(account: dict[str, Any], said: tuple[str, str, str | None] | None) -> None:
    found = told([account])
    if said is None:
        assert found == []
    else:
        assert [one[: 3 if said[2] else 2] for one in found] == [said[: 3 if said[2] else 2]]


def test_a_fleet_that_does_not_serve_the_same() -> None:
    def broker(name: str, serving: str, since_s: float, at_s: float = 100.0) -> dict[str, Any]:
        told = {"broker": name, "host": f"host-{name}", "version": "1", "is_in_effect": True}
        return {**told, "serving": serving, "serving_s": since_s, "at_s": at_s}

    fleet = {"broker": "a", "error": None, "brokers": [broker("a", "cd", 50), broker("b", "ab", 10)]}
    assert told(fleet=fleet) == [
        ("warn", "Brokers are behind", "1 broker of 2: host-b serves ab; the newest is cd")
    ]
    fleet["brokers"][1] = broker("b", "cd", 10, at_s=20)
    assert told(fleet=fleet) == [("warn", "Brokers say nothing any more", "host-b")]
    fleet["brokers"][1] = broker("b", "cd", 51)
    assert told(fleet=fleet) == []
    fleet["error"] = "the fleet's Redis is away"
    assert told(fleet=fleet) == [("warn", "Fleet", "the fleet's Redis is away")]
