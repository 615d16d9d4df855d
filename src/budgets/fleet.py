"""Budgets of several brokers, kept together in Redis.

Redis holds, of each account and slot, what each broker has spent and what it holds for calls under way. The
part of this broker is known here as well, and is said as a whole, so that saying it twice means the same as
once. What it holds counts while it is alive: a broker that is killed holds nothing any more. After Redis was
away, or has lost everything, each broker says its part anew under another epoch, and what was on the way
under the old one counts nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import logging
import math
import secrets
import socket
import time
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from prometheus_client import Counter, Gauge

from ..core.budgets import STEPS, Fleet, Span, Window
from ..core.errors import Misconfigured
from ..policy.budgets import DEGRADED, DENIED, GRANTED, Accounts, Ask, Claim, Verdict, refusal

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger("modelbroker.budgets")

_AWAY = Gauge("modelbroker_budget_redis_away", "1 while budgets are kept by this broker alone")
_FAILED = Counter("modelbroker_budget_redis_failures", "Questions that Redis did not answer in time")

LEASE_S = 30
_BEAT_S = 5.0
_GATHER_S = 0.02  # what calls settle is said together
_AGAIN_S = 0.25
_MOST_ASKED = 100  # calls in one message
_MOST_TOLD = 500  # accounts in one message
_TRUST_S = 60.0  # so long it is not said again that Redis has lost something
_KEPT_S = 86_400  # an account's key, beyond its window


class Away(Exception):
    """Redis did not answer, or does not know this broker's epoch."""


