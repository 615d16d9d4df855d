"""All secrets that a configuration has in stores: asked for when they are first wanted, and again in time."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from ..core.catalog import SecretRef, StoredSecret
from ..core.errors import Misconfigured
from ..core.secrets import NO_SECRETS, Secrets, StorePlace
from ..policy import holding
from ..policy.holding import UNASKED, Held, Value
from .identity import Renewing, places
from .store import TIMEOUT_S, Away, Gone, SecretStore, open_store

log = logging.getLogger("modelbroker.secrets")

# How long a configuration waits for secrets that were never asked for. A store that does not answer keeps
# nobody from the rest.
_FIRST_S = TIMEOUT_S + 1.0
_AT_ONCE = 8
# (the value of a reference that is no store's, why there is none)
Local = Callable[[SecretRef], tuple[str | None, str]]


class Read(NamedTuple):
    """`values` are good now: the newest, and what it took the place of. None of them: `why`."""

    values: tuple[Value, ...]
    why: str = ""


class SecretBox:
    """Of all threads. `want` says which secrets there are to be, `read` gives one, `look` asks for those that
    are due. `local` reads what opens stores."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._lock = threading.Lock()  # of what follows
        self._secrets = NO_SECRETS
        self._stores: dict[str, tuple[StorePlace, SecretStore]] = {}
        self._held: dict[StoredSecret, Held] = {}
        self._seen: Mapping[StoredSecret, tuple[Value, ...]] = {}  # what was good at the last look
        self._asking: dict[str, threading.Lock] = {}  # store → one question at a time

    def want(self, secrets: Secrets, refs: Collection[StoredSecret]) -> None:
        """From now on these too. Those that nobody has asked for yet are asked for, for a few seconds at
        most. Misconfigured where a store needs what is not installed."""
        opened = {}
        for place in (*secrets.stores.values(), *places(refs)):
            with self._lock:
                known = self._stores.get(place.name)
            if known is not None and known[0] == place:
                opened[place.name] = known
            elif any(ref.store == place.name for ref in refs):
                opened[place.name] = place, open_store(place, self._opener(place))
        with self._lock:
            others = {name for name, one in opened.items() if self._stores.get(name, one) != one}
            closed = [self._stores[name][1] for name in others]
            self._secrets = secrets
            self._stores |= opened
            # Another store of the same name: what the old one said is not what this one would.
            kept = {ref: held for ref, held in self._held.items() if ref.store not in others}
            self._held = {**dict.fromkeys((*self._held, *refs), UNASKED), **kept}
            fresh = [ref for ref in refs if self._held[ref] == UNASKED or self._has_changed(ref)]
        for store in closed:
            store.close()
        if fresh:
            self._ask(fresh, _FIRST_S)
        with self._lock:
            self._seen = self._good()

    def _has_changed(self, ref: StoredSecret) -> bool:
        known = self._stores.get(ref.store)
        return known is not None and isinstance(known[1], Renewing) and known[1].has_changed()

    def keep(self, refs: Collection[StoredSecret]) -> None:
        """None but these are wanted any more."""
        with self._lock:
            self._held = {ref: held for ref, held in self._held.items() if ref in refs}
            self._seen = {ref: values for ref, values in self._seen.items() if ref in refs}
            idle = self._stores.keys() - {ref.store for ref in refs}
            closed = [self._stores.pop(name)[1] for name in idle]
        for store in closed:
            store.close()

    def read(self, ref: StoredSecret) -> Read:
        with self._lock:
            held = self._held.get(ref, UNASKED)
        values = holding.at(held, time.time())
        return Read(values, "" if values else f"{ref.store}: {held.why or 'it has not answered yet'}")

    def next_s(self) -> float:
        """When there is something to be done next (unix time); math.inf: never."""
        now_s = time.time()
        with self._lock:
            times = [
                min(held.next_s or now_s, holding.changes_s(held, now_s)) for held in self._held.values()
            ]
        return min(times, default=float("inf"))

    def look(self) -> bool:
        """Asks for what is due. True: what is good now is not what it was at the last look."""
        now_s = time.time()
        with self._lock:
            due = [ref for ref, held in self._held.items() if held.next_s <= now_s]
        self._ask(due, None)
        with self._lock:
            before, self._seen = self._seen, self._good()
            return before != self._seen

    def _good(self) -> Mapping[StoredSecret, tuple[Value, ...]]:
        now_s = time.time()
        return {ref: holding.at(held, now_s) for ref, held in self._held.items()}

    def status(self) -> list[dict[str, Any]]:
        """Of each secret, without its value."""
        now_s = time.time()
        with self._lock:
            held = dict(self._held)
        return [
            {
                "secret": str(ref),
                "state": "good" if holding.at(one, now_s) else "missing",
                "version": one.value.version if one.value is not None else None,
                "since_s": one.since_s or None,
                "good_until_s": one.until_s if one.value is not None else None,
                "replaced_until_s": one.before_until_s if len(holding.at(one, now_s)) > 1 else None,
                "failures": one.failures,
                "error": one.why or None,
            }
            for ref, one in sorted(held.items(), key=lambda item: str(item[0]))
        ]

    def close(self) -> None:
        with self._lock:
            stores, self._stores = list(self._stores.values()), {}
        for _, store in stores:
            store.close()

    # -- asking

    def _opener(self, place: StorePlace) -> Callable[[str], str]:
        def read(name: str) -> str:
            value, why = self._local(place.credentials[name])
            if value is None:
                raise Away(why)
            return value

        return read

    def _ask(self, refs: Collection[StoredSecret], within_s: float | None) -> None:
        """Store by store side by side, the secrets of one behind each other."""
        by_store: dict[str, list[StoredSecret]] = {}
        for ref in refs:
            by_store.setdefault(ref.store, []).append(ref)
        if not by_store:
            return
        pool = ThreadPoolExecutor(min(_AT_ONCE, len(by_store)), thread_name_prefix="secrets")
        try:
            wait([pool.submit(self._ask_store, name, asked) for name, asked in by_store.items()], within_s)
        finally:
            pool.shutdown(wait=False)  # one that hangs goes on by itself, and tells what it finds

    def _ask_store(self, name: str, refs: Collection[StoredSecret]) -> None:
        with self._lock:
            known = self._stores.get(name)
            turn = self._asking.setdefault(name, threading.Lock())
        if known is None:
            return
        store, away = known[1], ""
        with turn:
            for ref in refs:
                answer = Away(away) if away else _answer(store, ref)
                if isinstance(answer, Away) and not isinstance(answer, Gone):
                    away = str(answer)  # the others need not wait for the same
                self._keep(ref, answer)

    def _keep(self, ref: StoredSecret, answer: Value | Away) -> None:
        now_s = time.time()
        with self._lock:
            before = self._held.get(ref)
            if before is None:  # not wanted any more
                return
            if isinstance(answer, Value):
                held = holding.fetched(before, answer, self._secrets, now_s)
            else:
                is_gone, lot = isinstance(answer, Gone), random.random()
                held = holding.failed(before, str(answer), self._secrets, now_s, lot, is_gone=is_gone)
            self._held[ref] = held
        _tell(ref, before, held)


def _answer(store: SecretStore, ref: StoredSecret) -> Value | Away:
    try:
        return store.fetch(ref)
    except Away as error:
        return error
    except Misconfigured as error:
        return Away(error.message)
    except Exception as error:  # of a library: its text may hold anything
        log.error("%s: asking failed with %s", ref, type(error).__name__)
        return Away(f"asking failed with {type(error).__name__}")


def _tell(ref: StoredSecret, before: Held, held: Held) -> None:
    if held.failures == 1:
        log.error("%s: %s%s", ref, held.why, "; the last value is used" if held.value is not None else "")
    elif before.failures and not held.failures:
        log.warning("%s: it is there again", ref)
    if before.value is not None and held.value is not None and before.value.text != held.value.text:
        log.info("%s: version %s has taken the place of %s", ref, held.value.version, before.value.version)
