"""The revisions that were live: kept whole, found again, and bounded in number."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from modelbroker.core.acts import By
from modelbroker.revisions.kept import (
    EDIT,
    FOLDER,
    MOST,
    ROLLBACK,
    START,
    Live,
    Origin,
    Revisions,
    Rollback,
    RollbackFile,
    before,
    find,
)


def live(revision: str, since_s: float = 1.0, commit: str = "", why: str = EDIT) -> Live:
    return Live(number=0, revision=revision, since_s=since_s, why=why, origin=Origin(commit=commit))


def texts(number: int) -> dict[str, str]:
    return {"config/b.yaml": f"b: {number}", "config/a.yaml": "größe: 1"}


def test_what_was_live_is_there_again_in_its_order(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    assert revisions.all() == [] and revisions.newest() is None
    revisions.add(texts(1), live("aaaaaaaaaaaa", why=START))
    revisions.add(texts(2), live("bbbbbbbbbbbb"))
    revisions.add(texts(1), live("aaaaaaaaaaaa"))  # once more: that is a line of its own
    said = Revisions(tmp_path).all()
    assert [(one.number, one.revision, one.why) for one in said] == [
        (3, "aaaaaaaaaaaa", "edit"),
        (2, "bbbbbbbbbbbb", "edit"),
        (1, "aaaaaaaaaaaa", "start"),
    ]
    assert list(revisions.texts(said[1]).items()) == list(texts(2).items())
    newest = revisions.newest()
    assert newest is not None and newest[0].number == 3 and newest[1] == texts(1)


def test_the_same_after_a_restart_is_no_other_one(tmp_path: Path) -> None:
    first = Revisions(tmp_path).add(texts(1), live("aaaaaaaaaaaa"))
    assert Revisions(tmp_path).add(texts(1), live("aaaaaaaaaaaa", 9.0, why=START)) == first
    assert len(Revisions(tmp_path).all()) == 1
    spelled = {**texts(1), "config/a.yaml": "größe: 1 # the same, spelled otherwise"}
    assert Revisions(tmp_path).add(spelled, live("aaaaaaaaaaaa")).number == 2


def test_no_more_than_a_bound_are_kept_and_never_the_one_that_is_needed_goes(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    for number in range(MOST + 5):
        revisions.add(texts(number), live(f"{number:012x}"), keeps=2)
    numbers = [one.number for one in revisions.all()]
    assert len(numbers) == MOST + 1 and numbers[0] == MOST + 5 and numbers[-1] == 2


def test_whose_command_it_was_is_kept_and_what_is_older_proves_nothing(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    revisions.add(texts(1), live("aaaaaaaaaaaa", why=START))
    for number, actor in ((2, "token"), (3, "command")):
        told = msgspec.structs.replace(live("bbbbbbbbbbbb", why=ROLLBACK), by="ana", actor=actor)
        revisions.add(texts(number), told)
    # As it was kept before actors were.
    path = tmp_path / FOLDER / "000003-bbbbbbbbbbbb" / "revision.json"
    path.write_text(path.read_text().replace(',"actor":"command"', ""))
    assert "actor" not in path.read_text()
    assert [one.done_by for one in Revisions(tmp_path).all()] == [
        By("command", "ana"),
        By("token", "ana"),
        None,
    ]
    file = RollbackFile(tmp_path)
    file.write(Rollback(number=1, revision="a", source_digest="d", by="ana", actor="token"))
    assert (kept := file.read()) is not None and kept.done_by == By("token", "ana")
    old = tmp_path / "rollback.json"
    old.write_text(old.read_text().replace(',"actor":"token"', ""))
    assert (kept := file.read()) is not None and kept.done_by == By("command", "ana")


def test_half_a_revision_is_none(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    kept = revisions.add(texts(1), live("aaaaaaaaaaaa"))
    (tmp_path / FOLDER / ".new").mkdir()
    (tmp_path / FOLDER / ".new" / "0000.yaml").write_text("half")
    said = (tmp_path / FOLDER / "000001-aaaaaaaaaaaa" / "revision.json").read_text()
    (tmp_path / FOLDER / ".new" / "revision.json").write_text(said.replace('"number":1', '"number":2'))
    (tmp_path / FOLDER / "000007-broken").mkdir()
    (tmp_path / FOLDER / "000007-broken" / "revision.json").write_text("{")
    assert revisions.all() == [kept]
    assert revisions.add(texts(2), live("bbbbbbbbbbbb")).number == 2


def test_they_are_found_by_revision_commit_or_number(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    revisions.add(texts(1), live("abcd00000000", commit="c0ffee" + "0" * 34))
    revisions.add(texts(2), live("abcd11111111"))
    all_of = revisions.all()
    assert find(all_of, "abcd0").number == 1
    assert find(all_of, "c0ffee").number == 1
    assert find(all_of, "#2").number == 2
    assert before(all_of, "abcd11111111").number == 1
    for said, wrong in (("abcd", "is how several begin"), ("ab", "no revision"), ("#9", "no revision")):
        with pytest.raises(LookupError, match=wrong):
            find(all_of, said)
    with pytest.raises(LookupError, match="nothing to come back to"):
        before(all_of[1:], "abcd00000000")


def test_a_rollback_outlives_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = RollbackFile(tmp_path)
    assert file.read() is None
    rollback = Rollback(number=3, revision="aaaaaaaaaaaa", source_digest="d", holds=True, by="ada", at_s=5.0)
    file.write(rollback)
    assert RollbackFile(tmp_path).read() == rollback
    file.write(None)
    file.write(None)
    assert RollbackFile(tmp_path).read() is None
    (tmp_path / "rollback.json").write_text("{")
    assert RollbackFile(tmp_path).read() is None and "can't be read" in caplog.text
