"""A decided call and the member that its conversation belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelbroker.core.call import Decision, Facts
from modelbroker.core.catalog import Pool
from modelbroker.exchange import Belongs, belongs, key_in
from modelbroker.policy import State, decide
from support.catalogs import catalog, facts

MEMBERS = [{"provider": name, "model": "m", "weight": 1} for name in "bc"]
CATALOG = catalog(
    pools=[
        {"name": "loose", "members": MEMBERS},
        {"name": "close", "affinity": "session", "members": [*MEMBERS, {"provider": "a", "model": "m"}]},
    ]
)
ASKED = facts("close", caller={"name": "tester"})
BODY = json.dumps({"messages": [], "session_id": "s"}).encode()


def pool_and_decision(name: str, asked: Facts = ASKED) -> tuple[Pool, Decision]:
    return CATALOG.pools[name], decide(asked._replace(model=name), CATALOG, State())


def owner_of(session: str, asked: Facts = ASKED, **shares: float) -> Belongs | None:
    pool, decision = pool_and_decision("close", asked)
    headers = {"x-session-id": session}
    share_of: Any = lambda member: shares.get(member.provider, 1.0)  # noqa: E731
    return belongs(pool, decision, asked, lambda name: headers.get(name, ""), BODY, share_of)


def test_a_pool_that_does_not_ask_pays_nothing() -> None:
    def no_header(name: str) -> str:
        raise AssertionError(f"{name} was looked for")

    pool, decision = pool_and_decision("loose")
    assert key_in(pool, ASKED, no_header, BODY) is None
    assert belongs(pool, decision, ASKED, no_header, BODY, lambda member: 1.0) is None


def test_a_session_has_a_member_that_may_serve_the_call() -> None:
    found = {number: owner_of(f"s{number}") for number in range(30)}
    assert {owner.member.provider for owner in found.values() if owner} == {"a", "b", "c"}
    assert {owner.source for owner in found.values() if owner} == {"the header x-session-id"}
    # Several answers can only be had of members of the client's dialect: the others' sessions stay.
    several = ASKED._replace(choices=2)
    for number, owner in found.items():
        now = owner_of(f"s{number}", several)
        assert now and owner
        assert now.member.provider != "a"
        assert now == owner or owner.member.provider == "a"


@pytest.mark.parametrize("away", ["a", "b", "c"])
def test_only_the_sessions_of_a_member_that_is_out_move(away: str) -> None:
    for number in range(30):
        owner, now = owner_of(f"s{number}"), owner_of(f"s{number}", **{away: 0.0})
        assert owner and now
        assert now.member.provider != away
        assert now == owner or owner.member.provider == away


def test_a_call_that_names_nothing_goes_by_weight() -> None:
    pool, decision = pool_and_decision("close")
    body = json.dumps({"messages": []}).encode()
    assert belongs(pool, decision, ASKED, lambda name: "", body, lambda member: 1.0) is None
