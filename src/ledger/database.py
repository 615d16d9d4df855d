"""The ledger's database: SQLite beside the journal, or PostgreSQL; opened, brought to today's schema, written
to in batches, and cut at its old end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, Table, and_, create_engine, delete, event, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..core.errors import Misconfigured
from ..core.outcomes import LOST
from ..embedded import BUSY_MS, make_wal
from ..journal.reading import Position
from .migrations import LOCK_OF_PARTITIONS, migrate, refuse_newer, version_of
from .place import file_of, is_sqlite, place_of, with_driver
from .rows import Row, Rows, day_of
from .tables import ATTEMPTS, CALLS, PARTITIONED, SOURCES, TOUCHED, VERSION

DELETED_AT_ONCE = 5_000  # calls: bounded, so that nobody waits for long
EXPIRY, REPRICE = "expiry", "reprice"  # who touches a day, where it is no broker's journal
_CONNECT_S = 5
# As a text: each batch has one, and to have it built each time would cost more than it does.
_TOUCH = text(
    "INSERT INTO touched (day, source, times) VALUES (:day, :source, 1) "
    "ON CONFLICT (day, source) DO UPDATE SET times = touched.times + 1"
)


def in_short(error: BaseException) -> str:
    """The database's own words, without statements and parameters: those hold what calls say."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(told).strip().splitlines()
    return lines[0] if lines else type(told).__name__


def why_away(error: SQLAlchemyError, url: str) -> str:
    """For people: that the ledger at `url` did not answer, and why."""
    return f"the ledger can't be asked: {place_of(url)}: {in_short(error)}"


