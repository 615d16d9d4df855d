"""Exports hold each row once, in the order of time, with what the tables hold."""

from __future__ import annotations

import csv
import io
import json

import pyarrow.parquet
import pytest
from modelbroker.core.errors import Misconfigured
from modelbroker.core.prices import Cost
from modelbroker.journal.reading import Position
from modelbroker.ledger import export as module
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.export import export
from modelbroker.ledger.questions import Question
from modelbroker.ledger.rows import rows_of
from modelbroker.ledger.tables import ATTEMPTS, CALLS
from support.ledgers import DAY_S, NOW_S, attempt, record, trees

WRITTEN = [
    record(n, NOW_S - (9 - n) * DAY_S, [attempt("a/x"), attempt("b/y")], team=f"t{n % 2}") for n in range(9)
]
WRITTEN.append(record(9, attempts=[attempt("a/x", cost=Cost(None, {}, ("price",)))], team='odd, "quoted"'))


@pytest.fixture
def ledger(url: str, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(module, "_AT_ONCE", 4)  # several batches
    opened = Ledger(url)
    opened.take(rows_of(trees(WRITTEN), "s"), "s", "here", Position("f", 1), 0)
    return opened


def told(ledger: Ledger, table: str, how: str, question: Question = Question()) -> bytes:  # noqa: B008
    out = io.BytesIO()
    steps: list[int] = []
    count = export(ledger, table, question, how, out, lambda done, of: steps.append(done))
    assert steps == sorted(steps) and count >= 0
    return out.getvalue()


def test_csv(ledger: Ledger) -> None:
    rows = list(csv.DictReader(io.StringIO(told(ledger, "calls", "csv").decode())))
    assert [row["request_id"] for row in rows] == [one.request_id for one in WRITTEN]
    assert list(rows[0]) == [column.name for column in CALLS.c]
    assert rows[9]["team"] == 'odd, "quoted"' and rows[9]["cost_total"] == "" and rows[0]["cost_total"]


def test_json_lines(ledger: Ledger) -> None:
    rows = [json.loads(line) for line in told(ledger, "attempts", "jsonl").splitlines()]
    assert [(row["request_id"], row["number"]) for row in rows] == [
        (one.request_id, number + 1) for one in WRITTEN for number in range(len(one.attempts))
    ]
    assert rows[0]["cost_buckets"] == {"input": 3_000_000, "output": 1_500_000}
    assert rows[-1]["cost_total"] is None and rows[-1]["cost_unknown"] == ["price"]
    assert rows[0]["usage"]["input"] == 1000


def test_parquet(ledger: Ledger) -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(told(ledger, "attempts", "parquet")))
    assert table.column_names == [column.name for column in ATTEMPTS.c]
    assert table.num_rows == 19
    assert sum(value or 0 for value in table["cost_total"].to_pylist()) == 18 * 4_500_000
    assert table["cost_total"].null_count == 1


def test_only_some_and_each_once(ledger: Ledger) -> None:
    def ids(table: str, question: Question) -> list[str]:
        return [
            json.loads(line)["request_id"] for line in told(ledger, table, "jsonl", question).splitlines()
        ]

    assert ids("calls", Question(where={"team": ("t0",)})) == [one.request_id for one in WRITTEN[:9:2]]
    assert ids("calls", Question(where={"provider": ("a", "b")})) == [one.request_id for one in WRITTEN]
    since = Question(since_ms=int((NOW_S - 2.5 * DAY_S) * 1000))
    assert ids("calls", since) == [one.request_id for one in WRITTEN[7:]]
    assert ids("attempts", Question(where={"member": ("b/y",)})) == [one.request_id for one in WRITTEN[:9]]
    assert told(ledger, "calls", "jsonl", Question(where={"team": ("nobody",)})) == b""
    empty = pyarrow.parquet.read_table(
        io.BytesIO(told(ledger, "calls", "parquet", Question(where={"team": ("nobody",)})))
    )
    assert empty.num_rows == 0


def test_the_missing_extra_is_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", gone)
    with pytest.raises(Misconfigured, match=r"modelbroker\[parquet\]"):
        told(ledger, "calls", "parquet")
