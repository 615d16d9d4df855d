"""Calls go at once to members that can serve them, past heavier ones that can not: no attempt is spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.simulators import Simulators
from support.wire import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, ask

URL = "https://x.test/a.png"
OPENAI = ["openai-responses", "openai-chat", "openai-embeddings"]
# Pool → its members, the heavier one first.
POOLS = {
    "search": ("vllm/qwen-large", "openai/gpt-5.1"),
    "claude": ("claude-at-bedrock/claude-opus-4-7", "anthropic/claude-opus-4-7"),
    "pictures": ("bedrock/claude-opus-4-7", "anthropic/claude-opus-4-7"),
    "files": ("mistral/mistral-large-4", "openai/gpt-5.1"),
    "vectors": ("openai/gpt-5.1", "openai/text-embedding-3-small"),
    "talk": ("openai/text-embedding-3-small", "openai/gpt-5.1"),
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Simulators("sim") as sims:
        sims["sim"].script(strict=True, owns=["file-1"])
        port = sims["sim"].port
        at_bedrock = provider("claude-at-bedrock", port, "anthropic-messages")
        # By these names the built-in providers are meant, with what is known of them.
        config: dict[str, Any] = {
            "providers": [
                provider("anthropic", port, "anthropic-messages"),
                provider("openai", port, OPENAI, "/v1"),
                provider("vllm", port, OPENAI, "/v1"),
                provider("mistral", port, "openai-chat", "/v1"),
                provider("bedrock", port, "bedrock-converse"),
                {
                    **at_bedrock,
                    "variant": "bedrock",
                    "region": "us-east-1",
                    "auth": "aws-sigv4",
                    "credential": {"env": "AWS_KEYS_OF_PROVIDERS"},
                },
            ],
            "callers": [{"name": "test", "key": {"sha256": KEY_SHA256}}],
            "pools": [
                {
                    "name": pool,
                    "members": [
                        dict(zip(("provider", "model", "weight"), (*name.split("/"), weight), strict=True))
                        for name, weight in zip(members, (1000, 1), strict=True)
                    ],
                }
                for pool, members in POOLS.items()
            ],
        }
        with Broker(tmp_path_factory.mktemp("broker"), config) as running:
            yield running


def user(**part: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [part]}]


HI = [{"role": "user", "content": "hi"}]
SEARCH = [{"type": "web_search_20250305", "name": "web_search"}]


@pytest.mark.parametrize(
    ("pool", "path", "body"),
    [
        ("search", RESPONSES, {"input": "hi", "tools": [{"type": "web_search"}]}),
        ("search", CHAT, {"messages": HI, "web_search_options": {}}),
        ("claude", MESSAGES, {"max_tokens": 9, "messages": HI, "tools": SEARCH}),
        (
            "claude",
            MESSAGES,
            {"max_tokens": 9, "messages": user(type="image", source={"type": "url", "url": URL})},
        ),
        ("pictures", CHAT, {"messages": user(type="image_url", image_url={"url": URL})}),
        ("pictures", RESPONSES, {"input": user(type="input_image", image_url=URL, detail="auto")}),
        ("files", CHAT, {"messages": user(type="file", file={"file_id": "file-1"})}),
        ("vectors", EMBEDDINGS, {"input": "hi"}),
        ("talk", CHAT, {"messages": HI}),
    ],
)
def test_only_who_can_is_asked(broker: Broker, pool: str, path: str, body: dict[str, Any]) -> None:
    answer = ask(broker.url, path, {"model": pool, **body})
    assert answer.status == 200, answer
    assert answer.get("x-broker-member") == POOLS[pool][1]
    assert answer.get("x-broker-attempts") == "1"
