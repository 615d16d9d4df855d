"""The schema's versions, one step from each to the next; forward only.

Steps that only add columns are made of the tables themselves (`tables.since`). Whoever opens a ledger first
brings it to today's version, under a lock: others wait for it. A database that is newer than this program is
left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, Index, MetaData, Table, insert, select, text
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from ..core.errors import Misconfigured
from .tables import ATTEMPTS, METADATA, PARTITIONED, SCHEMA_VERSION, TOUCHED, VERSION, since

# For PostgreSQL's advisory locks: any numbers that nobody else uses in this database.
LOCK_OF_SCHEMA, LOCK_OF_PARTITIONS = 0x6D62_0001, 0x6D62_0002


def version_of(connection: Connection) -> int:
    """0 where there is no ledger yet."""
    if not connection.dialect.has_table(connection, SCHEMA_VERSION.name):
        return 0
    found = connection.execute(select(SCHEMA_VERSION.c.version).order_by(SCHEMA_VERSION.c.version.desc()))
    return int(found.scalar() or 0)


def migrate(connection: Connection, upto: int = VERSION) -> int:
    """Bring the schema to `upto`, within the transaction that has begun; the version that it had.
    Misconfigured where the database is newer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_OF_SCHEMA})"))
    before = version_of(connection)
    refuse_newer(before)
    for version in range(before + 1, upto + 1):
        _STEPS.get(version, _add_columns)(connection, version)
        row = {"version": version, "applied_ms": int(time.time() * 1000)}
        connection.execute(insert(SCHEMA_VERSION), row)
    return before


def refuse_newer(version: int) -> None:
    if version > VERSION:
        message = (
            f"the ledger's schema is of version {version}, and this modelbroker knows {VERSION}: "
            "a newer one has used this database; run that one"
        )
        raise Misconfigured(500, "ledger_newer", message)


def _create(connection: Connection, version: int) -> None:
    """All tables, with the columns that the first version had."""
    for table in METADATA.sorted_tables:
        first = _as_of(table, version, connection.dialect.name)
        if len(first.columns):
            connection.execute(CreateTable(first))
        for index in first.indexes:
            connection.execute(CreateIndex(index))


def _touched(connection: Connection, version: int) -> None:
    """A table, and an index of `attempts`: nobody writes for as long as that takes, a second a million."""
    connection.execute(CreateTable(_as_of(TOUCHED, version, connection.dialect.name)))
    for index in sorted(ATTEMPTS.indexes, key=lambda one: str(one.name)):
        if since(index) == version:
            connection.execute(CreateIndex(index))


def _add_columns(connection: Connection, version: int) -> None:
    quote = connection.dialect.identifier_preparer.quote
    for table in METADATA.sorted_tables:
        for column in table.columns:
            if since(column) == version:
                what = CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {what}"))


def _as_of(table: Table, version: int, dialect: str) -> Table:
    """A copy with the columns of that version."""
    kept: list[Any] = [_copy(column) for column in table.columns if since(column) <= version]
    is_cut = dialect == "postgresql" and table in PARTITIONED
    options: dict[str, Any] = {"postgresql_partition_by": "RANGE (at_ms)"} if is_cut else {}
    fresh: Table = Table(table.name, MetaData(), *kept, **options)
    for index in (one for one in table.indexes if since(one) <= version):
        where = {f"{kind}_where": index.dialect_options[kind]["where"] for kind in ("sqlite", "postgresql")}
        Index(index.name, *(fresh.c[column.name] for column in index.columns), **where)
    return fresh


def _copy(column: Column[Any]) -> Column[Any]:
    """Without its comment: docs/ledger.md has it, and the database need not."""
    fresh = column._copy()
    fresh.comment = None
    return fresh


_STEPS: Mapping[int, Callable[[Connection, int], None]] = {1: _create, 4: _touched}