class Shared:
    """`accounts` hold this broker's part. `reserve` raises Away; `is_away`: don't even ask. `broker` is this
    one's name, the same over restarts."""

    def __init__(self, fleet: Fleet, accounts: Accounts, broker: str, password: str | None) -> None:
        self.fleet = fleet
        self.is_away = True
        self._accounts = accounts
        self._broker = broker
        self._epoch = ""
        self._redis = redis_client(fleet, password)
        self._scripts: dict[str, str] = {}  # name → SHA-1
        self._timeout_s = fleet.timeout_ms / 1000
        self._news = asyncio.Event()
        self._asked: list[tuple[tuple[str | int, ...], asyncio.Future[Any]]] = []
        self._asks = asyncio.Event()
        self._first = asyncio.Event()  # it was asked once, whatever came of it
        self._was_away = False
        self._telling: dict[tuple[str, int], int] = {}  # what is on its way
        self._lost_s = -math.inf
        self._epochs: set[str] = set()  # of this process
        self._came_s = 0  # when it came in last, by Redis's clock
        self._names = 0  # how many of its names others had

    # -- calls

    async def ready(self) -> None:
        """Right after a start, calls wait for the first word to Redis as long as for any other."""
        if not self._first.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._first.wait(), self._timeout_s)

    async def reserve(self, ask: Ask) -> Verdict:
        spans = [self._accounts.spans(claim.seat.budget.window, ask.now_s) for claim in ask.claims]
        keys = [self._key("brokers"), *(self._account_key(claim.seat.account) for claim in ask.claims)]
        values: list[str | int] = [self._broker, self._epoch, LEASE_S, len(ask.claims)]
        for claim, span in zip(ask.claims, spans, strict=True):
            values.append(f"{_row(claim, span)} {int(self._has_told(claim.seat.account, span.first))}")
        waits: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.append(((len(keys), *keys, *values), waits))
        self._asks.set()
        try:
            answer = await asyncio.wait_for(waits, self._timeout_s)
        except Exception as error:  # of redis-py, of sockets, of time: all the same to a call
            self._lose(error)
            raise Away from None
        if answer[0] == 3:
            self._lost_s = time.monotonic()
            self._lose(None)
            raise Away
        code, row, used, taken, passed, by_place, reserved = answer
        if code == 0:
            slots = [span.slot for span in spans]
            held = self._accounts.hold(ask, slots, taken, passed, is_known=True)
            return Verdict(GRANTED, used=tuple(used), held=held)
        row -= 1
        by_slot = dict(zip(by_place[::2], by_place[1::2], strict=True))
        outcome, span = DEGRADED if code == 1 else DENIED, spans[row]
        return refusal(outcome, row, ask.claims[row], used, reserved, by_slot, span, ask.now_s)

    def alone(self, ask: Ask) -> Verdict:
        """While Redis is away: from this broker's share of each limit, and beyond it as the policy says."""
        share = self.fleet.share_ppm
        scaled = [
            replace(
                claim,
                most=claim.most * share // 1_000_000 if claim.most is not None else None,
                degrade=claim.degrade * share // 1_000_000 if claim.degrade is not None else None,
            )
            for claim in ask.claims
        ]
        verdict = self._accounts.reserve(replace(ask, claims=tuple(scaled)))
        if verdict.outcome == DENIED and self.fleet.allows_beyond:
            free = [replace(claim, most=None, degrade=None) for claim in ask.claims]
            return self._accounts.reserve(replace(ask, claims=tuple(free), reuses=False))
        return verdict

    # -- what is told

    def _has_told(self, name: str, first: int) -> bool:
        """Redis has to know that this broker spent something in an account, from the slot `first` on. Where a
        clock is wrong others may take that out again: nobody says it more often than once a minute."""
        account, log = self._accounts.accounts.get(name), self._accounts.log
        if account is None or log is None or time.monotonic() < self._lost_s + _TRUST_S:
            return False
        for slot, (spent, _) in account.slots.items():
            if slot >= first and spent > 0 and (name, slot) not in log and (name, slot) not in self._telling:
                return True
        return False

    def wake(self) -> None:
        """Something was settled."""
        self._news.set()

    async def run(self) -> None:
        """Ask and tell, and come back after Redis was away; until cancelled."""
        try:
            await asyncio.gather(self._ask_all(), self._tell_all())
        finally:
            with contextlib.suppress(Exception):
                await self._redis.aclose()

    async def last_word(self) -> None:
        """Before the end: what has changed since the last word."""
        with contextlib.suppress(Exception):
            if not self.is_away:
                await self._tell()

    async def _ask_all(self) -> None:
        """What calls ask while an answer is on its way is asked together, next."""
        while True:
            await self._asks.wait()
            self._asks.clear()
            while self._asked:
                batch, self._asked = self._asked[:_MOST_ASKED], self._asked[_MOST_ASKED:]
                # Nobody waits any more for what was given up.
                batch = [one for one in batch if not one[1].done()]
                try:
                    await self._ask(batch)
                except Exception as error:
                    for _, waits in batch:
                        if not waits.done():
                            waits.set_exception(error)

    async def _ask(self, batch: Sequence[tuple[tuple[str | int, ...], asyncio.Future[Any]]]) -> None:
        script = self._scripts["reserve"]
        async with asyncio.timeout(self._timeout_s):
            if len(batch) == 1:
                answers: list[Any] = [await self._redis.evalsha(script, *batch[0][0])]  # type: ignore[arg-type,misc]
            else:
                pipe = self._redis.pipeline(transaction=False)
                for values, _ in batch:
                    pipe.evalsha(script, *values)  # type: ignore[arg-type]
                answers = await pipe.execute(raise_on_error=False)
        for (_, waits), answer in zip(batch, answers, strict=True):
            if waits.done():
                continue
            if isinstance(answer, Exception):
                waits.set_exception(answer)
            else:
                waits.set_result(answer)

    async def _tell_all(self) -> None:
        while True:
            try:
                if self.is_away:
                    await self._come_in()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), _BEAT_S)
                self._news.clear()
                if not self.is_away:
                    await asyncio.sleep(_GATHER_S)
                    await self._tell()
            except Away:
                await asyncio.sleep(_AGAIN_S)
            except Exception as error:
                self._lose(error)
                await asyncio.sleep(_AGAIN_S)
            finally:
                self._first.set()

    async def _come_in(self) -> None:
        """Under a new epoch, with the whole of this broker's part."""
        epoch = secrets.token_hex(4)
        self._epochs.add(epoch)
        async with asyncio.timeout(max(1.0, self._timeout_s)):
            for name in ("reserve", "tell"):
                self._scripts[name] = str(await self._redis.script_load(_script(name)))
            asked_s = time.monotonic()
            now_s = (await self._redis.time())[0]
            took_s = time.monotonic() - asked_s
            if took_s > self._timeout_s / 2:  # a call may wait for the answer to others before its own
                raise TimeoutError(f"it takes {took_s * 1000:.0f} ms to answer")
            is_ours: Any = self._redis.hget(self._key("brokers"), self._broker)
            self._not_another(await is_ours or "")
            self._came_s = now_s
            await self._redis.hset(self._key("brokers"), self._broker, f"{epoch} {now_s}")  # type: ignore[misc]
        self._epoch = epoch
        whole = {
            (name, slot): held[1]
            for name, account in self._accounts.accounts.items()
            for slot, held in account.slots.items()
        }
        self._accounts.log = {}  # from here on what changes is told after
        await self._say(whole)
        self._telling = {}
        self.is_away = False
        _AWAY.set(0)
        if self._was_away:
            log.warning("Redis is back: budgets are shared again")
            self._was_away = False

    def _not_another(self, word: str) -> None:
        """What was said last under this broker's name. Where that was somebody else, since this one came in,
        both would say what is spent under one name, and only one part would count. (A Redis that comes back
        as it was long ago may know this one's last life.)"""
        epoch, _, beat_s = word.partition(" ")
        if self._epoch and epoch and epoch not in self._epochs and int(beat_s) >= self._came_s:
            was = self._broker
            self._names += 1
            here = hashlib.sha256(f"{socket.gethostname()} {self._names}".encode()).hexdigest()[:8]
            self._broker, self._epoch = f"{was.partition('~')[0]}~{here}", ""
            log.error(
                "another broker has this one's name, %s, for its state folder is a copy: give each its own. "
                "Budgets count this one as %s",
                *(was, self._broker),
            )

    async def _tell(self) -> None:
        self._telling, self._accounts.log = self._accounts.log or {}, {}
        await self._say(self._telling)
        self._telling = {}

    async def _say(self, more: dict[tuple[str, int], int]) -> None:
        """(account, slot) → what is reserved in it more than was said before."""
        entries = list(more.items())
        for start in range(0, max(1, len(entries)), _MOST_TOLD):
            keys, values = [self._key("brokers")], [self._broker, self._epoch]
            for (name, slot), reserved in entries[start : start + _MOST_TOLD]:
                account = self._accounts.accounts.get(name)
                if account is None:
                    continue
                spent = account.slots.get(slot, (0, 0))[0]
                keys.append(self._account_key(name))
                until_s = self._accounts.spans(account.window, 0 if not account.window.unit else slot).until_s
                values.append(f"{slot} {spent} {reserved} {_expires(account.window, slot, until_s)}")
            async with asyncio.timeout(max(1.0, self._timeout_s)):
                done: Any = await self._redis.evalsha(  # type: ignore[misc]
                    self._scripts["tell"], len(keys), *keys, *values
                )
            if not done:
                self._lose(None)
                raise Away

    def _lose(self, error: Exception | None) -> None:
        if error is not None:
            _FAILED.inc()
        if not self.is_away or not self._first.is_set():
            why = f"{type(error).__name__}: {error}" if error is not None else "it has lost what it knew"
            log.warning("Redis is away, budgets are kept by this broker alone (%s)", why)
            self._was_away = True
        self.is_away = True
        self._accounts.log = None
        _AWAY.set(1)
        self._news.set()

    # -- what people ask

    async def figures(self) -> dict[str, dict[int, tuple[int, int]]]:
        """Account → slot → (spent, reserved), of all brokers. Away where Redis is."""
        try:
            async with asyncio.timeout(5):
                brokers: Any = await self._redis.hgetall(self._key("brokers"))  # type: ignore[misc]
                now_s = (await self._redis.time())[0]
                alive = {
                    f"{name}.{epoch}"
                    for name, (epoch, beat) in ((name, value.split(" ")) for name, value in brokers.items())
                    if now_s - int(beat) <= LEASE_S
                }
                found: dict[str, dict[int, tuple[int, int]]] = {}
                start = self._account_key("")
                async for key in self._redis.scan_iter(match=_escaped(start) + "*", count=1000):
                    fields: Any = await self._redis.hgetall(key)  # type: ignore[misc]
                    slots = found.setdefault(key.removeprefix(start), {})
                    for field, amount in fields.items():
                        whose, kind, slot = field.split(" ")
                        spent, reserved = slots.get(int(slot), (0, 0))
                        if kind == "s":
                            spent += int(amount)
                        elif whose in alive:
                            reserved += int(amount)
                        slots[int(slot)] = spent, reserved
                return found
        except Exception:
            raise Away from None

    def _key(self, name: str) -> str:
        return f"{self.fleet.prefix}:{name}"

    def _account_key(self, account: str) -> str:
        return self._key(f"account:{account}")


