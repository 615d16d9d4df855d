"""What a configuration says → what the Catalog holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from modelbroker.core.catalog import (
    Affinity,
    Auth,
    Caching,
    Capabilities,
    Catalog,
    Condition,
    Ejection,
    Hedge,
    Limits,
    Listen,
    Member,
    Op,
    Provider,
    SecretRef,
    Timeouts,
    identity,
)
from modelbroker.settings import Loaded, compile_texts
from modelbroker.settings.yamltext import parse

BUILT = {"openai-chat", "openai-responses", "openai-embeddings", "anthropic-messages"}
DIALECTS = BUILT | {"bedrock-converse", "gemini"}
POOL = "pools: [{name: p, members: [{provider: openai, model: m}]}]\n"


def load(text: str, **files: str) -> Loaded:
    return compile_texts({"a.yaml": text, **files}, dialects=DIALECTS, built=DIALECTS)


def catalog(text: str, **files: str) -> Catalog:
    return load(text, **files).catalog


def test_the_least_configuration() -> None:
    loaded = load(POOL)
    assert loaded.warnings == ()
    got = loaded.catalog
    assert list(got.providers) == ["openai"]
    assert got.pools["p"].members == (Member("openai", "m"),)
    assert (got.pools["p"].failover, got.pools["p"].timeouts, got.pools["p"].ejection) == (
        3,
        Timeouts(),
        Ejection(),
    )
    assert (got.callers, got.rules, got.limits, got.listen) == ((), (), Limits(), Listen())
    assert len(got.revision) == 12
    assert int(got.revision, 16) >= 0


@pytest.mark.parametrize(
    ("written", "conditions"),
    [
        ("{}", []),
        ("{tier: premium}", [("tier", Op.IN, ("premium",), False)]),
        ("{tier: [a, b, a]}", [("tier", Op.IN, ("a", "b"), False)]),
        ("{model: claude-*}", [("model", Op.GLOB, ("claude-*",), False)]),
        ("{model: [a, 'b?']}", [("model", Op.GLOB, ("a", "b?"), False)]),
        ("{model: '!claude-*'}", [("model", Op.GLOB, ("claude-*",), True)]),
        ("{team: {not: x}}", [("team", Op.IN, ("x",), True)]),
        ("{team: {not: [x, y]}}", [("team", Op.IN, ("x", "y"), True)]),
        ("{context.tokens: '>100k'}", [("context.tokens", Op.GT, (100_000,), False)]),
        ("{context.tokens: '>= 1.5k'}", [("context.tokens", Op.GE, (1_500,), False)]),
        ("{context.tokens: '<2M'}", [("context.tokens", Op.LT, (2_000_000,), False)]),
        ("{context.tokens: '<=1G'}", [("context.tokens", Op.LE, (1_000_000_000,), False)]),
        ("{context.tokens: 100k}", [("context.tokens", Op.IN, (100_000,), False)]),
        ("{context.tokens: 7}", [("context.tokens", Op.IN, (7,), False)]),
        ("{context.tokens: [7, 8k]}", [("context.tokens", Op.IN, (7, 8_000), False)]),
        ("{context.tokens: '!100k'}", [("context.tokens", Op.IN, (100_000,), True)]),
        ("{context.tokens: {not: '>9'}}", [("context.tokens", Op.GT, (9,), True)]),
        (
            "{context.tokens: {all: ['>10k', '<100k', {not: 50k}]}}",
            [
                ("context.tokens", Op.GT, (10_000,), False),
                ("context.tokens", Op.LT, (100_000,), False),
                ("context.tokens", Op.IN, (50_000,), True),
            ],
        ),
        ("{tools: true}", [("tools", Op.IN, (True,), False)]),
        ("{tools: '!true'}", [("tools", Op.IN, (True,), True)]),
        ("{tools: off}", [("tools", Op.IN, (False,), False)]),
        ("{task: sum*}", [("task", Op.GLOB, ("sum*",), False)]),
    ],
)
def test_match(written: str, conditions: list[Any]) -> None:
    text = POOL + f"facts: {{headers: {{task: X-Task}}}}\nrules: [{{match: {written}, pool: p}}]"
    got = catalog(text)
    assert got.rules[0].conditions == tuple(Condition(*each) for each in conditions)
    assert got.fact_headers == {"task": "x-task"}


@pytest.mark.parametrize(
    ("field", "attribute", "value"),
    [
        ("failover: up to 5", "failover", 5),
        ("failover: 0", "failover", 0),
        ("failover: none", "failover", 0),
        ("cache: ''", "cache", None),
        ("cache: off", "cache", None),
        ("cache: short-context", "cache", Caching()),
        ("cache: {}", "cache", Caching(4_000, 3_600_000, "caller", 1 << 20, False)),
        (
            "cache: {max_context_tokens: 8k, ttl: 2m, scope: team, max_reply_bytes: 64KiB, tool_effects: on}",
            "cache",
            Caching(8_000, 120_000, "team", 1 << 16, True),
        ),
        ("aliases: claude-*", "aliases", ("claude-*",)),
        ("ejection: off", "ejection", Ejection(enabled=False)),
        ("ejection: false", "ejection", Ejection(enabled=False)),
        ("ejection: on", "ejection", Ejection()),
        ("ejection: {base: 1m, max: 1h}", "ejection", Ejection(True, 3, 60_000, 3_600_000)),
        ("timeouts: {connect: 1.5s, reply: 500ms}", "timeouts", Timeouts(1_500, 60_000, 500)),
        ("affinity: session", "affinity", Affinity("session")),
        ("affinity: {by: prefix}", "affinity", Affinity("prefix")),
        ("affinity: {by: user, header: X-My-User}", "affinity", Affinity("user", "x-my-user")),
        ("affinity: off", "affinity", None),
        ("affinity: none", "affinity", None),
        ("hedge: 2s", "hedge", Hedge(2_000)),
        ("hedge: {after: 1s, reply_after: 20s, share: 7.5%}", "hedge", Hedge(1_000, 7.5, 20_000)),
        ("hedge: {after: 1s, reply_after: none}", "hedge", Hedge(1_000)),
        ("hedge: off", "hedge", None),
        ("usage_event: pass", "usage_event", "pass"),
        ("usage_event: strip", "usage_event", "strip"),
    ],
)
def test_pool_fields(field: str, attribute: str, value: Any) -> None:
    members = "[{provider: openai, model: m}, {provider: groq, model: m}]"
    got = catalog(f"pools:\n- name: p\n  {field}\n  members: {members}")
    assert getattr(got.pools["p"], attribute) == value


def test_a_built_in_provider_changes_only_in_what_is_given() -> None:
    entry = "providers: [{name: anthropic, base_url: 'HTTP://Proxy:81/x/', headers: {X-A: b}}]\n"
    entry = entry.replace("HTTP", "http")
    assert catalog(POOL + entry).providers["anthropic"] == Provider(
        name="anthropic",
        dialects=("anthropic-messages",),
        base_url="http://proxy:81/x",
        auth=Auth.X_API_KEY,
        credential=SecretRef("env", "ANTHROPIC_API_KEY"),
        api_version="2023-06-01",
        headers=(("x-a", "b"),),
    )


@pytest.mark.parametrize(
    ("entry", "auth", "credential"),
    [
        ("{name: openai, credential: none}", Auth.NONE, None),
        ("{name: openai, credential: {env: X}}", Auth.BEARER, SecretRef("env", "X")),
        ("{name: vllm}", Auth.NONE, None),
        ("{name: vllm, credential: {file: /x}}", Auth.BEARER, SecretRef("file", "/x")),
        ("{name: n, dialect: openai-chat, base_url: http://h}", Auth.NONE, None),
        (
            "{name: n, dialect: openai-chat, base_url: http://h, credential: {env: X}}",
            Auth.BEARER,
            SecretRef("env", "X"),
        ),
        (
            "{name: n, dialect: openai-chat, base_url: http://h, credential: {env: X}, auth: api-key}",
            Auth.API_KEY,
            SecretRef("env", "X"),
        ),
    ],
)
def test_auth(entry: str, auth: Auth, credential: SecretRef | None) -> None:
    providers = catalog(POOL + f"providers: [{entry}]").providers
    got = next(p for name, p in providers.items() if f"name: {name}" in entry)
    assert (got.auth, got.credential) == (auth, credential)


def test_a_pool_may_ask_to_watch_its_streams_to_their_end() -> None:
    text = "pools: [{name: p, guard: full, members: [{provider: openai, model: m}]}, {name: q, members: *it}]"
    text = text.replace("members: [{", "members: &it [{")
    loaded = compile_texts({"a.yaml": text}, dialects=DIALECTS, built=BUILT)
    assert {name: pool.guard for name, pool in loaded.catalog.pools.items()} == {
        "p": "full",
        "q": "first-event",
    }
    assert loaded.warnings == ()


def test_what_is_not_built_yet_is_a_warning() -> None:
    text = "pools: [{name: p, members: [{provider: bedrock, model: m}, {provider: gemini, model: m}]}]"
    text += "\nproviders:\n- {name: mine, dialect: gemini}"
    loaded = compile_texts({"a.yaml": text}, dialects=DIALECTS, built=BUILT)
    assert [str(w) for w in loaded.warnings] == [
        "a.yaml:1: pools[0].members[0].provider: this version can't speak bedrock-converse yet, so no member "
        "at bedrock serves calls; it speaks anthropic-messages, openai-chat, openai-embeddings, "
        "openai-responses",
        "a.yaml:1: pools[0].members[1].provider: this version can't speak gemini yet, so no member at gemini "
        "serves calls; it speaks anthropic-messages, openai-chat, openai-embeddings, "
        "openai-responses",
        "a.yaml:3: providers[0].dialect: this version can't speak gemini yet, so no member at mine serves "
        "calls; it speaks anthropic-messages, openai-chat, openai-embeddings, "
        "openai-responses",
    ]
    assert {name: p.built for name, p in loaded.catalog.providers.items()} == {
        "bedrock": False,
        "gemini": False,
        "mine": False,
    }


@pytest.mark.parametrize(
    ("entry", "base_url", "auth", "credential", "variant"),
    [
        (
            "{name: bedrock, region: eu-west-1}",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            Auth.AWS_SIGV4,
            identity("aws", {"region": "eu-west-1"}),
            "",
        ),
        (
            "{name: bedrock-anthropic, region: eu-west-1, credential: {env: X}}",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            Auth.AWS_SIGV4,
            SecretRef("env", "X"),
            "bedrock",
        ),
        (
            "{name: bedrock, region: eu-west-1, auth: bearer, credential: {env: AWS_BEARER_TOKEN_BEDROCK}}",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            Auth.BEARER,
            SecretRef("env", "AWS_BEARER_TOKEN_BEDROCK"),
            "",
        ),
        (
            "{name: mine, dialect: bedrock-converse, base_url: http://h, region: r, credential: aws}",
            "http://h",
            Auth.AWS_SIGV4,
            identity("aws", {"region": "r"}),
            "",
        ),
        (
            "{name: bedrock, region: eu-west-1, credential: {aws: {profile: p}}}",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            Auth.AWS_SIGV4,
            identity("aws", {"profile": "p", "region": "eu-west-1"}),
            "",
        ),
        (
            "{name: vertex, project: p, region: europe-west4}",
            "https://europe-west4-aiplatform.googleapis.com/v1",
            Auth.BEARER,
            identity("gcp", instead="GOOGLE_ACCESS_TOKEN"),
            "vertex",
        ),
        (
            "{name: vertex-anthropic, project: p, region: eu, credential: {gcp: {credential_file: /key}}}",
            "https://aiplatform.eu.rep.googleapis.com/v1",
            Auth.BEARER,
            identity("gcp", {"credential_file": "/key"}),
            "vertex",
        ),
        (
            "{name: azure-openai, base_url: https://r.example/openai/v1, credential: azure}",
            "https://r.example/openai/v1",
            Auth.BEARER,
            identity("azure"),
            "",
        ),
        (
            # Elsewhere the operator knows whose house it is: Vertex has an endpoint of OpenAI's dialect too.
            "{name: mine, dialect: openai-chat, base_url: https://h.example, credential: gcp}",
            "https://h.example",
            Auth.BEARER,
            identity("gcp"),
            "",
        ),
        (
            "{name: gemini}",
            "https://generativelanguage.googleapis.com/v1beta",
            Auth.X_GOOG_API_KEY,
            SecretRef("env", "GEMINI_API_KEY"),
            "",
        ),
        (
            "{name: vertex, project: p, region: europe-west4, credential: {file: /token}}",
            "https://europe-west4-aiplatform.googleapis.com/v1",
            Auth.BEARER,
            SecretRef("file", "/token"),
            "vertex",
        ),
        (
            "{name: vertex, project: p, region: global, credential: {file: /token}}",
            "https://aiplatform.googleapis.com/v1",
            Auth.BEARER,
            SecretRef("file", "/token"),
            "vertex",
        ),
        (
            "{name: vertex-anthropic, project: p, region: eu, credential: {file: /token}}",
            "https://aiplatform.eu.rep.googleapis.com/v1",
            Auth.BEARER,
            SecretRef("file", "/token"),
            "vertex",
        ),
        (
            "{name: azure-openai, base_url: https://r.example, variant: azure, api_version: '2025-01-01'}",
            "https://r.example",
            Auth.API_KEY,
            SecretRef("env", "AZURE_OPENAI_API_KEY"),
            "azure",
        ),
    ],
)
def test_clouds(entry: str, base_url: str, auth: Auth, credential: SecretRef, variant: str) -> None:
    loaded = load(POOL + f"providers: [{entry}]")
    assert loaded.warnings == ()
    got = next(p for name, p in loaded.catalog.providers.items() if f"name: {name}" in entry)
    assert (got.base_url, got.auth, got.credential, got.variant) == (base_url, auth, credential, variant)


def test_a_built_in_provider_without_a_region_serves_nothing_and_stops_nothing() -> None:
    loaded = load(
        "pools: [{name: p, members: [{provider: openai, model: m}, {provider: bedrock, model: m}]}]"
    )
    assert [str(w) for w in loaded.warnings] == [
        "a.yaml:1: pools[0].members[1].provider: the provider bedrock has no region, so none of its members "
        "serves calls; add to `providers`: - {name: bedrock, region: us-east-1}"
    ]
    assert loaded.catalog.providers["bedrock"].base_url == ""


def test_deviations_add_to_the_built_in_ones() -> None:
    entry = "{name: mistral, deviations: {stream_usage: true, unsupported: [seed]}}"
    got = catalog(POOL + f"providers: [{entry}]").providers["mistral"]
    assert got.deviations["max_tokens_field"] == "max_tokens"
    assert (got.deviations["stream_usage"], got.deviations["unsupported"]) == (True, ("seed",))


@pytest.mark.parametrize(
    ("version", "more", "said"),
    [
        ("2024-08-01-preview", "", False),
        ("2024-02-01", "", False),
        ("2024-02-01", ", deviations: {stream_usage: true}", True),
        ("2024-09-01-preview", "", None),
        ("2024-10-21", "", None),
        ("v1", "", None),
    ],
)
def test_old_versions_of_azures_are_not_asked_for_usage(version: str, more: str, said: bool | None) -> None:
    azure = f"dialect: openai-chat, base_url: https://r.example, variant: azure, api_version: '{version}'"
    entry = f"{{name: az, {azure}{more}}}"
    assert catalog(POOL + f"providers: [{entry}]").providers["az"].deviations.get("stream_usage") == said


def member_can(member: str, providers: str = "[]") -> Capabilities:
    text = f"pools: [{{name: p, members: [{member}]}}]\nproviders: {providers}"
    return catalog(text).pools["p"].members[0].capabilities


@pytest.mark.parametrize(
    ("member", "context", "max_output"),
    [
        ("{provider: anthropic, model: claude-haiku-4-5-20251001}", 200_000, 64_000),
        ("{provider: openrouter, model: anthropic/claude-haiku-4.5}", 200_000, 64_000),
        ("{provider: mistral, model: 'eu.anthropic.claude-opus-4-7-v1:0'}", 1_000_000, 128_000),
        ("{provider: vertex-like, model: claude-sonnet-4@20250514}", 200_000, 64_000),
        ("{provider: openai, model: 'ft:gpt-4o-mini-2024-07-18:us::id'}", 128_000, 16_384),
        ("{provider: openai, model: GPT-5}", 400_000, 128_000),
        ("{provider: openai, model: gpt-5-chat-latest}", 128_000, 16_384),
        ("{provider: gemini, model: models/gemini-2.5-pro}", 1_048_576, 65_536),
        ("{provider: together, model: meta-llama/Llama-3.3-70B-Instruct-Turbo}", 131_072, None),
        ("{provider: openai, model: my-own}", None, None),
        ("{provider: vertex-like, model: my-alias}", 1_000_000, 128_000),
        ("{provider: vertex-like, model: gpt-4o}", 128_000, 16_384),
    ],
)
def test_what_is_known_of_models(member: str, context: int | None, max_output: int | None) -> None:
    known = member_can(
        member,
        "[{name: vertex-like, dialect: openai-chat, base_url: http://h, "
        "models: {my-alias: claude-opus-4-7, gpt-4o: my-deployment}}]",
    )
    assert (known.context_tokens, known.max_output_tokens) == (context, max_output)


def test_a_configuration_knows_better() -> None:
    providers = (
        "[{name: openai, capabilities: {'gpt-*': {images: no, audio: yes, context: 64k}, "
        "gpt-4o: {images: yes, keeps_replies: off}}}]"
    )
    got = member_can(
        "{provider: openai, model: gpt-4o, capabilities: {context: 1.5k, schema: false}}", providers
    )
    known = member_can("{provider: openai, model: gpt-4o}")
    assert (known.audio, known.images, known.schema, known.context_tokens) == (False, None, None, 128_000)
    assert got == replace(
        known, context_tokens=1_500, images=True, audio=True, schema=False, keeps_replies=False
    )
    assert member_can("{provider: openai, model: gpt-5}", providers).images is False


def test_what_is_known_of_a_provider() -> None:
    assert member_can("{provider: groq, model: anything}").choices is False
    assert member_can("{provider: groq, model: anything, capabilities: {choices: true}}").choices is True


def test_what_translations_into_a_dialect_can_hold() -> None:
    assert catalog(POOL).wires["anthropic-messages"] == Capabilities(audio=False, choices=False)
    assert catalog(POOL).wires["openai-chat"] == Capabilities(document_urls=False)
    assert "gemini" not in catalog(POOL).wires


def test_other_warnings() -> None:
    text = """
