"""What is done to the broker, told as acts: by the control plane in its own words, or by whoever asks it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..audit.acts import ActWriter, Finish, new_act
from ..core import acts
from ..core.acts import BROKER, COMMAND, CONSOLE, DONE, EDIT, FAILED, ITSELF, Act, By, Detail
from ..core.catalog import IDENTITY, Catalog
from ..journal.writing import Reader
from ..revisions.kept import ROLLBACK
from ..trials.told import Event, done_by
from ..xds.store import Refusal
from .runtime import Ready
from .sourcing import Whence

_MOST_TEXT = 500
_ROLLOUTS = {
    "began": acts.ROLLOUT_BEGAN,
    "promoted": acts.ROLLOUT_PROMOTED,
    "rolled-back": acts.ROLLOUT_ROLLED_BACK,
    "paused": acts.ROLLOUT_PAUSED,
    "resumed": acts.ROLLOUT_RESUMED,
    "done": acts.ROLLOUT_DONE,
}


class ActDesk:
    """`folder` is that of the state. `whence` tells how texts of a configuration came here: None for what
    could not be read. From any thread."""

    def __init__(
        self,
        folder: Path,
        whence: Callable[[Mapping[str, str] | None], Whence],
        readers: Mapping[str, Reader],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = ActWriter(folder, readers)
        self._whence = whence
        self._revision = ""
        self._seen: dict[str, dict[str, Any]] = {}  # secrets in stores, as their status was

    def close(self, patience_s: float) -> None:
        self._writer.close(patience_s)

    def _tell(
        self,
        word: str,
        details: Mapping[str, Detail] = acts.NO_DETAILS,
        *,
        by: By = ITSELF,
        result: str = DONE,
        finish: Finish | None = None,
    ) -> None:
        told = {"actor": by.actor, "user": by.user, "result": result, "revision": self._revision}
        self._writer.put(new_act(word, details=details, **told), finish)

    # -- its life, and the configuration's

    def started(self, version: str) -> None:
        self._tell(acts.STARTED, {"version": version})

    def stopped(self) -> None:
        self._tell(acts.STOPPED)

    def loaded(self, before: Ready | None, after: Ready) -> None:
        """From now on this is served. What of the secrets differs is told apart from what was edited."""
        self._revision = after.catalog.revision
        origin, why, by = self._whence(after.texts)
        finish = partial(
            loaded_acts, before=before, after=after, held=frozenset(self._seen), commit=origin.commit
        )
        word = acts.CONFIG_ROLLED_BACK if why == ROLLBACK else acts.CONFIG_LOADED
        self._tell(word, by=by, finish=finish)

    def refused(self, error: str) -> None:
        """An edit that is wrong."""
        origin = self._whence(None).origin
        details: dict[str, Detail] = {"name": self._revision, "error": error[:_MOST_TEXT]}
        details |= {"commit": origin.commit} if origin.commit else {}
        self._tell(acts.CONFIG_REFUSED, details, by=By(EDIT, origin.who), result=FAILED)

    def nacked(self, error: str, refusal: Refusal | None) -> None:
        name = refusal.revision if refusal is not None else self._revision
        self._tell(acts.CONFIG_NACKED, {"name": name, "error": error[:_MOST_TEXT]}, result=FAILED)

    def rolled_back(self, good: Ready, why: str) -> None:
        if good.catalog.revision == self._revision:
            return  # another part of the same was refused
        before, self._revision = self._revision, good.catalog.revision
        details: dict[str, Detail] = {"name": self._revision, "before": before, "why": why[:_MOST_TEXT]}
        self._tell(acts.CONFIG_ROLLED_BACK, details)

    # -- what else happens

    def secrets(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Those in stores and files, as their status is now. Tokens that the broker got for itself are no
        keys that somebody rotates."""
        now = {row["secret"]: dict(row) for row in rows if not row["secret"].startswith(IDENTITY)}
        for name, row in now.items():
            for word, details in secret_acts(self._seen.get(name), row):
                self._tell(word, details)
        self._seen = now

    def rollout(self, event: Event) -> None:
        details: dict[str, Detail] = {
            "name": event.rollout,
            "to": event.to,
            "at_stage": event.at_stage,
            "stage": event.stage,
            "reason": event.reason,
            **{f"calls_{arm}": count for arm, count in event.calls.items()},
        }
        for gate in event.gates:
            details[f"{gate['gate']}_verdict"] = gate["verdict"]
            for arm in ("stable", "candidate"):
                if (figure := gate[arm]) is not None:
                    details[f"{gate['gate']}_{arm}"] = figure["value"]
        self._tell(_ROLLOUTS.get(event.event, f"rollout.{event.event}"), details, by=done_by(event))

    def forgotten(self, members: Sequence[str], by: By) -> None:
        details: dict[str, Detail] = {"name": ", ".join(members)[:_MOST_TEXT], "members": len(members)}
        self._tell(acts.MEMBERS_FORGOTTEN, details, by=by)

    def command_refused(self, path: str, peer: str, why: str) -> None:
        details: dict[str, Detail] = {"name": path[:_MOST_TEXT], "peer": peer, "error": why[:_MOST_TEXT]}
        self._tell(acts.COMMAND_REFUSED, details, by=By(COMMAND), result=FAILED)

    def console_login(self, user: str, peer: str, *, why_not: str = "") -> None:
        """`why_not`: why it failed."""
        details: dict[str, Detail] = {"name": "console", "peer": peer}
        details |= {"error": why_not} if why_not else {}
        result = FAILED if why_not else DONE
        self._tell(acts.CONSOLE_LOGIN, details, by=By(CONSOLE, user), result=result)

    def console_logout(self, user: str, peer: str) -> None:
        self._tell(acts.CONSOLE_LOGOUT, {"name": "console", "peer": peer}, by=By(CONSOLE, user))


