"""Small worlds: members with their own latency and tokens, traffic, and a broker without sockets around its
own code. What a member does with a call depends on the world, the call and the member alone."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelbroker.budgets.calendars import spans
from modelbroker.core.ids import request_id_of
from modelbroker.core.outcomes import OK, REFUSED
from modelbroker.core.prices import PriceBook
from modelbroker.core.record import Attempt, Record
from modelbroker.core.usage import EXACT, NOTHING, Usage
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN, Used, used_text
from modelbroker.exchange import Forward, Inbound, Moment, OuterCall, Pending, Reply, View
from modelbroker.exchange.trying import NOWHERE, Standing
from modelbroker.policy import State
from modelbroker.policy.budgets import Accounts, Ask, Verdict
from modelbroker.policy.budgets import Used as Spent
from modelbroker.policy.ceilings import Ceilings
from modelbroker.policy.estimates import Estimates
from modelbroker.policy.hedging import HedgeTally
from modelbroker.policy.identity import named
from modelbroker.policy.kept import Memory, ReplyCache
from modelbroker.policy.seats import Plan
from modelbroker.records.lost import tell
from modelbroker.records.pricing import price
from modelbroker.settings import Loaded, compile_texts
from modelbroker.trials.copies import Address, Copies, Waiting
from modelbroker.trials.frames import Head, Report

from .catalogs import PROVIDERS
from .yamls import yaml_of

BEGUN_S = 1_790_000_000.0
SEAL = b"s" * 32
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
}


def loaded(config: Mapping[str, Any]) -> Loaded:
    text = yaml_of({"providers": PROVIDERS, **config})
    return compile_texts({"world.yaml": text}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)


def key_of(caller: str) -> str:
    return hashlib.sha256(caller.encode()).hexdigest()


def live_view(found: Loaded) -> View:
    """As a broker has it."""
    catalog, book = found.catalog, found.prices
    callers = {ref.name: caller for ref, caller in _callers(found)}
    plan = Plan(catalog.budgets) if catalog.budgets else None
    return View(
        "g",
        catalog,
        State(),
        callers,
        named(callers.values(), catalog),
        Estimates(book),
        Ceilings(book),
        plan,
    )


def _callers(found: Loaded) -> Iterable[tuple[Any, Any]]:
    from modelbroker.core.call import caller_of

    return [(ref, caller_of(entry)) for entry in found.catalog.callers for ref in entry.keys]


@dataclass(frozen=True)
class Asked:
    """A call of the traffic."""

    number: int
    at_s: float
    caller: str
    dialect: str
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Member:
    """How one answers. `counts`: its tokens to the broker's estimate, `writes`: the length of its answers to
    the usual one, `first_ms` and `token_ms`: how fast it is. `keeps`: its provider has a prompt cache."""

    counts: float
    writes: float
    first_ms: float
    token_ms: float
    keeps: bool = False


class _Funds:
    def __init__(self) -> None:
        self.accounts = Accounts(spans)

    def reserve(self, ask: Ask) -> Verdict | None:
        return self.accounts.reserve(ask)

    def holds(self, request_id: str, account: str) -> bool:
        return self.accounts.holds(request_id, account)


class World:
    """`run` sends the traffic through a broker with one configuration; the records, in the order of ends."""

    def __init__(self, seed: int, members: Mapping[str, Member]) -> None:
        self.seed = seed
        self.members = members

    def run(
        self,
        config: Mapping[str, Any],
        traffic: Iterable[Asked],
        luck: int,
        standings: Mapping[str, Standing] = NOWHERE,
    ) -> list[Record]:
        """`luck`: whom Envoy's lots fall on, and what calls' ids are. `standings`: where rollouts are."""
        return _Broker(self, loaded(config), luck, standings).serve(traffic)

    def draw(self, *what: object) -> random.Random:
        return random.Random(repr((self.seed, *what)))


class _Broker:
    def __init__(
        self, world: World, found: Loaded, luck: int, standings: Mapping[str, Standing] = NOWHERE
    ) -> None:
        self._world = world
        self._standings = standings
        self._copies = Copies()
        self._view = live_view(found)
        self._book: PriceBook = found.prices
        self._luck = luck
        self._funds = _Funds()
        self._replies = ReplyCache(Memory(self._view.catalog.cache.bytes), wake=self._wake)
        self._hedges = HedgeTally()
        self._now_s = 0.0
        self._events: list[tuple[float, int, Any]] = []
        self._number = 0
        self._waiting: dict[str, tuple[Asked, OuterCall]] = {}
        self._records: list[Record] = []
        self._warm: dict[tuple[str, str], float] = {}  # (conversation, member) → when last

    def serve(self, traffic: Iterable[Asked]) -> list[Record]:
        for asked in traffic:
            self._pass(asked.at_s)
            self._begin(asked)
        self._pass(math.inf)
        assert not self._waiting
        return self._records

    def _pass(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self._now_s, _, end = heapq.heappop(self._events)
            end()
        self._now_s = until_s

    def _begin(self, asked: Asked) -> None:
        draw = self._world.draw("id", asked.number, self._luck)
        request_id = request_id_of(int(asked.at_s * 1000), draw.randbytes(10))
        call = OuterCall(
            self._view,
            request_id,
            SEAL,
            hedges=self._hedges,
            replies=self._replies,
            funds=self._funds,
            standings=self._standings,
        )
        path = PATHS[asked.dialect]
        inbound = Inbound([(":method", "POST"), (":path", path), ("x-api-key", asked.caller), *asked.headers])
        assert call.on_headers(inbound, ends=False) is None or not asked.headers
        outcome = call.on_body(json.dumps(asked.body).encode(), Moment(asked.at_s, int(asked.at_s * 1000)))
        self._go(asked, call, outcome)

    def _wake(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            self._later(self._now_s, lambda request_id=request_id: self._ready(request_id))

    def _ready(self, request_id: str) -> None:
        asked, call = self._waiting.pop(request_id)
        self._go(asked, call, call.on_ready(Moment(self._now_s, int(self._now_s * 1000))))

    def _later(self, at_s: float, what: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (at_s, self._number, what))

    def _go(self, asked: Asked, call: OuterCall, outcome: Any) -> None:
        if isinstance(outcome, Pending):
            self._waiting[call.request_id] = asked, call
            return
        if not isinstance(outcome, Forward):
            self._answer(asked, call, outcome)
            return
        facts = dict(outcome.facts)
        member = self._pick(outcome, facts, asked)
        self._work(asked, call, outcome, facts, member)
        now_s = self._now_or(asked)
        for copy in call.copies(Moment(now_s, int(now_s * 1000)), self._copies.unfit):
            self._copies.offer(Waiting(now_s, copy.shadow, copy.path, copy.headers, copy.body))
            for head, body in self._copies.due(now_s, Address("", 0, False)):
                self._copy(asked, head, body, now_s)

    def _copy(self, asked: Asked, head: Head, body: bytes, now_s: float) -> None:
        """As the process that sends them, but at once: what of it is under way is no matter here."""
        draw = self._world.draw("copy", head.number, self._luck)
        request_id = request_id_of(int(now_s * 1000), draw.randbytes(10))
        call = OuterCall(self._view, request_id, SEAL, hedges=self._hedges, funds=self._funds)
        inbound = Inbound([(":method", "POST"), (":path", head.path), *head.headers])
        assert not isinstance(call.on_headers(inbound, ends=False), Reply)
        outcome = call.on_body(body, Moment(now_s, int(now_s * 1000)))
        if isinstance(outcome, Forward):
            facts = dict(outcome.facts)
            self._work(asked, call, outcome, facts, self._pick(outcome, facts, asked))
            self._copies.over(Report(head.number, 200), now_s)
            return
        assert isinstance(outcome, Reply)
        self._answer(asked, call, outcome)
        wait_s = float(dict(outcome.headers).get("retry-after", 0))
        self._copies.over(Report(head.number, outcome.status, "", True, wait_s), now_s)

    def _answer(self, asked: Asked, call: OuterCall, reply: Any) -> None:
        """By the broker itself."""
        self._replies.leave(call.request_id)
        record = self._record(asked, call, dict(reply.facts), reply.status)
        record.code = reply.code
        record.outcome = OK if reply.status < 400 else REFUSED
        record.duration_ms = (self._now_s - asked.at_s) * 1000 + 1.0
        record.member = dict(reply.headers).get("x-broker-member", "")
        record.usage_state = NOTHING
        price(record, self._book)
        self._records.append(record)

    def _record(self, asked: Asked, call: OuterCall, facts: dict[str, str], status: int) -> Record:
        path = PATHS[asked.dialect]
        record = Record(call.request_id, asked.at_s, 0.0, None, status, "POST", path)
        tell(record, facts)
        record.stream = bool(asked.body.get("stream"))
        record.request_bytes = len(json.dumps(asked.body))
        return record

    def _pick(self, forward: Forward, facts: dict[str, str], asked: Asked) -> str:
        """As Envoy does: by weight, unless the broker names the member."""
        chances = dict(json.loads(facts["eligible"]))
        if forward.pick[0] == "member":
            pool = self._view.catalog.pools[facts["pool"]]
            keys = {self._view._key(pool, member): member.id for member in pool.members}
            return keys[forward.pick[1]]
        draw = self._world.draw("lot", asked.number, self._luck)
        return str(draw.choices(list(chances), list(chances.values()))[0])

    def _work(
        self, asked: Asked, call: OuterCall, forward: Forward, facts: dict[str, str], name: str
    ) -> None:
        record = self._record(asked, call, facts, 200)
        member, draw = self._world.members[name], self._world.draw("work", asked.number, name)
        usage = self._usage(asked, record, member, draw, name)
        first_ms = member.first_ms * draw.lognormvariate(0, 0.4)
        record.duration_ms = first_ms + usage.output * member.token_ms
        record.first_byte_ms = first_ms if record.stream else record.duration_ms
        record.outcome, record.member, record.attempts_made = OK, name, 1
        record.usage, record.usage_state, record.response_bytes = usage, EXACT, usage.output * 4
        attempt = Attempt(name, 200, record.duration_ms, first_ms, started_s=asked.at_s)
        attempt.usage, attempt.usage_state = usage, EXACT
        record.attempts = (attempt,)
        price(record, self._book)
        self._later(self._now_or(asked) + record.duration_ms / 1000, lambda: self._end(call, forward, record))

    def _now_or(self, asked: Asked) -> float:
        return asked.at_s if math.isinf(self._now_s) else max(asked.at_s, self._now_s)

    def _usage(self, asked: Asked, record: Record, member: Member, draw: random.Random, name: str) -> Usage:
        own = self._world.draw("length", asked.number)  # how much there is to say, whoever says it
        prompt = max(1, round((record.context_tokens or 1) * member.counts * draw.lognormvariate(0, 0.03)))
        written = max(1, round(own.lognormvariate(5, 0.6) * member.writes * draw.lognormvariate(0, 0.2)))
        written = min(written, record.max_output_tokens or written)
        user = asked.body.get("user", "")
        last_s = self._warm.get((user, name), -math.inf)
        if user and member.keeps:
            self._warm[user, name] = asked.at_s
        read = prompt * 3 // 4 if user and member.keeps and asked.at_s - last_s <= 300 else 0
        return Usage(prompt - read, read, 0, 0, written)

    def _end(self, call: OuterCall, forward: Forward, record: Record) -> None:
        if forward.watched and call.cache is not None:
            body = json.dumps(REPLY).encode()
            head = [
                (":status", "200"),
                ("content-type", "application/json"),
                ("x-broker-member", record.member),
            ]
            if call.cache.on_reply_headers(head, False):
                call.cache.on_reply_body(body, True, self._now_s)
            record.cache = call.cache.part.value
            record.response_bytes = len(body)
        if record.usage is not None:
            self._replies.settle(call.request_id, used_text(Used(record.usage, "")))
        self._replies.leave(call.request_id)
        self._hedges.ended(call.request_id, False)
        attempt = record.attempts[0]
        cost = attempt.cost.total if attempt.cost is not None else None
        tokens = (attempt.usage.prompt + attempt.usage.output) if attempt.usage is not None else 0
        spent = Spent(cost or 0, tokens, cost is not None, True)
        record.budgets = tuple(self._funds.accounts.settle(call.request_id, lambda since, until: spent))
        self._records.append(record)


REPLY = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Word"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
