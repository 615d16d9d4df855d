"""What the ledger holds: each call once, whatever is written how often and in which order."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from modelbroker.core.errors import Misconfigured
from modelbroker.core.prices import Cost
from modelbroker.core.record import Record
from modelbroker.journal.reading import Position
from modelbroker.journal.writing import CALLS as JOURNAL
from modelbroker.ledger import migrations
from modelbroker.ledger.database import DELETED_AT_ONCE, Ledger
from modelbroker.ledger.follow import Follower
from modelbroker.ledger.reports import Settings
from modelbroker.ledger.rows import rows_of
from modelbroker.ledger.tables import CALLS, VERSION, since
from sqlalchemy import text
from support.ledgers import DAY_S, NOW_S, attempt, contents, ids_in, lines, lost, record, trees
from support.servers import Postgres

NewLedger = Callable[[], str]


def take(url: str, *batches: list[Record]) -> None:
    with Ledger(url) as ledger:
        for batch in batches:
            ledger.take(rows_of(trees(batch), "s"), "s", "here", Position("f", 1), 0)


def test_a_call_is_there_with_all_that_its_record_says(url: str) -> None:
    in_vain = attempt(
        "openai/gpt", status=503, code="upstream_error", usage=None, usage_state="none", cost=Cost(0)
    )
    take(url, [record(1, attempts=[in_vain, attempt()], team="search", user="größe")])
    with Ledger(url) as ledger, ledger.reading() as connection:
        call = connection.execute(text("SELECT * FROM calls")).mappings().one()
        attempts = connection.execute(text("SELECT * FROM attempts ORDER BY number")).mappings().all()
    assert (call["team"], call["user"], call["day"]) == ("search", "größe", "2026-11-29")
    assert (call["input"], call["output"], call["cost_total"]) == (1000, 100, 4_500_000)
    assert call["reasoning"] is None and call["attempts_made"] == 2 and call["more"] == "{}"
    assert [(row["member"], row["provider"], row["member_model"]) for row in attempts] == [
        ("openai/gpt", "openai", "gpt"),
        ("anthropic/claude", "anthropic", "claude"),
    ]
    assert [bool(row["answered"]) for row in attempts] == [False, True]
    assert [row["cost_total"] for row in attempts] == [0, 4_500_000]


def test_unknown_is_null_and_never_zero(url: str) -> None:
    unknown = attempt(cost=Cost(None, {"input": 7}, ("output",)))
    take(
        url, [record(1, attempts=[unknown], cost=Cost(None, {"input": 7}, ("output",))), record(2, cost=None)]
    )
    with Ledger(url) as ledger, ledger.reading() as connection:
        query = text("SELECT cost_total, cost_known, cost_unknown FROM calls ORDER BY cost_known")
        rows = connection.execute(query).all()
    assert [tuple(row) for row in rows] == [(None, 0, '["price"]'), (None, 7, '["output"]')]


def test_fields_that_have_no_column_yet_are_kept(url: str) -> None:
    (tree,) = trees([record(1)])
    tree |= {"of_tomorrow": 1.5}
    with Ledger(url) as ledger:
        ledger.take(rows_of([tree], "s"), "s", "here", Position("f", 1), 0)
        with ledger.reading() as connection:
            assert connection.execute(text("SELECT more FROM calls")).scalar() == '{"of_tomorrow":1.5}'


def test_ids_of_traces_are_kept_where_there_are_any(url: str) -> None:
    ids = {"trace_id": "4b" * 16, "span_id": "00f0" * 4, "parent_span_id": "", "sampled": True}
    (tree,) = trees([record(1, **ids, attempts=[attempt(span_id="00f1" * 4)])])
    with Ledger(url) as ledger:
        ledger.take(rows_of([tree], "s"), "s", "here", Position("f", 1), 0)
        with ledger.reading() as connection:
            assert json.loads(connection.execute(text("SELECT more FROM calls")).scalar_one()) == ids
            told = connection.execute(text("SELECT more FROM attempts")).scalar_one()
            assert json.loads(told) == {"span_id": "00f1" * 4}


# A few calls, over three months; some are lost first; each is written once or more, in any order.
_CALLS = [record(n, NOW_S - n * 11 * DAY_S, team=f"t{n % 2}") for n in range(8)]
_WRITTEN = st.permutations([*_CALLS, *(lost(one) for one in _CALLS[:4]), *_CALLS[2:6]])


@hypothesis_settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_same_ledger_whatever_the_order_and_however_often(
    new_ledger: NewLedger, data: st.DataObject
) -> None:
    written = data.draw(_WRITTEN)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=5)))
    bounds = zip([0, *cuts], [*cuts, len(written)], strict=True)
    url = new_ledger()
    take(url, *[written[start:end] for start, end in bounds])
    expected = new_ledger()
    take(expected, _CALLS)
    assert contents(url) == contents(expected)


def test_many_brokers_write_to_one(url: str) -> None:
    """Also to months for which there is no partition yet."""
    batches = [[record(n * 100 + i, NOW_S - i * 20 * DAY_S) for i in range(20)] for n in range(4)]
    threads = [threading.Thread(target=take, args=(url, batch[:10], batch)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids_in(url) == sorted(one.request_id for batch in batches for one in batch)


def test_what_is_older_goes_in_bounded_steps(url: str) -> None:
    old = [record(n, NOW_S - 100 * DAY_S + n) for n in range(5)]
    young = [record(10 + n, NOW_S - n) for n in range(5)]
    take(url, old, young)
    with Ledger(url) as ledger:
        gone = 0
        while step := ledger.expire(int((NOW_S - 3) * 1000)):
            assert step <= DELETED_AT_ONCE
            gone += step
    assert gone == 6
    assert ids_in(url) == sorted(one.request_id for one in young[:4])
    assert len(contents(url)["attempts"]) == 4


def test_a_month_that_is_over_goes_as_one_and_comes_back_where_it_must(postgres: Postgres) -> None:
    url = postgres.new_database()
    old = [record(n, NOW_S - 100 * DAY_S + n) for n in range(5)]
    take(url, old)
    with Ledger(url) as ledger:
        assert ledger.expire(int(NOW_S * 1000)) == 5
        with ledger.reading() as connection:
            tables = connection.execute(text("SELECT relname FROM pg_class WHERE relname LIKE 'calls_2026%'"))
            assert [name for name in tables.scalars() if name.count("_") == 2] == []
    take(url, old)
    assert len(ids_in(url)) == 5


def test_deleted_space_is_given_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    take(url, [record(n, NOW_S - 10 * DAY_S) for n in range(2000)])
    with Ledger(url) as ledger:
        assert ledger.expire(int(NOW_S * 1000)) == 2000
        with ledger.reading() as connection:
            pages = [
                connection.exec_driver_sql(f"PRAGMA {name}_count").scalar() for name in ("page", "freelist")
            ]
    assert pages[0] is not None and pages[0] < 100


def test_a_file_is_for_its_user_alone(tmp_path: Path) -> None:
    take(f"sqlite:///{tmp_path}/a/ledger.db", [record(1)])
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").iterdir()} == {0o600}


def test_a_month_that_another_broker_dropped_is_made_again(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    follower = Follower(Settings(str(tmp_path), url))
    (tmp_path / JOURNAL).write_bytes(lines([record(1)]))
    while follower.step():
        pass
    with Ledger(url) as other:
        assert other.expire(int((NOW_S + 60 * DAY_S) * 1000)) == 1
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(lines([record(2), record(3)]))
    while follower.step():
        pass
    follower.close()
    assert (len(ids_in(url)), follower.refused) == (2, 0)


# -- the schema's versions


def test_an_older_ledger_is_brought_here_with_what_it_holds(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations.migrate, "__defaults__", (1,))
    with Ledger(url) as ledger:
        ledger.prepare([int(NOW_S * 1000)])
        row = rows_of(trees([record(1)]), "s").calls[0]
        names = [name for name in row if since(CALLS.c[name]) == 1]
        quoted = ", ".join(f'"{name}"' for name in names)
        query = f"INSERT INTO calls ({quoted}) VALUES ({', '.join(f':{name}' for name in names)})"
        with ledger.writing() as connection:
            connection.execute(text(query), row)
            assert migrations.version_of(connection) == 1
    monkeypatch.undo()
    take(url, [record(1), record(2)])
    with Ledger(url) as ledger, ledger.reading() as connection:
        assert migrations.version_of(connection) == VERSION
        assert connection.execute(text("SELECT count(*), count(cache) FROM calls")).one() == (2, 0)


def test_many_open_a_new_one_at_once(url: str) -> None:
    failed: list[Exception] = []

    def opened() -> None:
        try:
            Ledger(url).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=opened) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with Ledger(url) as ledger, ledger.reading() as connection:
        versions = connection.execute(text("SELECT version FROM schema_version ORDER BY version")).scalars()
        assert list(versions) == list(range(1, VERSION + 1))


def test_a_newer_ledger_is_left_alone(url: str) -> None:
    take(url, [record(1)])
    with Ledger(url) as ledger, ledger.writing() as connection:
        connection.execute(text(f"INSERT INTO schema_version VALUES ({VERSION + 1}, 0)"))
    with pytest.raises(Misconfigured, match="run that one"):
        Ledger(url)


# -- where it is


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:hidden@h/d", "can't be in 'mysql'"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("postgresql://u:hidden@[h/d", "is none"),
        ("postgresql://u:hidden@h:port/d", "is none"),
        ("what is this", "has no URL"),
    ],
)
def test_what_is_no_ledger_is_said_without_its_password(url: str, says: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Ledger(url)
    assert says in caught.value.message and "hidden" not in caught.value.message


def test_the_password_is_not_shown(postgres: Postgres) -> None:
    url = postgres.new_database().replace("postgres@", "postgres:hidden@")
    with Ledger(url) as ledger:
        assert "hidden" not in ledger.place and "test_" in ledger.place


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Misconfigured, match=r"modelbroker\[postgres\]"):
        Ledger("postgresql://h/d")
