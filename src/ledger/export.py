"""Rows of the ledger as CSV, JSON lines or Parquet: streamed, so that memory stays bounded."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Double, Integer, Table, select

from ..core.errors import Misconfigured
from .database import Ledger
from .questions import Question, behind
from .spend import Heard
from .tables import ATTEMPTS, CALLS

FORMATS = ("csv", "jsonl", "parquet")
TABLES: Mapping[str, Table] = {"calls": CALLS, "attempts": ATTEMPTS}
_AT_ONCE = 5_000
Rows = list[Sequence[Any]]


def export(
    ledger: Ledger, table: str, question: Question, format: str, out: IO[bytes], heard: Heard | None = None
) -> int:
    """How many rows were written. Of `attempts`: those of calls, or at members, that are asked for."""
    chosen = TABLES[table]
    writer = _WRITERS[format](chosen, out)
    next(writer)
    written = 0
    for rows, share in _batches(ledger, chosen, question):
        writer.send(rows)
        written += len(rows)
        if heard is not None:
            heard(share, 100)
    writer.close()
    return written


def _batches(ledger: Ledger, table: Table, question: Question) -> Iterator[tuple[Rows, int]]:
    """In the order of time, each with how much of the whole it ends, in parts of a hundred."""
    key = [table.c.at_ms, *(column for column in table.primary_key if column.name != "at_ms")]
    place = [list(table.c).index(column) for column in key]
    chosen = question.of_attempts() if table is ATTEMPTS else question.of_calls()
    query = select(table).where(*chosen).order_by(*key).limit(_AT_ONCE)
    after: tuple[Any, ...] | None = None
    first: int | None = None
    while True:
        with ledger.reading() as connection:
            more = query if after is None else query.where(*behind(key, after))
            rows: Rows = [tuple(row) for row in connection.execute(more)]
        if not rows:
            return
        after = tuple(rows[-1][number] for number in place)
        first = after[0] if first is None else first
        span = max(question.until_ms - first, 1)
        yield rows, min((after[0] - first) * 100 // span, 100)


def _csv(table: Table, out: IO[bytes]) -> Any:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in table.c])
    try:
        while True:
            writer.writerows((yield))
    finally:
        text.flush()
        text.detach()


_JSON = (
    "flags",
    "eligible",
    "holds",
    "saved",
    "dropped",
    "cost_buckets",
    "cost_unknown",
    "more",
    "usage",
    "owners",
    "headers",
)


def _jsonl(table: Table, out: IO[bytes]) -> Any:
    """What the tables hold as JSON is JSON here, too."""
    names = [column.name for column in table.c]
    encoder = msgspec.json.Encoder()
    while True:
        rows = yield
        trees = []
        for row in rows:
            tree = dict(zip(names, row, strict=True))
            for name in _JSON:
                if isinstance(text := tree.get(name), str):
                    tree[name] = msgspec.Raw(text.encode())
            trees.append(tree)
        out.write(encoder.encode_lines(trees))


def _parquet(table: Table, out: IO[bytes]) -> Any:
    arrow, parquet = _arrow()
    kinds = {
        BigInteger: arrow.int64(),
        Integer: arrow.int32(),
        Double: arrow.float64(),
        Boolean: arrow.bool_(),
    }
    columns = [(column.name, kinds.get(type(column.type), arrow.string())) for column in table.c]
    schema = arrow.schema(columns)
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        while True:
            try:
                rows = yield
            except GeneratorExit:
                break
            arrays = [
                arrow.array(values, type=kind)
                for (_, kind), values in zip(columns, zip(*rows, strict=True), strict=True)
            ]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        message = "Parquet needs the extra `parquet`: pip install 'modelbroker[parquet]'"
        raise Misconfigured(500, "no_parquet", message) from None


_WRITERS: Mapping[str, Callable[[Table, IO[bytes]], Any]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
}
