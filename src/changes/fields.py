"""The differences between two values of one kind, field by field: none is left out, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeGuard

from .written import header, headers_of, listing, name_of, value_of

ARROW = " → "
# Longer values are told by what went and came, or not at all.
_MOST_LENGTH = 200
Words = frozenset[str] | set[str] | tuple[str, ...]


def differences(old: Any, new: Any, skip: frozenset[str] = frozenset(), at: str = "") -> Iterator[str]:
    """`timeouts.first_event: 1m → 30s`, of two dataclasses of one type. `skip`: fields that are told
    elsewhere. `at` stands before their names."""
    for one in fields(new):
        if one.name in skip or not one.compare:
            continue
        before, now = getattr(old, one.name), getattr(new, one.name)
        if before != now:
            yield from _difference(at, one.name, before, now)


def _difference(at: str, name: str, before: object, now: object) -> Iterator[str]:
    where = f"{at}{name_of(name)}"
    if is_dataclass(before) and is_dataclass(now) and type(before) is type(now):
        said = list(differences(before, now, at=f"{where}."))
        yield from said or [f"{where} changed"]
    elif name == "headers":
        yield from _of_headers(where, headers_of(before), headers_of(now))
    elif isinstance(before, Mapping) and isinstance(now, Mapping):
        yield from _of_mappings(where, before, now)
    elif _is_a_set(before) and _is_a_set(now) and set(before) != set(now):
        yield from _of_sets(where, name, before, now)
    else:
        yield _became(where, _short(name, before), _short(name, now))


def _became(where: str, before: str, now: str) -> str:
    """Values that are read alike are no other ones for who reads them: what is hidden is."""
    return f"{where}: {before}{ARROW}{now}" if before != now else f"{where} changed: {now}"


def _of_headers(where: str, before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        if name not in before:
            yield f"{where}: {name} is new: {header(now[name])}"
        elif name not in now:
            yield f"{where}: {name} goes"
        elif before[name] != now[name]:
            yield _became(f"{where}.{name}", header(before[name]), header(now[name]))


def _of_mappings(where: str, before: Mapping[object, object], now: Mapping[object, object]) -> Iterator[str]:
    for key in sorted({*before, *now}, key=str):
        if key not in before:
            yield f"{where}: {key} is new: {_short(str(key), now[key])}"
        elif key not in now:
            yield f"{where}: {key} goes (was {_short(str(key), before[key])})"
        elif before[key] != now[key]:
            yield _became(f"{where}.{key}", _short(str(key), before[key]), _short(str(key), now[key]))


def _is_a_set(value: object) -> TypeGuard[Words]:
    """Of plain values: what matters is what is in it."""
    return isinstance(value, frozenset | set | tuple) and all(isinstance(one, str) for one in value)


def _of_sets(where: str, name: str, before: Words, now: Words) -> Iterator[str]:
    come = [value_of(name, one) for one in _sorted(now) if one not in before]
    gone = [value_of(name, one) for one in _sorted(before) if one not in now]
    if come:
        yield f"{where}: {listing(come)} {'is' if len(come) == 1 else 'are'} new"
    if gone:
        yield f"{where}: {listing(gone)} {'goes' if len(gone) == 1 else 'go'}"


def _sorted(values: Words) -> list[str]:
    return list(values) if isinstance(values, tuple) else sorted(values)


def _short(name: str, value: object) -> str:
    said = value_of(name, value)
    return said if len(said) <= _MOST_LENGTH else f"{said[:_MOST_LENGTH]}…"
