"""What the product ships: config/, docs/configuration.md, the built-in providers."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from anthropic.types import ModelParam as ClaudeModel
from modelbroker.core.call import FACT_KINDS
from modelbroker.core.catalog import UNKNOWN, Caching
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN
from modelbroker.settings import compile_texts, load, read_files
from modelbroker.settings.builtin import builtins
from modelbroker.settings.models import FIELDS, SIZES, capabilities_of, overlaid
from modelbroker.settings.providers import AUTHS
from modelbroker.settings.reference import _EXAMPLES, _FACTS, reference
from modelbroker.settings.schema import SECTIONS
from modelbroker.settings.values import base_url, tokens
from modelbroker.settings.yamltext import parse
from openai.types.shared import ChatModel

ROOT = Path(__file__).parents[2]
DIALECTS = {
    "openai-chat",
    "openai-responses",
    "openai-embeddings",
    "anthropic-messages",
    "bedrock-converse",
    "gemini",
}

BRIEF = """\
pools:
  - name: reasoning-tier
    routing: priority-weighted
    failover: up to 3
    cache: short-context
    members:
      - {provider: anthropic, model: claude-opus-4-7, weight: 70}
      - {provider: openai, model: gpt-5-thinking, weight: 25}
      - {provider: bedrock, model: claude-opus-4-7, weight: 5}  # regional capacity
"""
BRIEF_RULES = """\
rules:
  - match: {tier: standard}
    pool: standard-tier
  - match: {tier: premium, context.tokens: ">100k"}
    pool: long-context-tier
"""


MORE_POOLS = """\
  - {name: standard-tier, members: [{provider: anthropic, model: claude-sonnet-4-6}]}
  - {name: long-context-tier, members: [{provider: openai, model: gpt-5.1}]}
"""


def test_the_example_of_the_brief_loads_as_it_stands() -> None:
    """With the two pools that its rules name, and nothing else: what can't work without callers and a
    region is only warned of."""
    loaded = compile_texts({"a.yaml": BRIEF + MORE_POOLS + BRIEF_RULES}, dialects=KNOWN, built=BUILT)
    assert [w.field for w in loaded.warnings] == ["pools[0].cache", "pools[0].members[2].provider"]
    pool = loaded.catalog.pools["reasoning-tier"]
    assert (pool.cache, pool.failover) == (Caching(), 3)
    assert [member.id for member in pool.members] == [
        "anthropic/claude-opus-4-7",
        "openai/gpt-5-thinking",
        "bedrock/claude-opus-4-7",
    ]
    assert [rule.pool for rule in loaded.catalog.rules] == ["standard-tier", "long-context-tier"]


def test_config_is_the_example_of_the_brief_but_for_the_cache_that_would_answer_the_tours_second_call() -> (
    None
):
    text = (ROOT / "config/modelbroker.yaml").read_text()
    assert BRIEF.replace("    cache: short-context\n", "") in text
    assert BRIEF_RULES in text


def test_config_loads() -> None:
    loaded = load(ROOT / "config", dialects=DIALECTS, built=DIALECTS)
    got = loaded.catalog
    assert loaded.warnings == ()
    assert sorted(got.pools) == ["long-context-tier", "reasoning-tier", "standard-tier"]
    assert sorted(got.providers) == ["anthropic", "bedrock", "openai"]
    assert (got.listen.address, got.listen.port) == ("127.0.0.1", 8080)
    keys = {caller.name: caller.keys[0].name for caller in got.callers}
    for name, key in {
        "demo-agent": "mb-demo-key",
        "premium-agent": "mb-premium-key",
        "standard-agent": "mb-standard-key",
    }.items():
        assert keys[name] == hashlib.sha256(key.encode()).hexdigest()
    assert {caller.name: caller.tier for caller in got.callers} == {
        "demo-agent": "",
        "premium-agent": "premium",
        "standard-agent": "standard",
    }


def test_config_has_no_keys_of_its_own() -> None:
    for text in read_files(ROOT / "config").values():
        assert not re.search(r"\bsk-[A-Za-z0-9]", text)


def test_the_reference_is_up_to_date() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert page == reference(), "run: python -m modelbroker.settings.reference > docs/configuration.md"


def test_the_examples_of_the_reference_load_together() -> None:
    more = """
