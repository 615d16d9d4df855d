"""Who of a fleet is behind, and how long it took until nobody was."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.revisions.fleet import AWAY_S, Ago, Told, drift
from modelbroker.revisions.kept import Live, changed_s
from msgspec import structs


def told(
    broker: str,
    serving: str,
    since_s: float,
    at_s: float = 100.0,
    *,
    is_in_effect: bool = True,
    **more: Any,
) -> Told:
    return Told(
        broker=broker,
        host="h",
        version="1",
        serving=serving,
        serving_s=since_s,
        at_s=at_s,
        is_in_effect=is_in_effect,
        **more,
    )


def changed(broker: str, serving: str, since_s: float, **more: Any) -> Told:
    """One that left another revision for this one."""
    return told(broker, serving, since_s, changed_s=since_s, **more)


def of_git(one: Told, commit: str, wanted: str, looked_s: float, source: str = "git") -> Told:
    return structs.replace(one, commit=commit, wanted=wanted, looked_s=looked_s, source=source)


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


STAYED, WENT, BACK = told("z", "a", 0.0), changed("y", "b", 10.0), changed("x", "a", 20.0)


@pytest.mark.parametrize(
    ("fleet", "newest"),
    [
        # It went from a to b and back; one never left a, and one is at b yet.
        ((STAYED, WENT, BACK), "a"),
        ((WENT, BACK), "a"),
        # On its way there: one is at b first.
        ((STAYED, WENT, changed("x", "a", -5.0)), "b"),
        # Who comes late with an old one has not changed to it, or had done so long before.
        ((STAYED, WENT, told("c", "a", 50.0)), "b"),
        ((STAYED, WENT, told("c", "a", 50.0, changed_s=-5.0)), "b"),
        # A new broker that brings a new one, to those that changed long ago.
        ((changed("x", "a", 3.0), changed("y", "a", 4.0), told("n", "b", 50.0)), "b"),
        # One that was restarted after it came back says so still.
        ((STAYED, WENT, told("x", "a", 30.0, changed_s=20.0)), "a"),
    ],
)
def test_which_is_the_newest_by_times(fleet: tuple[Told, ...], newest: str) -> None:
    seen = drift(fleet, 100.0)
    assert seen.newest == newest
    assert set(seen.behind) == {one for one in fleet if one.serving != newest}


@pytest.mark.parametrize(
    ("fleet", "newest"),
    [
        # The ref was set back to a's commit: what was looked at last counts, whoever changed last.
        ((of_git(STAYED, "A", "A", 99.0), of_git(changed("y", "b", 25.0), "B", "B", 90.0)), "a"),
        # A commit that nobody serves (it is on its way, or broken): times count.
        ((of_git(STAYED, "A", "C", 99.0), of_git(WENT, "B", "B", 90.0)), "b"),
        # A new commit with the texts of an old one.
        ((of_git(STAYED, "C", "C", 99.0), of_git(WENT, "B", "B", 90.0), of_git(BACK, "C", "C", 98.0)), "a"),
        # Two versions of the broker make two revisions of one commit.
        ((of_git(STAYED, "A", "A", 99.0), of_git(changed("n", "a2", 40.0), "A", "A", 98.0)), "a2"),
        # Other places say nothing of each other, and a rollback leaves the repository's word.
        ((of_git(STAYED, "A", "A", 99.0), of_git(WENT, "B", "B", 90.0, "other")), "b"),
        ((of_git(STAYED, "A", "A", 99.0), of_git(WENT, "B", "", 90.0)), "b"),
        (
            (
                of_git(STAYED, "B", "B", 99.0),
                of_git(changed("y", "o", 9.0, is_rolled_back=True), "A", "B", 98.0),
            ),
            "o",
        ),
    ],
)
def test_which_is_the_newest_by_the_repository(fleet: tuple[Told, ...], newest: str) -> None:
    assert drift(fleet, 100.0).newest == newest


def test_how_long_ago_becomes_times_of_rediss_clock() -> None:
    one = Ago(3.0, 40.0, 2.5).of(told("a", "x", 0.0), 1_000.0)
    assert (one.at_s, one.serving_s, one.changed_s, one.looked_s) == (1_000.0, 997.0, 960.0, 997.5)
    one = Ago(3.0).of(told("a", "x", 0.0, changed_s=7.0, looked_s=7.0), 1_000.0)
    assert (one.changed_s, one.looked_s) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("revisions", "serving", "came_s"),
    [
        ("", "a", None),
        ("a", "a", None),
        ("aa", "a", None),  # the same revision of other texts
        ("ab", "b", 2.0),
        ("aba", "a", 3.0),
        ("abaa", "a", 3.0),
        ("a", "b", 50.0),  # it changed while it was down
        ("ab", "c", 50.0),
    ],
)
def test_when_a_broker_came_to_what_it_serves(revisions: str, serving: str, came_s: float | None) -> None:
    """By those that were live in its state folder, the oldest first, one a second."""
    kept = [
        Live(number=number, revision=name, since_s=float(number), why="edit")
        for number, name in enumerate(revisions, 1)
    ]
    assert changed_s(kept[::-1], serving, 50.0) == came_s