pools:
- name: p
  cache: short-context
  members: [{provider: openai, model: a, weight: 0}, {provider: openai, model: b}]
- name: rare
  timeouts: {reply: 20m}
  members: [{provider: openai, model: a, weight: 10000}, {provider: openai, model: b, weight: 19}]
- name: hedged
  affinity: user
  hedge: 2s
  members: [{provider: openai, model: a}, {provider: openai, model: b}]
- name: nearly-never
  affinity: prefix
  hedge: 2s
  members: [{provider: openai, model: a}, {provider: openai, model: b}]
rules:
- {match: {}, pool: p}
- {match: {tier: x}, deny: true}
"""
    assert [str(w) for w in load(text).warnings] == [
        "a.yaml:4: pools[0].cache: without callers there is no caller to keep replies for, and nothing is "
        "cached; add callers, or say scope: all",
        "a.yaml:5: pools[0].members[0].weight: openai/a has weight 0 and gets no calls; give it a weight "
        "of 1 or more, or take it out",
        "a.yaml:7: pools[1].timeouts.reply: calls that are silent for 15m (limits.idle) end before that; "
        "give a longer limits.idle",
        "a.yaml:8: pools[1].members[1].weight: openai/b gets less than one call in 500; when the others fail "
        "it may not be found in time; give it more weight, or a priority of its own",
        "a.yaml:11: pools[2].hedge: a call that belongs to a member (affinity: user) is not hedged; leave "
        "one of the two out, or have a pool for each",
        "a.yaml:15: pools[3].hedge: a call that belongs to a member (affinity: prefix) is not hedged, and "
        "nearly every call has a prefix to go by; leave one of the two out, or have a pool for each",
        "a.yaml:19: rules[1]: no call gets to rule-2: rule 1 matches every call; put the rule that matches "
        "every call last",
    ]


def test_rules() -> None:
    text = POOL + "rules: [{name: r, match: {tier: a}, deny: no}, {match: {}, deny: true}]"
    assert [(r.name, r.deny, r.pool) for r in catalog(text).rules] == [
        ("r", "no", ""),
        ("rule-2", "rule rule-2 does not allow this call", ""),
    ]


def test_callers() -> None:
    digest = "AB" * 32
    text = (
        f"callers:\n- {{name: c, keys: [{{sha256: {digest}}}, {{env: K}}], pools: p, trusted_for: feature}}\n"
    )
    (caller,) = catalog(text + POOL).callers
    assert caller.keys == (SecretRef("sha256", digest.lower()), SecretRef("env", "K"))
    assert (caller.pools, caller.trusted_for) == (("p",), frozenset({"feature"}))


def test_limits_and_listen() -> None:
    text = """
