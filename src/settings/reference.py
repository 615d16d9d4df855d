"""docs/configuration.md, out of the schema: `python -m modelbroker.settings.reference` prints it."""

from __future__ import annotations

import sys
from typing import Any

from pydantic.fields import FieldInfo

from ..core.call import FACT_KINDS, Money
from ..core.catalog import Identity, SecretRef
from . import values
from .builtin import builtins
from .fields import Model
from .schema import LISTS, SECTIONS, extra, fields_of, inner_model

_HEAD = """\
# Configuration

<!-- Generated from src/settings/: `python -m modelbroker.settings.reference > docs/configuration.md` -->

A configuration is one YAML file, or a folder of `*.yaml` and `*.yml` files that are merged: lists are put \
one behind the other in the order of the files' names, mappings key by key. A name or key that is there \
twice is an error that tells both places. `config/modelbroker.yaml` is a whole example.

Everything is checked before it takes effect, and all that is wrong is told at once, with file and line:

```
config/pools.yaml:12: pools[0].members[1].weight: "heavy" is not a whole number; give a weight of 0 \
or more, e.g. 70
```

Things that hold everywhere:

- An unknown key is an error; nothing is ignored in silence.
- **Secrets never stand in a configuration**, only references to them: `{env: NAME}`, `{file: PATH}`, or \
`{STORE: PATH, field: FIELD}` of a store that `secrets` names; for \
the keys of callers also `{sha256: …}`, made with `printf %s KEY | sha256sum`.
- Durations have a unit: `500ms`, `30s`, `10m`, `1h`. Sizes are bytes, or have one: `64KiB`, `32MiB`, `1GiB` \
(powers of 1024), `KB`, `MB`, `GB` (powers of 1000).
- Patterns know `*` (any text) and `?` (one character). Put one that begins with `*` in quotes, and any \
value that begins with `!`, `>` or `<`: YAML has other uses for these.
- Paths of files are as the broker's process sees them: a relative one begins at its working directory.
- Plain words are what YAML 1.2 says: `off` and `2023-06-01` are text. Fields that are true or false \
take `yes`, `no`, `on` and `off` as well. Anchors, aliases and `<<` work within a file.
- The **revision** of a configuration (12 hex digits, in every decision and record) is a hash of what it \
means: comments, spelling, the order of keys and the split into files don't change it.
"""

