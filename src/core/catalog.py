"""What a configuration says, compiled: the frozen values that the floors above decide and build from.

`settings` makes a Catalog out of YAML; nothing else does. A Catalog holds references to secrets and
never their values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from .admin import DEFAULT_ADMIN, Admin
from .audit import NO_AUDIT, Audit
from .budgets import Budget, Fleet
from .capture import NO_CAPTURE, Capture
from .causes import DEFAULT_ACTIONS, Action, Cause
from .console import DEFAULT_CONSOLE, Console
from .identity import Issuer, TokenMatch
from .labels import NO_LABELS, CallLabels
from .prices import PriceTerm
from .secrets import NO_SECRETS, Secrets
from .telemetry import NO_TELEMETRY, Telemetry
from .trials import Trials, is_made

NO_ITEMS: Mapping[str, str] = MappingProxyType({})
_NO_WIRES: Mapping[str, Capabilities] = MappingProxyType({})
_NO_TRIALS: Mapping[str, Trials] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret's value is to be found: `env` (a variable's name), `file` (a path) or `sha256` (64
    lower-case hex digits), which is for caller keys only: the digest stands for the key."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class StoredSecret(SecretRef):
    """A secret in a store (`kind` is `store`): `name` is its place there, `field` the one that holds the
    value, "" where there is just one; `version` "" is the newest."""

    store: str = ""
    field: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.store}:{self.name}{f'#{self.field}' if self.field else ''}"


# How the names of identities begin, in status and logs.
IDENTITY = "identity:"


@dataclass(frozen=True, slots=True)
class Identity(StoredSecret):
    """Who the broker itself is in a cloud (`kind` is `aws`, `gcp` or `azure`): its token, or the keys that it
    signs with, are got there, and got anew before they expire. `options`: docs/secrets.md. `instead`: a
    variable of the environment that goes before it where it is set, "" for none. Made by `identity`."""

    options: tuple[tuple[str, str], ...] = ()
    instead: str = ""

    def __str__(self) -> str:
        return self.store


def identity(cloud: str, options: Mapping[str, str] = NO_ITEMS, instead: str = "") -> Identity:
    """It has a store of its own in the box, by a name that no store of the configuration can have."""
    said = tuple(sorted((name, value) for name, value in options.items() if value))
    shown = f"({','.join(f'{name}={value}' for name, value in said)})" if said else ""
    return Identity(cloud, "", f"{IDENTITY}{cloud}{shown}", "", "", said, instead)


class Auth(Enum):
    """How a provider wants its credential: the header's name and what stands before the value. AWS_SIGV4 has
    no header: its requests are signed. (Members of an Enum need values that differ.)"""

    BEARER = ("authorization", "Bearer ")
    X_API_KEY = ("x-api-key", "")
    API_KEY = ("api-key", "")
    X_GOOG_API_KEY = ("x-goog-api-key", "")
    AWS_SIGV4 = ("", "sigv4")
    NONE = ("", "")

    @property
    def header(self) -> str:
        return self.value[0]

    @property
    def prefix(self) -> str:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Provider:
    """An upstream account."""

    name: str
    dialects: tuple[str, ...]
    base_url: str  # http(s)://host[:port][/path], no slash at the end; "" where the provider needs none yet
    auth: Auth = Auth.BEARER
    credential: SecretRef | None = None
    region: str = ""
    project: str = ""
    api_version: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    ca_file: str = ""
    models: Mapping[str, str] = field(default_factory=lambda: NO_ITEMS)  # public name → the provider's own
    ca_digest: str = ""  # of the file's content when it was read: another content is another certificate
    built: bool = True  # False: the dialect is known, but this version can't speak it yet
    variant: str = ""  # a dialect spoken otherwise: `azure`, `bedrock` or `vertex`
    deviations: Mapping[str, Any] = field(default_factory=lambda: NO_ITEMS)  # docs/deviations.md
    concurrency: int = 0  # calls under way together; 0: no cap of its own

    def own_model(self, model: str) -> str:
        """The name by which this provider knows `model`."""
        return self.models.get(model, model)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a member can take and give (or a dialect, when calls are translated into it). None: not known,
    and then nothing is refused for it. docs/capabilities.md"""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    tools: bool | None = None
    images: bool | None = None
    documents: bool | None = None
    audio: bool | None = None  # as input
    schema: bool | None = None  # output by a JSON schema
    reasoning: bool | None = None
    choices: bool | None = None  # several answers to one call
    keeps_replies: bool | None = None  # for later calls to refer to
    chat: bool | None = None  # has conversations
    embeddings: bool | None = None  # makes vectors
    hosted_tools: bool | None = None  # tools that run at the provider
    files: bool | None = None  # and what else calls name by an id
    image_urls: bool | None = None  # images that the provider fetches itself
    document_urls: bool | None = None  # the same of documents


