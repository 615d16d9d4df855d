"""What the page of calls is asked, and how it leads on."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.asked import Asked, Missing
from modelbroker.console.calls import SPANS_S, Filters, cursor_of, filters_of
from modelbroker.console.pages import Pages
from modelbroker.console.reports import Settings
from modelbroker.console.sources import Sources
from modelbroker.journal.reading import Position
from modelbroker.ledger.calls import Cursor
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.questions import FILTERS
from modelbroker.ledger.rows import rows_of
from support.ledgers import NOW_S, record, trees

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=20)


def query_of(href: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(href).query))


@given(
    where=st.dictionaries(st.sampled_from(FILTERS), WORDS, max_size=4),
    span=st.sampled_from(["", *SPANS_S]),
    until=st.sampled_from(["", "2026-11-30T14:00"]),
    name=st.sampled_from(FILTERS),
    value=WORDS,
)
def test_every_view_is_a_url(where: dict[str, str], span: str, until: str, name: str, value: str) -> None:
    filters = filters_of({**where, "span": span, "until": until})
    assert filters_of(query_of(filters.href())) == filters
    more = filters_of(query_of(filters.having(name, value)))
    assert more.where == {**where, name: value} and (more.span, more.until) == (span, until)
    less = filters_of(query_of(more.without(name)))
    assert less.where == {other: said for other, said in where.items() if other != name}
    cursor = Cursor(1_795_985_600_000, "an-id")
    assert cursor_of(query_of(filters.href(cursor))) == cursor


def test_a_filter_is_looked_for_in_a_day_and_everything_in_all_that_is_kept() -> None:
    assert filters_of({}).question(NOW_S).since_ms == 0
    day = filters_of({"pool": "tier"}).question(NOW_S)
    assert day.since_ms == int(NOW_S * 1000) - 86_400_000 and day.where == {"pool": ("tier",)}
    assert filters_of({"pool": "tier", "span": "all"}).question(NOW_S).since_ms == 0
    until = filters_of({"span": "1h", "until": "2026-11-29T20:00"}).question(NOW_S)
    assert until.until_ms - until.since_ms == 3_600_000 and until.until_ms < NOW_S * 1000
    elsewhere = filters_of({"span": "1h", "until": "2026-11-29T22:00+02:00"}).question(NOW_S)
    assert elsewhere == until
    assert filters_of({"pool": ""}) == Filters({})  # as forms send what was left empty


@pytest.mark.parametrize("query", [{"span": "2h"}, {"until": "yesterday"}])
def test_what_is_no_filter_is_said_so(query: dict[str, str]) -> None:
    with pytest.raises(Missing):
        filters_of(query)


@pytest.mark.parametrize("before", ["x", "12", ".an-id", "-5.an-id", "9" * 30 + ".a"])
def test_what_is_no_page_is_said_so(before: str) -> None:
    with pytest.raises(Missing, match="no such page"):
        cursor_of({"before": before})


def pages_of(folder: Path, ledger: str = "", why: str = "") -> Pages:
    """A console whose broker is away."""
    return Pages(Sources(Settings(folder=str(folder), admin="127.0.0.1:1", ledger=ledger, ledger_why=why)))


def test_calls_are_shown_where_the_broker_itself_is_away(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    made = record(1, model="tier", user="<b>ana</b>", caller="agent")
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees([made]), "here"), "here", "here", Position(), 0)
    pages = pages_of(tmp_path, url)
    status, _, body = pages.answer(Asked("/calls", {}, "ana", NOW_S))
    assert status == 200 and made.request_id in body.decode() and "<b>ana" not in body.decode()
    status, _, body = pages.answer(Asked(f"/calls/{made.request_id}", {}, "ana", NOW_S))
    assert status == 200 and "What happened, and why" in body.decode()
    status, _, body = pages.answer(Asked("/calls/none", {}, "ana", NOW_S))
    assert status == 404 and "The ledger has no call none." in body.decode()


@pytest.mark.parametrize("path", ["/calls", "/calls/some-id"])
def test_without_a_ledger_a_page_says_why(tmp_path: Path, path: str) -> None:
    status, _, body = pages_of(tmp_path).answer(Asked(path, {}, "ana", NOW_S))
    assert status == 503 and "the ledger is off" in body.decode()
    status, _, body = pages_of(tmp_path, why="its URL can't be read").answer(Asked(path, {}, "ana", NOW_S))
    assert status == 503 and "its URL can&#39;t be read" in body.decode()
