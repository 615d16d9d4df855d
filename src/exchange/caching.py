"""One call and the cache: is it answered by a reply that an equal call had, does it wait for one that is
under way, and is its own reply kept for others?"""

from __future__ import annotations

import enum
import functools
from collections.abc import Sequence
from typing import NamedTuple

from ..core.call import Decision, Facts, Surface
from ..core.catalog import Caching, Pool
from ..core.errors import CallError
from ..core.keys import CACHE_HEADER, LOCAL_REPLY_HEADER
from ..dialects import Context, RequestFacts
from ..dialects.repeats import INCOMPLETE, Again, Asked, Kept, UsageUnknown, asked, is_stream, kept, repeated
from ..policy.caching import CacheKey, Tenant, Wish, begun, cache_key, tenant_of, why_not, wish_of
from ..policy.kept import MOST_UNPAID_S, Entry, ReplyCache
from .asked import asked as what_is_asked
from .asked import keyed, replay
from .commands import Pending, Reply
from .inbound import ID_HEADER, Inbound
from .known import NOTHING_SAID, Said, Told, known_of_call
from .translated import Head
from .view import View

# Headers of a client's that providers of its dialect act upon; others reach them, and change no answer.
_KEYED_HEADERS = ("anthropic-", "openai-", "x-goog-")
_MEMBER_HEADER, _DROPPED_HEADER = "x-broker-member", "x-broker-dropped"
# The headers of a reply that matter here.
SEEN_HEADERS = frozenset(
    (":status", "content-type", "content-encoding", LOCAL_REPLY_HEADER, _MEMBER_HEADER, _DROPPED_HEADER)
)
# Of a reply, what a whole one may say it is.
_JSON = "application/json"


class Question(NamedTuple):
    """A call that was decided."""

    view: View
    decision: Decision
    facts: Facts
    read: RequestFacts
    inbound: Inbound
    body: bytes


class Part(enum.Enum):
    """What a call has to do with the cache; what the record calls it."""

    NOT_YET = ""
    BYPASS = "bypass"  # nothing
    MISS = "miss"
    STORED = "stored"  # a miss whose reply is kept for others
    HIT = "hit"
    JOINED = "joined"  # a hit, of a reply that was under way when the call came

    __hash__ = object.__hash__  # an Enum's own is a function of Python's


@functools.lru_cache(maxsize=256)
def _said(part: Part, reason: str) -> Said:
    if part is Part.NOT_YET:
        return NOTHING_SAID
    facts = (("cache", part.value), ("cache_reason", reason))
    header = f"{part.value}; reason={reason}" if part is Part.BYPASS else part.value
    return Said(header, facts if reason else facts[:1])


