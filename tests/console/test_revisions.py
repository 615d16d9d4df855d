"""The revisions that were live, as pages, with no broker there: the state folder has all that is shown."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.console.asked import Asked, Missing
from modelbroker.console.compared import Desk
from modelbroker.console.pages import Pages
from modelbroker.console.reports import Settings
from modelbroker.console.revisions import first_place, numbers_of, rollback_words, rows_of
from modelbroker.console.sources import Sources
from modelbroker.core.acts import TOKEN
from modelbroker.revisions.kept import EDIT, ROLLBACK, START, Live, Origin, Revisions, Rollback, RollbackFile
from support.waiting import wait_until

NOW_S = 1_800_000_000.0
HOSTILE = "<script>alert('x')</script>"


def config(weight: int = 1, **more: Any) -> dict[str, str]:
    tree = {
        "providers": [
            {
                "name": "a",
                "dialect": "openai-chat",
                "base_url": "http://127.0.0.1:9/v1",
                "credential": {"env": "K"},
                "headers": {"x-org": more.pop("org", "S3CRET-1")},
            },
            {
                "name": "b",
                "dialect": "openai-chat",
                "base_url": "http://127.0.0.1:9/v1",
                "credential": {"env": "K"},
            },
        ],
        "callers": [
            {"name": "alice", "key": {"env": "A"}, "pools": ["chat"], "user": more.pop("user", "x")},
            {"name": "bob", "key": {"env": "B"}, "pools": ["other"]},
        ],
        "pools": [
            {
                "name": "chat",
                "members": [
                    {"provider": "a", "model": "m", "weight": weight},
                    {"provider": "a", "model": "n", "weight": 1},
                ],
            },
            {"name": "other", "members": [{"provider": "b", "model": "m"}]},
        ],
        **more,
    }
    return {"/conf/broker.yaml": yaml.safe_dump(tree)}


def live(revision: str, since_s: float, why: str = EDIT, **more: Any) -> Live:
    return Live(number=0, revision=revision, since_s=since_s, why=why, **more)


@pytest.fixture
def revisions(tmp_path: Path) -> Revisions:
    kept = Revisions(tmp_path)
    kept.add(config(1), live("aaaaaaaaaaaa", NOW_S - 500, START))
    origin = Origin(
        source="git", commit="c0ffee" * 5, who=HOSTILE, subject=f"more {HOSTILE}", at_s=NOW_S - 420
    )
    kept.add(config(3, user=HOSTILE, org="S3CRET-2"), live("bbbbbbbbbbbb", NOW_S - 400, origin=origin))
    kept.add(config(1), live("aaaaaaaaaaaa", NOW_S - 100, ROLLBACK, by="carol", actor=TOKEN))
    return kept


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    """Nobody answers at port 1, and the ledger is off."""
    return Pages(Sources(Settings(folder=str(tmp_path), admin="127.0.0.1:1", ledger="")))


def seen(pages: Pages, path: str, **query: str) -> tuple[int, str]:
    """Status, and the words of the page."""
    status, _, body = pages.answer(Asked(path, query, "u", NOW_S))
    return status, " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body.decode())).split())


def at_last(pages: Pages, path: str, words: str, **query: str) -> str:
    """What is compared is there a moment later."""
    wait_until(lambda: words in seen(pages, path, **query)[1])
    return seen(pages, path, **query)[1]


def test_rows_say_for_how_long_and_what_came_before(revisions: Revisions) -> None:
    rows = rows_of(revisions.all(), "aaaaaaaaaaaa")
    assert [(row.live.number, row.lasted_s(NOW_S), row.is_serving, row.before, row.why) for row in rows] == [
        (3, 100, True, 2, "rolled back"),
        (2, 300, False, 1, "edit"),
        (1, 100, False, 0, "start"),
    ]
    assert [row.who for row in rows] == ["carol (token)", HOSTILE, ""]
    assert not any(row.is_serving for row in rows_of(revisions.all(), "bbbbbbbbbbbb"))


@pytest.mark.parametrize(
    ("said", "numbers"), [("2", (1, 2)), ("#3", (2, 3)), ("1", (0, 1)), ("1..3", (1, 3)), ("#3..#1", (3, 1))]
)
def test_which_two_are_meant(revisions: Revisions, said: str, numbers: tuple[int, int]) -> None:
    old, new = numbers_of(said, rows_of(revisions.all(), ""))
    assert (old.number if old is not None else 0, new.number) == numbers


@pytest.mark.parametrize("said", ["9", "1..9", "a", "1..", "..", "1...2", "../../etc", "²", "1" * 40])
def test_others_are_missing(revisions: Revisions, said: str, pages: Pages) -> None:
    with pytest.raises(Missing):
        numbers_of(said, rows_of(revisions.all(), ""))
    assert seen(pages, f"/revisions/{said}")[0] == 404


def test_the_list_is_there_without_a_broker(revisions: Revisions, pages: Pages, tmp_path: Path) -> None:
    RollbackFile(tmp_path).write(
        Rollback(number=1, revision="aaaaaaaaaaaa", source_digest="", holds=True, by="carol", at_s=NOW_S)
    )
    said = at_last(pages, "/revisions", "3 changes, for alice")
    assert "is not known: the broker's admin port does not answer" in said
    assert "the ledger is off" in said and HOSTILE in said
    assert (
        "Rolled back to #1 (aaaaaaaaaaaa) by carol (command)" in said
        and "carol (token)" in said
        and "until it is released" in said
    )
    raw = pages.answer(Asked("/revisions", {}, "u", NOW_S))[2].decode()
    assert "<script>alert" not in raw


def test_two_in_words_for_whom_and_line_by_line(revisions: Revisions, pages: Pages) -> None:
    said = at_last(pages, "/revisions/2", "In words")
    assert f"user: x → {HOSTILE}" in said
    assert "~ changed chat for alice" in said
    assert "headers.x-org changed: (hidden)" in said and "S3CRET" not in said
    assert "- weight: 1" in said and "+ weight: 3" in said and "x-org: (hidden: " in said
    assert "<script>alert" not in pages.answer(Asked("/revisions/2", {}, "u", NOW_S))[2].decode()
    again = at_last(pages, "/revisions", "Nothing is different", a="1", b="3")
    assert "#1 → #3" in again and "No line of the files is different" in again
    assert at_last(pages, "/revisions/3..2", "In words").count("weight: 3") >= 1


def test_the_first_has_nothing_before_it(revisions: Revisions, pages: Pages) -> None:
    status, said = seen(pages, "/revisions/1")
    assert status == 200 and "The first that is kept" in said


def test_what_this_version_can_not_read_is_still_told_by_its_lines(
    revisions: Revisions, pages: Pages
) -> None:
    revisions.add({"/conf/broker.yaml": "nonsense: [1, 2]\n"}, live("cccccccccccc", NOW_S - 50))
    said = at_last(pages, "/revisions/4", "No words")
    assert "#4 (cccccccccccc) is nothing that this version of the broker reads" in said
    assert "+ nonsense: [1, 2]" in said
    assert "no words" in at_last(pages, "/revisions", "no words")


def test_one_whose_files_went_says_so(revisions: Revisions, tmp_path: Path) -> None:
    both = revisions.all()
    for file in (tmp_path / "revisions").glob("000002-*/*.yaml"):
        file.unlink()
    pair = Desk().ask(str(tmp_path), revisions, both[2], both[1], 30)
    assert pair is not None and "can't be read any more" in pair.why_not


def test_pages_of_many(tmp_path: Path, pages: Pages) -> None:
    kept = Revisions(tmp_path)
    for number in range(30):
        kept.add({"a.yaml": f"{number}"}, live(f"{number:012x}", NOW_S - 1000 + number))
    first, older = seen(pages, "/revisions")[1], seen(pages, "/revisions", **{"from": "25"})[1]
    assert "1 to 25 of 30" in first and "Older" in first and "#30 " in first
    assert "26 to 30 of 30" in older and "Newer" in older
    for odd in ("-1", "x", "999", "²", "9" * 30):
        assert seen(pages, "/revisions", **{"from": odd})[0] == 200


def test_nothing_was_live_yet(pages: Pages) -> None:
    assert "No configuration was live here yet" in seen(pages, "/revisions")[1]


def test_words_of_a_rollback_and_places_of_errors() -> None:
    rollback = Rollback(number=4, revision="abc", source_digest="")
    assert (
        rollback_words(rollback) == "Rolled back to #4 (abc) by command until the source says something new."
    )
    assert rollback_words(None) == ""
    assert first_place("/conf/broker.yaml:12: pools[0]: wrong\nmore") == "/conf/broker.yaml:12"
    assert first_place("it can't be read") == first_place("") == ""