limits: {request_bytes: 1MiB, concurrency: 5, idle: 1h, concrete_models: yes}
listen: {address: "::1", port: 0, tls: {cert_file: c, key_file: k}}
"""
    got = catalog(text + POOL)
    assert got.limits == Limits(1 << 20, 5, 3_600_000, True)
    assert got.listen == Listen("::1", 0, "c", "k")


def test_files_are_merged() -> None:
    got = catalog(
        POOL + "rules: [{match: {tier: a}, pool: p}]\nlisten: {port: 1}\nfacts: {headers: {a: x-a}}",
        **{
            "b.yaml": "pools:\n- {name: q, members: [{provider: groq, model: m}]}\n"
            "rules:\n- {match: {b: c}, pool: q}",
            "c.yaml": "listen: {address: localhost}\nfacts: {headers: {b: x-b}}\ncallers:\n# none yet",
            "d.yaml": "# nothing at all",
        },
    )
    assert list(got.pools) == ["p", "q"]
    assert [rule.pool for rule in got.rules] == ["p", "q"]
    assert got.listen == Listen("localhost", 1)
    assert got.fact_headers == {"a": "x-a", "b": "x-b"}


def test_yaml() -> None:
    text = """
anchors: &a {x: 1, y: 2}
merged: {<<: *a, y: 3}
both: [*a, *a]
words: [off, yes, 2023-06-01, 1:30, 1e3, "1", ~, 0x10, 1_000, .5, True]
digits: 12345678901234567890
tagged: [!!str 5, !!int "5"]
'a': |
  text
