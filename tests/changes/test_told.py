"""Changes in words."""

from __future__ import annotations

from modelbroker.changes import Change
from modelbroker.changes.told import by_section, counted, is_one, plain, whom_of

ONE = Change("callers", "alice", "added", ("may use chat",), frozenset(["alice"]))
TWO = Change("pools", "chat", "changed", ("weight",), frozenset("abcdefg"))
ALL = Change("rate_limits", "rate_limits", "changed", ("limit",), everybody=True)
NOBODY = Change("pools", "other", "changed", ("weight",))


def test_how_many_and_for_whom() -> None:
    assert counted([ONE]) == "1 change, for alice"
    assert counted([NOBODY, NOBODY]) == "2 changes, for nobody"
    assert counted([ONE, TWO, NOBODY]) == "3 changes, for a, alice, b, c and 4 more"
    assert counted([ONE, ALL]) == "2 changes"
    assert [whom_of(one) for one in (ONE, TWO, ALL, NOBODY)] == [
        "",
        "a, b, c, d and 3 more",
        "everybody",
        "nobody",
    ]
    assert [is_one(one) for one in (ONE, ALL)] == [False, True]


def test_section_by_section() -> None:
    told = [(title, len(those)) for title, those in by_section([ONE, TWO, NOBODY, ALL])]
    assert told == [("callers", 1), ("pools", 2), ("rate limits", 1)]


def test_nothing_moves_a_cursor() -> None:
    assert plain("a\nb\x1b[31mc\t") == "a b�[31mc "
