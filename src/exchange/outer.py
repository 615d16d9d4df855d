"""The outer listener's conversation: who calls, what for, which pool."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.call import Caller, Decision, Facts, Surface
from ..core.errors import BadRequest, CallError, Misconfigured, Refused
from ..dialects import Dialect, dialect_for_path, dialect_named, surface_for_path
from ..policy import allowed_pools, decide
from .view import View

MODELS_PATH = "/v1/models"
HEALTH_PATH = "/healthz"
# Headers of a client's that are never passed on: credentials, accounts, and what only Envoy or the
# broker may say. Everything that begins with one of the prefixes goes too.
_CLIENT_ONLY = frozenset(
    (
        "authorization",
        "api-key",
        "cookie",
        "forwarded",
        "openai-organization",
        "openai-project",
        "proxy-authorization",
        "x-api-key",
        "x-goog-api-key",
        "x-real-ip",
        "x-request-id",
    )
)
# Envoy's router needs x-forwarded-proto, which Envoy itself has set; the member listener strips it.
_KEPT = frozenset(("x-forwarded-proto",))
_CLIENT_ONLY_PREFIXES = ("x-broker-", "x-envoy-", "x-forwarded-", "x-amz-")


def _is_client_only(name: str) -> bool:
    """`name` with dashes: behind CGI-like servers an underscore means the same."""
    return name in _CLIENT_ONLY or name.startswith(_CLIENT_ONLY_PREFIXES)


@dataclass(frozen=True, slots=True)
class Inbound:
    """A request's headers: names in lower case, pseudo-headers included."""

    headers: Sequence[tuple[str, str]]

    def first(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


@dataclass(frozen=True, slots=True)
class Forward:
    """Go on: to the pool's cluster (Envoy picks among the members of `class_name`)."""

    set_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
    class_name: str
    facts: tuple[tuple[str, str], ...] = ()  # for the record: who, what for, what was decided


@dataclass(frozen=True, slots=True)
class Reply:
    """The broker answers itself."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    code: str = ""


@dataclass(frozen=True, slots=True)
class Strip:
    """Go on to the body, without these headers of the client's, and with the call's own id."""

    request_id: str
    remove_headers: tuple[str, ...]


@dataclass(slots=True)
class OuterCall:
    """Events: `on_headers`, then `on_body` unless the headers were answered."""

    view: View
    request_id: str
    _inbound: Inbound = Inbound(())
    _dialect: Dialect = field(default_factory=lambda: dialect_named("openai-chat"))
    _surface: Surface | None = None
    _caller: Caller | None = None

    def on_headers(self, inbound: Inbound, ends: bool) -> Reply | Strip | None:
        """None or Strip: wait for the body. `ends`: there is no body to wait for."""
        self._inbound = inbound
        path = inbound.first(":path").partition("?")[0]
        self._dialect = dialect_for_path(path)
        if inbound.first("anthropic-version"):
            self._dialect = dialect_named("anthropic-messages")
        try:
            return self._admit(path, ends) or self._strip_spoofed()
        except CallError as error:
            return self.refuse(error)

    def _strip_spoofed(self) -> Strip | None:
        """Envoy may end the call before its body is here, and then says what these headers say."""
        spoofed = {name for name, _ in self._inbound.headers if name.startswith("x-broker-")}
        return Strip(self.request_id, tuple(sorted(spoofed - {"x-broker-request-id"}))) if spoofed else None

    def _admit(self, path: str, ends: bool) -> Reply | None:
        method = self._inbound.first(":method")
        if path == HEALTH_PATH and method in ("GET", "HEAD"):
            return self._reply(200, b'{"status":"ok"}')
        if self._inbound.first("upgrade") or method == "CONNECT":
            raise BadRequest(426, "upgrade_not_supported", "upgrades are not supported: use HTTP")
        self._caller = self._caller or self._authenticate()
        if path.rstrip("/") == MODELS_PATH:
            if method not in ("GET", "HEAD"):
                raise BadRequest(405, "method_not_allowed", f"{MODELS_PATH} takes GET, not {method[:20]}")
            return self._reply(200, self._dialect.models_body(self._model_names()))
        self._surface = surface_for_path(path)
        if self._surface is None:
            raise BadRequest(404, "unknown_path", f"there is no operation {method} {path[:200]}")
        if method != "POST":
            raise BadRequest(405, "method_not_allowed", f"{self._surface.path} takes POST, not {method[:20]}")
        encoding = self._inbound.first("content-encoding").strip().lower()
        if encoding not in ("", "identity"):
            raise BadRequest(
                415,
                "unsupported_encoding",
                f"content-encoding {encoding[:40]} is not read here: send it plain",
            )
        length = self._inbound.first("content-length")
        limit = self.view.catalog.limits.request_bytes
        if length.isdigit() and int(length) > limit:
            raise self._too_large(limit)
        if ends:
            raise BadRequest(400, "invalid_json", "the body is empty: send a JSON object")
        return None

    def on_body(self, body: bytes) -> Forward | Reply:
        try:
            return self._route(body)
        except CallError as error:
            return self.refuse(error)

    def _route(self, body: bytes) -> Forward:
        facts, span = self._read(body)
        decision = decide(facts, self.view.catalog, self.view.state)
        target = self.view.target(decision)
        first_ms = target.first_event_ms if facts.stream else target.reply_ms
        _, question, query = self._inbound.first(":path").partition("?")
        headers = [
            ("x-broker-cluster", target.cluster),
            ("x-broker-dialect", facts.surface.dialect),
            ("x-broker-levels", str(target.first_level)),
            ("x-broker-model-span", f"{span[0]}-{span[1]}"),
            ("x-broker-pool", decision.pool),
            ("x-broker-request-id", self.request_id),
            ("x-broker-revision", decision.revision),
            ("x-broker-suffix", facts.surface.suffix + question + query),
            ("x-envoy-max-retries", str(target.retries)),
            ("x-envoy-upstream-rq-per-try-timeout-ms", str(first_ms)),
            ("accept-encoding", "identity"),
        ]
        if facts.stream:
            headers.append(("x-broker-stream", facts.surface.dialect))
        return Forward(
            tuple(headers), self._stripped(headers), target.class_name, self._known(facts, decision)
        )

    def _known(self, facts: Facts, decision: Decision) -> tuple[tuple[str, str], ...]:
        """What the record will say of this call; what is not known is left out."""
        caller = facts.caller
        known = (
            ("request_id", self.request_id),
            ("caller", caller.name),
            ("agent", caller.agent),
            ("user", caller.user),
            ("team", caller.team),
            ("customer", caller.customer),
            ("feature", caller.feature),
            ("tier", caller.tier),
            ("dialect", facts.surface.dialect),
            ("model", facts.model),
            ("stream", "1" if facts.stream else ""),
            ("rule", decision.rule),
            ("pool", decision.pool),
            ("revision", decision.revision),
        )
        return tuple((name, value) for name, value in known if value)

    def _read(self, body: bytes) -> tuple[Facts, tuple[int, int]]:
        """The facts of the call, and where `model` stands in its body."""
        surface, caller = self._surface, self._caller
        if surface is None or caller is None:
            raise Misconfigured(500, "broker_defect", "a body came before its headers")
        limit = self.view.catalog.limits.request_bytes
        if len(body) > limit:
            raise self._too_large(limit)
        self._dialect = dialect_named(surface.dialect)
        read = self._dialect.read(body)
        facts = Facts(
            caller=caller,
            surface=surface,
            model=read.model,
            context_tokens=read.context_tokens,
            max_output_tokens=read.max_output_tokens,
            tools=read.tools,
            images=read.images,
            documents=read.documents,
            schema=read.schema,
            reasoning=read.reasoning,
            stream=read.stream,
            headers=self._fact_headers(),
        )
        return facts, read.model_span

    # -- the same steps, one by one, for those who only want to know

    def assume(self, caller: Caller) -> None:
        """Take `caller` as verified, instead of a key in a header."""
        self._caller = caller

    def facts(self, inbound: Inbound, body: bytes) -> Facts:
        """What is known of the call. Raises CallError where it would be refused before any decision."""
        self._inbound = inbound
        self._admit(inbound.first(":path").partition("?")[0], ends=False)
        return self._read(body)[0]

    def _stripped(self, ours: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """The client's headers that must not go on."""
        kept = _KEPT | {name for name, _ in ours}
        return tuple(
            {
                name
                for name, _ in self._inbound.headers
                if name not in kept and _is_client_only(name.replace("_", "-"))
            }
        )

    def _authenticate(self) -> Caller:
        """Who sends this, from the key alone; with no callers configured anyone (on loopback) may."""
        caller = self._known_caller()
        return replace(
            caller, feature=self._claim("feature", caller), customer=self._claim("customer", caller)
        )

    def _claim(self, fact: str, caller: Caller) -> str:
        """What the caller says of itself, where the configuration trusts it to."""
        claimed = self._inbound.first(f"x-broker-{fact}") if fact in caller.trusted_for else ""
        configured: str = getattr(caller, fact)
        return claimed or configured

    def _known_caller(self) -> Caller:
        if not self.view.catalog.callers:
            return Caller()
        scheme, _, token = self._inbound.first("authorization").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else ""
        key = key or self._inbound.first("x-api-key").strip()
        if not key:
            raise Refused(
                401,
                "missing_api_key",
                "no key: send the broker's key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'",
            )
        caller = self.view.callers.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())
        if caller is None:
            raise Refused(401, "invalid_api_key", "this key is not one of the broker's callers")
        return caller

    def _fact_headers(self) -> Mapping[str, str]:
        declared = self.view.catalog.fact_headers
        return {fact: value for fact, name in declared.items() if (value := self._inbound.first(name))}

    def _model_names(self) -> list[str]:
        return allowed_pools(self._caller or Caller(), self.view.catalog)

    def _too_large(self, limit: int) -> BadRequest:
        return BadRequest(413, "request_too_large", f"the body is larger than {limit} bytes")

    def refuse(self, error: CallError) -> Reply:
        """The error in the client's dialect."""
        extra: tuple[tuple[str, str], ...] = ()
        if error.retry_after_s is not None:
            extra = (("retry-after", str(error.retry_after_s)),)
        if error.status == 401:
            extra += (("www-authenticate", "Bearer"),)
        if error.status == 405:
            extra += (("allow", "POST" if self._surface else "GET, HEAD"),)
        body = self._dialect.error_body(error, self.request_id)
        return self._reply(error.status, body, extra, error.code)

    def _reply(
        self, status: int, body: bytes, extra: tuple[tuple[str, str], ...] = (), code: str = ""
    ) -> Reply:
        headers = (
            ("content-type", "application/json"),
            ("x-broker-request-id", self.request_id),
            ("x-broker-revision", self.view.catalog.revision),
            *extra,
        )
        return Reply(status, headers, body, code)
