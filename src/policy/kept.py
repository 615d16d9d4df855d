"""Replies in memory: at most so many bytes, those that were not asked for longest go first; and who waits for
which reply. No clock, no I/O: whoever holds it says what time it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .caching import CacheKey

# What an entry takes beside its texts: the object, its key and its places in two tables.
ENTRY_BYTES = 1_000


@dataclass(slots=True)
class Entry:
    """A reply as its client got it. `form` and `turns`: dialects/repeats.py. `filled_by` is the id of the
    call that it was for, `member` who answered, `at_s` when (unix time). `paid` says what that used
    (a Used, as text): None until its record is there, "" where it is not known.
    `dropped`: knobs that its provider did not get, as the client was told of them."""

    dialect: str
    form: str
    turns: bool
    content_type: str
    body: bytes
    member: str
    filled_by: str
    at_s: float
    until_s: float
    paid: str | None = None
    dropped: str = ""

    @property
    def size(self) -> int:
        return len(self.body) + ENTRY_BYTES


class Memory:
    """Key → entry. `evicted` counts those that went for the want of room."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self.evicted = 0
        self._entries: OrderedDict[CacheKey, Entry] = OrderedDict()  # what was used last is at the end
        self._filled: dict[str, CacheKey] = {}  # the id of the call that filled → its entry

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: CacheKey, now_s: float) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until_s <= now_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: CacheKey, entry: Entry) -> bool:
        """In the place of an older one. False: it is larger than all there is room for."""
        self._drop(key)
        if entry.size > self.most_bytes:
            return False
        self._entries[key] = entry
        self._filled[entry.filled_by] = key
        self.bytes += entry.size
        self.shrink(self.most_bytes)
        return True

    def shrink(self, most_bytes: int) -> None:
        """There is room for so many bytes from now on."""
        self.most_bytes = most_bytes
        while self.bytes > most_bytes:
            self._drop(next(iter(self._entries)))
            self.evicted += 1

    def filled(self, request_id: str) -> tuple[CacheKey, Entry] | None:
        """What the call of this id left, if it is still here."""
        key = self._filled.get(request_id)
        entry = self._entries.get(key) if key is not None else None
        return (key, entry) if key is not None and entry is not None else None

    def expire(self, now_s: float) -> None:
        """Nobody asks for what is too old: it is looked for now and then."""
        for key in [key for key, entry in self._entries.items() if entry.until_s <= now_s]:
            self._drop(key)

    def _drop(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size
            if self._filled.get(entry.filled_by) == key:
                del self._filled[entry.filled_by]


@dataclass(slots=True)
class Flight:
    """A call under way (`leader`, by its id) whose reply may be good for others, and who waits for it."""

    key: CacheKey
    leader: str
    followers: dict[str, None] = field(default_factory=dict)  # in the order in which they came


# A key whose reply could not be kept: others with it go by themselves for a while, and don't wait in vain.
BARREN_S = 60.0
MOST_BARREN = 10_000
MOST_FOLLOWERS = 1_000  # of all flights, and for what replies used: each holds its body, here and in Envoy


class Flights:
    """Who leads, who waits. What it gives back are ids of calls that need wait no longer."""

    def __init__(self) -> None:
        self._by_key: dict[CacheKey, Flight] = {}
        self._by_call: dict[str, Flight] = {}
        self._barren: OrderedDict[CacheKey, float] = OrderedDict()  # until when
        self.followers = 0

    def flight_of(self, request_id: str) -> Flight | None:
        return self._by_call.get(request_id)

    def leads(self, request_id: str) -> bool:
        flight = self._by_call.get(request_id)
        return flight is not None and flight.leader == request_id

    def enter(self, key: CacheKey, request_id: str) -> Flight | None:
        """The flight that the call leads or waits for. None: there are too many that wait; it goes by
        itself."""
        if (flight := self._by_key.get(key)) is not None:
            if self.followers >= MOST_FOLLOWERS:
                return None
            flight.followers[request_id] = None
            self._by_call[request_id] = flight
            self.followers += 1
            return flight
        flight = self._by_key[key] = self._by_call[request_id] = Flight(key, request_id)
        return flight

    def land(self, request_id: str) -> list[str]:
        """The leader is done, whatever came of it: all that waited go on."""
        flight = self._by_call.get(request_id)
        if flight is None or flight.leader != request_id:
            return []
        del self._by_key[flight.key], self._by_call[request_id]
        self._forget(flight.followers)
        return list(flight.followers)

    def leave(self, request_id: str) -> list[str]:
        """The client of this call is gone. Where it led, the next one does, and that one is given back."""
        flight = self._by_call.pop(request_id, None)
        if flight is None:
            return []
        if flight.leader != request_id:
            flight.followers.pop(request_id, None)
            self.followers -= 1
            return []
        if not flight.followers:
            del self._by_key[flight.key]
            return []
        flight.leader = next(iter(flight.followers))
        del flight.followers[flight.leader]
        self.followers -= 1
        return [flight.leader]

    def is_barren(self, key: CacheKey, now_s: float) -> bool:
        """Is the reply likely to be none to be kept, so that nobody should wait for it?"""
        until_s = self._barren.get(key)
        if until_s is not None and until_s <= now_s:
            del self._barren[key]
        return until_s is not None and until_s > now_s

    def note_barren(self, key: CacheKey, now_s: float) -> None:
        """Its reply was good, and is none to be kept: the next one will be like it."""
        self._barren[key] = now_s + BARREN_S
        self._barren.move_to_end(key)
        if len(self._barren) > MOST_BARREN:
            self._barren.popitem(last=False)

    def _forget(self, followers: Iterable[str]) -> None:
        for request_id in followers:
            del self._by_call[request_id]
            self.followers -= 1


# For so long after a reply came those who have to be told what it used wait for that. Its record is some
# tenths of a second behind.
MOST_UNPAID_S = 1.0


class Unpaid:
    """Calls that could be given a reply that is here, were it known what it used. By the id of the call whose
    record tells it."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, None]] = {}
        self._for: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._for)

    def wait(self, request_id: str, filled_by: str) -> None:
        self.leave(request_id)
        self._waiting.setdefault(filled_by, {})[request_id] = None
        self._for[request_id] = filled_by

    def leave(self, request_id: str) -> None:
        """It waits no longer."""
        if (filled_by := self._for.pop(request_id, None)) is None:
            return
        del self._waiting[filled_by][request_id]
        if not self._waiting[filled_by]:
            del self._waiting[filled_by]

    def paid(self, filled_by: str) -> list[str]:
        """It is known. Those who waited for it go on."""
        waiting = list(self._waiting.pop(filled_by, ()))
        for request_id in waiting:
            del self._for[request_id]
        return waiting


def _wakes_nobody(request_ids: Iterable[str]) -> None:
    """Where no calls wait: in tools that only look."""


@dataclass(slots=True)
class ReplyCache:
    """All that calls share. `wake` is told of calls that need wait no longer, and must not go on with them
    before it returns. `is_shared`: a store of the fleet's stands behind the memory."""

    memory: Memory
    flights: Flights = field(default_factory=Flights)
    unpaid: Unpaid = field(default_factory=Unpaid)
    wake: Callable[[Iterable[str]], None] = _wakes_nobody
    is_shared: bool = False
    # Of replies that are not whole yet: call → bytes. Together they take no more than those that are.
    _coming: dict[str, int] = field(default_factory=dict)
    _coming_bytes: int = 0

    def takes(self, request_id: str, size: int) -> bool:
        """So many more bytes of its reply have come. False: there is no room for them."""
        if self._coming_bytes + size > self.memory.most_bytes:
            return False
        self._coming[request_id] = self._coming.get(request_id, 0) + size
        self._coming_bytes += size
        return True

    def release(self, request_id: str) -> None:
        """Nothing more of its reply comes."""
        self._coming_bytes -= self._coming.pop(request_id, 0)

    @property
    def waiting(self) -> int:
        """Calls that wait: for a reply, or for what it used."""
        return self.flights.followers + len(self.unpaid)

    def await_paid(self, request_id: str, filled_by: str) -> bool:
        """Wait for what the call `filled_by` used. False: there are too many that wait."""
        if not self.flights.leads(request_id):
            self.flights.leave(request_id)
        if self.waiting >= MOST_FOLLOWERS:
            return False
        self.unpaid.wait(request_id, filled_by)
        return True

    def settle(self, request_id: str, paid: str) -> tuple[CacheKey, Entry] | None:
        """`paid` is what the call used that left a reply (as in Entry). What is found of that."""
        found = self.memory.filled(request_id)
        if found is not None:
            found[1].paid = paid
        if waiting := self.unpaid.paid(request_id):
            self.wake(waiting)
        return found

    def land(self, request_id: str) -> None:
        """The call leads no more; who waited for it goes on."""
        if waiting := self.flights.land(request_id):
            self.wake(waiting)

    def leave(self, request_id: str) -> None:
        """Its client is gone."""
        self.release(request_id)
        self.unpaid.leave(request_id)
        if leading := self.flights.leave(request_id):
            self.wake(leading)
