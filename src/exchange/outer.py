"""The outer listener's conversation: who calls, what for, which pool."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import unquote

from ..core.call import Caller, Facts, Surface
from ..core.catalog import NO_ITEMS
from ..core.errors import BadRequest, CallError, Misconfigured, Refused
from ..dialects import (
    SURFACES,
    Dialect,
    RequestFacts,
    client_dialect,
    dialect_for_path,
    dialect_named,
    id_and_owner,
    surface_for_path,
)
from ..policy import allowed_pools, decide, unknown_model
from .view import View

MODELS_PATH = "/v1/models"
HEALTH_PATH = "/healthz"
_OPERATIONS = "there are " + ", ".join(f"POST {surface.path}" for surface in SURFACES)
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


_BROKERS_PREFIX = "x-broker-"
_ID_HEADER = "x-broker-request-id"
_ANYONE = Caller()
_FIRST_DIALECT = dialect_named("openai-chat")  # until the path says more


def _is_client_only(name: str) -> bool:
    """`name` with dashes: behind CGI-like servers an underscore means the same."""
    return name in _CLIENT_ONLY or name.startswith(_CLIENT_ONLY_PREFIXES)


# The two below are asked with the same few tuples of names, since agents send the same headers all day.


@functools.lru_cache(maxsize=256)
def _spoofed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those in the broker's name. Its id is not among them: it is overwritten."""
    return tuple(sorted(n for n in set(names) if n.startswith(_BROKERS_PREFIX) and n != _ID_HEADER))


@functools.lru_cache(maxsize=256)
def _not_to_go_on(names: tuple[str, ...], ours: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a client's that must not go on; `ours` are overwritten."""
    kept = _KEPT.union(ours)
    return tuple(n for n in set(names) if n not in kept and _is_client_only(n.replace("_", "-")))


# Bodies of up to this many times the limit are taken in to be refused in peace.
MOST_OVER_LIMIT = 2


class Inbound:
    """A request's headers: names in lower case, pseudo-headers included."""

    __slots__ = ("_first",)

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        self._first = dict(reversed(headers))  # of values with the same name the first one wins

    @classmethod
    def of(cls, first_values: dict[str, str]) -> Inbound:
        """The same where nobody has to look for names that come twice."""
        inbound = cls.__new__(cls)
        inbound._first = first_values
        return inbound

    def first(self, name: str) -> str:
        return self._first.get(name, "")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._first)


_NO_HEADERS = Inbound(())
_NO_OWNERS: Mapping[str, str] = {}


class Forward(NamedTuple):
    """Go on: to the pool's cluster (Envoy picks among the members of `class_name`).

    What is shared is the same for many calls, so that it need not be encoded for each of them. `facts` are
    for the record: who, what for, what was decided.
    """

    shared_headers: tuple[tuple[str, str], ...]
    own_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
    class_name: str
    shared_facts: tuple[tuple[str, str], ...]
    own_facts: tuple[tuple[str, str], ...]

    @property
    def set_headers(self) -> tuple[tuple[str, str], ...]:
        return self.shared_headers + self.own_headers

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        return self.shared_facts + self.own_facts


