"""The ledger's tables, as they are today. docs/ledger.md is made of this; `migrations` brings old ones here.

A column's `since` is the version of the schema that brought it: a migration that only adds columns is made of
that alone. Columns of `calls` and `attempts` have the names that the record gives its fields.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    literal_column,
)
from sqlalchemy.types import TypeEngine

from ..core.outcomes import LOST

VERSION = 4  # of the schema
METADATA = MetaData()

# Tokens and what else is counted: disjoint, but for the parts that the record's contract names.
COUNTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
PARTS = ("reasoning", "audio_input", "web_searches")


def _column(
    name: str,
    kind: type[TypeEngine[Any]],
    what: str,
    *,
    since: int = 1,
    null: bool = False,
    key: bool = False,
) -> Column[Any]:
    return Column(
        name, kind, comment=what, nullable=null, primary_key=key, info={"since": since}, autoincrement=False
    )


def _text(name: str, what: str) -> Column[Any]:
    return _column(name, Text, what)


def _keys(what: str) -> list[Column[Any]]:
    return [
        _column("request_id", Text, "the call's id", key=True),
        _column("at_ms", BigInteger, what, key=True),
    ]


def _usage(counts: str) -> list[Column[Any]]:
    """Columns for usage; `counts` says whose."""
    what = {
        "input": f"tokens of {counts}: read, and neither from a cache nor written to one",
        "cache_read": "read from the provider's cache",
        "cache_write_5m": "written to it for five minutes",
        "cache_write_1h": "written to it for an hour",
        "output": "generated, reasoning included",
        "reasoning": "the part of `output` that was thought; null: nobody says",
        "audio_input": "the part of `input` that was heard; null: none",
        "web_searches": "searches that are billed one by one; null: none, or nobody says",
    }
    return [_column(name, BigInteger, what[name], null=name in PARTS) for name in (*COUNTS, *PARTS)]


_COST = [
    ("cost_total", "nano-dollars; null: unknown, never 0 for want of a price"),
    ("cost_known", "nano-dollars: what of it is known, all of it where `cost_total` is"),
]


def _costs() -> list[Column[Any]]:
    return [
        _column("cost_total", BigInteger, _COST[0][1], null=True),
        _column("cost_known", BigInteger, _COST[1][1]),
        _text("cost_buckets", "JSON: nano-dollars by bucket"),
        _text("cost_unknown", "JSON: why the total is not known, a list"),
    ]


CALLS = Table(
    "calls",
    METADATA,
    *_keys("when: unix time in ms, out of the id where it tells it, else `started_s`"),
    _text("day", "the UTC day of that, `2026-11-29`"),
    _column("started_s", Double, "as in the record"),
    _column("duration_ms", Double, "as in the record"),
    _column("first_byte_ms", Double, "as in the record", null=True),
    _column("status", Integer, "as in the record"),
    *(
        _text(name, "as in the record")
        for name in (
            "method",
            "path",
            "caller",
            "agent",
            "user",
            "team",
            "customer",
            "feature",
            "tier",
            "dialect",
        )
    ),
    _text("model", "what the call asked for: `spend` and the filters call it `asked`"),
    _column("stream", Boolean, "as in the record"),
    *(_text(name, "as in the record") for name in ("rule", "pool", "member", "revision")),
    _text("outcome", "as in the record; a real record takes the place of one that is `lost`"),
    *(_text(name, "as in the record") for name in ("error_source", "code")),
    _text("flags", "JSON: as in the record"),
    _text("details", "as in the record"),
    _column("request_bytes", BigInteger, "as in the record"),
    _column("response_bytes", BigInteger, "as in the record"),
    _column("attempts_made", Integer, "as in the record"),
    _column("hedged", Boolean, "as in the record"),
    *_usage("all attempts together, as `cost_total` is of all of them"),
    _text("usage_state", "as in the record: of the attempt that answered"),
    *_costs(),
    _text("price_revision", "the price book by which that was reckoned, here or by `reprice`"),
    *(
        _column(name, Double, "as in the record", null=name != "queue_ms")
        for name in ("upload_ms", "queue_ms", "added_ms")
    ),
    *(
        _column(name, BigInteger, "as in the record", null=name != "choices")
        for name in ("context_tokens", "max_output_tokens", "choices")
    ),
    *(_text(name, "JSON: as in the record") for name in ("eligible", "holds")),
    _text("source", "whose journal it came from: `sources`"),
    _text("more", "JSON: what else the record holds, for which there is no column yet"),
    *(
        _column(name, Text, "as in the record; null: nothing", since=2, null=True)
        for name in ("cache", "cache_reason", "cached_request_id", "degraded_from", "budget")
    ),
    _column("purpose", Text, "as in the record; null: a client's call", since=3, null=True),
    *(
        _column(name, Text, "as in the record; null: nothing", since=3, null=True)
        for name in ("rollout", "arm", "stage", "shadow_of")
    ),
    _column("budgets", Text, "JSON: as in the record; null: none", since=2, null=True),
    _column("saved", Text, "JSON: the record's; null: no answer from the cache", since=2, null=True),
    _column("saved_nano", BigInteger, "the total of its cost; null: unknown, or none", since=2, null=True),
    _column("captured", Text, "as in the record; null: nothing", since=3, null=True),
    *(
        _column(name, Text, "as in the record; null: nothing", since=3, null=True)
        for name in ("same_dialect", "unowned_ids", "conversation", "fingerprint")
    ),
    _column("owners", Text, "JSON: as in the record; null: none", since=3, null=True),
    _column("headers", Text, "JSON: as in the record; null: none", since=3, null=True),
    _column("cost_estimate", BigInteger, "as in the record", since=3, null=True),
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    *_keys("the call's `at_ms`"),
    _column("number", Integer, "1 for the call's first", key=True),
    _text("member", "provider/model; empty: an attempt of which nobody told, whose cost is unknown"),
    _text("provider", "the first part of that"),
    _text("member_model", "the second part, as members name it: `spend` and the filters call it `model`"),
    _column("answered", Boolean, "the call's answer, or its last word, came from here; else it was in vain"),
    _column("status", Integer, "as in the record"),
    _column("duration_ms", Double, "as in the record"),
    _column("first_byte_ms", Double, "as in the record", null=True),
    _column("first_event_ms", Double, "as in the record", null=True),
    _text("flags", "JSON: as in the record"),
    *(_text(name, "as in the record") for name in ("details", "code")),
    _column("provider_status", Integer, "as in the record"),
    _text("cause", "as in the record"),
    _text("dropped", "JSON: as in the record"),
    _column("started_s", Double, "as in the record"),
    _column("hedge", Boolean, "as in the record"),
    *_usage("this attempt"),
    _text("usage_state", "as in the record"),
    _column("usage", Text, "JSON: the record's, with what other models used beside; null: none", null=True),
    _text("service_tier", "as in the record"),
    *_costs(),
    _text("more", "JSON: what else the record's attempt holds"),
)

SOURCES = Table(
    "sources",
    METADATA,
    _column("source", Text, "the id of a state folder (its file `ledger.id`)", key=True),
    _text("name", "the machine and the folder, for people"),
    _text("file", "the file of its journal that was read last: inode and a hash of its first line"),
    _column("offset", BigInteger, "how far: bytes"),
    _column("updated_ms", BigInteger, "when: unix time in ms"),
)

SCHEMA_VERSION = Table(
    "schema_version",
    METADATA,
    _column("version", Integer, "a version of the schema", key=True),
    _column("applied_ms", BigInteger, "since when this database has it: unix time in ms"),
)

# Whoever keeps the sums of a day sees by it that they are not what they were. A row for each that writes:
# brokers do not wait for one another there.
TOUCHED = Table(
    "touched",
    METADATA,
    _column("day", Text, "a UTC day", since=4, key=True),
    _column("source", Text, "who wrote: of `sources`, or `reprice` or `expiry`", since=4, key=True),
    _column("times", BigInteger, "how often calls of that day were written, changed or deleted", since=4),
)

PARTITIONED = (CALLS, ATTEMPTS)  # in PostgreSQL: by month of `at_ms`
Index("calls_at", CALLS.c.at_ms)
Index("attempts_at", ATTEMPTS.c.at_ms)
_lost = CALLS.c.outcome == literal_column(f"'{LOST}'")
# Few are in vain, and whoever asks for them reads no others.
_vain = ~ATTEMPTS.c.answered
Index("attempts_vain", ATTEMPTS.c.at_ms, sqlite_where=_vain, postgresql_where=_vain, info={"since": 4})
Index("calls_lost", CALLS.c.at_ms, CALLS.c.request_id, sqlite_where=_lost, postgresql_where=_lost)


def since(what: Column[Any] | Index) -> int:
    """The version of the schema that brought it."""
    return int(what.info.get("since", 1))
