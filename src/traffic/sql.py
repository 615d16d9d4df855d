"""Samples in SQLite or PostgreSQL: one table, bodies sealed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    create_engine,
    delete,
    event,
    func,
    inspect,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from ..core.errors import Misconfigured
from ..core.traffic import NOT_KNOWN, Sample, Where, told
from ..core.trials import made_beside
from ..embedded import BUSY_MS, make_wal
from .drawing import lot_of
from .place import file_of, kind_of, place_of
from .sealing import Sealer
from .store import END_OF_TIME_S, NO_FILTER, Stats, StoreError

VERSION = 1
_AT_ONCE = 200  # samples: bodies may be large
_DELETED_AT_ONCE = 1_000
_CONNECT_S = 5
METADATA = MetaData()
_TEXTS = ("purpose", "shadow_of", "dialect", "path", "model", "pool", "member", "cut")
_WHO = ("caller", "agent", "user", "team", "customer", "feature", "tier")
SAMPLES = Table(
    "samples",
    METADATA,
    Column("request_id", Text, primary_key=True),
    Column("at_s", Double, nullable=False),
    *(Column(name, Text, nullable=False) for name in (*_TEXTS, *_WHO)),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),  # 0: not known
    Column("redacted", Text, nullable=False),  # JSON: a list
    Column("request", LargeBinary),
    Column("reply", LargeBinary),
    Column("key", Text, nullable=False),  # the id of the key of both bodies
    Column("bytes", BigInteger, nullable=False),
)
Index("samples_at", SAMPLES.c.at_s, SAMPLES.c.request_id)
SCHEMA = Table("traffic_schema", METADATA, Column("version", Integer, primary_key=True))
BY = ("purpose", "pool", "dialect", "model", "status", "key")


class SqlStore:
    def __init__(self, url: str, keys: Sequence[bytes] = (), *, creates: bool = True) -> None:
        self.place = place_of(url)
        self._sealer = Sealer(keys)
        self._is_sqlite = kind_of(url) == "sqlite"
        if self._is_sqlite and not creates and not file_of(url).exists():
            message = f"there is no store of traffic at {file_of(url)} yet: a broker with `capture` makes it"
            raise Misconfigured(500, "no_traffic", message)
        self._engine = self._connected(url)
        try:
            with _told():
                self._open(creates)
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> SqlStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, samples: Sequence[Sample]) -> int:
        rows = [self._row(sample) for sample in samples]
        if not rows:
            return 0
        insert = (sqlite.insert if self._is_sqlite else postgresql.insert)(SAMPLES)
        ignoring = insert.on_conflict_do_nothing(index_elements=["request_id"])
        statement = ignoring.returning(SAMPLES.c.request_id)
        with _told(), self._engine.begin() as connection:
            return sum(len(connection.execute(statement, row).all()) for row in rows)

    def read(
        self,
        since_s: float = 0,
        until_s: float = END_OF_TIME_S,
        where: Where = NO_FILTER,
        limit: int | None = None,
        seed: str | None = None,
    ) -> Iterator[Sample]:
        conditions = _conditions(since_s, until_s, where)
        if limit is not None and seed is not None:
            yield from self._drawn(conditions, limit, seed)
            return
        left, after = limit, None
        while left is None or left > 0:
            more = [*conditions, _behind(after)] if after else conditions
            rows = self._rows(and_(*more), _AT_ONCE if left is None else min(left, _AT_ONCE))
            if not rows:
                return
            for row in rows:
                yield self._sample(row)
            after = rows[-1]["at_s"], rows[-1]["request_id"]
            left = None if left is None else left - len(rows)

    def _drawn(self, conditions: Sequence[ColumnElement[bool]], limit: int, seed: str) -> Iterator[Sample]:
        ids = select(SAMPLES.c.request_id, SAMPLES.c.at_s).where(*conditions)
        with _told(), self._engine.connect() as connection:
            known = [(lot_of(seed, row[0]), row[1], row[0]) for row in connection.execute(ids)]
        known.sort()
        chosen = sorted((at_s, ident) for _, at_s, ident in known[:limit])
        for begin in range(0, len(chosen), _AT_ONCE):
            some = [ident for _, ident in chosen[begin : begin + _AT_ONCE]]
            for row in self._rows(SAMPLES.c.request_id.in_(some), _AT_ONCE):
                yield self._sample(row)

    def stats(self, since_s: float = 0, until_s: float = END_OF_TIME_S, where: Where = NO_FILTER) -> Stats:
        conditions = _conditions(since_s, until_s, where)
        sums = (func.count(), func.coalesce(func.sum(SAMPLES.c.bytes), 0))
        ends = (func.min(SAMPLES.c.at_s), func.max(SAMPLES.c.at_s))
        by: dict[str, dict[str, int]] = {}
        with _told(), self._engine.connect() as connection:
            count, size, first, last = connection.execute(select(*sums, *ends).where(*conditions)).one()
            for name in BY:
                column = SAMPLES.c[name]
                groups = connection.execute(select(column, func.count()).where(*conditions).group_by(column))
                is_status = name == "status"
                by[name] = {told(value or None if is_status else value): number for value, number in groups}
        return Stats(count, int(size), first, last, by)

    def expire(self, before_s: float, most_bytes: int = 0) -> int:
        gone = 0
        while some := self._delete(SAMPLES.c.at_s < before_s):
            gone += some
        over = self._bytes() - most_bytes if most_bytes else 0
        while over > 0:
            oldest, freed = self._oldest(over)
            gone += self._delete(SAMPLES.c.request_id.in_(oldest))
            over = over - freed if oldest else 0
        return gone

    # -- inside

    def _bytes(self) -> int:
        with _told(), self._engine.connect() as connection:
            return int(connection.execute(select(func.coalesce(func.sum(SAMPLES.c.bytes), 0))).scalar_one())

    def _oldest(self, least_bytes: int) -> tuple[list[str], int]:
        """The oldest that take so much together, a bounded number; and what they take."""
        query = select(SAMPLES.c.request_id, SAMPLES.c.bytes).order_by(SAMPLES.c.at_s).limit(_DELETED_AT_ONCE)
        found, size = [], 0
        with _told(), self._engine.connect() as connection:
            for ident, taken in connection.execute(query):
                if size >= least_bytes:
                    break
                found.append(ident)
                size += taken
        return found, size

    def _delete(self, condition: ColumnElement[bool]) -> int:
        """The oldest for which it holds, a bounded number: nobody waits for long."""
        oldest = (
            select(SAMPLES.c.request_id).where(condition).order_by(SAMPLES.c.at_s).limit(_DELETED_AT_ONCE)
        )
        with _told(), self._engine.begin() as connection:
            return connection.execute(delete(SAMPLES).where(SAMPLES.c.request_id.in_(oldest))).rowcount

    def _rows(self, condition: ColumnElement[bool], most: int) -> list[Mapping[str, Any]]:
        order = (SAMPLES.c.at_s, SAMPLES.c.request_id)
        query = select(SAMPLES).where(condition).order_by(*order).limit(most)
        with _told(), self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _row(self, sample: Sample) -> dict[str, Any]:
        # PostgreSQL's text has no room for this character.
        texts = {name: getattr(sample, name).replace("\0", "\ufffd") for name in (*_TEXTS, *_WHO)}
        bodies = {
            name: None if body is None else self._sealer.seal(body, sample.request_id, name)
            for name, body in (("request", sample.request), ("reply", sample.reply))
        }
        return {
            "request_id": sample.request_id,
            "at_s": sample.at_s,
            **texts,
            "stream": sample.stream,
            "status": sample.status or 0,
            "redacted": msgspec.json.encode(sample.redacted).decode(),
            **bodies,
            "key": self._sealer.key,
            "bytes": sum(len(body or b"") for body in bodies.values()),
        }

    def _sample(self, row: Mapping[str, Any]) -> Sample:
        known = {name: row[name] for name in ("request_id", "at_s", "stream", *_TEXTS, *_WHO)}
        bodies: dict[str, Any] = {
            name: None if row[name] is None else self._sealer.open(bytes(row[name]), row["request_id"], name)
            for name in ("request", "reply")
        }
        status = row["status"] or None
        return Sample(**known, **bodies, status=status, redacted=tuple(msgspec.json.decode(row["redacted"])))

    def _connected(self, url: str) -> Engine:
        rest = url.partition(":")[2]
        if self._is_sqlite:
            _make(file_of(url))
            engine = create_engine(f"sqlite+pysqlite:{rest}", connect_args={"timeout": BUSY_MS / 1000})
            event.listen(engine, "connect", _set_up_sqlite)
            return engine
        options = {"connect_timeout": _CONNECT_S, "application_name": "modelbroker traffic"}
        return create_engine(f"postgresql+psycopg:{rest}", pool_pre_ping=True, connect_args=options)

    def _open(self, creates: bool) -> None:
        with self._engine.begin() as connection:
            # Another process may be about to make it: the version comes last.
            is_new = not inspect(connection).has_table(SCHEMA.name) or self._version(connection) is None
            if is_new and not creates:
                message = f"there is no store of traffic in {self.place}: a broker with `capture` makes it"
                raise Misconfigured(500, "no_traffic", message)
            if is_new:
                self._create(connection)
            version = self._version(connection)
        if version != VERSION:
            message = (
                f"{self.place} has version {version} of the store's tables, and this one knows {VERSION}"
            )
            raise Misconfigured(500, "traffic_version", message)

    @staticmethod
    def _version(connection: Connection) -> int | None:
        return connection.execute(select(func.max(SCHEMA.c.version))).scalar()

    def _create(self, connection: Connection) -> None:
        if not self._is_sqlite:  # two that begin at once: the second one waits for the first
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727272)")
        for table in METADATA.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(CreateIndex(index, if_not_exists=True))
        insert = (sqlite.insert if self._is_sqlite else postgresql.insert)(SCHEMA)
        connection.execute(insert.on_conflict_do_nothing(), {"version": VERSION})


def _make(path: Path) -> None:
    """A file that nobody else can read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"{path} can't be opened: {error.strerror}") from None


