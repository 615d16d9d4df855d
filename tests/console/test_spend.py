"""The page of spend, over a real ledger: exact sums, hostile names, what is unknown."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.console.asked import Asked
from modelbroker.console.choice import choice_of
from modelbroker.console.pages import Pages
from modelbroker.console.reports import Settings
from modelbroker.console.sources import Sources
from modelbroker.console.spend import MOST_ROWS
from modelbroker.console.words import exact
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.questions import FILTERS
from modelbroker.ledger.spend import Spend, spend
from support.ledgers import NOW_S, record
from support.spent import TEAMS, of_all_kinds, taken


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db"
    taken(made, of_all_kinds(200))
    return made


def pages_of(url: str) -> Pages:
    return Pages(Sources(Settings(folder=".", admin="127.0.0.1:1", ledger=url)))


def asked(url: str, target: str, now_s: float = NOW_S, pages: Pages | None = None) -> tuple[int, str, str]:
    """What the page says: (status, content type, text)."""
    pages = pages or pages_of(url)
    words = urlsplit(target)
    path = words.path.removeprefix("/console")
    status, kind, body = pages.answer(Asked(path, dict(parse_qsl(words.query)), "anna", now_s))
    return status, kind, body.decode()


def sums_of(url: str, target: str) -> Spend:
    """What `modelbroker spend` says."""
    question = choice_of(dict(parse_qsl(urlsplit(target).query)), NOW_S).question()
    with Ledger(url) as ledger:
        return spend(ledger, question.of_clients() if question.is_of_all else question)


def rows_of(page: str) -> list[list[str]]:
    """Cells with the exact amounts behind them."""
    (body,) = re.findall(r'<table id="groups">.*?</table>', page, re.S)
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)[1:]
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S) for row in rows]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(FILTERS), min_size=1, max_size=2, unique=True),
    st.sampled_from(["", "&span=today", "&span=month", "&from=2026-11-25&to=2026-11-27", "&compare=yes"]),
    st.sampled_from(["", "&none=feature", "&pool=dear", "&provider=openai", "&purpose=score"]),
)
def test_sums_are_those_of_the_command(url: str, by: list[str], span: str, where: str) -> None:
    target = f"/console/spend?by={','.join(by)}{span}{where}"
    status, _, page = asked(url, target)
    wanted = sums_of(url, target)
    assert status == 200
    if not wanted.groups:
        assert "No call has what is asked for" in page or "No call today so far" in page
        return
    found = {}
    for row in rows_of(page):
        words = tuple(unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in row[: len(by)])
        title = re.findall(r'title="(\$[0-9.]+)', "".join(row))[0]
        found[words if "All" not in words else ("All",)] = title
    told = {
        tuple(word.strip() or "(none)" for word in key): exact(sums.known)
        for key, sums in wanted.groups.items()
    }
    gone = {exact(0)} if "compare" in span else set()
    assert found.pop(("All",)) == exact(wanted.total.known)
    assert {key: found[key] for key in told} == told
    assert {found[key] for key in found.keys() - told.keys()} <= gone


def test_names_are_only_names(url: str) -> None:
    _, _, page = asked(url, "/console/spend?by=team")
    assert "<script>alert" not in page and "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    # Each leads to its own calls, and back.
    links = [unescape(link) for link in re.findall(r'href="(/console/spend\?[^"]*by=feature[^"]*)"', page)]
    inside = [choice_of(dict(parse_qsl(urlsplit(link).query)), NOW_S).where for link in links]
    assert {("team", team) for team in TEAMS} <= {one for where in inside for one in where}
    (link,) = [link for link in links if "script" in link]
    _, _, page = asked(url, link)
    assert "<script>alert" not in page and "team: &lt;script&gt;" in page


def test_what_a_spreadsheet_would_run_is_text(url: str) -> None:
    status, kind, text = asked(url, "/console/spend.csv?by=team,feature")
    assert (status, kind) == (200, "text/csv; charset=utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    wanted = sums_of(url, "/console/spend?by=team,feature").groups
    assert len(rows) == len(wanted)
    assert {row["team"] for row in rows} == {team if team[:1] != "=" else f"'{team}" for team in TEAMS}
    assert "'-x" in {row["feature"] for row in rows}
    assert sum(int(row["cost_known_nano"]) for row in rows) == sum(one.known for one in wanted.values())
    assert all(row["cost_usd"] == "" for row in rows if int(row["unknown"]))  # not 0
    assert sum(int(row["vain"]) for row in rows)


def test_csv_by_time(url: str) -> None:
    _, _, text = asked(url, "/console/spend.csv?by=team&span=7d&over=time")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["day"] for row in rows] == sorted(row["day"] for row in rows)
    total = sums_of(url, "/console/spend?by=team&span=7d").total
    assert sum(int(row["cost_known_nano"]) for row in rows) == total.known


def test_what_is_unknown_is_nowhere_zero(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    (known, unknown) = (record(number, NOW_S, team=f"team-{number}") for number in (1, 2))
    unknown.attempts[0].cost = None
    unknown.cost = None
    taken(url, [known, unknown])
    _, _, page = asked(url, "/console/spend?span=today")
    assert "in no sum" in page and "the cost of 1 call more is unknown" in page
    (row,) = [row for row in rows_of(page) if "team-2" in row[0]]
    assert [">unknown<" in row[1], row[2], row[4]] == [True, "\u2013", "unknown"]
    assert '<span>team-2</span> <small class="soft">unknown</small>' in page
    assert "1 of unknown cost: $0.0045" in page  # the hour's, in the chart


def test_a_span_before_and_what_is_gone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    day_s = 86_400
    calls = [record(1, NOW_S - 60, team="new"), record(2, NOW_S - day_s - 60, team="old")]
    taken(url, [*calls, record(3, NOW_S - day_s + 3_600, team="old")])  # yesterday, but later in the day
    _, _, page = asked(url, "/console/spend?span=today&compare=yes")
    new, old, everything = rows_of(page)
    cells = [
        [unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in row] for row in (new, old, everything)
    ]
    assert [(row[0], row[1], row[3]) for row in cells] == [
        ("new", "$0.0045", "+$0.0045"),
        ("old", "$0.00", "\u2212$0.0045"),
        ("All", "$0.0045", "±$0.00"),
    ]
    assert "from 2026-11-28 00:00 to 2026-11-28 20:53" in page


def test_groups_beyond_the_colours_and_the_room(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    taken(url, [record(n, NOW_S, user=f"user-{n}") for n in range(MOST_ROWS + 25)])
    _, _, page = asked(url, "/console/spend?by=user&span=today")
    rows = rows_of(page)
    assert len(rows) == MOST_ROWS + 2
    assert "25 groups more, see the CSV" in rows[-2][0] and "$0.1125" in rows[-2][1]
    assert f"everything else ({MOST_ROWS + 17} groups)" in page
    assert exact(4_500_000 * (MOST_ROWS + 25)) in rows[-1][1]


def test_besides_stands_what_is_no_clients(url: str) -> None:
    _, _, page = asked(url, "/console/spend")
    wanted = {}
    with Ledger(url) as ledger:
        question = replace(choice_of({}, NOW_S).question(), by=("purpose",))
        wanted = {key[0]: sums for key, sums in spend(ledger, question).groups.items()}
    for purpose in ("shadow", "score"):
        said = f"Besides these, {wanted[purpose].calls} calls were for <a"
        assert said in page and exact(wanted[purpose].known) in page
    _, _, page = asked(url, "/console/spend?purpose=shadow")
    assert "Besides these" not in page


def test_nothing_and_nonsense(url: str) -> None:
    assert "the ledger follows the journal" in asked(url, "/console/spend", NOW_S + 400 * 86_400)[2]
    status, _, page = asked(url, "/console/spend?by=<b>")
    assert status == 404 and "There is no &lt;b&gt; to group by" in page
    status, _, page = asked("", "/console/spend")
    assert status == 503 and "ledger: {url: none}" in page


def test_who_waits_does_not_wait_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, wanted = asked(url, "/console/spend")
    monkeypatch.setattr("modelbroker.console.spend.PATIENCE_S", -1.0)
    status, _, page = asked(url, "/console/spend")
    assert status == 503 and "this page asks again, and goes on from there" in page
    assert 'data-every="5"' in page
    # Each time it gets a day further.
    pages, told = pages_of(url), []
    while not told or told[-1][0] == 503:
        told.append(asked(url, "/console/spend", pages=pages))
        assert len(told) < 30
    assert len(told) > 3 and told[-1] == (200, "text/html; charset=utf-8", wanted)
