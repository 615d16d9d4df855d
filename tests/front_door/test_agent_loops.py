"""An agent's loop of tools and reasoning that changes providers in its middle, the agent none the wiser.

The simulators are strict, as the providers are: a signature that another one issued, a tool turn without its
reasoning, a tool result without its call are refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from support.agents import CITIES, LOOPS
from support.broker import KEY_SHA256, Broker, provider
from support.simulators import Simulators

DIALECTS = {
    "anthropic-messages": ("", "claude-sonnet-4-5"),
    "openai-chat": ("/v1", "gpt-5"),
    "openai-responses": ("/v1", "gpt-5"),
    "bedrock-converse": ("", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "gemini": ("/v1beta", "gemini-3-pro"),
}
# The same dialects at other houses: base path, model, and what their entries say otherwise.
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vertex-claude": (
        "/v1",
        "claude-sonnet-4-5@20250929",
        {"dialect": "anthropic-messages", "variant": "vertex", "project": "p", "region": "us-east5"},
    ),
    "bedrock-claude": (
        "",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        {
            "dialect": "anthropic-messages",
            "variant": "bedrock",
            "region": "us-east-1",
            "auth": "aws-sigv4",
            "credential": {"env": "AWS_KEYS_OF_PROVIDERS"},
        },
    ),
    "vertex-gemini": (
        "/v1",
        "gemini-3-pro",
        {"dialect": "gemini", "variant": "vertex", "project": "p", "region": "us-east5"},
    ),
}
MODELS = {name: told[1] for name, told in (DIALECTS | VARIANTS).items()}
PAIRS = [
    *itertools.permutations(DIALECTS, 2),
    ("vertex-claude", "bedrock-claude"),
    ("bedrock-claude", "anthropic-messages"),
    ("bedrock-claude", "vertex-gemini"),
]
CLIENTS = ("anthropic-messages", "openai-chat", "openai-responses")


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*MODELS) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [
            *(provider(name, sims[name].port, name, path) for name, (path, _) in DIALECTS.items()),
            *(provider(name, sims[name].port, "", path) | more for name, (path, _, more) in VARIANTS.items()),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": f"{first}.{second}",
                "ejection": "off",
                "members": [
                    {"provider": first, "model": MODELS[first]},
                    {"provider": second, "model": MODELS[second], "priority": 1},
                ],
            }
            for first, second in PAIRS
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


def turns_of(simulator: Any, faulty: list[int], answers_at: int) -> None:
    """This provider calls tools with reasoning; the `faulty` ones of its calls fail, the n-th one answers."""
    tools = [{"name": "get_weather", "arguments": {"city": city}} for city in CITIES]
    simulator.script(
        strict=True,
        faults=[{"calls": faulty, "status": 503}] if faulty else [],
        replies=[
            {"calls": [answers_at], "text": "In São Paulo.", "reasoning": "Now I know."},
            {"tool_calls": tools, "reasoning": "I have to look. ❄", "interleave": True},
        ],
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-then-{pair[1]}")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_loop_changes_providers_and_ends_right(
    broker: Broker, sims: Simulators, client: str, pair: tuple[str, str], stream: bool
) -> None:
    first, second = pair
    # The first one serves turns 1 and 2, the second one 3 to 5, and the first one again from 6 on.
    turns_of(sims[first], faulty=[3, 4, 5], answers_at=4)
    turns_of(sims[second], faulty=[], answers_at=99)
    for name in pair:
        sims[name].forget()
    members: list[str] = []
    loop = LOOPS[client](broker, f"{first}.{second}", stream, members)
    assert loop == "In São Paulo."
    assert [member.split("/")[0] for member in members] == [*[first] * 2, *[second] * 3, *[first] * 2]
    for name in pair:
        assert [call for call in sims[name].settled_calls() if call["status"] not in (200, 503)] == []
