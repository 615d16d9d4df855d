"""What budgets say of one call, each time that it is to be sent: go on, go on elsewhere, or no."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from ..core.budgets import CALLS, CONCURRENCY, NANO_DOLLARS, Budget
from ..core.call import Facts, Surface
from ..core.causes import Cause
from ..core.errors import CallError, Misconfigured, Refused
from ..core.prices import dollars
from ..dialects import client_dialect
from ..policy.attempts import Tried
from ..policy.budgets import DEGRADED, GRANTED, Ask, Claim, Seat, Verdict, pool_beyond
from ..policy.seats import Plan, claims_of
from .routing import Hold, Narrowed
from .view import Routed, View

# The provider may have worked before the attempt failed so, and what that cost is not told at once.
_MAY_COST = frozenset((Cause.TIMEOUT, Cause.FIRST_EVENT, Cause.STALL, Cause.CUT, Cause.RESET, Cause.GARBAGE))
# SDKs wait no longer than that for their next try.
_SOON_S = 60


class Funds(Protocol):
    """What is spent and reserved by all calls."""

    def reserve(self, ask: Ask) -> Verdict | None:
        """None: it takes a while; the shell asks, and tells the call (`OuterCall.on_verdict`)."""

    def holds(self, request_id: str, account: str) -> bool:
        """Has the call something reserved there already?"""


class Budgeting:
    """Of one call, from its decision to its way out. `degraded_from` is the pool that it was for, where a
    budget sent it on, `budget` the one that did, or that denied it; `degraded` is both, where an earlier
    attempt of the call was sent on."""

    _ask: Ask | None = None
    _routed: Routed | None = None
    _without: frozenset[str] = frozenset()
    _denial: CallError | None = None
    _pool = ""  # where it was degraded to
    _pool_before = ""
    _off: frozenset[str] = frozenset()  # pools that it is not degraded to
    held = ""

    def __init__(
        self, view: View, plan: Plan, request_id: str, funds: Funds, degraded: tuple[str, str] = ("", "")
    ) -> None:
        self._view = view
        self._plan = plan
        self._request_id = request_id
        self._funds = funds
        self.degraded_from, self.budget = degraded

    def next(
        self,
        route: Callable[[Narrowed | None], Routed | Hold],
        facts: Facts,
        tried: Sequence[Tried],
        now_s: float,
        verdict: Verdict | None = None,
    ) -> Routed | Hold | Ask:
        """Where the call goes, once it is paid for; an Ask where that takes a while: then once more, with the
        verdict. `route` decides by what budgets leave. Raises CallError where they leave nothing."""
        if verdict is not None and self._routed is not None and self._may_go(verdict, facts):
            return self._routed
        while True:  # each time there is one pool, provider or member less
            try:
                routed = route(self._narrowed())
            except CallError as error:
                if error is self._denial or not self._falls_back():
                    raise
                continue
            if isinstance(routed, Hold):
                return routed
            member = routed.member
            seats = self._plan.seats(facts.caller, routed.pool.name, member.provider if member else "")
            if not seats:
                return routed
            ask = self._ask_for(seats, routed, facts, tried, now_s)
            if ask is None:
                continue
            verdict = self._funds.reserve(ask)
            if verdict is None:
                return ask
            if self._may_go(verdict, facts):
                return routed

    def _narrowed(self) -> Narrowed | None:
        """What is left for the next decision; None, nearly always: all of it."""
        if self._pool or self._without or self._plan.names_providers:
            return Narrowed(self._plan, self._pool, self._without, self._denial)
        return None

    def _ask_for(
        self, seats: Sequence[Seat], routed: Routed, facts: Facts, tried: Sequence[Tried], now_s: float
    ) -> Ask | None:
        """What is asked for this attempt; None: another decision is needed first."""
        member, self._routed = routed.member, routed
        members = (member,) if member is not None else routed.decision.eligible
        entered = (*self._off, *routed.pools)
        side_by_side = 2 if routed.hedge else 1
        claims, untold = claims_of(seats, facts, members, self._view.ceilings, now_s, side_by_side, entered)
        if untold:
            self._leave_out(frozenset(one.id for one in untold), _untold(untold[0].id, routed))
            return None
        reuses = bool(tried) and tried[-1].cause not in _MAY_COST
        if tried and not reuses:  # one call, and one place, however many attempts
            claims = tuple([self._once(claim) for claim in claims])
        self._ask = Ask(self._request_id, claims, now_s, len(tried), reuses)
        return self._ask

    def _once(self, claim: Claim) -> Claim:
        seat = claim.seat
        if seat.budget.unit not in (CALLS, CONCURRENCY) or not self._funds.holds(
            self._request_id, seat.account
        ):
            return claim
        return Claim(seat, 0, claim.most, claim.degrade)

    def _may_go(self, verdict: Verdict, facts: Facts) -> bool:
        """False: decide again. Raises Refused where nothing is left to decide."""
        ask, routed = self._ask, self._routed
        if ask is None or routed is None:
            raise Misconfigured(500, "broker_defect", "a verdict came before it was asked for")
        if verdict.outcome == GRANTED:
            self.held = verdict.held
            return True
        claim = ask.claims[verdict.row]
        used = verdict.used[verdict.row]
        budget = claim.seat.budget
        if verdict.outcome == DEGRADED:
            entered = (*self._off, *routed.pools)
            self._degrade(budget, pool_beyond(claim.seat.degrades, used + claim.amount, entered), routed)
            return False
        denial = _denied(claim, verdict, ask.now_s, routed, facts.surface)
        if routed.member is not None and _is_providers(budget):
            self._leave_out(frozenset((routed.member.provider,)), denial)
            return False
        raise denial

    def _leave_out(self, names: frozenset[str], denial: CallError) -> None:
        if names <= self._without:
            raise denial
        self._without |= names
        self._denial = denial

    def _degrade(self, budget: Budget, pool: str, routed: Routed) -> None:
        self.degraded_from = self.degraded_from or routed.pool.name
        self.budget = budget.name
        self._off |= {pool}
        self._pool_before, self._pool = self._pool, pool

    def _falls_back(self) -> bool:
        """The pool that it was degraded to can't take it: it stays where it was."""
        if not self._pool:
            return False
        self._pool, self._pool_before = self._pool_before, ""
        if not self._pool:
            self.degraded_from = self.budget = ""
        return True

    @property
    def degraded(self) -> tuple[str, str]:
        return (self.degraded_from, self.budget) if self.degraded_from else ("", "")

    def told(self) -> tuple[tuple[str, str], ...]:
        """For the record."""
        if not self.budget:  # nearly always
            return (("reserved", self.held),) if self.held else ()
        known = (("reserved", self.held), ("degraded_from", self.degraded_from), ("budget", self.budget))
        return tuple(one for one in known if one[1])

    def told_refused(self, denied_by: str) -> tuple[tuple[str, str], ...]:
        """The same of a call that was refused."""
        self.budget = denied_by or self.budget
        return self.told()