class CallCache:
    """Of one call. `answer` is asked before anybody is; then `watched` says whether the reply is to be
    shown to `on_reply_headers` and `on_reply_body`."""

    part = Part.NOT_YET
    reason = ""  # why it is a bypass, or why its reply is not kept
    watched = False
    _asked: Asked | None = None
    _key: CacheKey | None = None
    _caching = Caching()
    _surface: Surface | None = None
    _reads = True
    _most_age_s = float("inf")
    _has_asked = _has_waited = False
    _unpaid_until_s: float | None = None  # once it waits for what a reply used
    _enters = True  # with others, where nothing is found
    _is_foreign = False  # holds what only its own dialect knows, which other forms may lose
    _capture: _Capture | None = None
    _content = b""

    def __init__(self, cache: ReplyCache, request_id: str, seal: bytes = b"") -> None:
        self._cache = cache
        self._id = request_id
        self._seal = seal

    # -- before the call is sent

    def answer(self, call: Question, now_s: float, wait_s: float) -> Reply | Pending | None:
        """The reply; or wait for it; or go on to a member. Asked again when the wait is over. `wait_s`: how
        long the call can wait for another one's reply."""
        pool = call.view.catalog.pools[call.decision.pool]
        caching = pool.cache
        if caching is None or self.part not in (Part.NOT_YET, Part.MISS) or self.watched:
            return None
        if self.part is Part.NOT_YET and not self._takes_part(call, pool, caching):
            self.part = Part.BYPASS
            return None
        self.part = Part.MISS
        if self._has_waited:
            self._cache.unpaid.leave(self._id)
        if (entry := self._found(now_s)) is not None:
            try:
                reply = self._reply(entry, call, pool, now_s)
            except UsageUnknown:
                if waits := self._await_paid(entry, pool, now_s, wait_s):
                    return waits
            except (ValueError, CallError):
                pass  # it can't be told in the form that this client wants
            else:
                self._cache.land(self._id)  # where a store of the fleet's was asked, it was asked for all
                return reply
        if self._enters and not self._cache.flights.leads(self._id):
            self._enters = False
            return self._enter(pool, now_s, wait_s)
        return self._again(pool, wait_s, entry is not None)

    def _await_paid(self, entry: Entry, pool: Pool, now_s: float, wait_s: float) -> Pending | None:
        """The reply is here, and in the form that this call wants it tells what it used. Its call's record
        is on its way."""
        if self._unpaid_until_s is None:
            self._unpaid_until_s = entry.at_s + MOST_UNPAID_S
        most_s = min(self._unpaid_until_s - now_s, MOST_UNPAID_S, wait_s)
        if entry.paid is not None or most_s <= 0 or not self._cache.await_paid(self._id, entry.filled_by):
            return None
        self._has_waited = self._enters = True
        return Pending(most_s, wait_s + pool.timeouts.wait_ms / 1000)

    def _takes_part(self, call: Question, pool: Pool, caching: Caching) -> bool:
        facts = call.facts
        looked = looked_at(caching, facts, call.inbound, call.body)
        if isinstance(looked, str):
            self.reason = looked
            return False
        tenant, known, wish = looked
        self._asked, self._caching, self._surface = known, caching, facts.surface
        self._reads, self._is_foreign = wish.reads, bool(facts.same_dialect)
        most_s = caching.ttl_ms / 1000
        self._most_age_s = most_s if wish.most_age_s is None else min(most_s, wish.most_age_s)
        self._content = _content(call, known)
        self._key = _key(tenant, call, pool, self._content)
        return True

    def _found(self, now_s: float) -> Entry | None:
        if self._key is None or self._asked is None or not self._reads:
            return None
        entry = self._cache.memory.get(self._key, now_s)
        if entry is None or now_s - entry.at_s > self._most_age_s:
            return None
        return entry if entry.turns or entry.form == self._asked.form else None

    def _enter(self, pool: Pool, now_s: float, wait_s: float) -> Pending | None:
        if self._key is None:
            return None
        flights = self._cache.flights
        if not self._reads or flights.is_barren(self._key, now_s):
            self.watched = True  # for others, who don't wait for it
            return None
        flight = flights.enter(self._key, self._id)
        if flight is None:
            return None
        if flight.leader == self._id:
            return self._lead(pool, wait_s)
        self._has_waited = True
        return Pending(wait_s, wait_s + pool.timeouts.wait_ms / 1000)

    def _again(self, pool: Pool, wait_s: float, is_other: bool) -> Pending | None:
        """The wait is over, and the reply is not there. `is_other`: there is one that can't be told here."""
        if self._cache.flights.leads(self._id):  # who led before is gone
            return self._lead(pool, wait_s)
        self._cache.leave(self._id)  # it has waited for long enough
        self.watched = is_other
        return None

    def _lead(self, pool: Pool, wait_s: float) -> Pending | None:
        if self._cache.is_shared and not self._has_asked:
            self._has_asked = True
            return Pending(wait_s, wait_s + pool.timeouts.wait_ms / 1000, self._key)
        self.watched = True
        return None

    def resume(self, said: str, facts: Facts, body: bytes, pool: Pool | None, is_own: bool) -> None:
        """The call was handed back; `said` is what its header tells of before. `is_own`: it stays in the
        pool that it was for. The reply of another one is nobody's to keep."""
        word, _, reason = said.partition("; reason=")
        self.part = Part(word) if word in (Part.BYPASS.value, Part.MISS.value) else Part.NOT_YET
        self.reason = reason
        flight = self._cache.flights.flight_of(self._id)
        if flight is None or flight.leader != self._id:
            return
        known = asked(facts.surface.dialect, body)
        if known is None or pool is None or pool.cache is None or not is_own:
            self._cache.land(self._id)
            return
        self._asked, self._key, self._caching, self._surface = known, flight.key, pool.cache, facts.surface
        self._is_foreign = bool(facts.same_dialect)
        self.watched = True

    def quit(self) -> None:
        """Nothing comes of the call that others could use."""
        self.watched = False
        self._cache.release(self._id)
        self._cache.land(self._id)

    # -- what is told

    @property
    def said(self) -> Said:
        """For the client and the record."""
        return _said(self.part, self.reason)

    @property
    def fingerprint(self) -> str:
        """Equal for calls that ask for the same, whatever their pool and caller; "" where it is not known."""
        return keyed(self._content, self._seal) if self._content else ""

    def _reply(self, entry: Entry, call: Question, pool: Pool, now_s: float) -> Reply:
        """`entry` for this client; `repeated` says what it raises."""
        form = self._asked.form if self._asked is not None else entry.form
        passes = pool.usage_event == "pass" and call.read.adds_usage
        again = Again(call.body, form, Context(self._id, int(entry.at_s)), passes, entry.paid or "")
        body = repeated(entry.dialect, entry.form, entry.body, again)
        self.part = Part.JOINED if self._has_waited else Part.HIT
        is_same = is_stream(form) == is_stream(entry.form)
        other = "text/event-stream; charset=utf-8" if is_stream(form) else _JSON
        decision, facts = call.decision, call.facts
        headers: Told = (
            ("content-type", entry.content_type if is_same else other),
            (ID_HEADER, self._id),
            (_MEMBER_HEADER, entry.member),
            ("x-broker-pool", decision.pool),
            ("x-broker-revision", decision.revision),
            ("x-broker-attempts", "0"),
            (CACHE_HEADER, "hit"),
            ("x-broker-cache-age", str(max(0, int(now_s - entry.at_s)))),
        )
        if entry.dropped:
            headers += ((_DROPPED_HEADER, entry.dropped),)
        known = known_of_call(
            self._id,
            facts.surface,
            facts,
            facts.caller,
            rule=decision.rule,
            pool=decision.pool,
            revision=decision.revision,
        )
        told: Told = (
            *known,
            ("asks", what_is_asked(facts)),
            *self.said.facts,
            ("cached_request_id", entry.filled_by),
        )
        if more := replay(facts, "", self.fingerprint):
            told += (("replay", more),)
        return Reply(200, headers, body, facts=told if entry.paid is None else (*told, ("paid", entry.paid)))

    # -- its reply

    def on_reply_headers(self, headers: Sequence[tuple[str, str]], ends: bool) -> bool:
        """Is the body to be shown, too? False: the call has nothing more to do with the cache."""
        self._capture = None
        head = Head(headers)
        if self._asked is None or ends or not _is_good(head, is_stream(self._asked.form)):
            self.quit()
            return False
        self._capture = _Capture(head, self._caching.max_reply_bytes)
        return True

    def on_reply_body(self, chunk: bytes, ends: bool, now_s: float) -> tuple[bool, Entry | None]:
        """(is there more to be shown?, what is kept now)"""
        capture = self._capture
        if capture is None or not capture.takes(chunk):
            self._barren("too-large", now_s)
            return False, None
        if not self._cache.takes(self._id, len(chunk)):
            self.reason = "no-room"
            self.quit()
            return False, None
        if not ends:
            return True, None
        return False, self._keep(capture, now_s)

    def _keep(self, capture: _Capture, now_s: float) -> Entry | None:
        known, key, surface = self._asked, self._key, self._surface
        if known is None or key is None or surface is None:
            return None
        body = b"".join(capture.chunks)
        worth = kept(surface.dialect, known.form, body, self._caching.tool_effects)
        if worth == INCOMPLETE:  # the next one may not be
            self.reason = worth
            self.quit()
            return None
        if not isinstance(worth, Kept):
            self._barren(worth, now_s)
            return None
        entry = Entry(
            dialect=surface.dialect,
            form=known.form,
            turns=worth.turns and not (known.names or self._is_foreign),
            content_type=capture.content_type,
            body=body,
            member=capture.member,
            filled_by=self._id,
            at_s=now_s,
            until_s=now_s + self._caching.ttl_ms / 1000,
            dropped=capture.dropped,
        )
        self._cache.release(self._id)
        if not self._cache.memory.put(key, entry):
            self._barren("too-large", now_s)
            return None
        self.part = Part.STORED
        self._cache.land(self._id)
        return entry

    @property
    def key(self) -> CacheKey | None:
        return self._key

    def _barren(self, why: str, now_s: float) -> None:
        self.reason = why
        if self._key is not None:
            self._cache.flights.note_barren(self._key, now_s)
        self.quit()


