"""The configuration under drill: the user's own, with a caller of the drill's and, in time-lapse, shorter
waits. Pure; the user's files stay as they are."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ..core.catalog import Catalog, Pool
from ..policy.identity import uses_identities
from ..settings.yamltext import parse
from .scenarios import CALLER

# At most so long in time-lapse (ms): what is found out by waiting would else take minutes each time.
LAPSE: Mapping[str, Mapping[str, int]] = {
    "timeouts": {
        "connect": 1_000,
        "first_event": 1_000,
        "reply": 1_000,
        "between_events": 2_000,
        "wait": 1_000,
    },
    "ejection": {"base": 1_000, "max": 3_000, "ramp": 1_000},
}
_HEDGE_MS = 500  # shorter than a first event may take
_LARGEST_EDITED = 50_000
_OWN_FILE = "000-drill.yaml"
# Where others read what a broker writes: what is drilled was never spent, asked or answered.
_SHARED = ("ledger", "redis", "capture")


@dataclass(frozen=True, slots=True)
class Overlay:
    """`files`: name → text of the configuration that is run. `notes`: what is other than in the user's."""

    files: Mapping[str, str]
    notes: tuple[str, ...]


def overlay(texts: Mapping[str, str], catalog: Catalog, key: str, time_lapse: bool = True) -> Overlay:
    """`texts` have been compiled to `catalog` already, so nothing is wrong with them. `key` is the drill's
    caller's."""
    files: dict[str, str] = {}
    notes: list[str] = []
    shortened: dict[str, str] = {}
    for number, text in enumerate(texts.values()):
        tree, _ = parse(text)
        if not isinstance(tree, dict):
            continue
        for entry in tree.get("pools") or ():
            entry.pop("shadow", None)
            entry.pop("rollout", None)
            if time_lapse:
                _shorten(entry, catalog.pools[entry["name"]], shortened)
        for section in ("rules", "listen", "telemetry", "audit", *_SHARED):
            tree.pop(section, None)
        if isinstance(tree.get("cache"), dict):
            tree["cache"].pop("redis", None)
        _keep_keys_alone(tree)
        files[f"{number + 1:03d}.yaml"] = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    own = {
        "listen": {"address": "127.0.0.1", "port": 0},
        "callers": [
            {
                "name": CALLER,
                "key": {"sha256": hashlib.sha256(key.encode()).hexdigest()},
                "trusted_for": ["feature"],
            }
        ],
    }
    files[_OWN_FILE] = yaml.safe_dump(own)
    if catalog.rules:
        notes.append(f"{len(catalog.rules)} rules are not drilled: each pool is asked for by its name")
    if catalog.telemetry.otlp is not None:
        notes.append("no collector hears of the drill's calls: they are not traced")
    if (
        catalog.fleet
        or catalog.ledger.url
        or catalog.ledger.secret
        or catalog.cache.redis
        or catalog.capture.is_set
    ):
        notes.append("your ledger, Redis and store of captured calls are left alone: a drill keeps its own")
    if catalog.trials:
        notes.append("shadows and rollouts are not drilled")
    if catalog.audit.is_on:
        notes.append("no audit event is made: a drill's calls are none that a SIEM should see")
    if uses_identities(catalog):
        notes.append("tokens and certificates of callers are not drilled")
    if catalog.listen.tls_cert_file:
        notes.append("TLS of the listener is not drilled: the drill's clients speak plain HTTP on loopback")
    if shortened:
        waits = ", ".join(f"{what} {most}" for what, most in shortened.items())
        notes.append(f"time-lapse: longer waits than these run as {waits}; --real-times keeps them")
    return Overlay(files, tuple(notes))


def _keep_keys_alone(tree: dict[str, Any]) -> None:
    """The drill's clients have no certificate, and nobody issues them tokens."""
    tree.pop("issuers", None)
    kept = []
    for entry in tree.get("callers") or ():
        entry = {name: value for name, value in entry.items() if name not in ("jwt", "spiffe")}
        if entry.keys() & {"key", "keys"}:
            kept.append(entry)
    tree["callers"] = kept


def _shorten(entry: dict[str, Any], pool: Pool, shortened: dict[str, str]) -> None:
    """Writes the waits that are longer than in time-lapse anew into the pool's YAML."""
    for section, most in LAPSE.items():
        if section == "ejection" and not pool.ejection.enabled:
            continue
        values = dataclasses.asdict(getattr(pool, section))
        written: dict[str, Any] = {}
        for name, most_ms in most.items():
            now_ms = values.get(f"{name}_ms")
            if now_ms is None:  # this version has no such wait
                continue
            if now_ms > most_ms:
                shortened[f"{section}.{name}"] = f"{most_ms / 1000:g} s"
            written[name] = f"{min(now_ms, most_ms)}ms"
        given = entry.get(section)
        entry[section] = {**(given if isinstance(given, dict) else {}), **written}
    if pool.hedge is not None:
        waits = {"after": pool.hedge.after_ms, "reply_after": pool.hedge.reply_after_ms}
        for name, now_ms in waits.items():
            if now_ms > _HEDGE_MS:
                shortened[f"hedge.{name}"] = f"{_HEDGE_MS / 1000:g} s"
        bounded = {name: f"{min(ms, _HEDGE_MS)}ms" for name, ms in waits.items() if ms}
        entry["hedge"] = {**bounded, "share": f"{pool.hedge.share_percent}%"}


def edited(text: str, number: int) -> str:
    """A configuration's text after the `number`-th edit of a soak: each weight ten times itself and a little,
    so that shares stay as they are and the revision does not."""
    tree, _ = parse(text)
    for entry in tree.get("pools") or () if isinstance(tree, dict) else ():
        for member in entry["members"]:
            weight = member.get("weight", 1)
            if 0 < weight <= _LARGEST_EDITED:
                member["weight"] = 10 * weight + number % 3
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