_EXAMPLES = {
    "providers": """\
providers:
  - {name: openai, credential: {file: /run/secrets/openai}}  # built in: only what differs
  - {name: azure-openai, base_url: https://my-resource.openai.azure.com/openai/v1}
  - {name: bedrock, region: eu-west-1, models: {claude-haiku: eu.anthropic.claude-haiku-4-5-20251001-v1:0}}
  - name: in-house
    dialect: [openai-chat, openai-embeddings]
    base_url: http://models.internal:8000/v1
    credential: {env: IN_HOUSE_KEY}
    headers: {x-department: research}
    models: {qwen-large: Qwen/Qwen3-235B-A22B}
    deviations: {max_tokens_field: max_tokens}
    capabilities: {"qwen-*": {context: 128k, images: no}}
""",
    "callers": """\
callers:
  - name: support-bot
    keys: [{env: SUPPORT_BOT_KEY}, {env: SUPPORT_BOT_KEY_NEXT}]
    agent: support-bot
    team: support
    tier: premium
    pools: [reasoning-tier, "*-mini"]
    trusted_for: [customer]
  - {name: data-science, jwt: {issuer: corp, match: {groups: data-*}}, tier: premium}
  - {name: staff, jwt: corp, pools: ["*-mini"]}
  - {name: indexer, spiffe: "spiffe://prod.example.com/ns/agents/sa/indexer-*"}
""",
    "issuers": """\
issuers:
  - name: corp
    issuer: https://login.example.com
    audiences: [modelbroker]
    jwks: https://login.example.com/.well-known/jwks.json
    claims: {user: sub, team: realm.team}
""",
    "pools": """\
pools:
  - name: reasoning-tier
    failover: up to 3
    aliases: [claude-opus-*]
    members:
      - {provider: anthropic, model: claude-opus-4-7, weight: 70}
      - {provider: openai, model: gpt-5-thinking, weight: 30}
      - {provider: openrouter, model: anthropic/claude-opus-4.7, priority: 1, capabilities: {context: 200k}}
    timeouts: {connect: 2s, first_event: 30s, reply: 10m}
    ejection: {consecutive_errors: 5, base: 10s, max: 5m}
""",
    "rules": """\
rules:
  - name: no-pictures
    match: {tier: standard, images: true}
    deny: The standard tier takes no images.
  - name: long
    match: {context.tokens: ">100k", model: "!*-mini"}
    pool: long-context-tier
""",
    "prices": """\
prices:
  - {provider: in-house, commitment: true}  # our own machines: known to cost nothing by the token
  - {provider: openai, discount: 12%, from: 2026-06-01, until: 2026-12-31}
  - provider: anthropic
    model: claude-opus-*
    from: 2026-09-01
    input: 4.50
    cache_read: 0.45
    cache_write_5m: 5.625
    output: 22.50
    above: {200k: {input: 9, output: 33.75}}
    batch: {input: 2.25, output: 11.25}
""",
    "budgets": """\
budgets:
  - {name: company, amount: $20000, per: month, time_zone: Europe/Berlin}
  - name: team-daily
    by: [team]
    amount: $50
    per: day
    time_zone: Europe/Berlin
    borrows_from: company
    at: [{50%: warn}, {90%: {degrade: small-mini}}, {100%: deny}]
  - {name: free-users, by: user, match: {tier: free}, amount: 200k tokens, per: rolling 24h}
""",
    "rate_limits": """\
rate_limits:
  - {name: per-caller, by: caller, calls: 600/m, tokens: 2M/m, concurrency: 50}
  - {name: batch-jobs, match: {feature: "batch-*"}, concurrency: 4}
""",
    "redis": """\
redis: {url: redis://redis.internal:6379/0, credential: {env: REDIS_PASSWORD}, share: 25%}
""",
    "limits": "limits: {request_bytes: 64MiB, idle: 30m}\n",
    "listen": """\
listen:
  address: 0.0.0.0
  port: 8443
  tls:
    cert_file: /etc/modelbroker/tls.crt
    key_file: /etc/modelbroker/tls.key
    client_ca_file: /etc/modelbroker/agents-ca.crt
""",
    "facts": """\
facts:
  headers: {task: x-task}  # rules may then say: match: {task: summarize}
""",
    "ledger": """\
ledger:
  url: {env: LEDGER_URL}  # e.g. postgresql://broker:secret@db.internal/ledger
  retention: 800d
""",
    "capture": """\
capture:
  rules:
    - {match: {team: sales}, pools: reasoning-tier, share: 10%}
  exempt: [payroll-*]
  custom: {badge: 'B-[0-9]{4}'}
  drop: [metadata, "messages[*].name"]
  keep: 14d
  encryption: {key: {env: TRAFFIC_KEY}}
""",
    "audit": """\
audit:
  keep: 400d
  key: {file: /run/secrets/audit-key}
  sinks:
    - {name: siem, syslog: {address: "tls://siem.internal:6514"}}
    - {name: splunk, splunk: {address: "https://splunk.internal:8088", token: {env: HEC_TOKEN}}}
""",
    "console": """\
console:
  users:
    - {name: ana, token: {env: CONSOLE_TOKEN_OF_ANA}}
    - {name: bob, token: {file: /run/secrets/console-token-of-bob}}
  networks: [10.20.0.0/16]
  session: 8h
""",
    "admin": """\
admin:
  commands: token
  users:
    - {name: ana, token: {env: ADMIN_TOKEN_OF_ANA}}
""",
    "secrets": """\
secrets:
  stores:
    - name: vault
      vault: {address: "https://vault.internal:8200", auth: {kubernetes: {role: modelbroker}}}
    - {name: aws, aws: {region: eu-central-1}}
  refresh: 1m
# and then, where a secret is needed: credential: {vault: llm/openai, field: api_key}
""",
    "telemetry": """\
telemetry:
  otlp:
    endpoint: https://collector.internal:4317
    headers: {api-key: {env: COLLECTOR_KEY}}
  traces: {share: 10%}
  logs: on
  resource: {deployment.environment.name: production}
""",
    "metrics": "metrics: {labels: [team, feature], most_values: 100}\n",
    "cache": """\
cache: {bytes: 256MiB, redis: {env: REDIS_URL}}
""",
}

_MATCH = """\
### What a match can say

All facts in a `match` have to hold. A fact that is not known for a call never compares true.

| written | means |
|---|---|
| `tier: premium`, `tools: true`, `context.tokens: 100k` | equal; `k`, `M`, `G` for thousand, million, … |
| `model: claude-*` | a pattern, for facts that are text |
| `team: [search, ads-*]` | any of these |
| `context.tokens: ">100k"` | compared, for facts that are numbers: `>`, `>=`, `<`, `<=` |
| `model: "!claude-*"` | not this |
| `team: {not: [search, ads]}` | none of these; `not` goes around any other form except `all` |
| `context.tokens: {all: [">10k", "<=100k"]}` | all of these |
| `match: {}` | every call; put it last |

The facts:

| fact | kind | what it is |
|---|---|---|
"""

