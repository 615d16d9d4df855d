"""Rules pick the pool by what is known of a call; who calls is known by the key alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.broker import Broker, provider
from support.simulators import Simulators
from support.wire import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, Answer, ask, chat, error_of

RULES: list[dict[str, Any]] = [
    {"match": {"team": "blocked"}, "deny": "this team has left"},
    {"match": {"team": "quiet"}, "deny": True, "name": "quiet-please"},
    {"match": {"feature": "search"}, "pool": "by-feature"},
    {"match": {"customer": ["acme", "acme-*"]}, "pool": "by-customer"},
    {"match": {"task": "code-*"}, "pool": "by-header"},
    {"match": {"documents": True}, "pool": "by-documents"},
    {"match": {"images": True}, "pool": "by-images"},
    {"match": {"schema": True}, "pool": "by-schema"},
    {"match": {"reasoning": True}, "pool": "by-reasoning"},
    {"match": {"tools": True}, "pool": "by-tools"},
    {"match": {"tier": "premium", "context.tokens": ">2k"}, "pool": "by-tier-and-size"},
    {"match": {"context.tokens": ">=10k"}, "pool": "by-size"},
    {"match": {"max_output.tokens": {"all": [">1k", "<=2k"]}}, "pool": "by-output"},
    {"match": {"model": ["gpt-4*", "claude-?"]}, "pool": "by-model"},
    {"match": {"dialect": "openai-embeddings"}, "pool": "by-dialect"},
    {"match": {"stream": True, "agent": "!batch"}, "pool": "by-stream"},
]
CALLERS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "premium": {"tier": "premium"},
    "batch": {"agent": "batch"},
    "blocked": {"team": "blocked"},
    "quiet": {"team": "quiet"},
    "acme": {"customer": "acme-eu"},
    "speaks-for-others": {"trusted_for": ["feature", "customer"]},
    "speaks-for-customers": {"trusted_for": ["customer"], "customer": "globex"},
    "narrow": {"pools": ["default"]},
}
URL_IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
CHAT_FILE = {"type": "file", "file": {"file_id": "f"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K" * 9000}}
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x" * 9000},
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
LONG = "word " * 2_000  # 10,000 bytes, which is about 2,500 tokens


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    pools = ["default", *(rule["pool"] for rule in RULES if "pool" in rule)]
    with Simulators("ant", "oai") as sims:
        for sim in sims:
            sim.script(strict=False)  # these bodies are for the front: they say what no one provider knows
        spoken = ["openai-chat", "openai-responses", "openai-embeddings"]
        config = {
            "providers": [
                provider("ant", sims["ant"].port, "anthropic-messages"),
                provider("oai", sims["oai"].port, spoken, "/v1"),
            ],
            "facts": {"headers": {"task": "x-task"}},
            "callers": [
                {"name": name, "key": {"sha256": hashlib.sha256(name.encode()).hexdigest()}, **fields}
                for name, fields in CALLERS.items()
            ],
            "pools": [
                {
                    "name": pool,
                    "members": [{"provider": "ant", "model": "c"}, {"provider": "oai", "model": "g"}],
                }
                for pool in pools
            ],
            "rules": RULES,
        }
        with Broker(tmp_path_factory.mktemp("broker"), config) as running:
            yield running


def call(broker: Broker, path: str, body: Any, caller: str = "plain", **headers: str) -> Answer:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return ask(broker.url, path, body, [("x-api-key", caller), *pairs])


def pool_of(answer: Answer) -> str:
    assert answer.status == 200, answer
    return answer.get("x-broker-pool")


def parts(*content: Any) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": "look"}, *content]}]


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


CASES: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "nothing special": (CHAT, {}, "default"),
    "nothing special, responses": (RESPONSES, {"input": "x"}, "default"),
    "nothing special, messages": (MESSAGES, {}, "default"),
    "empty values": (CHAT, {"tools": [], "stream": False, "reasoning_effort": None}, "default"),
    "tools": (CHAT, {"tools": [TOOL]}, "by-tools"),
    "tools, responses": (RESPONSES, {"input": "x", "tools": [{"type": "web_search"}]}, "by-tools"),
    "tools, messages": (MESSAGES, {"tools": [{"name": "f", "input_schema": {}}]}, "by-tools"),
    "images": (CHAT, {"messages": parts(URL_IMAGE)}, "by-images"),
    "images, responses": (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x.test/a"}]}]},
        "by-images",
    ),
    "images, messages": (MESSAGES, {"messages": parts(IMAGE)}, "by-images"),
    "a word about images": (MESSAGES, {"messages": said('{"type": "image"}')}, "default"),
    "documents": (CHAT, {"messages": parts(CHAT_FILE)}, "by-documents"),
    "documents, messages": (MESSAGES, {"messages": parts(PDF)}, "by-documents"),
    "documents and images": (MESSAGES, {"messages": parts(PDF, IMAGE)}, "by-documents"),
    "schema": (
        CHAT,
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "object"}},
            }
        },
        "by-schema",
    ),
    "no schema": (CHAT, {"response_format": {"type": "json_object"}}, "default"),
    "schema, responses": (
        RESPONSES,
        {
            "input": "x",
            "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
        },
        "by-schema",
    ),
    "reasoning": (CHAT, {"reasoning_effort": "high"}, "by-reasoning"),
    "no reasoning": (CHAT, {"reasoning_effort": "none"}, "default"),
    "reasoning, responses": (RESPONSES, {"input": "x", "reasoning": {"effort": "low"}}, "by-reasoning"),
    "reasoning, messages": (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 1}}, "by-reasoning"),
    "no reasoning, messages": (MESSAGES, {"thinking": {"type": "disabled"}}, "default"),
    "stream": (CHAT, {"stream": True}, "by-stream"),
    "stream, messages": (MESSAGES, {"stream": True}, "by-stream"),
    "long": (CHAT, {"messages": said(LONG)}, "default"),
    "very long": (CHAT, {"messages": said(LONG * 5)}, "by-size"),
    "very long, messages": (MESSAGES, {"messages": said(LONG * 5)}, "by-size"),
    "output": (CHAT, {"max_tokens": None, "max_completion_tokens": 2000}, "by-output"),
    "more output": (CHAT, {"max_tokens": 2001}, "default"),
    "output, messages": (MESSAGES, {"max_tokens": 1001}, "by-output"),
    "model": (CHAT, {"model": "gpt-4.1-mini"}, "by-model"),
    "model, messages": (MESSAGES, {"model": "claude-9"}, "by-model"),
    "dialect": (EMBEDDINGS, {"input": "x"}, "by-dialect"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_body_tells(broker: Broker, case: str) -> None:
    path, fields, pool = CASES[case]
    assert pool_of(call(broker, path, {**chat("default"), **fields})) == pool


def test_who_calls(broker: Broker) -> None:
    long, plain = {**chat("default"), "messages": said(LONG)}, chat("default")
    assert pool_of(call(broker, CHAT, long, "premium")) == "by-tier-and-size"
    assert pool_of(call(broker, CHAT, plain, "premium")) == "default"
    assert pool_of(call(broker, CHAT, chat("default", stream=True), "batch")) == "default"
    assert pool_of(call(broker, MESSAGES, plain, "acme")) == "by-customer"


def test_headers_of_trusted_callers(broker: Broker) -> None:
    plain = chat("default")
    both = "speaks-for-others"
    assert pool_of(call(broker, CHAT, plain, both, x_broker_feature="search")) == "by-feature"
    assert pool_of(call(broker, CHAT, plain, both, X_Broker_Customer="acme-us")) == "by-customer"
    assert pool_of(call(broker, CHAT, plain, both, x_broker_feature="other")) == "default"
    one = "speaks-for-customers"
    assert pool_of(call(broker, CHAT, plain, one)) == "default"
    assert pool_of(call(broker, CHAT, plain, one, x_broker_customer="acme")) == "by-customer"
    assert pool_of(call(broker, CHAT, plain, one, x_broker_feature="search")) == "default"


@pytest.mark.parametrize("caller", ["plain", "premium", "acme"])
def test_headers_of_others_say_nothing(broker: Broker, caller: str) -> None:
    claims = {f"x-broker-{fact}": value for fact, value in (("feature", "search"), ("tier", "premium"))}
    claims |= {"x-broker-customer": "acme", "x-broker-team": "blocked", "x-broker-agent": "batch"}
    claims |= {
        "tier": "premium",
        "x-tier": "premium",
        "x-broker-pool": "by-size",
        "x-broker-caller": "premium",
    }
    expected = pool_of(call(broker, CHAT, chat("default", stream=True), caller))
    assert pool_of(call(broker, CHAT, chat("default", stream=True), caller, **claims)) == expected


def test_declared_headers(broker: Broker) -> None:
    assert pool_of(call(broker, CHAT, chat("default"), x_task="code-review")) == "by-header"
    assert pool_of(call(broker, MESSAGES, chat("default"), X_TASK="code-review")) == "by-header"
    assert pool_of(call(broker, CHAT, chat("default"), x_task="write")) == "default"


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_denials(broker: Broker, path: str) -> None:
    error = error_of(answer := call(broker, path, chat("default"), "blocked"))
    assert (answer.status, error["code"], error["message"]) == (403, "denied_by_rule", "this team has left")
    error = error_of(answer := call(broker, path, chat("no-such-pool"), "quiet"))
    assert (answer.status, error["code"]) == (403, "denied_by_rule") and "quiet-please" in error["message"]


def test_a_rule_does_not_open_a_pool(broker: Broker) -> None:
    answer = call(broker, CHAT, chat("default", tools=[TOOL]), "narrow")
    assert (answer.status, answer.code) == (403, "pool_not_allowed")
    assert pool_of(call(broker, CHAT, chat("default"), "narrow")) == "default"