@dataclass(frozen=True, slots=True)
class Reply:
    """The broker answers itself."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    code: str = ""
    facts: tuple[tuple[str, str], ...] = ()  # for the record: what was known by then


@dataclass(frozen=True, slots=True)
class Strip:
    """Go on to the body, without these headers of the client's, and with the call's own id."""

    request_id: str
    remove_headers: tuple[str, ...]


@functools.lru_cache(maxsize=256)
def _known_of(caller: Caller) -> tuple[tuple[str, str], ...]:
    """What the record will say of the caller; what is not known is left out."""
    known = (
        ("caller", caller.name),
        ("agent", caller.agent),
        ("user", caller.user),
        ("team", caller.team),
        ("customer", caller.customer),
        ("feature", caller.feature),
        ("tier", caller.tier),
    )
    return tuple(one for one in known if one[1])


def _accounts(ids: Sequence[tuple[str, str]]) -> tuple[Mapping[str, str], str]:
    """(provider → the first field with an id that it owns, the first field whose id does not say whose it
    is)."""
    owners: dict[str, str] = {}
    unowned = ""
    for field, ident in ids:
        owner = id_and_owner(ident)[1]
        if owner:
            owners.setdefault(owner, field)
        else:
            unowned = unowned or field
    return owners, unowned


@dataclass(slots=True)
class OuterCall:
    """Events: `on_headers`, then `on_body` unless the headers were answered."""

    view: View
    request_id: str
    _inbound: Inbound = _NO_HEADERS
    _dialect: Dialect = _FIRST_DIALECT
    _surface: Surface | None = None
    _caller: Caller | None = None
    _facts: Facts | None = None
    _refusal: CallError | None = None  # told when the body is here

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
            if not self._is_told_later(ends):
                return self.refuse(error)
            self._refusal = error
            return self._strip_spoofed()

    def _is_told_later(self, ends: bool) -> bool:
        """A client that is still sending may lose an early answer with its connection. So a known caller's
        body is taken in first, if Envoy can hold it."""
        length = self._inbound.first("content-length")
        most = MOST_OVER_LIMIT * self.view.catalog.limits.request_bytes
        return self._caller is not None and not ends and not (length.isdigit() and int(length) > most)

    def _strip_spoofed(self) -> Strip | None:
        """Envoy may end the call before its body is here, and then says what these headers say."""
        names = self._inbound.names
        spoofed = _spoofed(names)
        return Strip(self.request_id, spoofed) if spoofed or _ID_HEADER in names else None

    def _admit(self, path: str, ends: bool) -> Reply | None:
        method = self._inbound.first(":method")
        if path == HEALTH_PATH and method in ("GET", "HEAD"):
            return self._reply(200, b'{"status":"ok"}')
        if self._inbound.first("upgrade") or method == "CONNECT":
            raise BadRequest(426, "upgrade_not_supported", "upgrades are not supported: use HTTP")
        self._caller = self._caller or self._authenticate()
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
        length = self._inbound.first("content-length")
        limit = self.view.catalog.limits.request_bytes
        if length.isdigit() and int(length) > limit:
            raise self._too_large(limit)
        if ends:
            raise BadRequest(400, "invalid_json", "the body is empty: send a JSON object")
        return None

    def on_body(self, body: bytes) -> Forward | Reply:
        try:
            if self._refusal is not None:
                raise self._refusal
            return self._route(body)
        except CallError as error:
            return self.refuse(error)

    def _route(self, body: bytes) -> Forward:
        facts, read = self._read(body)
        decision = decide(facts, self.view.catalog, self.view.state)
        target = self.view.target(
            decision,
            facts.surface,
            facts.stream,
            rewrite=read.marked,
            binds=read.binds,
            bound=bool(facts.owners),
            adds_usage=read.adds_usage,
        )
        span = read.model_span
        _, question, query = self._inbound.first(":path").partition("?")
        return Forward(
            shared_headers=target.headers,
            own_headers=(
                (_ID_HEADER, self.request_id),
                ("x-broker-model-span", f"{span[0]}-{span[1]}"),
                ("x-broker-suffix", facts.surface.suffix + question + query),
            ),
            remove_headers=_not_to_go_on(self._inbound.names, target.names),
            class_name=target.class_name,
            shared_facts=target.facts + _known_of(facts.caller),
            own_facts=(("request_id", self.request_id), ("model", facts.model)),
        )

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
        owners, unowned = _accounts(read.ids) if read.ids else (_NO_OWNERS, "")
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
            audio=read.audio,
            choices=read.choices,
            same_dialect=read.same_dialect,
            owners=tuple(owners) if owners else (),
            owned_ids=tuple(owners.values()) if owners else (),
            unowned_ids=unowned,
            stateful=read.stateful,
            hosted_tools=read.hosted_tools,
            files=read.files,
            image_urls=read.image_urls,
            document_urls=read.document_urls,
            headers=self._fact_headers(),
        )
        self._facts = facts
        return facts, read

    # -- the same steps, one by one, for those who only want to know

    def assume(self, caller: Caller) -> None:
        """Take `caller` as verified, instead of a key in a header."""
        self._caller = caller

    def facts(self, inbound: Inbound, body: bytes) -> Facts:
        """What is known of the call. Raises CallError where it would be refused before any decision."""
        self._inbound = inbound
        self._admit(inbound.first(":path").partition("?")[0], ends=False)
        return self._read(body)[0]

    def _authenticate(self) -> Caller:
        """Who sends this, from the key alone; with no callers configured anyone (on loopback) may."""
        caller = self._known_caller()
        if not caller.trusted_for:
            return caller
        feature, customer = self._claim("feature", caller), self._claim("customer", caller)
        if not (feature or customer):
            return caller
        return replace(caller, feature=feature or caller.feature, customer=customer or caller.customer)

    def _claim(self, fact: str, caller: Caller) -> str:
        """What the caller says of itself, where the configuration trusts it to."""
        return self._inbound.first(_BROKERS_PREFIX + fact) if fact in caller.trusted_for else ""

    def _known_caller(self) -> Caller:
        if not self.view.catalog.callers:
            return _ANYONE
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
        return allowed_pools(self._caller or _ANYONE, self.view.catalog)

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
        if error.knob and self._surface is not None:
            error.param = client_dialect(self._surface.dialect).own_field(error.knob)
        body = self._dialect.error_body(error, self.request_id)
        return self._reply(error.status, body, extra, error.code, self._known_of_refused(error))

    def _known_of_refused(self, error: CallError) -> tuple[tuple[str, str], ...]:
        """Who was refused, what for, and how far the decision got."""
        facts, surface = self._facts, self._surface
        known = (
            ("request_id", self.request_id),
            ("dialect", surface.dialect if surface else ""),
            ("model", facts.model if facts else ""),
            ("stream", "1" if facts and facts.stream else ""),
            ("rule", error.rule),
            ("pool", error.pool),
            ("revision", self.view.catalog.revision),
        )
        return tuple(one for one in known if one[1]) + _known_of(self._caller or _ANYONE)

    def _reply(
        self,
        status: int,
        body: bytes,
        extra: tuple[tuple[str, str], ...] = (),
        code: str = "",
        facts: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        headers = (
            ("content-type", "application/json"),
            (_ID_HEADER, self.request_id),
            ("x-broker-revision", self.view.catalog.revision),
            *extra,
        )
        return Reply(status, headers, body, code, facts)