class Ledger:
    """A ledger that is there, with today's schema. `with Ledger(url) as ledger:`; errors of the database are
    SQLAlchemy's. Unless it `creates`, there has to be one already."""

    def __init__(self, url: str, *, creates: bool = True) -> None:
        self.place = place_of(url)
        self.is_sqlite = is_sqlite(url)
        if self.is_sqlite and not creates and not file_of(url).exists():
            message = f"there is no ledger at {file_of(url)} yet: a broker makes it when it runs"
            raise Misconfigured(500, "no_ledger", message)
        self.engine = self._engine(url)
        self._partitions: set[int] = set()
        self._insertions = {table.name: self._insertion(table) for table in PARTITIONED}
        try:
            self._open()
        except BaseException:
            self.engine.dispose()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: done whole, or not at all."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the ledger."""
        with self.engine.connect() as connection:
            connection = connection.execution_options(ledger_reads=True)
            if not self.is_sqlite:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            yield connection

    # -- what the follower does

    def position(self, source: str) -> Position:
        with self.reading() as connection:
            query = select(SOURCES.c.file, SOURCES.c.offset).where(SOURCES.c.source == source)
            row = connection.execute(query).first()
        return Position(row.file, row.offset) if row else Position()

    def take(self, rows: Rows, source: str, name: str, position: Position, now_ms: int) -> None:
        """Write a batch and how far the journal was read, together. What is there already stays as it is, but
        for calls that were `lost` and have an end now."""
        self.prepare([row["at_ms"] for row in rows.calls])
        with self.writing() as connection:
            self._forget_lost(connection, rows)
            for table, those in ((CALLS, rows.calls), (ATTEMPTS, rows.attempts)):
                if those:
                    statement, ready = self._insertions[table.name]
                    connection.exec_driver_sql(statement, ready(those))
            where = {"file": position.file, "offset": position.offset, "updated_ms": now_ms, "name": name}
            self.touch(connection, {row["day"] for row in rows.calls}, source)
            upsert = self._insert(SOURCES).values(source=source, **where)
            connection.execute(upsert.on_conflict_do_update(index_elements=["source"], set_=where))

    def touch(self, connection: Connection, days: Iterable[str], who: str) -> None:
        """Within a transaction that writes: calls of these days are not what they were."""
        if found := [{"day": day, "source": who} for day in sorted(days)]:
            connection.execute(_TOUCH, found)

    def _forget_lost(self, connection: Connection, rows: Rows) -> None:
        real = {row["request_id"]: row["at_ms"] for row in rows.real()}
        if not real:
            return
        first, last = min(real.values()), max(real.values())
        query = select(CALLS.c.request_id, CALLS.c.at_ms)
        lost = query.where(CALLS.c.outcome == LOST, CALLS.c.at_ms.between(first, last))
        for request_id, at_ms in connection.execute(lost).all():
            if real.get(request_id) == at_ms:
                for table in PARTITIONED:
                    this = and_(table.c.request_id == request_id, table.c.at_ms == at_ms)
                    connection.execute(delete(table).where(this))

    def _insertion(self, table: Table) -> tuple[str, Callable[[list[Row]], list[Any]]]:
        """The statement, and what makes its parameters: to have SQLAlchemy do it for each batch would cost as
        much as all the rest."""
        made = self._insert(table).on_conflict_do_nothing().compile(dialect=self.engine.dialect)
        if not self.is_sqlite:
            return str(made), list
        pick = itemgetter(*made.positiontup)
        return str(made), lambda rows: [pick(row) for row in rows]

    def _insert(self, table: Table) -> Any:
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    # -- spans of time

    def prepare(self, times_ms: Sequence[int]) -> None:
        """Make the partitions for calls at these times. Many brokers may do so at once."""
        if self.is_sqlite:
            return
        wanted = {_month_of(at_ms) for at_ms in times_ms} - self._partitions
        for month in sorted(wanted):
            with self.writing() as connection:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_OF_PARTITIONS})"))
                for table in PARTITIONED:
                    _make_partition(connection, table.name, month)
            self._partitions.add(month)

    def forget_partitions(self) -> None:
        """Somebody else may have dropped one."""
        self._partitions.clear()

    def expire(self, before_ms: int) -> int:
        """Delete one bounded step of what is older; how many calls went. In PostgreSQL a month that is older
        as a whole goes at once, and counts as one step."""
        if not self.is_sqlite and (dropped := self._drop_partition(before_ms)) is not None:
            return dropped
        with self.writing() as connection:
            old = CALLS.c.at_ms < before_ms
            query = select(CALLS.c.at_ms).where(old).order_by(CALLS.c.at_ms).limit(1).offset(DELETED_AT_ONCE)
            last = connection.execute(query).scalar()
            bound = before_ms if last is None else min(before_ms, last + 1)
            connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.at_ms < bound))
            gone: int = connection.execute(delete(CALLS).where(CALLS.c.at_ms < bound)).rowcount
            if gone:
                self._expired(connection, bound)
        if gone and self.is_sqlite:
            # As a script: else the driver asks for one row, and one page is given back.
            with contextlib.closing(self.engine.raw_connection()) as connection:
                driver: Any = connection.driver_connection
                driver.executescript("PRAGMA incremental_vacuum(5000)")
        return gone

    def _expired(self, connection: Connection, before_ms: int) -> None:
        """Of days that are gone nobody has to know any more; the one that is cut is not what it was."""
        connection.execute(delete(TOUCHED).where(TOUCHED.c.day < day_of(before_ms)))
        self.touch(connection, [day_of(before_ms)], EXPIRY)

    def _drop_partition(self, before_ms: int) -> int | None:
        """The calls in the oldest month if it ended before that, which is dropped; None: there is none."""
        with self.writing() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_OF_PARTITIONS})"))
            months = sorted(_months(connection, CALLS.name))
            if not months or _start_ms(months[0] + 1) > before_ms:
                return None
            name = _partition(CALLS.name, months[0])
            gone = connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() or 0  # noqa: S608
            for table in PARTITIONED:
                connection.execute(text(f"DROP TABLE IF EXISTS {_partition(table.name, months[0])}"))
            self._expired(connection, _start_ms(months[0] + 1))
        self._partitions.discard(months[0])
        return int(gone)

    # -- opening

    def _open(self) -> None:
        with self.reading() as connection:
            version = version_of(connection)
        refuse_newer(version)
        if version < VERSION:
            with self.writing() as connection:
                migrate(connection)

    def _engine(self, url: str) -> Engine:
        if not self.is_sqlite:
            return create_engine(
                with_driver(url),
                pool_size=1,
                connect_args={
                    "connect_timeout": _CONNECT_S,
                    "application_name": "modelbroker",
                    # A database that is gone without a word is given up after half a minute.
                    **{"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3},
                    "tcp_user_timeout": 30_000,
                },
            )
        path = file_of(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Calls name users and customers: they are for the broker's own user.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        engine = create_engine(with_driver(url), pool_size=1, connect_args={"timeout": BUSY_MS / 1000})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin_sqlite`, not by the driver
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # holds for a database that is still empty
    make_wal(connection)
    # A commit that a power loss undoes takes the journal's position with it: it is read again.
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("ledger_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


# Months are counted from the year 0: 24,322 is November 2026.


def _month_of(at_ms: int) -> int:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.year * 12 + at.month - 1


def _start_ms(month: int) -> int:
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000)


def _partition(table: str, month: int) -> str:
    return f"{table}_{month // 12:04d}_{month % 12 + 1:02d}"


def _months(connection: Connection, table: str) -> Iterator[int]:
    query = text(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
        "WHERE inhparent = to_regclass(:parent)"
    )
    for name in connection.execute(query, {"parent": table}).scalars():
        year, month = name.removeprefix(f"{table}_").split("_")
        yield int(year) * 12 + int(month) - 1


def _make_partition(connection: Connection, table: str, month: int) -> None:
    """`ATTACH` asks for a weaker lock than `CREATE … PARTITION OF`: others go on writing meanwhile."""
    if month in _months(connection, table):
        return
    name = _partition(table, month)
    connection.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"))
    span = f"FROM ({_start_ms(month)}) TO ({_start_ms(month + 1)})"
    connection.execute(text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {span}"))
