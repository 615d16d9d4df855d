"""What may be spent, how fast, and how many calls at a time: budgets and rate limits as a configuration says
them. Both are the same thing: an amount in a window, for each value of what they are counted by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # a catalog holds budgets
    from .catalog import Condition, SecretRef

# Units. Concurrency is given back when a call ends; what is charged in the others stays for its window.
NANO_DOLLARS = "nano_dollars"
TOKENS = "tokens"
CALLS = "calls"
CONCURRENCY = "concurrency"

# What a budget may be counted by and match on: the facts of a caller, and where its call goes.
SCOPES = ("caller", "agent", "user", "team", "customer", "feature", "tier", "pool", "provider")

# A rolling window moves in steps of so many parts of its length.
STEPS = 50

DEFAULT_OUTPUT_TOKENS = 4_096

_DAY_MS = 86_400_000
_UNITS_MS = ((_DAY_MS, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


class OnUnknown:
    """What is done about a call whose cost nobody can tell before it is made."""

    ALLOW = "allow"  # it is charged nothing before, and what is known behind it
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Window:
    """`unit` `minute`, `hour`, `day` or `month`: of the calendar in `time_zone`. "": the last `length_ms`, a
    multiple of STEPS; 0: no window, for what is given back."""

    unit: str = ""
    time_zone: str = "UTC"
    length_ms: int = 0

    def __str__(self) -> str:
        if self.unit:
            return f"{self.unit}@{self.time_zone}"
        return f"rolling@{self.length_ms}" if self.length_ms else "now"

    @property
    def written(self) -> str:
        """As YAML has it: `day`, `rolling 24h`; "" where there is none."""
        if self.unit or not self.length_ms:
            return self.unit
        return "rolling 24h" if self.length_ms == _DAY_MS else f"rolling {self._length}"

    @property
    def written_rate(self) -> str:
        """What stands behind a number in YAML: `/m`, `/24h`."""
        return "/" + (self._length[1:] if self._length[:-1] == "1" else self._length)

    @property
    def _length(self) -> str:
        unit_ms, unit = next(one for one in _UNITS_MS if self.length_ms % one[0] == 0)
        return f"{self.length_ms // unit_ms}{unit}"


class Span(NamedTuple):
    """A window at a moment: what is charged now is charged in `slot`, those from `first` on count, and what
    is in slot n counts no longer from the unix time `until_s` + (n - slot) * `step_s` on; math.inf: never."""

    slot: int
    first: int
    until_s: float
    step_s: float = 0.0

    @property
    def holds_s(self) -> tuple[float, float]:
        """From when until when (exclusive) it is what it is: for a step, or for all of the window."""
        if self.step_s:
            return self.slot * self.step_s, (self.slot + 1) * self.step_s
        return (self.slot, self.until_s) if self.until_s != math.inf else (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is done from so many parts of a million of the limit on. `action`: `warn`, `deny`, or
    `degrade`: the call goes on in `pool`."""

    ppm: int
    action: str
    pool: str = ""


WARN, DEGRADE, DENY = "warn", "degrade", "deny"
DENY_AT_ALL = (Step(1_000_000, DENY),)


@dataclass(frozen=True, slots=True)
class Budget:
    """`limit` in `unit`, in each `window`, for each value of `by`, of calls for which all of `conditions`
    hold. `steps` are in rising order. `lender` is the name of the budget of the same unit from whose rest it
    borrows. `unknown_cost`: an OnUnknown, or nano-dollars that such a call is charged. `output_tokens`: the
    most that are reserved for an answer, 0: as many as the call and its member allow. `kind` is `budget` or
    `rate_limit`: two words for the same thing."""

    name: str
    limit: int
    unit: str
    window: Window
    by: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    steps: tuple[Step, ...] = DENY_AT_ALL
    lender: str = ""
    unknown_cost: str | int = OnUnknown.DENY
    output_tokens: int = 0
    kind: str = "budget"

    @property
    def purpose(self) -> str:
        """Whose calls it is for, where that is not clients: names that people give hold no colon."""
        return self.name.partition(":")[0] if ":" in self.name else ""

    def at(self, step: Step) -> int:
        """How much that step is, rounded down."""
        return self.limit * step.ppm // 1_000_000


@dataclass(frozen=True, slots=True)
class Fleet:
    """Brokers that share what is spent, in Redis. `share_ppm`: the parts of a million of each limit that one
    of them may use up while Redis is away, and `allows_beyond`: what becomes of calls beyond that."""

    url: str
    credential: SecretRef | None = None  # its password
    prefix: str = "modelbroker"
    timeout_ms: int = 250
    share_ppm: int = 100_000
    allows_beyond: bool = False


@dataclass(slots=True)
class Charge:
    """What a call was charged in one account. It counts in the `window` (`day@Europe/Berlin`) in which `at_s`
    is (unix time), when it was reserved. `scope` is whose account it is (`team=research`), "" where there is
    one for all."""

    budget: str
    scope: str
    unit: str
    window: str
    reserved: int
    charged: int
    at_s: float