def looked_at(
    caching: Caching, facts: Facts, inbound: Inbound, body: bytes
) -> tuple[Tenant, Asked, Wish] | str:
    """A call as the cache sees it; a word says why it is a bypass."""
    if reason := why_not(facts, caching, len(body)):
        return reason
    wish = wish_of(inbound.first("cache-control"))
    if not wish.stores:
        return "no-store"
    tenant = tenant_of(caching.scope, facts.caller)
    if tenant is None:
        return "no-" + caching.scope
    known = asked(facts.surface.dialect, body)
    return (tenant, known, wish) if known is not None else "unclear"


class _Capture:
    """A reply as its client gets it."""

    def __init__(self, head: Head, most_bytes: int) -> None:
        self.content_type = head.values.get("content-type", _JSON)
        self.member = head.values.get(_MEMBER_HEADER, "")
        self.dropped = head.values.get(_DROPPED_HEADER, "")
        self.chunks: list[bytes] = []
        self._left = most_bytes

    def takes(self, chunk: bytes) -> bool:
        """False: it is too large."""
        self._left -= len(chunk)
        if self._left < 0:
            return False
        self.chunks.append(chunk)
        return True


def _is_good(head: Head, wants_stream: bool) -> bool:
    if head.status != 200 or head.is_local():
        return False
    if head.values.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return False
    kind = head.values.get("content-type", "").strip().lower()
    return kind.startswith("text/event-stream" if wants_stream else _JSON)


@functools.lru_cache(maxsize=256)
def _keyed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Asked with the same few tuples, since agents send the same headers all day."""
    return tuple(sorted(name for name in names if name.startswith(_KEYED_HEADERS)))


def _content(call: Question, known: Asked) -> bytes:
    """Of all that the call itself says of its reply: 32 bytes."""
    inbound, surface = call.inbound, call.facts.surface
    names = _keyed(inbound.names)
    said = tuple([(name, inbound.first(name)) for name in names]) if names else ()
    query = inbound.first(":path").partition("?")[2]
    # Where no reply can be turned, nobody has to wait for one in another form.
    form = known.form if known.names or call.facts.same_dialect else ""
    digest = begun(surface.name, query, said, form).copy()
    digest.update(known.content)
    return digest.digest()


def _key(tenant: Tenant, call: Question, pool: Pool, content: bytes) -> CacheKey:
    members = call.view.members_revision(pool)
    version = pool.cache.version if pool.cache is not None else ""
    return cache_key(tenant, pool.name, version, members, pool.usage_event, content=content)
