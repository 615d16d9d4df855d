"""The outer listener's conversation: who calls, what for, which pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from ..core.call import Caller, Decision, Facts, Surface
from ..core.catalog import NO_ITEMS
from ..core.errors import BadRequest, CallError, Misconfigured, Unavailable
from ..core.keys import ATTEMPTS_HEADER, CACHE_HEADER, CAUSE_HEADER, MEMBER_HEADER
from ..core.tracing import Trace
from ..core.trials import Shadow
from ..dialects import (
    SURFACES,
    Dialect,
    RequestFacts,
    client_dialect,
    dialect_for_path,
    dialect_named,
    surface_for_path,
)
from ..policy import Book, allowed_pools, unknown_model
from ..policy.budgets import Ask, Verdict
from ..policy.decide import decide
from ..policy.hedging import HedgeTally
from ..policy.kept import ReplyCache
from .asked import asked, keyed, replay
from .budgeting import NO_FUNDS, Budgeting, Funds
from .caching import CallCache, Question
from .capturing import ToCapture, to_capture, with_error, with_reply
from .cheapest import priced
from .commands import Forward, Pending, Reply, Strip
from .course import COURSE_HEADER, Course, opened, sealed
from .errand import ERRAND_HEADER, Errand, errand_in
from .facts import facts_of
from .identity import ANYONE, NO_PROOF, Proof, challenge, claimed, identify, taken_up
from .inbound import ID_HEADER, NO_HEADERS, Inbound, not_to_go_on, spoofed
from .known import NOTHING_SAID, known_of_call
from .routing import Hold, Moment, Narrowed, Patience, Routing
from .scoring import to_score
from .tracing import answered, passed_on, trace_of
from .trying import NO_ARM, NOWHERE, Arm, Copy, Standing, Tried, asked_for, copies_of, decided, told_of_trial
from .view import FIRST_EVENT_HEADER, Routed, View, told_of

Outcome = Forward | Reply | Hold | Pending | Ask
MODELS_PATH = "/v1/models"
HEALTH_PATH = "/healthz"
_OPERATIONS = "there are " + ", ".join(f"POST {surface.path}" for surface in SURFACES)
_LEFT_HEADER = "x-envoy-upstream-rq-timeout-ms"
_FIRST_DIALECT = dialect_named("openai-chat")  # until the path says more

# Bodies of up to this many times the limit are taken in to be refused in peace.
MOST_OVER_LIMIT = 2


@dataclass(slots=True)
class OuterCall:
    """Events: `on_headers`, then `on_body` unless the headers were answered; after a Hold `on_ready` once the
    time is over. `seal` is the key of the courses that Envoy carries from one attempt to the next; `hedges`
    counts those of all calls."""

    view: View
    request_id: str
    seal: bytes = b""
    book: Book = dataclasses.field(default_factory=Book)
    hedges: HedgeTally = dataclasses.field(default_factory=HedgeTally)
    replies: ReplyCache | None = None  # None: nothing is cached
    cache: CallCache | None = None  # where a pool has one
    funds: Funds = NO_FUNDS
    # Where rollouts are.
    standings: Mapping[str, Standing] = dataclasses.field(default_factory=lambda: NOWHERE)
    errand: Errand | None = None  # what the broker itself has sent it for
    _arm: Arm = NO_ARM
    _home: str = ""  # the pool that it was for, before an arm was drawn
    _served_by: str = ""  # the one that it goes to
    capture: ToCapture | None = None  # of a call that goes on: what is captured of it
    _budgeting: Budgeting | None = None
    _inbound: Inbound = NO_HEADERS
    _proof: Proof = NO_PROOF
    _course: Course | None = None  # of a call that was handed back
    _trace: Trace | None = None  # where it is traced
    _read_body: RequestFacts | None = None
    _body: bytes = b""
    _started_ms: int = 0
    _held_since_ms: int | None = None
    _dialect: Dialect = _FIRST_DIALECT
    _surface: Surface | None = None
    _caller: Caller | None = None
    _facts: Facts | None = None
    _refusal: CallError | None = None  # told when the body is here

    def on_headers(self, inbound: Inbound, ends: bool, proof: Proof = NO_PROOF) -> Reply | Strip | None:
        """None or Strip: wait for the body. `ends`: there is no body to wait for."""
        self._inbound = inbound
        self._proof = proof
        self._take_up(inbound)
        self._trace = trace_of(self.view.traces, inbound, self.request_id, self._course)
        path = inbound.first(":path").partition("?")[0]
        self._dialect = dialect_for_path(path)
        if inbound.first("anthropic-version"):
            self._dialect = dialect_named("anthropic-messages")
        try:
            return self._admit(path, ends) or self._strip_spoofed()
        except CallError as error:
            if not self._is_told_later(ends):
                return self.refuse(error)
            self._refusal = error
            return self._strip_spoofed()

    def _is_told_later(self, ends: bool) -> bool:
        """A client that is still sending may lose an early answer with its connection. So a known caller's
        body is taken in first, if Envoy can hold it."""
        most = MOST_OVER_LIMIT * self.view.catalog.limits.request_bytes
        return self._caller is not None and not ends and self._inbound.length <= most

    def _strip_spoofed(self) -> Strip | None:
        """Envoy may end the call before its body is here, and then says what these headers say."""
        names = self._inbound.names
        wrong = () if self._course else spoofed(names)
        return Strip(self.request_id, wrong) if wrong or ID_HEADER in names else None

    def _take_up(self, inbound: Inbound) -> None:
        """A call that was handed back goes on where it was: its caller was verified the first time."""
        value = inbound.first(COURSE_HEADER)
        course = opened(value, self.seal) if value and self.seal else None
        if course is None:
            self.errand = errand_in(inbound.first(ERRAND_HEADER), self.seal)
            self._caller = self.errand.as_caller() if self.errand else None
            return
        attempts = int(inbound.first(ATTEMPTS_HEADER) or 1)
        self._course = course.after(inbound.first(MEMBER_HEADER), inbound.first(CAUSE_HEADER), attempts)
        self.request_id = course.request_id
        self._started_ms = course.started_ms
        self.errand, self._arm = course.errand, Arm(*course.arm)
        self._caller = self.errand.as_caller() if self.errand else taken_up(course, self.view)

    def _admit(self, path: str, ends: bool) -> Reply | None:
        method = self._inbound.first(":method")
        if path == HEALTH_PATH and method in ("GET", "HEAD"):
            return self._reply(200, b'{"status":"ok"}')
        if self._inbound.first("upgrade") or method == "CONNECT":
            raise BadRequest(426, "upgrade_not_supported", "upgrades are not supported: use HTTP")
        self._caller = self._caller or identify(self._inbound, self._proof, self.view, self._course)
        if path == MODELS_PATH or path.startswith(f"{MODELS_PATH}/"):
            if method not in ("GET", "HEAD"):
                raise BadRequest(405, "method_not_allowed", f"{MODELS_PATH} takes GET, not {method[:20]}")
            return self._reply(200, self._models_body(path))
        self._surface = surface_for_path(path)
        if self._surface is None:
            raise BadRequest(
                404,
                "unknown_path",
                f"there is no operation {method} {path[:200]}: {_OPERATIONS}; OpenAI's SDK wants a base URL "
                "that ends with /v1, Anthropic's one that does not",
            )
        if method != "POST":
            raise BadRequest(405, "method_not_allowed", f"{self._surface.path} takes POST, not {method[:20]}")
        encoding = self._inbound.first("content-encoding").strip().lower()
        if encoding not in ("", "identity"):
            raise BadRequest(
                415,
                "unsupported_encoding",
                f"content-encoding {encoding[:40]} is not read here: send it plain",
            )
        limit = self.view.catalog.limits.request_bytes
        if self._inbound.length > limit:
            raise self._too_large(limit)
        if ends:
            raise BadRequest(400, "invalid_json", "the body is empty: send a JSON object")
        return None

    def on_body(self, body: bytes, moment: Moment, has_room: bool = True) -> Outcome:
        """`has_room`: may this call wait where nobody takes it now?"""
        try:
            if self._refusal is not None:
                raise self._refusal
            self._started_ms = self._started_ms or moment.monotonic_ms
            facts, self._read_body = self._read(body)
            self._facts = priced(facts, self.view, moment.unix_s)
            self._body = body
            return self._route(moment, has_room)
        except CallError as error:
            return self._give_up(error, moment)

    def on_ready(self, moment: Moment, verdict: Verdict | None = None) -> Outcome:
        """The time of a Hold is over, what a Pending waits for is known, or here is the verdict on an Ask."""
        try:
            return self._route(moment, verdict=verdict)
        except CallError as error:
            return self._give_up(error, moment)

    def _give_up(self, error: CallError, moment: Moment) -> Reply:
        """One that was under way leaves a sample, with the error that its client gets."""
        course, facts, reply = self._course, self._facts, self.refuse(error)
        if course is None or facts is None or not self.view.captures:
            return reply
        return with_error(reply, self._to_capture(facts, moment, course.pools))

    @property
    def was_handed_back(self) -> bool:
        """It comes once more, after an attempt that failed."""
        return self._course is not None

    def _waited_ms(self, moment: Moment) -> int:
        """For members that take no calls: now, and between earlier attempts."""
        before_ms = self._course.waited_ms if self._course else 0
        since_ms = self._held_since_ms
        return before_ms if since_ms is None else before_ms + moment.monotonic_ms - since_ms

    def _route(self, moment: Moment, has_room: bool = True, verdict: Verdict | None = None) -> Outcome:
        facts, read = self._facts, self._read_body
        if facts is None or read is None:
            raise Misconfigured(500, "broker_defect", "a call is routed before it is read")
        errand = self.errand
        room = has_room and errand is None
        deadline_ms = self._started_ms + 1000 * self._inbound.patience_s
        patience = Patience(self._started_ms, deadline_ms, self._waited_ms(moment), room)
        course, decision = self._course, None
        if course is None:
            if errand is None and not self.view.catalog.trials:  # nearly always
                decision = decide(facts, self.view.catalog, self.view.state)
            else:
                self._home, decision, self._arm = decided(self._tried(facts, moment), errand)
            may_be_known = self.view.caches and verdict is None and errand is None
            if may_be_known and (known := self._from_cache(decision, facts, read, patience, moment)):
                return known

        def route(narrowed: Narrowed | None) -> Routed | Hold:
            about = (self.view, self.book, facts, self.request_id, moment, patience, self.hedges, narrowed)
            told = (*about, errand.pool if errand else "")
            if decision is not None:
                return Routing(*told).first(decision, self._inbound, self._body)
            if course is None:
                raise Misconfigured(500, "broker_defect", "a call is routed before it is decided")
            return Routing(*told).further(course, self._inbound, self._body)

        if self.view.plan is None:
            routed: Routed | Hold | Ask = route(None)
        else:
            degraded = course.degraded if course else ("", "")
            self._budgeting = self._budgeting or Budgeting(
                self.view, self.view.plan, self.request_id, self.funds, degraded
            )
            tried = course.failed() if course else ()
            routed = self._budgeting.next(route, facts, tried, moment.unix_s, verdict)
        if isinstance(routed, Ask):
            return routed
        if isinstance(routed, Hold):
            if self._held_since_ms is None:
                self._held_since_ms = moment.monotonic_ms
            return routed
        if self.cache is None and self._course is not None and self.view.caches:
            self._resume_cache(facts, routed)
        if self.cache is not None and self._budgeting is not None and self._budgeting.degraded_from:
            self.cache.quit()  # the reply of another pool is nobody's to keep
        return self._forward(facts, read, routed, moment)

    def _tried(self, facts: Facts, moment: Moment) -> Tried:
        known = (self.request_id, self._inbound, self._body)
        return Tried(self.view, self.book, facts, *known, moment.unix_s, self.standings)

    def copies(self, moment: Moment, missed: Callable[[Shadow], None]) -> list[Copy]:
        """What shadows get of the call, now that it is sent."""
        if self._facts is None or self._course is not None or self.errand is not None:
            return []
        call = self._tried(self._facts, moment)
        return copies_of(call, self._home, self._served_by, self.seal, missed, self.capture)

    def _from_cache(
        self, decision: Decision, facts: Facts, read: RequestFacts, patience: Patience, moment: Moment
    ) -> Reply | Pending | None:
        """The reply that an equal call had, or the wait for one that is under way. None: a member is
        asked."""
        pool = self.view.catalog.pools[decision.pool]
        if pool.cache is None or self.replies is None:
            return None
        self.cache = self.cache or CallCache(self.replies, self.request_id, self.seal)
        wait_s = max(0.0, min(pool.timeouts.reply_ms, patience.deadline_ms - moment.monotonic_ms)) / 1000
        call = Question(self.view, decision, facts, read, self._inbound, self._body)
        known = self.cache.answer(call, moment.unix_s, wait_s)
        if isinstance(known, Reply):
            return with_reply(answered(known, self._trace), self._to_capture(facts, moment, (decision.pool,)))
        return known

    def _to_capture(self, facts: Facts, moment: Moment, pools: Sequence[str]) -> ToCapture | None:
        """`pools`: where it was to go, and where it went on. A kept reply is no answer of an arm's."""
        began_s = moment.unix_s - (moment.monotonic_ms - self._started_ms) / 1000
        asked_pool, pool = asked_for(self.view, self._arm, pools), pools[-1]
        drawn = (self.request_id, self._arm, pool, self.standings, self.errand)
        scores = to_score(self.view, facts, *drawn) if self.view.scores and self._served_by else None
        about = (self.request_id, self._body, began_s, asked_pool, pool)
        return to_capture(self.view, facts, *about, self.errand, scores)

    def _resume_cache(self, facts: Facts, routed: Routed) -> None:
        """The call was handed back, and may be one that others wait for."""
        if self.replies is None or not (said := self._inbound.first(CACHE_HEADER)):
            return
        self.cache = CallCache(self.replies, self.request_id)
        pool = self.view.catalog.pools.get(routed.pools[0])
        self.cache.resume(said, facts, self._body, pool, len(routed.pools) == 1)

    def _forward(self, facts: Facts, read: RequestFacts, routed: Routed, moment: Moment) -> Forward:
        target = self.view.target(
            routed,
            facts.surface,
            facts.stream,
            facts.caller,
            rewrite=read.marked,
            binds=read.binds,
            bound=bool(facts.owners),
            adds_usage=read.adds_usage,
            hides_usage=read.hides_usage,
            cache=self.cache.said if self.cache is not None else NOTHING_SAID,
        )
        self._served_by = routed.pool.name
        span = read.model_span
        _, question, query = self._inbound.first(":path").partition("?")
        own = [
            (ID_HEADER, self.request_id),
            ("x-broker-model-span", f"{span[0]}-{span[1]}"),
            ("x-broker-suffix", facts.surface.suffix + question + query),
        ]
        if facts.stream:
            first_event_by_ms = moment.monotonic_ms + routed.pool.timeouts.first_event_ms
            own.append((FIRST_EVENT_HEADER, str(first_event_by_ms)))
        names = target.names
        if (left_ms := self._left_ms(routed, moment)) is not None:
            own.append((_LEFT_HEADER, str(left_ms)))
            names = (*names, _LEFT_HEADER)
        own_facts = [("model", facts.model), ("asks", asked(facts))]
        if self._trace is not None:
            told_of_it, may_go_on = passed_on(self.view.traces, self._trace)
            own += told_of_it
            names = (*names, *may_go_on)
            own_facts.append(("trace", self._trace.text))
        if routed.handed_back:
            own.append((COURSE_HEADER, self._sealed(facts.caller, routed, moment)))
        if routed.attempt > 1:
            own_facts.append(("attempt", str(routed.attempt)))
        elif told := self._replay(facts, self._arm.session or routed.key):
            own_facts.append(("replay", told))
        if routed.chances is not None:
            own_facts.append(told_of(routed.chances))
        if waited_ms := self._waited_ms(moment):
            own_facts.append(("queue_ms", str(waited_ms)))
        if self._budgeting is not None:
            own_facts += self._budgeting.told()
        own_facts += told_of_trial(self.errand, self._arm)
        if self.view.captures or self.view.scores:
            self.capture = self._to_capture(facts, moment, routed.pools)
        if (to := self.capture) is not None:
            own_facts += to.facts()
        return Forward(
            shared_headers=target.headers,
            own_headers=tuple(own),
            remove_headers=not_to_go_on(self._inbound.names, names),
            pick=target.pick,
            shared_facts=target.facts,
            own_facts=tuple(own_facts),
            watched=self.cache is not None and self.cache.watched,
        )

    def _replay(self, facts: Facts, key: str = "") -> str:
        """For the record of a first attempt: Envoy keeps it with the call."""
        conversation = keyed(key.encode(), self.seal) if key else ""
        return replay(facts, conversation, self.cache.fingerprint if self.cache is not None else "")

    def _left_ms(self, routed: Routed, moment: Moment) -> int | None:
        """Of the time that the whole call may take, as the pool says that it was for. None: no bound."""
        first = self.view.catalog.pools.get(routed.pools[0], routed.pool)
        if not first.timeouts.call_ms:
            return None
        left_ms = self._started_ms + first.timeouts.call_ms - moment.monotonic_ms
        if left_ms <= 0:
            told = "the call's time was up before a member answered (timeouts.call)"
            rule, pool = routed.decision.rule, routed.decision.pool
            raise Unavailable(504, "upstream_timeout", told, rule=rule, pool=pool)
        return left_ms

    def _sealed(self, caller: Caller, routed: Routed, moment: Moment) -> str:
        tried = self._course.tried if self._course else ()
        course = Course(
            self.request_id,
            self._started_ms,
            caller.name,
            caller.feature,
            caller.customer,
            routed.pools,
            tried,
            self._waited_ms(moment),
            claimed(caller, self.view.callers_by_name.get(caller.name)),
            self._budgeting.degraded if self._budgeting is not None else ("", ""),
            self.errand,
            self._arm[:3],
            self._trace.text if self._trace is not None else "",
        )
        return sealed(course, self.seal)

    def _read(self, body: bytes) -> tuple[Facts, RequestFacts]:
        """The facts of the call, and what else its body tells."""
        surface, caller = self._surface, self._caller
        if surface is None or caller is None:
            raise Misconfigured(500, "broker_defect", "a body came before its headers")
        limit = self.view.catalog.limits.request_bytes
        if len(body) > limit:
            raise self._too_large(limit)
        self._dialect = dialect_named(surface.dialect)
        read = self._dialect.read(body)
        return facts_of(caller, surface, read, self._fact_headers()), read

    # -- the same steps, one by one, for those who only want to know

    def assume(self, caller: Caller) -> None:
        """Take `caller` as verified, instead of a key in a header."""
        self._caller = caller

    def facts(self, inbound: Inbound, body: bytes, proof: Proof = NO_PROOF) -> Facts:
        """What is known of the call. Raises CallError where it would be refused before any decision."""
        self._inbound = inbound
        self._proof = proof
        self._admit(inbound.first(":path").partition("?")[0], ends=False)
        return self._read(body)[0]

    def _fact_headers(self) -> Mapping[str, str]:
        declared = self.view.catalog.fact_headers
        if not declared:
            return NO_ITEMS
        return {fact: value for fact, name in declared.items() if (value := self._inbound.first(name))}

    def _models_body(self, path: str) -> bytes:
        """All that the caller may ask for, or the one that the path names."""
        names = self._model_names()
        name = unquote(path.removeprefix(MODELS_PATH).strip("/"))
        if not name:
            return self._dialect.models_body(names)
        if name not in names:
            raise unknown_model(name, names)
        return self._dialect.model_body(name)

    def _model_names(self) -> list[str]:
        return allowed_pools(self._caller or ANYONE, self.view.catalog)

    def _too_large(self, limit: int) -> BadRequest:
        return BadRequest(413, "request_too_large", f"the body is larger than {limit} bytes")

    def refuse(self, error: CallError) -> Reply:
        """The error in the client's dialect."""
        extra: tuple[tuple[str, str], ...] = ()
        if error.retry_after_s is not None:
            extra = (("retry-after", str(error.retry_after_s)),)
        if error.is_final:  # OpenAI's and Anthropic's SDKs heed it
            extra += (("x-should-retry", "false"),)
        if error.status == 401:
            extra += (("www-authenticate", challenge(error)),)
        if error.status == 405:
            extra += (("allow", "POST" if self._surface else "GET, HEAD"),)
        if error.knob and self._surface is not None:
            error.param = client_dialect(self._surface.dialect).own_field(error.knob)
        body = self._dialect.error_body(error, self.request_id)
        return self._reply(error.status, body, extra, error.code, self._known_of_refused(error))

    def _known_of_refused(self, error: CallError) -> tuple[tuple[str, str], ...]:
        """Who was refused, what for, and how far the decision got."""
        told = self._budgeting.told_refused(error.budget) if self._budgeting else ()
        if self._facts is not None:
            told += (("asks", asked(self._facts)),)
            if self._course is None and (more := self._replay(self._facts)):
                told += (("replay", more),)
        known = known_of_call(
            self.request_id,
            self._surface,
            self._facts,
            self._caller or ANYONE,
            rule=error.rule,
            pool=error.pool,
            revision=self.view.catalog.revision,
            attempt=len(self._course.tried) + 1 if self._course else 0,
        )
        return (*told, *told_of_trial(self.errand, self._arm), *known)

    def _reply(
        self,
        status: int,
        body: bytes,
        extra: tuple[tuple[str, str], ...] = (),
        code: str = "",
        facts: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        tried = self._course.tried if self._course else ()
        headers = (
            ("content-type", "application/json"),
            (ID_HEADER, self.request_id),
            ("x-broker-revision", self.view.catalog.revision),
            ("x-broker-attempts", str(len(tried))),
            *extra,
        )
        return answered(Reply(status, headers, body, code, facts), self._trace)
