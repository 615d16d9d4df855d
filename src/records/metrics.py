"""What records are counted by. Names and labels are OpenTelemetry's for generative AI where it has one, in
Prometheus' spelling: to a client the broker is a server (`gen_ai_server_…`), to a provider a client.

Source: https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from ..core.catalog import Catalog
from ..core.genai import OWN_NAME, operation_of, provider_of
from ..core.labels import NO_LABELS, CallLabels
from ..core.outcomes import REFUSED
from ..core.record import Attempt, Record
from ..core.usage import Usage
from ..metrics import MOST, OTHER, Counts, Times, Values, sweep
from ..metrics.series import Count, Spread
from .join import winner

# As the convention recommends them.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_PER_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(4**power for power in range(14))
# Ours: what the broker adds is a millisecond or so, and a wait for members lasts as long as they say.
_ADDED_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_QUEUE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_ASKED = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_ANSWERED = (*_ASKED, "gen_ai_response_model", "pool")
_MEMBER = (*_ASKED, "pool", "member")
SERVER_SECONDS = Times(
    "gen_ai_server_request_duration_seconds",
    "Clients' calls: from the first byte of a request to the last of its reply",
    (*_ANSWERED, "error_type"),
    _SECONDS,
)
SERVER_FIRST_SECONDS = Times(
    "gen_ai_server_time_to_first_token_seconds",
    "Clients' streams that went well: from the first byte of a request to the first event of its reply",
    _ANSWERED,
    _FIRST_SECONDS,
)
SERVER_TOKEN_SECONDS = Times(
    "gen_ai_server_time_per_output_token_seconds",
    "Clients' streams that went well: time behind the first event, by output tokens behind the first",
    _ANSWERED,
    _PER_TOKEN_SECONDS,
)
CLIENT_SECONDS = Times(
    "gen_ai_client_operation_duration_seconds",
    "Attempts at members: from their beginning to the end of the reply, or of the attempt",
    (*_MEMBER, "error_type"),
    _SECONDS,
)
CLIENT_FIRST_SECONDS = Times(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "Attempts at members that gave a stream: to its first event",
    _MEMBER,
    _SECONDS,
)
CLIENT_TOKENS = Times(
    "gen_ai_client_token_usage",
    "Tokens of an attempt as its provider counts them: all that it read (input), and what it wrote (output)",
    (*_MEMBER, "gen_ai_token_type"),
    _TOKENS,
)

_CALL = ("pool", "status", "outcome", "purpose")
_PAID = ("pool", "member", "purpose")
CALLS = Counts("modelbroker_calls", "Calls that ended", _CALL)
ERRORS = Counts(
    "modelbroker_call_errors",
    "Calls that did not go well, by whose doing it was and what went wrong",
    ("pool", "error_source", "code", "purpose"),
)
DENIALS = Counts(
    "modelbroker_denials",
    "Calls that policy refused, by why, and by which budget, rate limit, rule or pool",
    ("reason", "scope"),
)
TOKENS = Counts("modelbroker_tokens", "Tokens as providers count them", (*_PAID, "bucket"))
COST = Counts("modelbroker_cost_nano_dollars", "What attempts cost, as far as it is known", _PAID)
UNKNOWN_COST = Counts(
    "modelbroker_cost_unknown_attempts",
    "Attempts of which something was not priced",
    ("pool", "member", "unknown"),
)
ADDED_SECONDS = Times(
    "modelbroker_added_seconds",
    "What the broker added to what members took, waits for them left out",
    ("pool",),
    _ADDED_SECONDS,
)
QUEUE_SECONDS = Times(
    "modelbroker_queue_seconds",
    "Calls that waited for a member that takes calls: how long",
    ("pool",),
    _QUEUE_SECONDS,
)
HEDGES = Counts(
    "modelbroker_hedged_calls",
    "Calls with two attempts side by side, by which of them won",
    ("pool", "won"),
)
ATTEMPTS = Counts("modelbroker_attempts", "Attempts that ended", ("member", "status"))
USAGE = Counts("modelbroker_attempts_usage", "Attempts by what is known of their usage", ("member", "state"))

_BUCKETS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


class _OfCalls(NamedTuple):
    """The children that calls of one kind are counted by."""

    calls: Count
    errors: Count | None
    seconds: Spread | None
    first_seconds: Spread | None
    token_seconds: Spread | None
    added_seconds: Spread | None


class _OfAttempts(NamedTuple):
    seconds: Spread
    first_seconds: Spread
    tokens_in: Spread
    tokens_out: Spread
    buckets: tuple[Count, ...]
    cost: Count


class CallCounts:
    """Counts records, and attempts as they end. For one thread."""

    def __init__(self) -> None:
        self._label(NO_LABELS)  # series are the process's, and have the labels of whoever counts last
        self._providers: Mapping[str, str] = {}  # as the convention calls them
        self._asked: frozenset[str] = frozenset()
        self._known: dict[str, frozenset[str]] = {}
        # Finding children costs more than counting: there are few kinds of calls.
        self._calls: dict[tuple[str, ...], _OfCalls] = {}
        self._attempts: dict[tuple[str, ...], _OfAttempts] = {}

    def configured(self, catalog: Catalog) -> None:
        """Another configuration is served."""
        pools = catalog.pools.values()
        members = {member.id: member for pool in pools for member in pool.members}
        self._known = {"pool": frozenset(catalog.pools), "member": frozenset(members)}
        self._asked = frozenset(
            (
                *(pool.name for pool in pools if not pool.is_made),
                *(alias for pool in pools for alias in pool.aliases),
                *(member.model for member in members.values()),
            )
        )
        self._providers = {name: provider_of(one) for name, one in catalog.providers.items()}
        if catalog.metrics != self._labels:
            self._label(catalog.metrics)
        self._forget_children()

    def sweep(self, now_s: float) -> None:
        """Series of pools and members that have been gone for long go; `now_s`: a monotonic clock."""
        if self._known and sweep(self._known, now_s):  # type: ignore[arg-type]
            self._forget_children()

    def count(self, record: Record) -> None:
        """A call is over, and priced."""
        more = tuple([values.fold(getattr(record, name)) for name, values in self._values])
        # A client may ask for any model.
        asked = record.model if not record.model or record.model in self._asked else OTHER
        key = (
            *(record.pool, str(record.status), record.outcome, record.error_source, record.code),
            *(record.purpose, record.dialect, asked, record.member, *more),
        )
        if (children := self._calls.get(key)) is None:
            children = _kept(self._calls, key, lambda: self._of_calls(record, asked, more))
        children.calls.inc()
        if children.errors is not None:
            children.errors.inc()
            if record.error_source == "policy" and record.outcome == REFUSED:
                DENIALS.of(record.code, _denied_by(record)).inc()
        if children.seconds is not None:
            children.seconds.observe(record.duration_ms / 1000)
            _count_stream(record, children)
        if children.added_seconds is not None and record.added_ms is not None:
            children.added_seconds.observe(record.added_ms / 1000)
        if record.queue_ms and record.pool:
            QUEUE_SECONDS.of(record.pool).observe(record.queue_ms / 1000)
        if record.hedged:
            HEDGES.of(record.pool, winner(record.attempts)).inc()
        for attempt in record.attempts:
            self._count_attempt(record, attempt, more)

    def ended(self, attempt: Attempt) -> None:
        """Of a call that is not over, maybe."""
        ATTEMPTS.of(attempt.member, str(attempt.status)).inc()
        USAGE.of(attempt.member, attempt.usage_state).inc()

    def _count_attempt(self, record: Record, attempt: Attempt, more: tuple[str, ...]) -> None:
        error = attempt.cause or attempt.code
        key = (record.pool, attempt.member, record.purpose, record.dialect, error, *more)
        if (children := self._attempts.get(key)) is None:
            children = _kept(self._attempts, key, lambda: self._of_attempts(key, more))
        children.seconds.observe(attempt.duration_ms / 1000)
        if attempt.first_event_ms is not None:
            children.first_seconds.observe(attempt.first_event_ms / 1000)
        if attempt.usage is not None:
            _count_tokens(attempt.usage, children)
        if (cost := attempt.cost) is None:
            return
        if cost.buckets:
            children.cost.inc(sum(cost.buckets.values()))
        for unknown in cost.unknown:
            UNKNOWN_COST.of(record.pool, attempt.member, unknown).inc()

    def _of_calls(self, record: Record, asked: str, more: tuple[str, ...]) -> _OfCalls:
        pool, purpose = record.pool, record.purpose
        errors = ERRORS.of(pool, record.error_source, record.code, purpose) if record.error_source else None
        provider, _, model = record.member.partition("/")
        named = (
            operation_of(record.dialect),
            self._providers.get(provider, provider) or OWN_NAME,
            *(asked, model, pool),
        )
        is_clients, is_good = bool(record.dialect) and not purpose, not record.error_source
        return _OfCalls(
            calls=CALLS.of(pool, str(record.status), record.outcome, purpose, *more),
            errors=errors,
            seconds=SERVER_SECONDS.of(*named, record.code) if is_clients else None,
            first_seconds=SERVER_FIRST_SECONDS.of(*named) if is_clients and is_good else None,
            token_seconds=SERVER_TOKEN_SECONDS.of(*named) if is_clients and is_good else None,
            added_seconds=ADDED_SECONDS.of(pool) if pool else None,
        )

    def _of_attempts(self, key: tuple[str, ...], more: tuple[str, ...]) -> _OfAttempts:
        pool, member, purpose, dialect, error = key[:5]
        provider, _, model = member.partition("/")
        named = (operation_of(dialect), self._providers.get(provider, provider), model, pool, member)
        return _OfAttempts(
            seconds=CLIENT_SECONDS.of(*named, error),
            first_seconds=CLIENT_FIRST_SECONDS.of(*named),
            tokens_in=CLIENT_TOKENS.of(*named, "input"),
            tokens_out=CLIENT_TOKENS.of(*named, "output"),
            buckets=tuple([TOKENS.of(pool, member, purpose, bucket, *more) for bucket in _BUCKETS]),
            cost=COST.of(pool, member, purpose, *more),
        )

    def _label(self, by: CallLabels) -> None:
        self._labels = by
        self._values: tuple[tuple[str, Values], ...] = tuple(
            [(name, Values(by.most_values)) for name in by.labels]
        )
        CALLS.relabel((*_CALL, *by.labels))
        TOKENS.relabel((*_PAID, "bucket", *by.labels))
        COST.relabel((*_PAID, *by.labels))

    def _forget_children(self) -> None:
        self._calls.clear()
        self._attempts.clear()


_Children = TypeVar("_Children", _OfCalls, _OfAttempts)


def _kept(
    kept: dict[tuple[str, ...], _Children], key: tuple[str, ...], make: Callable[[], _Children]
) -> _Children:
    if len(kept) >= MOST:
        kept.clear()
    made = kept[key] = make()
    return made


def _denied_by(record: Record) -> str:
    if record.budget:
        return record.budget
    return record.rule if record.code == "denied_by_rule" else record.pool


def _count_stream(record: Record, children: _OfCalls) -> None:
    if not record.stream or children.first_seconds is None or record.first_byte_ms is None:
        return
    children.first_seconds.observe(record.first_byte_ms / 1000)
    usage = record.usage
    if usage is not None and usage.output > 1 and children.token_seconds is not None:
        behind_ms = max(0.0, record.duration_ms - record.first_byte_ms)
        children.token_seconds.observe(behind_ms / 1000 / (usage.output - 1))


def _count_tokens(usage: Usage, children: _OfAttempts) -> None:
    children.tokens_in.observe(usage.prompt)
    children.tokens_out.observe(usage.output)
    buckets = children.buckets
    buckets[0].inc(usage.input)
    buckets[4].inc(usage.output)
    if usage.cache_read:
        buckets[1].inc(usage.cache_read)
    if usage.cache_write_5m:
        buckets[2].inc(usage.cache_write_5m)
    if usage.cache_write_1h:
        buckets[3].inc(usage.cache_write_1h)
