"""What the tests of Bedrock's requests share: models, conversations in few words, and a checked way out."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

from modelbroker.dialects.bedrock_converse import BedrockConverse
from modelbroker.dialects.conversation import (
    Chat,
    Inline,
    Message,
    Text,
    Tool,
    Upstream,
)

from support.bedrock import checked, serialized

DIALECT = BedrockConverse()
SONNET_45 = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SONNET_46 = "global.anthropic.claude-sonnet-4-6"
OPUS_47 = "anthropic.claude-opus-4-7"
HAIKU_3 = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
MODELS = [
    SONNET_45,
    SONNET_46,
    OPUS_47,
    HAIKU_3,
    NOVA,
    NOVA_2,
    "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
    "global.anthropic.claude-fable-5-2",
    "global.anthropic.claude-opus-5-5",
    "global.anthropic.claude-sonnet-5-5",
    "us.meta.llama4-maverick-17b-instruct-v1:0",
    "mistral.mistral-large-3-675b-instruct",
    "mistral.voxtral-mini-3b-2507",
    "openai.gpt-oss-120b-1:0",
    "global.openai.gpt-6-astra",
    "qwen.qwen3-32b-v1:0",
    "us.deepseek.r1-v1:0",
    "deepseek.v3.2",
    "global.zai.glm-5.3",
    "moonshotai.kimi-k2.5",
    "global.xai.grok-4.7",
    "us.writer.palmyra-x5-v1:0",
    "cohere.command-r-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1dadi0g15f",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6",
]
PIXEL = Inline("image/png", base64.b64encode(b"\x89PNG").decode())
PDF = Inline("application/pdf", base64.b64encode(b"%PDF-1.4").decode())
TOOL = Tool(
    "get_weather", "Weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}}
)
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


def to(model: str = SONNET_45, **more: Any) -> Upstream:
    return Upstream("house", "bedrock-converse", model, **more)


def user(*parts: Any) -> Message:
    return Message("user", parts)


def assistant(*parts: Any) -> Message:
    return Message("assistant", parts)


def chat(*messages: Message, **more: Any) -> Chat:
    return Chat("agent", messages or (user(Text("hi")),), **more)


def sent(request: Chat, upstream: Upstream | None = None) -> tuple[Any, tuple[str, ...]]:
    """(the body, what was dropped) of a request that Bedrock takes and boto3 would send the same way."""
    upstream = upstream or to()
    encoded = DIALECT.encode_request(request, upstream)
    operation = "ConverseStream" if request.stream else "Converse"
    params = checked(operation, upstream.model, encoded.body)
    body = json.loads(encoded.body)
    assert serialized(operation, params) == (encoded.path, body)
    return body, encoded.dropped


def messages(request: Chat, upstream: Upstream | None = None) -> list[tuple[str, list[Any]]]:
    return [(message["role"], message["content"]) for message in sent(request, upstream)[0]["messages"]]


def fields(request: Chat, model: str) -> Any:
    return sent(request, to(model))[0].get("additionalModelRequestFields")


def well_formed(body: Any) -> None:
    """What Bedrock checks beyond its service model."""
    roles = [message["role"] for message in body["messages"]]
    assert (
        roles == [("user", "assistant")[place % 2] for place in range(len(roles))] or roles[0] == "assistant"
    )
    assert all(a != b for a, b in itertools.pairwise(roles))
    names: list[str] = []
    points = 0
    open_calls: list[str] = []
    has_tools = False
    for message in body["messages"]:
        blocks = message["content"]
        assert blocks
        assert "cachePoint" not in blocks[0]
        kinds = [next(iter(block)) for block in blocks]
        points += kinds.count("cachePoint")
        results = [block["toolResult"] for block in blocks if "toolResult" in block]
        assert sorted(result["toolUseId"] for result in results) == sorted(open_calls)
        has_tools |= bool(results)
        if results:
            own = [kind for kind in kinds if kind != "cachePoint"]
            assert own[: len(results)] == ["toolResult"] * len(results)
        open_calls = [block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block]
        has_tools |= bool(open_calls)
        for block in blocks:
            assert block.get("text", "x").strip()
        for inner in [blocks, *(result["content"] for result in results)]:
            documents = [block["document"] for block in inner if "document" in block]
            names += [document["name"] for document in documents]
            assert not documents or any("text" in block for block in inner)
    assert len(set(names)) == len(names)
    points += sum("cachePoint" in block for block in body.get("system", []))
    tools = body.get("toolConfig", {}).get("tools", [])
    points += sum("cachePoint" in block for block in tools)
    assert points <= 4
    assert not has_tools or tools
    choice = body.get("toolConfig", {}).get("toolChoice", {})
    assert not (choice and "tool_choice" in body.get("additionalModelRequestFields", {}))
    if "tool" in choice:
        assert choice["tool"]["name"] in [tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool]
