"""Tools with names that only the client's own provider takes, at members of other dialects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from support.broker import KEY, Broker, one_pool_each
from support.simulators import Simulators

# As Claude Code names the tools of a plugin's server.
NAME = "mcp__plugin_everything-claude-code_github__create_pull_request_review"
PLAIN = "get_weather"
MODELS = {
    "anthropic-messages": "claude-sonnet-4-5",
    "openai-chat": "gpt-4.1",
    "openai-responses": "gpt-4.1",
    "bedrock-converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "gemini": "gemini-2.5-pro",
}
SCHEMA: Any = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
QUESTION: Any = {"role": "user", "content": "Review it."}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*MODELS) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), one_pool_each(sims, MODELS)) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    """They are strict, and call the tool that they were given first, under the name that they were given."""
    sims.reset()
    for sim in sims:
        sim.script(strict=True, replies=[{"first": 1, "tool_calls": [{}]}, {"text": "Done."}])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", MODELS)
def test_claude_codes_tools_work_at_any_member(
    broker: Broker, sims: Simulators, dialect: str, stream: bool
) -> None:
    tools: Any = [{"name": NAME, "input_schema": SCHEMA}, {"name": PLAIN, "input_schema": SCHEMA}]
    asked: dict[str, Any] = {"model": f"pool-{dialect}", "max_tokens": 500, "tools": tools}
    history: list[Any] = [QUESTION]
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as sdk:

        def turn() -> Any:
            if not stream:
                return sdk.messages.create(messages=history, **asked)
            with sdk.messages.stream(messages=history, **asked) as events:
                return events.get_final_message()

        message = turn()
        (use,) = [block for block in message.content if block.type == "tool_use"]
        assert use.name == NAME
        history += [
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Fine."}]},
        ]
        assert turn().content[-1].text == "Done."
    for call in sims[dialect].settled_calls():
        assert call["status"] == 200 and (NAME in call["body"]) is (dialect == "anthropic-messages")
        assert PLAIN in call["body"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_names_with_dots_from_a_client_of_openais(broker: Broker, sims: Simulators, stream: bool) -> None:
    """OpenAI refuses such names itself; agents whose tools were made for others send them."""
    tool: Any = {"type": "function", "function": {"name": "github.review", "parameters": SCHEMA}}
    asked: dict[str, Any] = {
        "model": "pool-anthropic-messages",
        "messages": [QUESTION],
        "tools": [tool],
        "tool_choice": {"type": "function", "function": {"name": "github.review"}},
    }
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        if stream:
            with sdk.chat.completions.stream(**asked) as events:
                message = events.get_final_completion().choices[0].message
        else:
            message = sdk.chat.completions.create(**asked).choices[0].message
    assert [call.function.name for call in message.tool_calls or ()] == ["github.review"]
    (call,) = sims["anthropic-messages"].settled_calls()
    body = json.loads(call["body"])
    assert body["tool_choice"]["name"] == body["tools"][0]["name"] != "github.review"


def test_prompts_are_counted_with_them(broker: Broker, sims: Simulators) -> None:
    tools: Any = [{"name": NAME, "input_schema": SCHEMA}]
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as sdk:
        for dialect in ("openai-responses", "bedrock-converse", "gemini"):
            count = sdk.messages.count_tokens(model=f"pool-{dialect}", messages=[QUESTION], tools=tools)
            assert count.input_tokens > 0