class _NoFunds:
    """Nobody pays: for those who only want to know."""

    def reserve(self, ask: Ask) -> Verdict | None:
        return Verdict(GRANTED)

    def holds(self, request_id: str, account: str) -> bool:
        return False


NO_FUNDS: Funds = _NoFunds()


def _is_providers(budget: Budget) -> bool:
    return "provider" in budget.by or any(one.fact == "provider" for one in budget.conditions)


def _untold(member: str, routed: Routed) -> Refused:
    return Refused(
        403,
        "budget_cost_unknown",
        f"a budget in dollars holds for this call, and {member} has no price: what it would cost is not "
        "known; add the model to `prices`, or give the budget an `on_unknown_cost`",
        rule=routed.decision.rule,
        pool=routed.pool.name,
    )


def _denied(claim: Claim, verdict: Verdict, now_s: float, routed: Routed, surface: Surface) -> Refused:
    seat, used, ready_s = claim.seat, verdict.used[verdict.row], verdict.ready_s
    budget = seat.budget
    is_rate = budget.kind == "rate_limit"
    whose = f" ({seat.scope})" if seat.scope else ""
    most = claim.most or 0
    knob = ""
    wait_s = max(1, math.ceil(ready_s - now_s)) if ready_s is not None else None
    if budget.unit == CONCURRENCY:
        wait_s = 1
        what = f"allows {most} calls at a time, and {used} are under way"
    else:
        allowed, taken = shown(most, budget.unit), shown(used, budget.unit)
        what = f"allows {allowed}{_per(budget)}, and {taken} are used or reserved"
        if claim.amount > 1 or budget.unit == NANO_DOLLARS:
            what += f"; this call may take {shown(claim.amount, budget.unit)}"
        if verdict.is_held:
            what += "; it may fit once calls that are under way give back what they do not use"
        elif wait_s is not None:
            what += f"; it fits again in {_waits(wait_s)} ({utc_text(ready_s or 0.0)})"
        elif claim.amount > most:
            what += ", which is more than all of it: "
            if surface.operation == "chat":
                knob = "max_output_tokens"
                own = client_dialect(surface.dialect).own_field(knob)
                what += f"ask for a shorter answer, by {own}"
            else:
                what += "ask for less at a time"
    return Refused(
        429,
        "rate_limited" if is_rate else "budget_exceeded",
        f"the {'rate limit' if is_rate else 'budget'} {budget.name}{whose} {what}",
        knob=knob,
        retry_after_s=wait_s,
        is_final=wait_s is None or wait_s > _SOON_S,
        rule=routed.decision.rule,
        pool=routed.pool.name,
        budget=budget.name,
    )


def shown(amount: int, unit: str) -> str:
    """As people write it: `$1.25`, `1200 tokens`."""
    if unit == NANO_DOLLARS:
        return f"${dollars(amount)}"
    return f"{amount} {CALLS if unit == CONCURRENCY else unit}"


def _per(budget: Budget) -> str:
    """As YAML has it."""
    is_rate = budget.kind == "rate_limit"
    return budget.window.written_rate if is_rate else f" per {budget.window.written}"


def _waits(seconds: int) -> str:
    """Seconds in the two largest units: `3 h 12 m`."""
    parts = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def utc_text(unix_s: float) -> str:
    """`2026-11-30T00:00:00Z`. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"."""
    days, second = divmod(math.ceil(unix_s), 86_400)
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (month <= 2)
    hour, rest = divmod(second, 3_600)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{rest // 60:02d}:{rest % 60:02d}Z"