def _row(claim: Claim, span: Span) -> str:
    window = claim.seat.budget.window
    # Another broker's clock may be behind.
    kept = span.first - (2 * int(span.until_s - span.slot) if window.unit else STEPS)
    most = -1 if claim.most is None else claim.most
    degrade = -1 if claim.degrade is None else claim.degrade
    lender, own = claim.seat.lender + 1, 1 if claim.seat.is_own else 0
    expires = _expires(window, span.slot, span.until_s)
    return f"{claim.amount} {most} {degrade} {span.slot} {span.first} {kept} {lender} {own} {expires}"


def _expires(window: Window, slot: int, until_s: float) -> int:
    """Unix time; 0: never."""
    if window.unit:
        return int(until_s) + _KEPT_S
    if not window.length_ms:
        return 0
    step_s = window.length_ms / STEPS / 1000
    return int((slot + 1) * step_s + window.length_ms / 1000) + _KEPT_S


def _script(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")


def _escaped(pattern: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in pattern)


def needs_redis() -> None:
    """Misconfigured where its client is not installed."""
    if importlib.util.find_spec("redis") is None:
        raise Misconfigured(
            500, "no_redis", "`redis` in the configuration needs the extra: pip install 'modelbroker[redis]'"
        )


def redis_client(fleet: Fleet, password: str | None) -> Redis:
    # An extra, and imported where it is used.
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    timeout_s = max(1.0, fleet.timeout_ms / 1000)
    return Redis.from_url(
        fleet.url,
        password=password,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


async def redis_now_s(redis: Redis) -> float:
    """By Redis's clock, which is one for all brokers; unix time."""
    seconds, micros = await redis.time()
    return float(seconds + micros / 1e6)
