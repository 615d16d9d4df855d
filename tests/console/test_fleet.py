"""The page of the fleet, out of what `GET /fleet` says."""

from __future__ import annotations

from typing import Any

import msgspec
from modelbroker.console.fleet import shown
from modelbroker.revisions.fleet import AWAY_S, Told, drift
from modelbroker.revisions.fleet_words import agreement_words, state_words


def told(broker: str, serving: str, since_s: float, at_s: float = 100.0, **more: Any) -> Told:
    fields = {"is_in_effect": True, "revision": serving, **more}
    return Told(
        broker=broker,
        host=f"h-{broker}",
        version="1",
        serving=serving,
        serving_s=since_s,
        at_s=at_s,
        **fields,
    )


def page(*fleet: Told, shared: bool = True, error: str | None = None) -> dict[str, Any]:
    brokers = [msgspec.to_builtins(one) for one in fleet]
    return shown({"broker": fleet[0].broker, "shared": shared, "error": error, "brokers": brokers})


def test_all_serve_the_same() -> None:
    said = page(told("a", "new", 10.0), told("b", "new", 11.5))
    assert [(row.state, row.kind, row.is_this) for row in said["rows"]] == [
        ("in effect", "good", True),
        ("in effect", "good", False),
    ]
    assert (said["took_s"], said["behind"], said["away"]) == (1.5, 0, 0)
    assert said["words"] == ["2 brokers serve new; from the first to the last it took 1.5 s"]
    assert said["served"] == [("new", 2)]


def test_who_differs_says_why() -> None:
    wrong = "broker.yaml:3: pools[0].name: is no name\nand more"
    fleet = (
        told("a", "new", 10.0),
        told("b", "old", 3.0, error=wrong),
        told("c", "old", 3.0, at_s=100.0 - AWAY_S - 10),
        told("d", "new", 12.0, is_in_effect=False, revision="next"),
        told("e", "new", 12.0, is_rolled_back=True),
    )
    said = page(*fleet)
    assert [(row.state, row.kind) for row in said["rows"]] == [
        ("in effect", "good"),
        ("behind", "bad"),
        ("away: it said nothing for 25 s", "bad"),
        ("on its way to next", "warn"),
        ("in effect, rolled back", "warn"),
    ]
    assert said["rows"][1].error == wrong
    assert said["words"] == ["2 of 4 brokers are behind: new is the newest", "1 broker said nothing any more"]
    assert said["took_s"] is None and said["served"] == [("new", 3), ("old", 1)]


def test_a_broker_that_is_alone_says_so() -> None:
    said = page(told("a", "new", 10.0), shared=False, error="the fleet's Redis is away (TimeoutError)")
    assert not said["shared"] and said["error"].startswith("the fleet's Redis")
    assert said["words"] == ["1 broker serves new"]


def test_nobody_serves_anything_yet() -> None:
    said = page(told("a", "", 0.0, is_in_effect=False))
    assert said["newest"] == "" and said["served"] == []


def test_an_error_is_told_by_its_first_line() -> None:
    one = told("b", "old", 3.0, error="broker.yaml:3: wrong\nmore")
    seen = drift([told("a", "new", 10.0), one], 100.0)
    assert state_words(one, seen, 100.0, str) == "behind; broker.yaml:3: wrong"
    assert agreement_words(0, drift([], 0.0)) == []
