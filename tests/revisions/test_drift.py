"""Who of a fleet is behind, and how long it took until nobody was."""

from __future__ import annotations

from modelbroker.revisions.fleet import AWAY_S, Told, drift


def told(
    broker: str, serving: str, since_s: float, at_s: float = 100.0, *, is_in_effect: bool = True
) -> Told:
    return Told(
        broker=broker,
        host="h",
        version="1",
        serving=serving,
        serving_s=since_s,
        at_s=at_s,
        is_in_effect=is_in_effect,
    )


def test_all_serve_the_same() -> None:
    fleet = [told("a", "new", 10.0), told("b", "new", 11.5), told("c", "new", 10.2)]
    assert drift(fleet, 100.0) == ("new", (), (), 1.5)
    assert drift(fleet[:1], 100.0).took_s == 0.0


def test_who_serves_another_one_or_not_all_of_it_is_behind() -> None:
    old, half = told("b", "old", 3.0), told("c", "new", 11.0, is_in_effect=False)
    seen = drift([told("a", "new", 10.0), old, half], 100.0)
    assert seen == ("new", (old, half), (), None)


def test_a_broker_that_comes_late_with_an_old_one_is_not_the_newest() -> None:
    fleet = [told("a", "old", 3.0), told("b", "new", 10.0), told("c", "old", 50.0)]
    seen = drift(fleet, 100.0)
    assert (seen.newest, [one.broker for one in seen.behind]) == ("new", ["a", "c"])


def test_who_says_nothing_is_away_and_nobodys_drift() -> None:
    silent = told("b", "old", 3.0, at_s=100.0 - AWAY_S - 1)
    assert drift([told("a", "new", 10.0), silent], 100.0) == ("new", (), (silent,), 0.0)
    assert drift([silent], 100.0) == ("", (), (silent,), None)
    assert drift([], 0.0) == ("", (), (), None)


def test_who_has_just_begun_is_not_the_newest() -> None:
    """Its Envoy has nothing yet: others are not behind it."""
    begun = told("c", "", 99.0, is_in_effect=False)
    seen = drift([told("a", "new", 10.0), told("b", "new", 11.0), begun], 100.0)
    assert (seen.newest, seen.behind) == ("new", (begun,))
    assert drift([begun], 100.0) == ("", (begun,), (), None)


def test_what_was_said_before_the_clock_was_set_back_is_away() -> None:
    ghost = told("b", "old", 4000.0, at_s=4000.0)
    assert drift([told("a", "new", 10.0), ghost], 100.0) == ("new", (), (ghost,), 0.0)
