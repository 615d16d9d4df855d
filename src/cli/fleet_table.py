"""`modelbroker status --fleet`: what each broker serves, who is behind, and how long it took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import msgspec

from ..console.telling import span_words
from ..revisions.fleet import Drift, Told, drift
from ..revisions.fleet_words import agreement_words, state_words
from .status_table import aligned, fetch

_HEAD = ("BROKER", "HOST", "VERSION", "SERVES", "COMMIT", "FOR", "STATE")


def print_fleet(admin_urls: Sequence[str], how: str) -> int:
    """0: all serve the same; 1: they do not. Misconfigured where no broker answers."""
    found: dict[str, Told] = {}
    errors, asked = [], set()
    for url in admin_urls:
        told = fetch(url, "/fleet")
        asked.add(told["broker"])
        errors += [told["error"]] if told["error"] else []
        for one in msgspec.convert(told["brokers"], list[Told]):
            known = found.get(one.broker)
            if known is None or one.at_s > known.at_s:
                found[one.broker] = one
    fleet = list(found.values())
    now_s = max((one.at_s for one in fleet if one.broker in asked), default=0.0)
    seen = drift(fleet, now_s)
    if how == "json":
        tree = {
            "brokers": [msgspec.to_builtins(one) for one in fleet],
            "newest": seen.newest,
            "behind": [one.broker for one in seen.behind],
            "away": [one.broker for one in seen.away],
            "took_s": seen.took_s,
            "errors": errors,
        }
        print(json.dumps(tree, indent=2))
    else:
        print("\n".join(_lines(fleet, seen, now_s, errors)))
    return 0 if not seen.behind and not seen.away and not errors else 1


def _lines(fleet: Sequence[Told], seen: Drift, now_s: float, errors: Sequence[str]) -> Iterator[str]:
    yield from aligned([_HEAD, *(_row(one, seen, now_s) for one in fleet)])
    yield ""
    yield from errors
    yield from agreement_words(len(fleet), seen)


def _row(one: Told, seen: Drift, now_s: float) -> tuple[str, ...]:
    return (
        one.broker[:12],
        one.host,
        one.version,
        one.serving or "-",
        one.commit[:12] or "-",
        span_words(one.at_s - one.serving_s),
        state_words(one, seen, now_s, span_words),
    )