def _set_up_sqlite(connection: Any, _: Any) -> None:
    make_wal(connection)
    for pragma in ("synchronous = NORMAL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _conditions(since_s: float, until_s: float, where: Where) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [SAMPLES.c.at_s >= since_s, SAMPLES.c.at_s < until_s]
    for name, values in where.items():
        column = SAMPLES.c[name]
        if name == "stream":
            conditions.append(column.in_([value == "true" for value in values if value in ("true", "false")]))
        elif name == "status":
            known = [int(value) for value in values if value.isdecimal() and 0 < int(value) < 1_000]
            conditions.append(column.in_([*known, 0] if NOT_KNOWN in values else known))
        elif name == "pool":
            made = (func.substr(column, 1, len(begin)) == begin for begin in made_beside(values))
            conditions.append(or_(column.in_(list(values)), *made))
        else:
            conditions.append(column.in_(list(values)))
    return conditions


def _behind(after: tuple[float, str]) -> ColumnElement[bool]:
    at_s, ident = after
    return or_(SAMPLES.c.at_s > at_s, and_(SAMPLES.c.at_s == at_s, SAMPLES.c.request_id > ident))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The database's own words, without statements and parameters: those hold what calls say."""
    try:
        yield
    except SQLAlchemyError as error:
        why = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        lines = str(why).strip().splitlines()
        raise StoreError(lines[0] if lines else type(why).__name__) from None
