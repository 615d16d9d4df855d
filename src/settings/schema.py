"""What YAML may say: one pydantic model a mapping. The descriptions make docs/configuration.md.

Every field names, in `json_schema_extra`, its `kind` for the reference and what is `right` for error
messages.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints
from pydantic.fields import FieldInfo

from ..core.catalog import Limits, Listen, SecretRef
from . import trial_values, values
from .admin_schema import AdminIn
from .audit_schema import AuditIn
from .availability import AffinityIn, EjectionIn, HedgeIn, RoutingIn, TimeoutsIn
from .budgeting import BudgetIn, RateLimitIn, RedisIn
from .caching import CacheIn, CacheStoreIn
from .capture import CaptureIn
from .console_schema import ConsoleIn
from .fields import HOUR, Flag, Model, field
from .identities import RIGHT, Credential
from .identity import IssuerIn, SpiffeIds, Token, spiffe_field, token_field
from .ledger import LedgerIn
from .metrics import MetricsIn
from .pricing import PriceIn
from .secret_schema import SecretsIn
from .telemetry_schema import TelemetryIn
from .trial_schema import RolloutIn, ShadowIn

PROVIDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
POOL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$"
POOL_PATTERN = r"^[A-Za-z0-9._:/@+*?-]{1,128}$"
MODEL_NAME = r"^[!-~]{1,256}$"
FACT_NAME = r"^[a-z][a-z0-9_.-]{0,63}$"
MIB, GIB = 1 << 20, 1 << 30

ProviderName = Annotated[str, StringConstraints(pattern=PROVIDER_NAME)]
PoolName = Annotated[str, StringConstraints(pattern=POOL_NAME)]
PoolPattern = Annotated[str, StringConstraints(pattern=POOL_PATTERN)]
ModelName = Annotated[str, StringConstraints(pattern=MODEL_NAME)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]

_NAME = "give a name of letters, digits, `.`, `_` and `-`, e.g. my-openai"
_POOL = "give a name of letters, digits and `. _ : / @ + -`, e.g. reasoning-tier"
_POOLS = "give names or patterns, e.g. [reasoning-tier, claude-*]"
_TEXT = "give 1 to 256 characters of text"
_PEM = "give the path of a PEM file"
_MODEL = "give the model's name, with no spaces, e.g. gpt-5-mini"


Cap = Annotated[int, Field(ge=1, le=1_000_000)]
_CAP = ("whole number, 1 to 1000000", "give a whole number from 1 to 1000000, e.g. 100")
Tokens = Annotated[int, BeforeValidator(values.tokens)]
_TOKENS = ("number of tokens", "give a number of tokens, e.g. 128k")
_BOOL = ("true or false", "give true or false")


class CapabilitiesIn(Model):
    """What a model can take and give, where it is otherwise than the broker knows. A call that needs more
    goes to other members; what nobody knows refuses no call. docs/capabilities.md has the details."""

    context: Tokens | None = field("Of a whole conversation.", *_TOKENS, None)
    max_output: Tokens | None = field("Of an answer, the reasoning included.", *_TOKENS, None)
    tools: Flag | None = field("Tools that the client runs.", *_BOOL, None)
    images: Flag | None = field("Images in the conversation.", *_BOOL, None)
    documents: Flag | None = field("Documents in the conversation.", *_BOOL, None)
    audio: Flag | None = field("Audio in the conversation.", *_BOOL, None)
    # pydantic's own models have a method of this name.
    schema_: Flag | None = Field(
        None,
        alias="schema",
        description="Answers by a JSON schema.",
        json_schema_extra={"kind": _BOOL[0], "right": _BOOL[1]},
    )
    reasoning: Flag | None = field("Reasoning, where the call asks for it.", *_BOOL, None)
    choices: Flag | None = field("Several answers to one call (`n`).", *_BOOL, None)
    keeps_replies: Flag | None = field("Replies kept for later calls (`store`).", *_BOOL, None)
    chat: Flag | None = field("Conversations, of any dialect.", *_BOOL, None)
    embeddings: Flag | None = field("Embeddings.", *_BOOL, None)
    hosted_tools: Flag | None = field("Tools that run at the provider (web search …).", *_BOOL, None)
    files: Flag | None = field("Files kept for later calls, and what else calls name by an id.", *_BOOL, None)
    image_urls: Flag | None = field("Images by their URL.", *_BOOL, None)
    document_urls: Flag | None = field("Documents by their URL.", *_BOOL, None)


class ProviderIn(Model):
    """An upstream account. A name from the list of built-in providers changes only the fields that are
    given; any other name needs at least `dialect` and `base_url`."""

    name: ProviderName = field("What members call it.", "name", _NAME)
    dialect: Annotated[list[str], BeforeValidator(values.one_or_more)] | None = field(
        "The wire protocol that it speaks, or several of them at this base URL.",
        "dialect or list of them",
        "give e.g. openai-chat or [openai-chat, openai-embeddings]",
        None,
    )
    base_url: Annotated[str, PlainValidator(values.base_url)] = field(
        "Where it is: `http(s)://host[:port][/path]`, as its own SDK wants it.",
        "URL",
        "give e.g. base_url: https://api.example.com/v1",
        "",
    )
    credential: Credential = field(
        "Where its API key is to be found: `{env: NAME}`, `{file: PATH}`, `{STORE: PATH}` or `none`. Never "
        "the key itself. With `auth: aws-sigv4` the value is `KEY_ID:SECRET` or "
        "`KEY_ID:SECRET:SESSION_TOKEN`. `aws`, `gcp` and `azure` are the broker's own identity in that "
        "cloud, and a mapping such as `{aws: {role_arn: …}}` is another one "
        "([secrets.md](secrets.md#identities)).",
        "reference to a secret, or identity",
        RIGHT,
        None,
    )
    auth: str | None = field(
        "The header that carries the key: `bearer`, `x-api-key`, `api-key`, `x-goog-api-key` or `none`; "
        "`aws-sigv4` signs the requests instead. With a credential `bearer`, without one `none`.",
        "word",
        "give bearer, x-api-key, api-key, x-goog-api-key, aws-sigv4 or none",
        None,
    )
    region: Text = field("The cloud region, for Bedrock and Vertex.", "text", _TEXT, "")
    project: Text = field("The cloud project, for Vertex.", "text", _TEXT, "")
    api_version: Text = field("The API version that it wants, in a header or the query.", "text", _TEXT, "")
    variant: str = field(
        "Where its dialect has other paths, bodies or framing: `azure` (deployments in the path), `bedrock` "
        "and `vertex` (Anthropic's or Google's models there).",
        "word",
        "give azure, bedrock or vertex, or leave it out",
        "",
    )
    deviations: Annotated[dict[str, Any], PlainValidator(values.deviations)] = field(
        "How it differs from the owner of its dialect: the names are "
        "in docs/deviations.md. Added to those of a built-in provider.",
        "mapping of name: value",
        "give e.g. {max_tokens_field: max_tokens}",
        dict,
    )
    headers: Annotated[dict[str, str], PlainValidator(values.provider_headers)] = field(
        "Further headers for every request to it. No secrets: those are `credential`.",
        "mapping of header: value",
        "give {name: value}",
        dict,
    )
    ca_file: Text = field(
        "A PEM file of the authorities to trust, in place of the system's.", "path", _PEM, ""
    )
    models: dict[ModelName, ModelName] = field(
        "The names of models that this provider calls otherwise: public name → its own. "
        "Members use the public one.",
        "mapping of name: name",
        "give {public-name: name-at-the-provider}",
        dict,
    )
    concurrency: Cap | None = field(
        "Calls under way together at this account. What is more goes to other members.", *_CAP, None
    )
    capabilities: dict[ModelName, CapabilitiesIn] = field(
        "What its models can do, where it is otherwise than the broker knows: model, or pattern of models → "
        "capabilities. The longest pattern wins; a pool's member may still say otherwise.",
        "mapping of pattern: mapping",
        'give e.g. {"llama-*": {context: 32k, images: false}}',
        dict,
    )


KeyRef = Annotated[SecretRef, PlainValidator(values.caller_key)]
_PERSON = "Put into the facts and records of its calls."


class CallerIn(Model):
    """Who may call: by the key that it sends (`Authorization: Bearer …` or `x-api-key`), by a token of an
    issuer's in its place, or by a client's certificate. docs/identity.md"""

    name: PoolName = field("What records call it. The fact `caller`.", "name", _POOL)
    key: KeyRef | None = field(
        "Its key: `{sha256: 64 hex digits}` (`printf %s KEY | sha256sum`), `{env: NAME}` or `{file: PATH}`.",
        "reference to a secret",
        values.HOW_TO_HASH,
        None,
    )
    keys: list[KeyRef] = field(
        "In place of `key`: several that are all good, so that keys can be changed without a gap.",
        "list of references",
        "give a list, e.g. [{env: KEY_OLD}, {env: KEY_NEW}]",
        list,
    )
    jwt: Token = token_field()
    spiffe: SpiffeIds = spiffe_field()
    agent: Text = field(f"The agent. {_PERSON}", "text", _TEXT, "")
    user: Text = field(f"The person behind it. {_PERSON}", "text", _TEXT, "")
    team: Text = field(f"The team. {_PERSON}", "text", _TEXT, "")
    customer: Text = field(f"The customer. {_PERSON}", "text", _TEXT, "")
    tier: Text = field("The service level, for rules to match on.", "text", _TEXT, "")
    pools: Annotated[list[PoolPattern], BeforeValidator(values.one_or_more)] = field(
        "The pools that it may use: names or patterns.", "list of names or patterns", _POOLS, ["*"]
    )
    trusted_for: Annotated[list[str], BeforeValidator(values.one_or_more)] = field(
        "The facts that this caller may set by header, for it speaks for others: `feature`, `customer`.",
        "list of words",
        "give a list out of feature and customer",
        list,
    )
    purpose: Annotated[str, BeforeValidator(values.purpose)] = field(
        "What its calls are for, where they are no client's: `eval`. They are told apart in records and "
        "ledger, and only budgets of that `purpose` concern them. `modelbroker eval` gives its own callers "
        "it.",
        "eval",
        "give eval, or leave it out",
        "",
    )


class MemberIn(Model):
    """A provider and one of its models."""

    provider: str = field(
        "A built-in provider, or one from `providers`.", "name", "give the name of a provider, e.g. openai"
    )
    model: ModelName = field("The model. The provider's `models` may rename it.", "name", _MODEL)
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = field(
        "Its share of first attempts among the members of its priority. 0: none of them.",
        "whole number, 0 to 1000000",
        "give a weight of 0 or more, e.g. 70",
        1,
    )
    priority: Annotated[int, Field(ge=0, le=127)] = field(
        "Level 0 is tried first; the next level when no member of this one is there.",
        "whole number, 0 to 127",
        "give a priority from 0 to 127; 0 is tried first",
        0,
    )
    concurrency: Cap | None = field(
        "Its calls under way together. They are counted apart from its provider's `concurrency`.", *_CAP, None
    )
    capabilities: CapabilitiesIn | None = field(
        "What it can do, where it is otherwise than the broker knows.",
        "mapping",
        "give e.g. {images: false, context: 128k}",
        None,
    )


class PoolIn(Model):
    """What an agent asks for by name in `model`: members that can stand in for one another."""

    name: PoolName = field("What clients put in `model`.", "name", _POOL)
    routing: Annotated[RoutingIn, BeforeValidator(values.routing)] = field(
        "How the first member is picked, in the lowest priority that is up: `priority-weighted` (by weight) "
        "or `cheapest` (docs/routing-by-cost.md).",
        "word or mapping",
        "give priority-weighted or cheapest",
        RoutingIn,
    )
    failover: Annotated[int, PlainValidator(values.failover)] = field(
        "How many other members may be tried after the first fails: `up to 3`, `3`, or `none`. At most 10. "
        "A member that is alone is tried once more.",
        "`up to N`, number or `none`",
        "give `up to 3`, a whole number from 0 to 10, or `none`",
        3,
    )
    cache: Annotated[CacheIn | None, BeforeValidator(values.cache)] = field(
        "Answer short calls that were answered before from the cache: docs/cache.md.",
        "`short-context` or mapping",
        "give short-context, or e.g. {max_context_tokens: 4k, ttl: 1h, scope: team}",
        None,
    )
    aliases: Annotated[list[PoolPattern], BeforeValidator(values.one_or_more)] = field(
        "Other names for it, or patterns: `claude-*` lets clients keep the model names that they have.",
        "list of names or patterns",
        _POOLS,
        list,
    )
    members: Annotated[list[MemberIn], Field(min_length=1)] = field(
        "Who may serve its calls.",
        "list of members",
        "give at least one, e.g. members: [{provider: openai, model: gpt-5-mini}]",
    )
    timeouts: TimeoutsIn = field(
        "How long to wait.", "mapping", 'give e.g. {connect: "5s", first_event: "60s"}', TimeoutsIn
    )
    usage_event: Annotated[str, PlainValidator(values.usage_event)] = field(
        "The broker asks for usage at the end of every chat stream. `strip`: a client that did not ask does "
        "not see that event; `pass`: it does.",
        "word",
        "give strip or pass",
        "strip",
    )
    on: dict[str, Any] = field(
        "What is done when an attempt fails, where it is otherwise than by default: cause → `next` (another "
        "member), `next-priority`, `client` (it gets the answer as it is), or a pool to go on in. The causes "
        "are in docs/failures.md.",
        "mapping of cause: action or pool",
        "give e.g. {context-overflow: long-context-tier}",
        dict,
    )
    hedge: Annotated[HedgeIn | None, BeforeValidator(values.hedge)] = field(
        "Try a second member beside a slow first one: docs/hedging.md.",
        "duration or mapping",
        "give e.g. 2s, or {after: 2s, share: 5%}",
        None,
    )
    affinity: Annotated[AffinityIn | None, BeforeValidator(values.affinity)] = field(
        "Keep conversations at one member: docs/affinity.md.", "word or mapping", "give e.g. session", None
    )
    guard: Annotated[str, PlainValidator(values.guard)] = field(
        "How far the broker watches over a stream that passes as it is. `first-event`: to its first event; "
        "what ends early, but cleanly, behind it is in the record only. `full`: to its end; what ends early "
        "gets the dialect's own error event, and each piece costs: docs/failures.md.",
        "word",
        "give first-event or full",
        "first-event",
    )
    shadow: Annotated[list[ShadowIn], BeforeValidator(trial_values.shadows)] = field(
        "Send calls to another member or pool, too: docs/shadow.md.",
        "mapping, or list of them",
        "give e.g. {to: openai/gpt-5-mini, share: 5%, budget: $20/day}",
        list,
    )
    rollout: RolloutIn | None = field(
        "Let another member or pool take over its calls stage by stage: docs/rollout.md.",
        "mapping",
        "give e.g. {to: openai/gpt-5-mini, gates: {errors: 1%}}",
        None,
    )
    ejection: Annotated[EjectionIn, BeforeValidator(values.ejection)] = field(
        "When a failing member is left out for a while.",
        "`on`, `off` or mapping",
        "give on, off, or {consecutive_errors: 3, base: 10s, max: 5m}",
        EjectionIn,
    )


class RuleIn(Model):
    """Which pool serves a call, whatever it asked for. The first rule that matches wins; when none does,
    `model` names the pool."""

    name: Text = field(
        "What decisions and records call it; `rule-1`, `rule-2` … if left out.", "text", _TEXT, ""
    )
    match: dict[str, Any] = field(
        "Facts and what they have to be: all of them have to hold. `{}` matches every call.",
        "mapping of fact: match",
        "give e.g. match: {tier: premium}, or match: {} for every call",
    )
    pool: str = field("The pool that serves it.", "name", "give the name of a pool", "")
    deny: Annotated[str | None, PlainValidator(values.denial)] = field(
        "In place of `pool`: refuse the call with this text; `true` for a text of the broker's.",
        "text or `true`",
        "give the text that the caller gets, or true",
        None,
    )


class LimitsIn(Model):
    """What holds for the whole broker."""

    request_bytes: Annotated[int, PlainValidator(values.size(1024, GIB))] = field(
        "The largest request body.", "size", 'give e.g. "32MiB"', Limits().request_bytes
    )
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] = field(
        "Calls under way together.",
        "whole number, 1 to 1000000",
        "give a whole number from 1 to 1000000",
        Limits().concurrency,
    )
    idle: Annotated[int, PlainValidator(values.duration(1000, 24 * HOUR))] = field(
        "How long a call may be silent at most.", "duration", 'give e.g. "15m"', Limits().idle_ms
    )
    concrete_models: Flag = field(
        "Whether a client may ask for a member's own model name in place of a pool's.",
        "true or false",
        "give true or false",
        Limits().concrete_models,
    )


class TlsIn(Model):
    """The certificate of the listener."""

    cert_file: Text = field("PEM file of the certificate and its chain.", "path", _PEM)
    key_file: Text = field("PEM file of its private key.", "path", _PEM)
    client_ca_file: Text | None = field(
        "PEM file of the authorities that sign clients' certificates. Who has one is known by `spiffe` of "
        "`callers`; one that is not good is refused.",
        "path",
        _PEM,
        None,
    )
    require_client_cert: Flag = field(
        "Whether a client has to have a certificate to connect at all.", *_BOOL, False
    )


class ListenIn(Model):
    """Where clients connect. Without callers only loopback addresses are allowed."""

    address: Annotated[str, PlainValidator(values.address)] = field(
        "An IP address, or `localhost`.", "address", "give e.g. 127.0.0.1", Listen().address
    )
    port: Annotated[int, Field(ge=0, le=65535)] = field(
        "0: any that is free.", "whole number, 0 to 65535", "give a port from 0 to 65535", Listen().port
    )
    tls: TlsIn | None = field("Serve HTTPS.", "mapping", "give {cert_file: PATH, key_file: PATH}", None)


class FactsIn(Model):
    """Facts of your own that rules can match on."""

    headers: dict[
        Annotated[str, StringConstraints(pattern=FACT_NAME)],
        Annotated[str, PlainValidator(values.fact_header)],
    ] = field(
        "Fact → the request header that sets it. Any client may send it: never grant anything by it.",
        "mapping of fact: header",
        "give e.g. {task: x-task}: a fact is named in lower case",
        dict,
    )


LISTS: dict[str, type[Model]] = {
    "providers": ProviderIn,
    "callers": CallerIn,
    "issuers": IssuerIn,
    "pools": PoolIn,
    "rules": RuleIn,
    "prices": PriceIn,
    "budgets": BudgetIn,
    "rate_limits": RateLimitIn,
}
MAPPINGS: dict[str, type[Model]] = {
    "limits": LimitsIn,
    "listen": ListenIn,
    "facts": FactsIn,
    "ledger": LedgerIn,
    "cache": CacheStoreIn,
    "capture": CaptureIn,
    "audit": AuditIn,
    "console": ConsoleIn,
    "admin": AdminIn,
    "redis": RedisIn,
    "secrets": SecretsIn,
    "telemetry": TelemetryIn,
    "metrics": MetricsIn,
}
SECTIONS: dict[str, type[Model]] = {**LISTS, **MAPPINGS}


def fields_of(model: type[Model]) -> dict[str, FieldInfo]:
    """Key in YAML → field."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def inner_model(info: FieldInfo) -> type[Model] | None:
    """The model of the mapping, or of the list's mappings, that a field holds."""
    todo: list[Any] = [info.annotation]
    while todo:
        each = todo.pop()
        if isinstance(each, type) and issubclass(each, Model):
            return each
        todo += get_args(each)
    return None


def extra(info: FieldInfo, name: str) -> str:
    """`kind` or `right` of a field."""
    known = info.json_schema_extra
    return str(known.get(name, "")) if isinstance(known, dict) else ""