UNKNOWN = Capabilities()


@dataclass(frozen=True, slots=True)
class Member:
    """provider + model in a pool. `id` (`anthropic/claude-opus-4-7`) names it in records and headers."""

    provider: str
    model: str
    # What follows is left out of the hash, which every call takes: members are told apart without it.
    weight: int = field(default=1, hash=False)
    priority: int = field(default=0, hash=False)
    concurrency: int = field(default=0, hash=False)  # calls under way together; 0: no cap of its own
    capabilities: Capabilities = field(default=UNKNOWN, hash=False)
    # Made once: every call asks each of its members for it.
    id: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", f"{self.provider}/{self.model}")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Milliseconds. `first_event_ms` bounds a stream up to its first event, `reply_ms` a whole reply
    up to its end, `between_events_ms` the silence of a stream that has begun, `call_ms` the whole call with
    all of its attempts (0: no bound), `wait_ms` how long a call waits where all members are out."""

    connect_ms: int = 5_000
    first_event_ms: int = 60_000
    reply_ms: int = 600_000
    between_events_ms: int = 900_000
    call_ms: int = 0
    wait_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class Ejection:
    """When a member is taken out of its pool for a while (Envoy's outlier detection), and how long it takes
    until it has its whole share again."""

    enabled: bool = True
    consecutive_errors: int = 3
    base_ms: int = 10_000
    max_ms: int = 300_000
    ramp_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class Affinity:
    """Calls that belong together go to one member: `by` is what they share, `session`, `user` or `prefix`.
    `header` is the first place to look for the name of the session or user; "": only where agents put it."""

    by: str
    header: str = ""


CHEAPEST = "cheapest"
# What an answer is taken to have where neither the call nor its pool says how long it may be.
USUAL_OUTPUT_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class Routing:
    """Who of a priority is first: `priority-weighted` is by weight; CHEAPEST is who is estimated to cost
    least, and weights decide among those that cost at most `tolerance_ppm` parts of a million more.

    `output_tokens` is how long answers are as a rule; 0: as long as the call allows."""

    by: str = "priority-weighted"
    tolerance_ppm: int = 0
    output_tokens: int = 0

    @property
    def is_cheapest(self) -> bool:
        return self.by == CHEAPEST


@dataclass(frozen=True, slots=True)
class Hedge:
    """A second member is tried beside the first where a stream gave no first event for `after_ms`, or a whole
    reply did not come for `reply_after_ms` (0: it is never hedged); of all calls no more than
    `share_percent`."""

    after_ms: int
    share_percent: float = 5.0
    reply_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Caching:
    """Which of a pool's calls may be answered by a reply that an equal call had: those with a context of at
    most so many (estimated) tokens. `scope`: who shares replies with whom, a word of CACHE_SCOPES.
    `tool_effects`: also replies that call tools, and calls with tools that run at the provider. With another
    `version` nothing of before is found any more."""

    max_context_tokens: int = 4_000
    ttl_ms: int = 3_600_000
    scope: str = "caller"
    max_reply_bytes: int = 1 << 20
    tool_effects: bool = False
    version: str = ""


CACHE_SCOPES = ("caller", "user", "team", "customer", "all")


@dataclass(frozen=True, slots=True)
class CacheStore:
    """Where replies are kept: at most so many bytes in the broker's memory, and in a Redis for a fleet.
    `redis` says where its URL is: a SecretRef of kind `env`, `file` or `url` (the URL itself)."""

    bytes: int = 64 << 20
    redis: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    name: str
    members: tuple[Member, ...]
    routing: Routing = Routing()
    failover: int = 3  # further attempts after the first
    cache: Caching | None = None
    aliases: tuple[str, ...] = ()
    timeouts: Timeouts = Timeouts()
    ejection: Ejection = Ejection()
    usage_event: str = "strip"  # or `pass`: what becomes of a usage event that the client did not ask for
    # What is done about causes otherwise than by default: an action, or a pool's name.
    on: tuple[tuple[Cause, Action | str], ...] = ()
    hedge: Hedge | None = None
    affinity: Affinity | None = None
    guard: str = "first-event"  # or `full`: how far the broker watches over a stream of the client's dialect

    def action(self, cause: Cause) -> Action | str:
        """What is done about an attempt that failed so: an action, or the name of the pool to go on in."""
        return next((action for on, action in self.on if on is cause), DEFAULT_ACTIONS[cause])

    @property
    def is_made(self) -> bool:
        """Made by the broker for a member that is tried: nobody can ask for it."""
        return is_made(self.name)


class Op(Enum):
    """How a condition compares a fact with its values."""

    IN = "in"  # equal to one of the values
    GLOB = "glob"  # matches one of the patterns (`*` any text, `?` one character)
    GT = ">"
    GE = ">="
    LT = "<"
    LE = "<="


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact compared. `negated` turns the answer round; an unknown fact never compares true."""

    fact: str
    op: Op
    values: tuple[str | int | bool, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`conditions` all hold → `pool`, or a refusal with the text `deny`. `name` says it in decisions."""

    name: str
    conditions: tuple[Condition, ...]
    pool: str = ""
    deny: str | None = None


@dataclass(frozen=True, slots=True)
class CallerEntry:
    """A caller as configured: what a verified key, token or client's certificate stands for. Of several that
    one token or certificate could stand for, the first by `order` counts."""

    name: str
    keys: tuple[SecretRef, ...]
    agent: str = ""
    user: str = ""
    team: str = ""
    customer: str = ""
    tier: str = ""
    pools: tuple[str, ...] = ("*",)  # names or globs of the pools that it may use
    trusted_for: frozenset[str] = frozenset()  # of {"feature", "customer"}: facts it may set by header
    token: TokenMatch | None = None
    spiffe: tuple[str, ...] = ()  # patterns of the SPIFFE ID in its certificate
    order: int = 0
    purpose: str = ""  # what its calls are for, where they are no client's: `eval`


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, milliseconds and counts that hold for the whole broker."""

    request_bytes: int = 32 * 1024 * 1024
    concurrency: int = 100_000
    idle_ms: int = 900_000
    concrete_models: bool = False  # may a client ask for a member's own model name?


@dataclass(frozen=True, slots=True)
class Listen:
    address: str = "127.0.0.1"
    port: int = 8080
    tls_cert_file: str = ""
    tls_key_file: str = ""
    client_ca_file: str = ""  # the authorities of clients' certificates; "": clients need none
    require_client_cert: bool = False
    tls_digest: str = ""  # of all three files' contents when they were read
    undecided_file: str = ""  # where Envoy writes of calls for which no member was asked

    @property
    def is_loopback(self) -> bool:
        return self.address in ("localhost", "::1") or self.address.startswith("127.")


@dataclass(frozen=True, slots=True)
class LedgerPlace:
    """The database of all calls. `url`: as it stands in the configuration; with `secret` it is to be found
    there. Neither: SQLite in the state folder. `is_on`: false where there is to be none. `retention_s`: how
    long calls are kept; 0: for ever."""

    url: str = ""
    secret: SecretRef | None = None
    is_on: bool = True
    retention_s: int = 400 * 86_400


@dataclass(frozen=True, slots=True)
class Catalog:
    """One whole configuration. `revision` is the hash of its canonical form: 12 hex digits."""

    revision: str
    providers: Mapping[str, Provider]
    callers: tuple[CallerEntry, ...]
    pools: Mapping[str, Pool]
    rules: tuple[Rule, ...]
    limits: Limits = Limits()
    listen: Listen = Listen()
    fact_headers: Mapping[str, str] = field(default_factory=lambda: NO_ITEMS)  # fact → header that sets it
    # Dialect → what a call can hold that is translated into it.
    wires: Mapping[str, Capabilities] = field(default_factory=lambda: _NO_WIRES)
    issuers: tuple[Issuer, ...] = ()
    cache: CacheStore = CacheStore()
    prices: tuple[PriceTerm, ...] = ()  # over those that come with the broker, in rising order of precedence
    budgets: tuple[Budget, ...] = ()  # rate limits among them; who borrows stands before its lender
    fleet: Fleet | None = None
    ledger: LedgerPlace = LedgerPlace()
    trials: Mapping[str, Trials] = field(default_factory=lambda: _NO_TRIALS)  # by the pool's name
    capture: Capture = NO_CAPTURE
    secrets: Secrets = NO_SECRETS
    telemetry: Telemetry = NO_TELEMETRY
    metrics: CallLabels = NO_LABELS
    audit: Audit = NO_AUDIT
    console: Console = DEFAULT_CONSOLE
    admin: Admin = DEFAULT_ADMIN

    @property
    def sees_replies(self) -> bool:
        """Are replies of any calls shown to the broker, on their way to their clients?"""
        return self.capture.sees_replies or any(trials.is_scored for trials in self.trials.values())
