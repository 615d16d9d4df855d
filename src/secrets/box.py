"""All secrets that a configuration has in stores and files: asked for when they are first wanted, and again
in time."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ..core.catalog import Identity, SecretRef, StoredSecret
from ..core.errors import Misconfigured
from ..core.secrets import NO_SECRETS, Secrets, StorePlace
from ..policy import holding
from ..policy.holding import UNASKED, Held, Settled, Value
from .files import Files
from .identity import Renewing, places
from .store import TIMEOUT_S, Away, Denied, Gone, SecretStore, open_store, usable

log = logging.getLogger("modelbroker.secrets")

# How long a configuration waits for what was never asked for, and a look for what was: the next one sees what
# comes later. A store that does not answer keeps nobody from the rest.
_FIRST_S, _LOOK_S = TIMEOUT_S + 1.0, 0.5
# (the value of a reference that is no store's, why there is none)
Local = Callable[[SecretRef], tuple[str | None, str]]


class Read(NamedTuple):
    """`values` are good now: the newest, and what it took the place of. None of them: `why`."""

    values: tuple[Value, ...]
    why: str = ""


class _Open:
    """A store that is open. One question at a time is asked there: `asked` are those that wait, `in_air` is
    the one that has no answer yet. `is_asked`: a thread is at it."""

    def __init__(self, store: SecretStore | Files, place: StorePlace | None = None) -> None:
        self.store = store
        self.place = place  # None: files
        self.asked: dict[SecretRef, None] = {}
        self.in_air: SecretRef | None = None
        self.is_asked = False


class SecretBox:
    """Of all threads. `want` says which secrets there are to be, `read` gives one, `look` asks for those that
    are due. `local` reads what opens stores; `tells`: the log is to have what happens; without `asks` files
    alone are read, and of stores it is known whether they could be asked."""

    def __init__(self, local: Local, *, tells: bool = True, asks: bool = True) -> None:
        self._local = local
        self._tells = tells
        self._asks = asks
        self._lock = threading.Condition()  # of what follows; told of each answer
        self._secrets = NO_SECRETS
        self._files = _Open(Files())
        self._stores: dict[str, _Open] = {}
        self._held: dict[SecretRef, Held] = {}
        self._foreign: set[SecretRef] = set()  # of these another store has told, that had the same name
        self._seen: Mapping[SecretRef, tuple[Value, ...]] = {}  # what was good at the last look

    def want(self, secrets: Secrets, refs: Collection[SecretRef]) -> None:
        """From now on these too. Files are read now, and what nobody has asked a store for yet is asked for,
        for a few seconds at most. Misconfigured where a store needs what is not installed."""
        opened = self._opened(secrets, refs)
        with self._lock:
            others = {name for name, one in opened.items() if self._stores.get(name, one) is not one}
            closed = [self._stores[name].store for name in others]
            if secrets != self._secrets:
                now_s = time.time()
                self._held = {ref: holding.under(held, secrets, now_s) for ref, held in self._held.items()}
            self._secrets = secrets
            self._stores |= opened
            self._held = {**dict.fromkeys(refs, UNASKED), **self._held}
            # What the old one of that name said is good until the new one has said something.
            foreign = {ref for ref, held in self._held.items() if _store_of(ref) in others and held.value}
            self._foreign |= foreign
            for ref in foreign:
                self._held[ref] = self._held[ref]._replace(next_s=0.0)
            fresh = [
                ref
                for ref in refs
                if (not self._held[ref].next_s or self._has_changed(ref)) and not self._is_asked(ref)
            ]
            files = [ref for ref in refs if not isinstance(ref, StoredSecret)]
        for store in closed:
            store.close()
        self._ask(dict.fromkeys((*files, *(fresh if self._asks else ()))), _FIRST_S)
        with self._lock:
            self._seen = self._good()

    def _has_changed(self, ref: SecretRef) -> bool:
        known = self._stores.get(_store_of(ref))
        return known is not None and isinstance(known.store, Renewing) and known.store.has_changed()

    def _opened(self, secrets: Secrets, refs: Collection[SecretRef]) -> dict[str, _Open]:
        opened = {}
        named = {_store_of(ref) for ref in refs}
        for place in (*secrets.stores.values(), *places(refs)):
            with self._lock:
                known = self._stores.get(place.name)
            if known is not None and known.place == place:
                opened[place.name] = known
            elif place.name in named:
                opened[place.name] = _Open(open_store(place, self._opener(place)), place)
        return opened

    def keep(self, refs: Collection[SecretRef]) -> None:
        """None but these are wanted any more."""
        with self._lock:
            self._held = {ref: held for ref, held in self._held.items() if ref in refs}
            self._seen = {ref: values for ref, values in self._seen.items() if ref in refs}
            self._foreign.intersection_update(refs)
            idle = self._stores.keys() - {_store_of(ref) for ref in refs}
            closed = [self._stores.pop(name).store for name in idle]
        for store in closed:
            store.close()

    def read(self, ref: SecretRef) -> Read:
        with self._lock:
            held = self._held.get(ref, UNASKED)
        values = holding.at(held, time.time())
        why = held.why or "it has not answered yet"
        return Read(values, "" if values else f"{ref.store}: {why}" if isinstance(ref, StoredSecret) else why)

    def in_effect(self, ref: SecretRef, text: str) -> None:
        """From now on calls surely go with `text`."""
        with self._lock:
            if (held := self._held.get(ref)) is not None:
                self._held[ref] = holding.in_effect(held, text, time.time())

    def refused(self, ref: SecretRef, member: str, began_s: float) -> bool:
        """A provider refused what a call of `member` went with; True: calls are to go with another value."""
        now_s = time.time()
        with self._lock:
            if (before := self._held.get(ref)) is None:
                return False
            held = self._held[ref] = holding.refused(before, member, began_s, now_s)
        was_back, is_back = holding.is_back(before, now_s), holding.is_back(held, now_s)
        if is_back and not was_back:
            log.warning(
                "%s: %s refuses the new value; calls go with the one before, and it is tried again in %.0f s",
                ref,
                member,
                held.turn.again_s - now_s,
            )
        elif was_back and not is_back:
            log.warning("%s: %s refuses the value before the newest as well; the newest is used", ref, member)
        return was_back != is_back

    def swap(self, ref: SecretRef) -> tuple[Settled | None, frozenset[str]]:
        """(what calls surely go with, members for whom neither value is any good)."""
        with self._lock:
            held = self._held.get(ref, UNASKED)
        return holding.settled(held, time.time()), held.turn.both

    def holds(self, ref: SecretRef) -> bool:
        with self._lock:
            return ref in self._held

    def next_s(self) -> float:
        """When there is something to be done next (unix time); math.inf: never."""
        now_s = time.time()
        with self._lock:
            if self._good() != self._seen:
                return now_s
            times = [holding.changes_s(held, now_s) for held in self._held.values()]
            times += [
                now_s if holding.is_due(held, self._secrets, now_s) else held.next_s
                for ref, held in self._held.items()
                if not self._is_asked(ref)
            ]
        return min(times, default=float("inf"))

    def look(self) -> bool:
        """Asks for what is due. True: what is good now is not what it was at the last look."""
        now_s = time.time()
        with self._lock:
            due = [
                ref
                for ref, held in self._held.items()
                if holding.is_due(held, self._secrets, now_s) and not self._is_asked(ref)
            ]
        self._ask(due, _LOOK_S)
        with self._lock:
            before, self._seen = self._seen, self._good()
            return before != self._seen

    def _good(self) -> Mapping[SecretRef, tuple[Value, ...]]:
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
                "state": _state(one, now_s),
                "version": (one.value.version or None) if one.value is not None else None,
                "since_s": one.since_s or None,
                "good_until_s": one.until_s if one.value is not None else None,
                "replaced_until_s": one.before_until_s if len(holding.at(one, now_s)) > 1 else None,
                "refused_until_s": one.turn.again_s if holding.is_back(one, now_s) else None,
                "failures": one.failures,
                "error": one.why or None,
            }
            for ref, one in sorted(held.items(), key=lambda item: str(item[0]))
        ]

    def close(self) -> None:
        with self._lock:
            stores, self._stores = list(self._stores.values()), {}
        for opened in stores:
            opened.store.close()

    # -- asking

    def _opener(self, place: StorePlace) -> Callable[[str], str]:
        def read(name: str) -> str:
            value, why = self._local(place.credentials[name])
            if value is None:
                raise Away(why)
            return value

        return read

    def _ask(self, refs: Iterable[SecretRef], patience_s: float) -> None:
        """Store by store side by side, the secrets of one behind each other. One that hangs goes on by
        itself, and tells what it finds; nothing more is asked of it until then."""
        with self._lock:
            asked = [ref for ref in refs if self._open_of(ref) is not None]
            for ref in asked:
                opened = self._open_of(ref)
                if opened is None:
                    continue
                opened.asked.setdefault(ref)
                if not opened.is_asked:
                    opened.is_asked = True
                    threading.Thread(
                        target=self._ask_store, args=(opened,), name="secrets", daemon=True
                    ).start()
            self._lock.wait_for(lambda: not any(map(self._is_asked, asked)), patience_s)

    def _open_of(self, ref: SecretRef) -> _Open | None:
        return self._stores.get(_store_of(ref)) if isinstance(ref, StoredSecret) else self._files

    def _is_asked(self, ref: SecretRef) -> bool:
        opened = self._open_of(ref)
        return opened is not None and (ref in opened.asked or ref == opened.in_air)

    def _ask_store(self, opened: _Open) -> None:
        """Until nothing is left to be asked there."""
        away = ""
        while (ref := self._next(opened)) is not None:
            answer = Away(away) if away else _answer(opened.store, ref)
            is_all = isinstance(answer, Away) and not isinstance(answer, (Denied, Gone))
            if is_all and opened.place is not None:
                away = str(answer)  # the others need not wait for the same
            self._keep(opened, ref, answer)

    def _next(self, opened: _Open) -> SecretRef | None:
        with self._lock:
            opened.in_air = next(iter(opened.asked), None)
            if opened.in_air is None:
                opened.is_asked = False
            else:
                del opened.asked[opened.in_air]
            self._lock.notify_all()
            return opened.in_air

    def _keep(self, opened: _Open, ref: SecretRef, answer: Value | Away) -> None:
        now_s = time.time()
        with self._lock:
            before = self._held.get(ref)
            if before is None or self._open_of(ref) is not opened:
                return  # not wanted any more, or not from there
            is_away = isinstance(answer, Away) and not isinstance(answer, Gone)
            if ref in self._foreign and not is_away:
                self._foreign.discard(ref)
                before = UNASKED
            if isinstance(answer, Value):
                held = holding.fetched(before, answer, self._secrets, now_s)
            else:
                is_gone, lot = isinstance(answer, Gone), random.random()
                held = holding.failed(before, str(answer), self._secrets, now_s, lot, is_gone=is_gone)
            self._held[ref] = held
        if self._tells:
            _tell(ref, before, held)


def _store_of(ref: SecretRef) -> str:
    return ref.store if isinstance(ref, StoredSecret) else ""


def _answer(store: SecretStore | Files, ref: SecretRef) -> Value | Away:
    try:
        found = store.fetch(ref)  # type: ignore[arg-type]  # a store gets its own references alone
        return found._replace(text=usable(found.text, secret_place(ref)))
    except Away as error:
        return error
    except Misconfigured as error:
        return Away(error.message)
    except Exception as error:  # of a library: its text may hold anything
        log.error("%s: asking failed with %s", ref, type(error).__name__)
        return Away(f"asking failed with {type(error).__name__}")


def secret_place(ref: SecretRef) -> str:
    """For people."""
    if isinstance(ref, Identity):
        return f"the token of {ref}"
    if isinstance(ref, StoredSecret):
        return f"the secret {ref}"
    return f"the environment variable {ref.name}" if ref.kind == "env" else f"the file {ref.name}"


def _state(held: Held, now_s: float) -> str:
    if not holding.at(held, now_s):
        return "missing"
    return "refused" if holding.is_back(held, now_s) else "good"


def _tell(ref: SecretRef, before: Held, held: Held) -> None:
    if held.failures == 1:
        place = f"{ref}: " if isinstance(ref, StoredSecret) else ""  # a file's name is in the reason
        log.error("%s%s%s", place, held.why, "; the last value is used" if held.value is not None else "")
    elif before.failures and not held.failures:
        log.warning("%s: it is there again", ref)
    if before.value is not None and held.value is not None and before.value.text != held.value.text:
        versions = (
            f": version {held.value.version} after {before.value.version}" if held.value.version else ""
        )
        log.info("%s: another value has taken the place of the one before%s", ref, versions)