_FACTS = {
    "caller": "the caller's name",
    "agent": "the caller's agent",
    "user": "the caller's user",
    "team": "the caller's team",
    "customer": "the caller's customer, or what a caller that is trusted for it says by header",
    "feature": "what a caller that is trusted for it says by header",
    "tier": "the caller's tier",
    "dialect": "the wire protocol of the client",
    "model": "what the client put in `model`",
    "context.tokens": "the size of the input, estimated",
    "max_output.tokens": "the most output that the client asks for",
    "tools": "the call offers tools",
    "images": "the call holds images",
    "documents": "the call holds documents",
    "audio": "the call holds audio",
    "schema": "the call asks for output by a schema",
    "reasoning": "the call asks for reasoning",
    "stream": "the call asks for a stream",
    "cost.estimate": "what the call would cost in the pool that it asks for, estimated "
    '([how](routing-by-cost.md#the-fact-costestimate)), in dollars: `"> $0.05"`',
}
_KINDS = {str: "text", int: "number", bool: "true or false", Money: "money"}


def reference() -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    shown: dict[type[Model], str] = {}
    for name, model in SECTIONS.items():
        shape = "list" if name in LISTS else "mapping"
        parts.append(f"\n## {name}\n\nA {shape}. {_doc(model)}\n")
        parts.append(f"\n```yaml\n{_EXAMPLES[name]}```\n\n")
        parts.append(_table(model))
        parts += _inner(model, name, shown)
        if name == "providers":
            parts.append(_builtin_table())
        if name == "rules":
            parts.append("\n" + _MATCH)
            parts += [
                f"| `{fact}` | {_KINDS[kind]} | {_FACTS[fact]} |\n" for fact, kind in FACT_KINDS.items()
            ]
            parts.append("| those in `facts.headers` | text | the value of the header |\n")
    return "".join(parts)


def _doc(model: type[Model]) -> str:
    return " ".join((model.__doc__ or "").split())


def _inner(model: type[Model], path: str, shown: dict[type[Model], str]) -> list[str]:
    """The tables of the mappings inside, each once: `shown` is where each stands."""
    parts: list[str] = []
    for name, info in fields_of(model).items():
        inner = inner_model(info)
        if inner is None:
            continue
        title = f"{path}.{name}"
        if inner in shown:
            parts.append(f"\n### {title}\n\nThe same fields as in `{shown[inner]}`.\n")
            continue
        shown[inner] = title
        parts.append(f"\n### {title}\n\n{_doc(inner)}\n\n{_table(inner)}")
        parts += _inner(inner, title, shown)
    return parts


def _table(model: type[Model]) -> str:
    rows = ["| field | type | default | meaning |\n|---|---|---|---|\n"]
    for name, info in fields_of(model).items():
        cells = (f"`{name}`", extra(info, "kind"), _default(info), info.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(rows)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    value: Any = info.get_default(call_default_factory=True, validated_data={})
    kind = extra(info, "kind")
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple) or (value == 0 and kind in ("percentage", "number of tokens")):
        return ""  # the text says it
    if isinstance(value, int):
        if kind == "percentage":
            return f"`{value / 10_000:g}%`"
        if "none" in kind and not value:
            return "`none`"
        if kind.startswith("duration"):
            return f"`{values.duration_text(value)}`"
        if kind.startswith("days"):
            return f"`{value // 86_400}d`"
        if kind == "size":
            return f"`{values.size_text(value)}`"
        return f"`up to {value}`" if "up to" in kind else f"`{value}`"
    if isinstance(value, list) and value:
        return f"`[{', '.join(repr(each) for each in value)}]`".replace("'", '"')
    if isinstance(value, Model):
        return "as below"
    return f"`{value}`" if value else ""


def _builtin_table() -> str:
    rows = [
        "\n### Built-in providers\n\nThese need no entry: `provider: anthropic` in a member is enough, with "
        "the key in the environment; those with something `to add` need one. A call in a dialect that a "
        "provider does not speak goes to it in the first of its dialects that the call can be translated "
        "into.\n\n"
        "| name | dialects | base URL | auth | key from | to add |\n|---|---|---|---|---|---|\n"
    ]
    for builtin in builtins().values():
        secret = _key_from(builtin.credential)
        added = f"`{builtin.example}`" if builtin.example else ""
        url = f"`{builtin.base_url}`" if builtin.base_url else ""
        dialects = ", ".join(builtin.dialect) + (f" ({builtin.variant})" if builtin.variant else "")
        rows.append(f"| `{builtin.name}` | {dialects} | {url} | {builtin.auth} | {secret} | {added} |\n")
    rows.append("\nHow they differ from the owners of their dialects ([deviations.md](deviations.md)):\n\n")
    rows.append("| name | deviations |\n|---|---|\n")
    for builtin in builtins().values():
        if builtin.deviations:
            said = ", ".join(f"{name}: {_flow(value)}" for name, value in builtin.deviations.items())
            rows.append(f"| `{builtin.name}` | `{{{said}}}` |\n")
    return "".join(rows)


def _key_from(ref: SecretRef | None) -> str:
    if isinstance(ref, Identity):
        return f"`{ref.instead}`, else `{ref.kind}`" if ref.instead else f"`{ref.kind}`"
    return f"`{ref.name}`" if ref is not None else ""


def _flow(value: Any) -> str:
    """A deviation as YAML spells it in one line."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
