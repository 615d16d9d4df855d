"""What calls reserve and are charged, in this process: decided on the event loop, told to people and
metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from prometheus_client import Counter

from ..core.budgets import CONCURRENCY, WARN, Budget, Charge, Fleet, Span
from ..core.record import Record
from ..core.usage import NOTHING
from ..policy.budgets import DENIED, GRANTED, Accounts, Ask, Claim, Used, Verdict, most_of
from .calendars import spans
from .firsts import Firsts
from .fleet import Away, Shared
from .kept import Kept
from .metrics import STANDING, readings

log = logging.getLogger("modelbroker.budgets")

_DENIED = Counter("modelbroker_budget_denied", "Calls that a budget or rate limit refused", ["budget"])
_DEGRADED = Counter(
    "modelbroker_budget_degraded",
    "Calls that a budget sent to another pool, and that were made",
    ["budget"],
)
_WARNED = Counter(
    "modelbroker_budget_warnings", "Times that a part of a budget was used up", ["budget", "at"]
)
_LOST = Counter("modelbroker_budget_lost_calls", "Calls whose end was never told: charged what they reserved")

# A call whose record never came has ended by now, one way or another.
LOST_AFTER_S = 3_600.0
SWEEP_EVERY_S = 60.0


class Keeper:
    """`reserve` answers at once, or says that Redis has to be asked (`decide`). `kept` keeps what is spent
    over restarts, `broker` is this one's name among others."""

    def __init__(
        self,
        kept: Kept | None = None,
        broker: str = "",
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.accounts = Accounts(spans)
        self.budgets: tuple[Budget, ...] = ()
        self._kept = kept
        self._broker = broker
        self._now_s = now_s
        self._since_s = now_s()
        self._denied: dict[str, int] = {}  # calls, by the budget's name
        self._degraded: dict[str, int] = {}
        self._parts: dict[str, dict[str, int]] = {}  # budget → part → how often it was reached
        self._firsts = Firsts(spans)
        self._warned: set[tuple[str, int]] = set()  # (account, part of its limit)
        self._fleet: tuple[Fleet | None, str | None] = (None, None)
        self._shared: Shared | None = None
        self._sharing: asyncio.Task[None] | None = None
        for account, slot, spent in kept.read() if kept is not None else ():
            self.accounts.restore(account, slot, spent)

    def configured(
        self, budgets: Sequence[Budget], fleet: Fleet | None = None, password: str | None = None
    ) -> None:
        """On the event loop, where there is a fleet. `password` is that of its Redis."""
        self.budgets = tuple(budgets)
        if (fleet, password) == self._fleet:
            return
        self._fleet = (fleet, password)
        shared = None
        if fleet is not None:
            shared = Shared(fleet, self.accounts, self._broker or "alone", password)
        if self._sharing is not None:
            self._sharing.cancel()
        self._shared, self.accounts.log = shared, None
        self._sharing = asyncio.create_task(shared.run()) if shared is not None else None

    # -- calls

    def reserve(self, ask: Ask) -> Verdict | None:
        if self._shared is not None:
            return None
        verdict = self.accounts.reserve(ask)
        self._tell(ask, verdict)
        return verdict

    async def decide(self, ask: Ask) -> Verdict:
        """By Redis; while it is away as its policy says. Never raises."""
        verdict = await self._decide(ask)
        self._tell(ask, verdict)
        return verdict

    async def _decide(self, ask: Ask) -> Verdict:
        shared = self._shared
        if shared is None:  # it was, when the call was asked for
            return self.accounts.reserve(ask)
        if ask.reuses:
            self.accounts.give_back(ask.request_id)
            ask = replace(ask, reuses=False)
            shared.wake()
        await shared.ready()
        if not shared.is_away:
            try:
                return await shared.reserve(ask)
            except Away:
                pass
        return shared.alone(ask)

    def holds(self, request_id: str, account: str) -> bool:
        return self.accounts.holds(request_id, account)

    def adopt(self, request_id: str, told: str) -> None:
        """What the record of a call says was reserved."""
        self.accounts.adopt(request_id, told)

    def settle(self, record: Record) -> None:
        """The call has ended: its record gets what it is charged."""
        if record.degraded_from and record.attempts_made:
            _DEGRADED.labels(record.budget).inc()
            self._degraded[record.budget] = self._degraded.get(record.budget, 0) + 1
        if record.request_id in self.accounts.held:
            record.budgets = tuple(self.accounts.settle(record.request_id, used_by(record)))
            self._wake()

    def release(self, request_id: str) -> None:
        """The call was never let go: its client had left while its budgets were asked."""
        while self.accounts.give_back(request_id):
            pass
        self._wake()

    def _wake(self) -> None:
        if self._shared is not None:
            self._shared.wake()

    def _tell(self, ask: Ask, verdict: Verdict) -> None:
        if verdict.outcome != GRANTED:
            self._tell_no(ask.claims[verdict.row], verdict.outcome, ask.now_s)
            return
        for row, claim in enumerate(ask.claims):
            if claim.seat.warns:
                self._warn(claim.seat.budget, claim.seat.account, verdict.used[row] + claim.amount)

    def _tell_no(self, claim: Claim, outcome: str, now_s: float) -> None:
        budget, account = claim.seat.budget, claim.seat.account
        is_denied = outcome == DENIED
        if is_denied:
            _DENIED.labels(budget.name).inc()
            self._denied[budget.name] = self._denied.get(budget.name, 0) + 1
        if not self._firsts.is_first(account, outcome, budget.window, now_s):
            return
        what = "is sent to another pool"
        if is_denied:
            is_providers = "provider" in budget.by or any(one.fact == "provider" for one in budget.conditions)
            what = "is kept from the provider" if is_providers else "is denied"
        log.warning(
            "%s %s (%s): a call %s, the first in this window; further ones are counted, and not told here",
            budget.kind.replace("_", " "),
            budget.name,
            _scope(account),
            what,
        )

    def _warn(self, budget: Budget, account: str, used: int) -> None:
        for step in budget.steps:
            if step.action != WARN:
                continue
            key = (account, step.ppm)
            if used < budget.at(step):
                self._warned.discard(key)
            elif key not in self._warned:
                self._warned.add(key)
                part = f"{step.ppm / 10_000:g}%"
                _WARNED.labels(budget.name, part).inc()
                parts = self._parts.setdefault(budget.name, {})
                parts[part] = parts.get(part, 0) + 1
                log.warning(
                    "budget %s (%s): %s of it are used or reserved", budget.name, _scope(account), part
                )

    # -- its life

    async def run(self) -> None:
        """Until cancelled."""
        STANDING.read = lambda: readings(self.here)
        try:
            while True:
                await asyncio.sleep(SWEEP_EVERY_S)
                try:
                    self.sweep()
                except Exception:
                    log.exception("budgets could not be looked through")
        finally:
            STANDING.read = None

    async def close(self) -> None:
        """All calls have ended."""
        if self._shared is not None and self._sharing is not None:
            await self._shared.last_word()
            self._sharing.cancel()
            await asyncio.gather(self._sharing, return_exceptions=True)

    def sweep(self) -> None:
        """What nobody will settle any more is spent; what counts no longer is forgotten."""
        now_s = self._now_s()
        old_s = now_s - LOST_AFTER_S
        lost = [name for name, stages in self.accounts.held.items() if stages[-1].at_s < old_s]
        for request_id in lost:
            self.lost(request_id)
        self.accounts.sweep(now_s)
        self._warned = {key for key in self._warned if key[0] in self.accounts.accounts}

    def lost(self, request_id: str) -> list[Charge]:
        """The call's record never came, or says that nobody knows what became of it."""
        _LOST.inc()
        charges = self.accounts.settle(request_id)
        if self._kept is not None:
            self._kept.add(charges)
        self._wake()
        return charges

    # -- what people ask

    def here(self) -> list[dict[str, Any]]:
        """Where each account stands, as far as this broker is concerned; from any thread."""
        accounts = self.accounts.accounts.copy()
        return self._rows({name: dict(account.slots) for name, account in accounts.items()})

    async def shown(self) -> dict[str, Any]:
        """Where each account stands, and budgets without one. `kept`: `here`, with all brokers in `redis`,
        or, while that is `away`, here. By budget, of this broker since it began (`since_s`): `denied`, the
        calls to which it said no, `degraded`, those that it sent to another pool, and `warned`, how often
        which part was reached."""
        kept, rows = "here", None
        if self._shared is not None:
            try:
                kept, rows = "redis", self._rows(await self._shared.figures())
            except Away:
                kept = "away"
        rows = self.here() if rows is None else rows
        rows += self._unused({(row["budget"], row["unit"]) for row in rows})
        rows.sort(key=lambda row: (row["budget"], row["unit"], row["window"], row["scope"] or ""))
        names = sorted({one.name for one in self.budgets})
        return {
            "kept": kept,
            "budgets": rows,
            "denied": {name: self._denied.get(name, 0) for name in names},
            "degraded": {name: self._degraded.get(name, 0) for name in names},
            "warned": {name: dict(self._parts.get(name, {})) for name in names},
            "since_s": self._since_s,
        }

    def _unused(self, used: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
        """Of those of which no account has been used."""
        now_s = self._now_s()
        return [
            shown_row(one, None if one.by else "", 0, 0, spans(one.window, now_s))
            for one in self.budgets
            if (one.name, one.unit) not in used
        ]

    def _rows(self, accounts: Mapping[str, Mapping[int, Sequence[int]]]) -> list[dict[str, Any]]:
        now_s = self._now_s()
        by_name = {(one.name, one.unit): one for one in self.budgets}
        rows = []
        for name, slots in sorted(accounts.items()):
            budget_name, unit, window, scope = name.split("|", 3)
            budget = by_name.get((budget_name, unit))
            if budget is None or str(budget.window) != window:
                continue
            span = spans(budget.window, now_s)
            counted = [held for slot, held in slots.items() if slot >= span.first]
            spent, reserved = sum(one[0] for one in counted), sum(one[1] for one in counted)
            rows.append(shown_row(budget, scope, spent, reserved, span))
        return rows


def shown_row(budget: Budget, scope: str | None, spent: int, reserved: int, span: Span) -> dict[str, Any]:
    """One account, for `/budgets`. Amounts are in `unit`; `begins_s` and `resets_s` are unix time, null where
    it rolls on. `scope` is null where no account of the budget has been used yet. `at`: what is done at which
    part of the limit, in percent."""
    return {
        "budget": budget.name,
        "kind": budget.kind,
        "scope": scope,
        "unit": budget.unit,
        "window": str(budget.window),
        "limit": budget.limit,
        "denies_at": most_of(budget),
        "spent": spent if budget.unit != CONCURRENCY else 0,
        "reserved": reserved,
        "begins_s": span.slot if budget.window.unit else None,
        "resets_s": span.until_s if budget.window.unit else None,
        "by": budget.by,
        "match": [
            {"fact": one.fact, "op": one.op.value, "values": one.values, "negated": one.negated}
            for one in budget.conditions
        ],
        "at": [{"percent": one.ppm / 10_000, "do": one.action, "pool": one.pool} for one in budget.steps],
        "borrows_from": budget.lender or None,
    }


def _scope(account: str) -> str:
    return account.split("|", 3)[3] or "all"


def used_by(record: Record) -> Callable[[int, int | None], Used]:
    """What attempts of a call used, as far as its record knows."""
    attempts = record.attempts
    is_complete = len(attempts) >= record.attempts_made

    def used(since: int, until: int | None) -> Used:
        if not record.attempts_made:
            return Used(0, 0, True, True, is_made=False)
        # What misses an attempt can't tell which one that is.
        mine = attempts[since:until] if is_complete else attempts
        money = tokens = 0
        knows_money = knows_tokens = is_complete
        for attempt in mine:
            cost, usage = attempt.cost, attempt.usage
            if cost is not None and cost.total is not None:
                money += cost.total
            else:
                knows_money = False
                money += sum(cost.buckets.values()) if cost is not None else 0
            if usage is not None:
                tokens += usage.prompt + usage.output
                for beside in usage.beside:
                    tokens += beside.usage.prompt + beside.usage.output
            knows_tokens = knows_tokens and attempt.usage_state in (NOTHING, "exact")
        return Used(money, tokens, knows_money, knows_tokens)

    return used