pools:
  - {name: long-context-tier, members: [{provider: in-house, model: qwen-large}]}
  - {name: small-mini, members: [{provider: azure-openai, model: gpt-5-mini}]}
"""
    loaded = compile_texts({**_EXAMPLES, "zz": more}, dialects=DIALECTS, built=DIALECTS)
    assert loaded.warnings == ()
    assert set(_EXAMPLES) == set(SECTIONS)
    assert set(_FACTS) == set(FACT_KINDS)


@pytest.mark.parametrize("name", builtins())
def test_built_in_providers(name: str) -> None:
    got = builtins()[name]
    assert set(got.dialect) <= DIALECTS
    assert got.auth in AUTHS
    url = got.base_url.replace("{region}", "r").replace("{project}", "p")
    assert got.needs if not url else base_url(url) == url
    assert (got.auth == "none") == (got.credential is None)
    for name in got.needs:
        assert f"{name}: " in got.example
    for pattern, said in got.capabilities.items():
        assert pattern and set(said) <= set(FIELDS)


@pytest.mark.parametrize("name", builtins())
def test_built_in_providers_pass_as_a_users_own(name: str) -> None:
    """Word for word what is shipped, as a user would write it: every deviation is checked."""
    got = builtins()[name]
    needed = {"base_url": "https://x.example/v1", "region": "eu-west-1", "project": "p"}
    entry: dict[str, Any] = {"name": name, "deviations": dict(got.deviations)}
    entry |= {field: needed[field] for field in got.needs}
    text = json.dumps(
        {
            "providers": [entry],
            "pools": [{"name": "p", "members": [{"provider": name, "model": "m"}]}],
        }
    )
    loaded = compile_texts({"a.yaml": text}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)
    assert loaded.warnings == ()
    provider = loaded.catalog.providers[name]
    assert provider.built and dict(provider.deviations) == dict(got.deviations)


def test_who_gives_one_answer_only_is_not_asked_for_more() -> None:
    """`choices` is content: members that refuse it are not eligible, where calls go to this dialect first."""
    for got in builtins().values():
        if got.dialect[0] == "openai-chat" and "choices" in got.deviations.get("unsupported", ()):
            assert got.capabilities["*"]["choices"] is False, got.name


def test_only_openai_and_azure_know_allowed_tools() -> None:
    """To all others a bounded choice is said by which tools they get: most refuse what they do not know."""
    said = {
        got.name: got.deviations.get("allowed_tools")
        for got in builtins().values()
        if "openai-chat" in got.dialect
    }
    assert {name for name, knows in said.items() if knows is None} == {"openai", "azure-openai"}
    assert set(said.values()) == {None, False}


MODELS: dict[str, Any] = parse((ROOT / "src/settings/models.yaml").read_text())[0]


@pytest.mark.parametrize("entry", MODELS["models"], ids=lambda entry: str(entry["models"][0]))
def test_known_models(entry: dict[str, Any]) -> None:
    """Each pattern finds its own entry, and none that stands before it."""
    said = {word: tokens(value) if word in SIZES else value for word, value in entry["can"].items()}
    assert all(isinstance(value, int if word in SIZES else bool) for word, value in said.items())
    for pattern in entry["models"]:
        assert pattern == pattern.lower()
        assert not set(pattern[:2]) & set("*?")
        name = pattern.replace("*", "x").replace("?", "-")
        # What it has in common with its family stands there.
        assert replace(capabilities_of(name), chat=None, embeddings=None) == overlaid(UNKNOWN, said)


@pytest.mark.parametrize("entry", MODELS["families"], ids=lambda entry: str(entry["models"][0]))
def test_known_families(entry: dict[str, Any]) -> None:
    said = {"chat": None, "embeddings": None, **entry["can"]}
    for pattern in entry["models"]:
        assert pattern == pattern.lower()
        assert not set(pattern[:2]) & set("*?")
        got = capabilities_of(pattern.replace("*", "x").replace("?", "-"))
        assert {"chat": got.chat, "embeddings": got.embeddings} == said


@pytest.mark.parametrize(
    ("names", "chat", "embeddings"),
    [
        (
            "anthropic.claude-haiku-4-5-20251001-v1:0 gpt-5.1 o4-mini gemini-2.5-pro amazon.nova-pro-v1:0",
            None,
            False,
        ),
        ("us.meta.llama3-3-70b-instruct-v1:0 eu.mistral.mixtral-8x7b-instruct-v0:1", None, False),
        (
            "text-embedding-3-small amazon.titan-embed-text-v2:0 cohere.embed-v4:0 gemini-embedding-001",
            False,
            True,
        ),
        ("openai/text-embedding-3-large nomic-embed-text:latest BAAI/bge-m3 voyage-3", False, True),
        ("qwen-large meta-llama/Llama-3.3-70B-Instruct gpt-oss-120b my-model", None, None),
    ],
)
def test_who_makes_embeddings_and_nothing_else(
    names: str, chat: bool | None, embeddings: bool | None
) -> None:
    for name in names.split():
        got = capabilities_of(name)
        assert (got.chat, got.embeddings) == (chat, embeddings), name


def names_in(kind: Any) -> set[str]:
    """The texts of a Literal, or of a union that holds some."""
    found = [{part} if isinstance(part, str) else names_in(part) for part in get_args(kind)]
    return set().union(*found)


def test_the_models_that_sdks_name_are_known() -> None:
    """Whoever makes the models names them in its SDK: a new version of that shows what is missing here."""
    named = names_in(ChatModel) | names_in(ClaudeModel)
    assert {"gpt-5.1", "claude-haiku-4-5"} <= named
    # Of the one left out no page says how much it holds.
    assert {name for name in named if not capabilities_of(name).context_tokens} == {"claude-mythos-preview"}


@pytest.mark.parametrize(
    ("names", "context", "output"),
    [
        ("global.anthropic.claude-haiku-5-5 anthropic/claude-opus-5 claude-fable-5-2", 1_000_000, 128_000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_000, 64_000),
        ("gpt-6.2 openai/gpt-5.6 global.openai.gpt-6-sol", 1_050_000, 128_000),
        ("gpt-5.1 gpt-5.2-codex", 400_000, 128_000),
        ("gemini-4-carbon google/gemini-3.8-flash gemini-2.5-pro", 1_048_576, 65_536),
        ("deepseek-flash deepseek/deepseek-v4-pro DeepSeek-V4.1-Flash deepseek-v4p1", 1_048_576, 393_216),
        ("grok-4.7 x-ai/grok-4.5", 500_000, None),
        ("grok-build-0.1", 256_000, None),
        ("mistral-large-4 moonshotai/Kimi-K3 zai.glm-5.3 glm-5p2-fast", 1_048_576, None),
        ("kimi-k2.6 accounts/fireworks/models/kimi-k2p5", 262_144, None),
        ("magistral-medium-2509 mistral-medium-2508 kimi-k2-instruct", 131_072, None),
        ("command-a-reasoning-08-2025", 256_000, 32_000),
    ],
)
def test_what_users_name_today(names: str, context: int, output: int | None) -> None:
    for name in names.split():
        got = capabilities_of(name)
        assert (got.context_tokens, got.max_output_tokens) == (context, output), name


def test_known_dialects() -> None:
    assert set(MODELS["dialects"]) <= DIALECTS
    for said in MODELS["dialects"].values():
        assert all(isinstance(value, bool) for value in said.values())
