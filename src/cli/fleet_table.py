"""`modelbroker status --fleet`: what each broker serves, who is behind, and how long it took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import msgspec

from ..console.telling import span_words
from ..revisions.fleet import Drift, Told, drift
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
    here = len(fleet) - len(seen.away)
    if seen.took_s is not None:
        yield f"{_brokers(here)} serve{'s' if here == 1 else ''} {seen.newest}" + (
            f"; from the first to the last it took {seen.took_s:.1f} s" if here > 1 else ""
        )
    elif here:
        yield f"{len(seen.behind)} of {_brokers(here)} are behind: {seen.newest} is the newest"
    if seen.away:
        yield f"{_brokers(len(seen.away))} said nothing any more"


def _row(one: Told, seen: Drift, now_s: float) -> tuple[str, ...]:
    if one in seen.away:
        state = f"away: it said nothing for {span_words(now_s - one.at_s)}"
    elif one.serving != seen.newest:
        state = "behind"
    elif not one.is_in_effect:
        state = f"on its way to {one.revision}" if one.revision != one.serving else "no Envoy has it in full"
    else:
        state = "in effect"
    if one.is_rolled_back:
        state += ", rolled back"
    if one.error:
        state += f"; {one.error.splitlines()[0]}"
    return (
        one.broker[:12],
        one.host,
        one.version,
        one.serving or "-",
        one.commit[:12] or "-",
        span_words(one.at_s - one.serving_s),
        state,
    )


def _brokers(count: int) -> str:
    return f"{count} broker{'' if count == 1 else 's'}"
