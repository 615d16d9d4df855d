"""Who is charged what: reserve before a call, settle behind it. Integers, and a clock that is given.

A call has a *claim* in each account that it falls into. All of them fit, or nothing is reserved. What does
not fit in an account may be taken from its lender's rest. What a call did cost counts in the window in which
it was reserved, whenever it ends."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from ..core.budgets import (
    CALLS,
    CONCURRENCY,
    DEGRADE,
    DENY,
    NANO_DOLLARS,
    STEPS,
    WARN,
    Budget,
    Charge,
    Span,
    Window,
)

# When to ask again for what calls under way hold: nobody knows when they end.
SOON_S = 1.0
_ENCODER = msgspec.json.Encoder()
GRANTED, DEGRADED, DENIED = "granted", "degraded", "denied"
Spans = Callable[[Window, float], Span]


class Seat(NamedTuple):
    """A budget's account that a call falls into; `lender`: where in the same list its lender is, -1: it has
    none. `is_own`: the call is charged there; else it is there to be borrowed from alone. The rest follows
    from the budget: `most` that the account may hold (None: without end), `degrades`: from where on the call
    goes on in which pool, `counts`: a call is one, whatever it costs, `warns`: somebody wants to be told how
    much is used."""

    budget: Budget
    account: str
    scope: str
    lender: int = -1
    is_own: bool = True
    most: int | None = None
    degrades: tuple[tuple[int, str], ...] = ()
    counts: bool = False
    warns: bool = False


def seat_of(budget: Budget, scope: str = "", lender: int = -1, is_own: bool = True) -> Seat:
    degrades = tuple((budget.at(step), step.pool) for step in budget.steps if step.action == DEGRADE)
    counts = is_own and budget.unit in (CALLS, CONCURRENCY)
    account = account_id(budget, scope)
    return Seat(
        budget,
        account,
        scope,
        lender,
        is_own,
        most=most_of(budget),
        degrades=degrades if is_own else (),
        counts=counts,
        warns=any(step.action == WARN for step in budget.steps),
    )


class Claim(msgspec.Struct, frozen=True, gc=False):
    """`amount` is what the call may cost at most, in the budget's unit. `most`: what the account may hold,
    None: without end; `degrade`: from where on the call goes on elsewhere, None: nowhere."""

    seat: Seat
    amount: int
    most: int | None
    degrade: int | None = None


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What one attempt of a call asks for at `now_s` (unix time). `since`: so many attempts were made before;
    `reuses`: they cost nothing, so that what was reserved for the last of them is free again."""

    request_id: str
    claims: tuple[Claim, ...]
    now_s: float
    since: int = 0
    reuses: bool = False


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """`row`: the claim that says no, and what its account holds already. `ready_s` (unix time): when it would
    fit; None: nobody knows, or never. `is_held`: calls under way hold what is missing, and may give it back
    before. `held`: what was reserved, for the record. `used`: what each account held."""

    outcome: str
    row: int = -1
    used: tuple[int, ...] = ()
    ready_s: float | None = None
    held: str = ""
    is_held: bool = False


class Part(msgspec.Struct, array_like=True):
    """What one account gave: `taken` of its own, `passed` on to part number `lender` of the same stage."""

    account: str
    slot: int
    taken: int
    passed: int = 0
    lender: int = -1
    is_own: bool = True


class Stage(msgspec.Struct, array_like=True):
    """What was reserved at `at_s` for the attempts from number `since` on, until the next stage."""

    since: int
    at_s: float
    parts: list[Part]


class Used(msgspec.Struct, frozen=True, gc=False):
    """What a stage's attempts used, as far as it is known, and whether that is all of it. `is_made`: there
    were any."""

    nano_dollars: int
    tokens: int
    is_money_whole: bool
    are_tokens_whole: bool
    is_made: bool = True