"""
    assert parse(text) == (
        {
            "anchors": {"x": 1, "y": 2},
            "merged": {"x": 1, "y": 3},
            "both": [{"x": 1, "y": 2}, {"x": 1, "y": 2}],
            "words": ["off", "yes", "2023-06-01", "1:30", 1000.0, "1", None, "0x10", "1_000", 0.5, True],
            "digits": "12345678901234567890",
            "tagged": ["5", 5],
            "a": "text\n",
        },
        False,
    )


def test_callers_of_tokens_that_share_a_cache_are_warned_of() -> None:
    text = """\
pools:
- {name: p, cache: short-context, members: [{provider: openai, model: m}]}
- {name: q, cache: {scope: team}, members: [{provider: openai, model: m}]}
issuers:
- {name: corp, issuer: i, audiences: [a], jwks: /k, claims: CLAIMS}
callers:
- {name: bot, jwt: {issuer: corp, match: {azp: bot}}, user: bot}
- {name: staff, jwt: corp}
"""
    warned = [str(each) for each in load(text.replace("CLAIMS", "{team: team}")).warnings]
    assert warned == [
        "a.yaml:2: pools[0].cache: all whose tokens stand for staff share replies: no claim tells who they "
        "are; let `claims` of their issuer tell the user (e.g. user: sub), or choose another scope"
    ]
    assert load(text.replace("CLAIMS", "{team: team, user: sub}")).warnings == ()