def loaded_acts(
    act: Act, before: Ready | None, after: Ready, held: Collection[str], commit: str = ""
) -> list[Act]:
    """That a configuration was loaded, where it is another one, and which secrets have other values."""
    changed = changed_parts(before.catalog, after.catalog) if before is not None else ""
    told: list[Act] = []
    if before is None or changed:
        was = before.catalog.revision if before is not None else ""
        name = after.catalog.revision
        details: dict[str, Detail] = {"name": name, "before": was, "changed": changed}
        details |= {"commit": commit} if commit else {}
        told.append(replace(act, details=details))
    for word, details in rotated(before, after, held) if before is not None else ():
        told.append(new_act(word, actor=BROKER, revision=act.revision, details=details))
    return told


def changed_parts(before: Catalog, after: Catalog) -> str:
    """The parts of a configuration in which two differ: `pools, budgets`."""
    names = [one.name for one in fields(Catalog) if one.name != "revision"]
    return ", ".join(name for name in names if getattr(before, name) != getattr(after, name))


Told = tuple[str, dict[str, Detail]]


def rotated(before: Ready, after: Ready, held: Collection[str]) -> list[Told]:
    """Secrets that have other values now, though the configuration refers to them as before; but for those
    that are `held`, of which `secret_acts` tells."""
    old, new = _values(before), _values(after)
    told: list[Told] = [
        (acts.SECRET_ROTATED, {"name": name, "version": None})
        for name in sorted((old.keys() & new.keys()) - set(held))
        if old[name] != new[name]
    ]
    keys_before, keys_after = _keys_of(before), _keys_of(after)
    was_entries = {entry.name: entry for entry in before.catalog.callers}
    for entry in after.catalog.callers:
        known = was_entries.get(entry.name)
        if known is None:
            continue
        gone = keys_before.get(entry.name, set()) - keys_after.get(entry.name, set())
        fresh = keys_after.get(entry.name, set()) - keys_before.get(entry.name, set())
        if not fresh and any(str(ref) in held for ref in entry.keys):
            continue  # the overlap is over, which `secret_acts` tells
        if gone or fresh:
            told.append((acts.CALLER_KEY_ROTATED, {"name": entry.name, "new": len(fresh), "gone": len(gone)}))
    return told


def _values(ready: Ready) -> dict[str, str]:
    """Reference → value, of all secrets but callers' keys that could be read."""
    catalog, resolved = ready.catalog, ready.resolved
    fleet, capture, audit = catalog.fleet, catalog.capture, catalog.audit
    pairs = [(one.credential, resolved.credentials.get(name)) for name, one in catalog.providers.items()]
    pairs += [(catalog.ledger.secret, resolved.ledger_url), (catalog.cache.redis, resolved.cache_redis)]
    pairs += [(fleet.credential, ready.redis_password)] if fleet is not None else []
    if ready.capture is not None:
        pairs += [(capture.secret, ready.capture.url)]
        pairs += list(zip((capture.key, *capture.old_keys), ready.capture.keys, strict=False))
    if ready.audit is not None:
        pairs += [(audit.key, ready.audit.key)]
        secrets = {sink.name: sink.secrets for sink in ready.audit.sinks}
        pairs += [
            (ref, secrets.get(sink.name, {}).get(what))
            for sink in audit.sinks
            for what, ref in sink.credentials.items()
        ]
    return {str(ref): value for ref, value in pairs if ref is not None and value}


def _keys_of(ready: Ready) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key, caller in ready.resolved.callers.items():
        found.setdefault(caller.name, set()).add(key)
    return found


def secret_acts(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[Told]:
    """Of two looks at a secret in a store."""
    if before is None or before["since_s"] is None:
        return []
    told: list[Told] = []
    if now["since_s"] is not None and now["since_s"] != before["since_s"]:
        details = {"name": now["secret"], "version": now["version"], "before": before["version"]}
        told.append((acts.SECRET_ROTATED, details))
    if before["replaced_until_s"] is not None and now["replaced_until_s"] is None:
        told.append((acts.SECRET_OVERLAP_OVER, {"name": now["secret"], "version": now["version"]}))
    return told