def judge(claims: Sequence[Claim], used: Sequence[int]) -> tuple[str, int, list[int], list[int]]:
    """(outcome, row, taken, passed): the whole law, which the script in Redis repeats line by line."""
    for row, claim in enumerate(claims):
        if claim.degrade is not None and used[row] + claim.amount > claim.degrade:
            return DEGRADED, row, [], []
    need = [claim.amount for claim in claims]
    passed = [0] * len(claims)
    for row, claim in enumerate(claims):
        if claim.most is None or need[row] <= 0 or used[row] + need[row] <= claim.most:
            continue
        lender = claim.seat.lender
        if lender < 0:
            return DENIED, row, [], []
        if claims[lender].seat.is_own:
            continue  # charged there whole, and judged there
        room = max(0, claim.most - used[row])
        passed[row] = need[row] - room
        need[lender] += passed[row]
        need[row] = room
    return GRANTED, -1, need, passed


class Account:
    """What was spent and is reserved, by slot of its window. `slot` is the one that is charged now, from
    `from_s` until `until_s` (unix time): then `move` says which."""

    __slots__ = ("first", "from_s", "reserved", "slot", "slots", "spent", "until_s", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.slots: dict[int, list[int]] = {}  # slot → [spent, reserved]
        self.spent = 0
        self.reserved = 0
        self.slot = self.first = -(2**62)
        self.from_s = self.until_s = 0.0

    def move(self, span: Span) -> None:
        """Slots before the span's first count no longer. A clock that is set back takes that with it: what
        was charged in what is the future now counts on."""
        self.slot, first = span.slot, span.first
        self.from_s, self.until_s = span.holds_s
        if first == self.first:
            return
        self.first = first
        for slot in [slot for slot in self.slots if slot < first]:
            spent, reserved = self.slots.pop(slot)
            self.spent -= spent
            self.reserved -= reserved


def refusal(
    outcome: str,
    row: int,
    claim: Claim,
    used: Sequence[int],
    reserved: int,
    slots: Mapping[int, int],
    span: Span,
    now_s: float,
) -> Verdict:
    """What a claim is told that does not fit: its account holds `used[row]` by slot of its window (`slots`),
    of which calls under way have `reserved`. Most of that they give back; but each call stays one call."""
    most, budget = claim.most or 0, claim.seat.budget
    if claim.amount > most:
        return Verdict(outcome, row, tuple(used))
    too_much = used[row] + claim.amount - most
    if too_much <= reserved and budget.unit != CALLS:
        return Verdict(outcome, row, tuple(used), now_s + SOON_S, is_held=True)
    return Verdict(outcome, row, tuple(used), ready_s(slots, span, too_much, budget.window))


def ready_s(slots: Mapping[int, int], span: Span, too_much: int, window: Window) -> float | None:
    """When `too_much` of what the slots (number → used) hold counts no longer."""
    if not window.unit and not window.length_ms:
        return None
    if window.unit:
        return span.until_s
    for slot in sorted(slots):
        too_much -= slots[slot]
        if too_much <= 0:
            return span.until_s + (slot - span.slot) * span.step_s
    return span.until_s


class Accounts:
    """All of them, and what calls under way hold. `spans`: where windows are at a time. `log`: who keeps the
    same elsewhere gets each move that is not known there: (account, slot) → what is reserved more. Not
    `tells`: nobody asks what was held, and `Verdict.held` is ""."""

    def __init__(self, spans: Spans, *, tells: bool = True) -> None:
        self.spans = spans
        self._tells = tells
        self.log: dict[tuple[str, int], int] | None = None
        self.accounts: dict[str, Account] = {}
        self.held: dict[str, list[Stage]] = {}

    # -- before a call

    def reserve(self, ask: Ask) -> Verdict:
        if ask.reuses:
            self.give_back(ask.request_id)
        fits = True
        used, slots, amounts = [], [], []
        now_s = ask.now_s
        for claim in ask.claims:
            account = self._at(claim.seat, now_s)
            total = account.spent + account.reserved
            used.append(total)
            slots.append(account.slot)
            amounts.append(claim.amount)
            total += claim.amount
            most, degrade = claim.most, claim.degrade
            if (most is not None and total > most) or (degrade is not None and total > degrade):
                fits = False
        if fits:  # nearly always, and nothing else is to be judged
            return Verdict(GRANTED, -1, tuple(used), None, self.hold(ask, slots, amounts))
        outcome, row, taken, passed = judge(ask.claims, used)
        if outcome == GRANTED:
            return Verdict(GRANTED, -1, tuple(used), None, self.hold(ask, slots, taken, passed))
        account = self._at(ask.claims[row].seat, now_s)
        by_slot = {slot: spent + reserved for slot, (spent, reserved) in account.slots.items()}
        span = self.spans(account.window, now_s)
        return refusal(outcome, row, ask.claims[row], used, account.reserved, by_slot, span, now_s)

    def hold(
        self,
        ask: Ask,
        slots: Sequence[int],
        taken: Sequence[int],
        passed: Sequence[int] = (),
        is_known: bool = False,
    ) -> str:
        """Keep what was granted; what the record is to say of it. `passed` is empty where nothing was."""
        parts = []
        for row, claim in enumerate(ask.claims):
            seat, slot, amount = claim.seat, slots[row], taken[row]
            more = passed[row] if passed else 0
            parts.append(Part(seat.account, slot, amount, more, seat.lender, seat.is_own))
            if amount:
                self._move(seat.account, seat.budget.window, slot, 0, amount, is_known=is_known)
        stage = Stage(ask.since, ask.now_s, parts)
        stages = self.held.get(ask.request_id)
        if stages is None:
            stages = self.held[ask.request_id] = [stage]
        else:
            stages.append(stage)
        return _ENCODER.encode(stages).decode() if self._tells else ""

    def holds(self, request_id: str, account: str) -> bool:
        """Has the call something of this account already?"""
        stages = self.held.get(request_id, ())
        return any(part.account == account and part.taken for stage in stages for part in stage.parts)

    def give_back(self, request_id: str) -> list[Part]:
        """What was reserved for its last attempts, for they cost nothing."""
        stages = self.held.get(request_id)
        if not stages:
            return []
        parts = stages.pop().parts
        for part in parts:
            self._move(part.account, None, part.slot, 0, -part.taken)
        if not stages:
            del self.held[request_id]
        return parts

    def _at(self, seat: Seat, now_s: float) -> Account:
        """The seat's account as it stands now."""
        account = self.accounts.get(seat.account)
        if account is None:
            account = self.accounts[seat.account] = Account(seat.budget.window)
        if not account.from_s <= now_s < account.until_s:
            account.move(self.spans(account.window, now_s))
        return account

    def _move(
        self,
        name: str,
        window: Window | None,
        slot: int,
        spent: int,
        reserved: int,
        *,
        is_known: bool = False,
    ) -> None:
        account = self.accounts.get(name)
        if account is None:
            account = Account(window or window_named(named(name)[2]))
            self.accounts[name] = account
        if slot >= account.first:  # else it is nobody's any more
            held = account.slots.get(slot)
            if held is None:
                account.slots[slot] = [spent, reserved]
            else:
                held[0] += spent
                held[1] += reserved
            account.spent += spent
            account.reserved += reserved
        if self.log is not None and not is_known:
            key = (name, slot)
            self.log[key] = self.log.get(key, 0) + reserved

    # -- behind it

    def adopt(self, request_id: str, told: str) -> None:
        """A call of which this process knows nothing, since it began while the call was under way. `told`:
        what its record says was reserved."""
        if request_id in self.held or not (stages := stages_of(told)):
            return
        self.held[request_id] = stages
        for part in (part for stage in stages for part in stage.parts):
            self._move(part.account, None, part.slot, 0, part.taken)

    def settle(self, request_id: str, used: Callable[[int, int | None], Used] | None = None) -> list[Charge]:
        """The call has ended: what it is charged. `used(since, until)`: what the attempts between these two
        used; None: nobody knows, and what was reserved is spent."""
        stages = self.held.pop(request_id, ())
        charges: list[Charge] = []
        for number, stage in enumerate(stages):
            until = stages[number + 1].since if number + 1 < len(stages) else None
            amounts = charged(stage, used(stage.since, until) if used is not None else None)
            for part, amount in zip(stage.parts, amounts, strict=True):
                if part.taken or amount:
                    self._move(part.account, None, part.slot, amount, -part.taken)
                elif not part.is_own:
                    continue
                name, unit, window, scope = named(part.account)
                if unit == CONCURRENCY:
                    continue
                charges.append(Charge(name, scope, unit, window, part.taken, amount, stage.at_s))
        return charges

    def close(self, request_id: str, used: Used) -> None:
        """As `settle`, where all attempts are known as one and nobody asks what each account was charged."""
        for stage in self.held.pop(request_id, ()):
            for part, amount in zip(stage.parts, charged(stage, used), strict=True):
                if part.taken or amount:
                    self._move(part.account, None, part.slot, amount, -part.taken)

    def restore(self, account: str, slot: int, spent: int) -> None:
        """What is known from before."""
        self._move(account, None, slot, spent, 0)

    def replay(self, charge: Charge) -> None:
        """What a record of an earlier process says."""
        name = f"{charge.budget}|{charge.unit}|{charge.window}|{charge.scope}"
        slot = self.spans(window_named(charge.window), charge.at_s).slot
        self.restore(name, slot, charge.charged)

    def sweep(self, now_s: float) -> None:
        """Accounts in which nothing counts any more are forgotten."""
        for name, account in list(self.accounts.items()):
            account.move(self.spans(account.window, now_s))
            if not account.slots or not any(map(any, account.slots.values())):
                del self.accounts[name]


@functools.lru_cache(maxsize=16_384)
def named(account: str) -> tuple[str, str, str, str]:
    """(budget, unit, window, scope)"""
    budget, unit, window, scope = account.split("|", 3)
    return budget, unit, window, scope


def charged(stage: Stage, used: Used | None) -> list[int]:
    """What each part is charged. Where nobody knows, what was reserved, or more where more is known."""
    amounts: list[int] = []
    lent: dict[int, int] = {}
    for row, part in enumerate(stage.parts):
        amount = _amount(part, named(part.account)[1], used) if part.is_own else lent.get(row, 0)
        if part.passed and amount > part.taken:
            over = min(amount - part.taken, part.passed)
            lent[part.lender] = lent.get(part.lender, 0) + over
            amount -= over
        amounts.append(amount)
    return amounts


def _amount(part: Part, unit: str, used: Used | None) -> int:
    whole = part.taken + part.passed
    if unit == CONCURRENCY or (used is not None and not used.is_made):
        return 0
    if unit == CALLS or used is None:
        return whole
    known = used.nano_dollars if unit == NANO_DOLLARS else used.tokens
    is_whole = used.is_money_whole if unit == NANO_DOLLARS else used.are_tokens_whole
    return known if is_whole else max(known, whole)


def stages_of(text: str) -> list[Stage]:
    """As `hold` told them; none where it is not understood."""
    if not text:
        return []
    try:
        return msgspec.json.decode(text, type=list[Stage])
    except msgspec.DecodeError:
        return []


def account_id(budget: Budget, scope: str) -> str:
    """Another window is another account; so is another unit. Another limit is not."""
    return f"{budget.name}|{budget.unit}|{budget.window}|{scope}"


def window_named(text: str) -> Window:
    """The window that an account's name tells."""
    unit, _, rest = text.partition("@")
    if unit == "rolling":
        return Window(length_ms=int(rest))
    return Window(unit, rest) if rest else Window()


def rolling_span(window: Window, now_s: float) -> Span:
    """Of a window that moves in steps: a step counts as long as any of it is inside."""
    step_ms = window.length_ms // STEPS
    slot = int(now_s * 1000) // step_ms
    step_s = step_ms / 1000
    return Span(slot, slot - STEPS, (slot + STEPS + 1) * step_s, step_s)


NOW = Span(0, 0, math.inf)  # of what has no window


def degrades_left(degrades: Sequence[tuple[int, str]], entered: Collection[str]) -> Sequence[tuple[int, str]]:
    """Of (from where on, pool) in rising order, those that are for a call that has entered these pools: what
    comes behind the last of them."""
    last = len(degrades)
    while last and degrades[last - 1][1] not in entered:
        last -= 1
    return degrades[last:]


def pool_beyond(degrades: Sequence[tuple[int, str]], used: int, entered: Collection[str]) -> str:
    """Where a call goes on that does not fit below one of them: at the last that it is beyond; at the first
    where a smaller share of the budget counts."""
    left = degrades_left(degrades, entered)
    return next((pool for at, pool in reversed(left) if used > at), left[0][1])


def most_of(budget: Budget) -> int | None:
    """What an account of it may hold; None: it denies nothing."""
    return next((budget.at(step) for step in budget.steps if step.action == DENY), None)
