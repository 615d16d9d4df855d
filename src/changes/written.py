"""Values of a catalog as people read them: near to how the configuration writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from ..core.budgets import CONCURRENCY, NANO_DOLLARS, Step, Window
from ..core.catalog import Condition, Op, SecretRef
from ..core.prices import dollars, percent
from .hiding import is_secret, without_secrets

HIDDEN = "(hidden)"

_TIMES_MS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes"))
_OPS = {Op.GT: ">", Op.GE: ">=", Op.LT: "<", Op.LE: "<="}
# What a field says that says nothing: not worth a word among others.
_NOTHING: tuple[object, ...] = (None, "", (), frozenset())
# A unit at the end of a field's name: how its values are written, and the name without it.
_UNITS = ("_ms", "_s", "_ppm", "_percent", "_bytes")


def name_of(field: str) -> str:
    """Without the unit, which the value has: `first_event_ms` → `first_event`."""
    unit = next((unit for unit in _UNITS[:4] if field.endswith(unit)), "")
    return field.removesuffix(unit) or field


def value_of(field: str, value: object) -> str:
    """What the field of this name says."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(field, value)
    if isinstance(value, Condition):
        return condition(value)
    if isinstance(value, Step):
        return step(value)
    if isinstance(value, Window):
        return value.written or "none"
    if isinstance(value, SecretRef):
        return f"sha256:{HIDDEN}" if value.kind == "sha256" else str(value)
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, str):
        return text_of(field, value)
    return _several(field, value)


def text_of(field: str, value: str) -> str:
    """Without what nobody should read."""
    if not value:
        return "not set"
    return HIDDEN if is_secret(field) else without_secrets(value, _hide)


def headers_of(value: object) -> Mapping[str, object]:
    """Name → value of what stands as `headers`."""
    return value if isinstance(value, Mapping) else dict(value)  # type: ignore[call-overload]


def header(value: object) -> str:
    """What a header says: a reference can be read, all else may be a secret."""
    return value_of("header", value) if isinstance(value, SecretRef) else HIDDEN


def _hide(_: str) -> str:
    return HIDDEN


def _several(field: str, value: object) -> str:
    if field == "headers":
        return (
            ", ".join(f"{name}: {header(one)}" for name, one in sorted(headers_of(value).items())) or "none"
        )
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {value_of(str(key), one)}" for key, one in sorted(value.items())) or "none"
    if is_dataclass(value):
        said = [(one.name, getattr(value, one.name)) for one in fields(value) if one.repr]
        told = [f"{name_of(name)} {value_of(name, one)}" for name, one in said if one not in _NOTHING]
        return ", ".join(told) or "as by default"
    if isinstance(value, Iterable):
        items = sorted(value, key=str) if isinstance(value, frozenset | set) else value
        return ", ".join(value_of(field, one) for one in items) or "none"
    return str(value)


def _number(field: str, value: int | float) -> str:
    if field.endswith("_ms"):
        return duration(int(value))
    if field.endswith("_s"):
        return duration(int(value * 1000))
    if field.endswith("_ppm"):
        return percent(int(value))
    if field.endswith("_percent"):
        return f"{value:g}%"
    if field.endswith("bytes"):
        size, unit = next((one for one in _SIZES if value and value % one[0] == 0), (1, "bytes"))
        return f"{int(value) // size:,} {unit}"
    return f"{value:,}"


def duration(ms: int) -> str:
    """`90s`, `5m`; `0` where there is none."""
    if not ms:
        return "0"
    size, unit = next(one for one in _TIMES_MS if ms % one[0] == 0)
    return f"{ms // size}{unit}"


def condition(one: Condition) -> str:
    """`tier is premium`, `context.tokens > 100,000`."""
    values = " or ".join(value_of(one.fact, value) for value in one.values)
    if one.op in _OPS:
        return f"{'not ' if one.negated else ''}{one.fact} {_OPS[one.op]} {values}"
    return f"{one.fact} is {'not ' if one.negated else ''}{values}"


def conditions(them: Iterable[Condition]) -> str:
    return ", ".join(condition(one) for one in them) or "every call"


def step(one: Step) -> str:
    return f"{one.action} at {percent(one.ppm)}{f' to {one.pool}' if one.pool else ''}"


def limit(amount: int, unit: str, window: Window) -> str:
    """`$20 a day`, `1,000 calls/m`."""
    if unit == NANO_DOLLARS:
        return f"${dollars(amount)} per {window.written}"
    if unit == CONCURRENCY:
        return f"{amount:,} calls at a time"
    return f"{amount:,} {unit} per {window.written}"


def listing(names: Iterable[str], most: int = 5) -> str:
    """`a, b and 3 more`."""
    all_of = list(names)
    if len(all_of) <= most:
        return ", ".join(all_of)
    return f"{', '.join(all_of[: most - 1])} and {len(all_of) - most + 1} more"


def percent_of(part: int, whole: int) -> str:
    """`33.3%`"""
    return f"{100 * part / whole:.3g}%" if whole else "0%"
