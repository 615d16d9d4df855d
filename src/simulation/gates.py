"""`--fail-if 'cost > +5%'`: what a change must not do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..core.prices import NANO, dollars
from .figures import METRICS

_GATE = re.compile(r"\s*([a-z_]+)\s*(>=|<=|>|<)\s*([+-]?)\s*(\$?)\s*([0-9]+(?:\.[0-9]+)?)\s*(%|ms|s)?\s*")
_RIGHT = (
    "give METRIC > VALUE, e.g. 'cost > +5%', 'latency > +200ms', 'refusals > 1%' (of all calls) or "
    f"'cost > $40'; metrics are {', '.join(METRICS)}"
)
_COMPARES = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


@dataclass(frozen=True, slots=True)
class Gate:
    """`kind`: `value` of the new policy, `change` from the old one to it, `relative` change in parts of a
    million, or `share` of all calls, likewise."""

    text: str
    metric: str
    compare: str
    kind: str
    bound: float

    def judge(self, total: dict[str, Any]) -> tuple[bool, str]:
        """(does it fail?, what was found). What is not known fails: nobody can say that it is fine."""
        found = total[self.metric]
        if self.kind == "share":
            value: float | None = found["new"] / total["calls"] * 1e6 if total["calls"] else None
        else:
            value = found[{"value": "new", "change": "change", "relative": "change_ppm"}[self.kind]]
        if value is None:
            return True, f"not known: {found.get('why') or 'there was none before'}"
        return _COMPARES[self.compare](value, self.bound), self._shown(value)

    def _shown(self, value: float) -> str:
        if self.kind in ("relative", "share"):
            sign = "+" if self.kind == "relative" else ""
            return f"{value / 10_000:{sign}.2f}%"
        sign = "-" if value < 0 else "+" if self.kind == "change" else ""
        match METRICS[self.metric]:
            case "money":
                return f"{sign}${dollars(round(abs(value)))}"
            case "ms":
                return f"{sign}{abs(value):.1f}ms"
        return f"{sign}{abs(value):.0f}"


def gate_of(text: str) -> Gate:
    """ValueError says what would be right."""
    found = _GATE.fullmatch(text)
    if found is None or found[1] not in METRICS:
        raise ValueError(f"{text!r} is no condition: {_RIGHT}")
    metric, compare, sign, money, number, unit = found.groups()
    kind = METRICS[metric]
    if bool(money) != (kind == "money" and unit != "%") or (money and unit):
        raise ValueError(f"{text!r}: {metric} is in {_units(kind)}")
    if (unit in ("ms", "s")) != (kind == "ms" and unit != "%"):
        raise ValueError(f"{text!r}: {metric} is in {_units(kind)}")
    amount = float(number) * (-1 if sign == "-" else 1)
    if unit == "%":
        if not sign and kind != "calls":
            raise ValueError(f"{text!r}: of what? A change is written with its sign: +{number}%")
        return Gate(text.strip(), metric, compare, "relative" if sign else "share", amount * 10_000)
    amount *= {"money": NANO, "ms": 1000 if unit == "s" else 1}.get(kind, 1)
    return Gate(text.strip(), metric, compare, "change" if sign else "value", amount)


def _units(kind: str) -> str:
    return {"money": "dollars, e.g. $5 or +$5, or +5%", "ms": "ms or s, e.g. 900ms or +200ms, or +5%"}.get(
        kind, "calls, or %"
    )
