"""Reasoning that only its issuer can read: back to its issuer byte for byte, to nobody else, never as text.

Several accounts that speak one dialect, official SDKs, and simulators that refuse what another one sealed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from modelbroker.simulator.seals import Seals
from support.agents import CITIES, LOOPS
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.simulators import SimulatorHandle, Simulators

ACCOUNTS = ("a", "b")
DIALECTS = {
    "anthropic-messages": ("", "claude-sonnet-4-5"),
    "openai-responses": ("/v1", "gpt-5"),
    "openai-chat": ("/v1", "gpt-5"),
    "bedrock-converse": ("", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "gemini": ("/v1beta", "gemini-3-pro"),
    "bedrock-anthropic": ("", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
}
CLIENTS = ("anthropic-messages", "openai-chat", "openai-responses")
# What the accounts of each dialect seal their reasoning as; openai-chat's is for everyone to read.
KINDS: dict[str, Any] = {
    "anthropic-messages": "thinking",
    "bedrock-anthropic": "thinking",
    "openai-responses": "encrypted",
    "bedrock-converse": "thinking",
    "gemini": "thought",
}


def account(sim: SimulatorHandle, name: str) -> dict[str, Any]:
    path, _ = DIALECTS[name]
    if name != "bedrock-anthropic":
        return provider(f"{name}-{sim.name}", sim.port, name, path)
    entry = provider(f"{name}-{sim.name}", sim.port, "bedrock-converse", path)
    return {**entry, "dialect": "anthropic-messages", "variant": "bedrock"}


def pool(name: str, *members: str, **fields: Any) -> dict[str, Any]:
    """One that goes through its members (`DIALECT-ACCOUNT`) in this order."""
    return {
        "name": name,
        "ejection": "off",
        "members": [
            {
                "provider": member,
                "model": DIALECTS[member.rpartition("-")[0]][1],
                "priority": level,
                "capabilities": {"context": "10M"},  # blobs are larger here than in life
            }
            for level, member in enumerate(members)
        ],
        **fields,
    }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*ACCOUNTS) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    names = list(DIALECTS)
    config = {
        "providers": [account(sim, name) for sim in sims for name in names],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            *(
                pool(f"{one}.{other}", f"{one}-a", f"{other}-b")
                for one, other in [*zip(names, names, strict=True), *MIXED]
            ),
            # These think though nobody asks them to.
            {
                **pool("unasked"),
                "members": [
                    {"provider": f"anthropic-messages-{name}", "model": "claude-opus-5", "priority": level}
                    for level, name in enumerate(ACCOUNTS)
                ],
            },
            # Of the client's dialect there are two accounts, and another dialect stands between them.
            pool("three", "openai-responses-a", "anthropic-messages-b", "openai-responses-b"),
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


MIXED = [("anthropic-messages", "bedrock-anthropic"), ("bedrock-anthropic", "bedrock-converse")]


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def thinking(sim: SimulatorHandle, faulty: list[int], answers_at: int, **reply: Any) -> None:
    """This account calls tools with reasoning; the `faulty` ones of its calls fail, the n-th one answers."""
    tools = [{"name": "get_weather", "arguments": {"city": city}} for city in CITIES]
    told = {"reasoning": thought_of(sim.name), **reply}
    sim.script(
        strict=True,
        journal={"body_bytes": 4_000_000},
        faults=[{"calls": faulty, "status": 503}] if faulty else [],
        replies=[
            {"calls": [answers_at], "text": "In São Paulo.", **told},
            {"tool_calls": tools, "interleave": True, **told},
        ],
    )


def thought_of(name: str) -> str:
    return f'Only {name} thinks so: \\ " / ❄'


def sent(sim: SimulatorHandle) -> list[str]:
    """The bodies that this account answered."""
    calls = [call for call in sim.settled_calls() if call["status"] != 503]
    assert {call["status"] for call in calls} <= {200}, calls
    return [call["body"] for call in calls]


def assert_kept_apart(sims: Simulators, redacted: bool = False) -> None:
    """No account ever met what was another's, or a word of the broker's about it."""
    for mine, other in itertools.permutations(ACCOUNTS):
        bodies = sent(sims[mine])
        assert bodies
        for kind in ("thinking", "encrypted", "thought", "redacted"):
            foreign = Seals(other).seal(kind, thought_of(other))
            assert not [body for body in bodies if foreign[:40] in body]
        for body in bodies:
            assert "mb1:" not in body and f"-{other}" not in body and f"-{mine}" not in body


def assert_back(sims: Simulators, names: dict[str, str], redacted: bool = False) -> None:
    """Each account's last request holds all its own seals: of each turn of its own before it."""
    for mine, name in names.items():
        if name == "openai-chat":
            continue
        kind = "redacted" if redacted and KINDS[name] == "thinking" else KINDS[name]
        seal = Seals(mine).seal(kind, thought_of(mine))
        bodies = sent(sims[mine])
        assert json.dumps(json.loads(bodies[-1])).count(seal) >= len(bodies) - 1, bodies[-1]


def run(broker: Broker, sims: Simulators, client: str, pool: str, stream: bool, **reply: Any) -> list[str]:
    """Turns 1 and 2 are a's, 3 to 5 b's, and from 6 on they are a's again: which members served."""
    thinking(sims["a"], [3, 4, 5], 4, **reply)
    thinking(sims["b"], [], 99, **reply)
    members: list[str] = []
    assert LOOPS[client](broker, pool, stream, members) == "In São Paulo."
    assert [member.split("/")[0][-1] for member in members] == [*"aabbbaa"]
    return members


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("redacted", [False, True], ids=["shown", "redacted"])
@pytest.mark.parametrize("pair", [*zip(DIALECTS, DIALECTS, strict=True), *MIXED], ids=".".join)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_loop_over_two_accounts(
    broker: Broker, sims: Simulators, client: str, pair: tuple[str, str], redacted: bool, stream: bool
) -> None:
    run(broker, sims, client, ".".join(pair), stream, redacted=redacted)
    if "openai-chat" not in pair:  # its reasoning is text, and its clients send it back to whom they like
        assert_kept_apart(sims)
    assert_back(sims, dict(zip(ACCOUNTS, pair, strict=True)), redacted)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_bytes_may_come_in_any_pieces(broker: Broker, sims: Simulators, stream: bool) -> None:
    for client, size in itertools.product(("anthropic-messages", "openai-responses"), (1, 7)):
        sims.reset()
        run(broker, sims, client, f"{client}.{client}", stream, split_bytes=size)
        assert_kept_apart(sims)
        assert_back(sims, dict.fromkeys(ACCOUNTS, client))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", ["anthropic-messages", "openai-responses"])
def test_large_blobs(broker: Broker, sims: Simulators, client: str, stream: bool) -> None:
    large = "".join(f"{n:07x}\\" for n in range(100_000))  # 0.8 MB, and a third more in base64
    tools = [{"name": "get_weather", "arguments": {"city": city}} for city in CITIES]
    sims["a"].script(
        strict=True,
        replies=[{"calls": [3], "text": "In São Paulo."}, {"tool_calls": tools, "reasoning": large}],
    )
    members: list[str] = []
    assert LOOPS[client](broker, f"{client}.{client}", stream, members) == "In São Paulo."
    sizes = [call["body_bytes"] for call in sims["a"].settled_calls()]
    assert len(sizes) == 3 and sizes[2] > 2 * sizes[1] - 10_000 > 2_000_000


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_three_providers_of_two_dialects(broker: Broker, sims: Simulators, stream: bool) -> None:
    """a of the client's own dialect, b by translation, then b again of the client's own dialect."""
    tools = [{"name": "get_weather", "arguments": {"city": city}} for city in CITIES]
    seen = {"match": {"surface": "anthropic-messages"}}
    sims["a"].script(
        strict=True,
        faults=[{"calls": [2, 3, 4, 5], "status": 503}],
        replies=[
            {"calls": [2], "text": "In São Paulo.", "reasoning": thought_of("a")},
            {"tool_calls": tools, "reasoning": thought_of("a")},
        ],
    )
    sims["b"].script(
        strict=True,
        faults=[{**seen, "calls": [3, 4], "status": 529}],
        replies=[{"tool_calls": tools, "reasoning": thought_of("b")}],
    )
    members: list[str] = []
    assert LOOPS["openai-responses"](broker, "three", stream, members) == "In São Paulo."
    a, b, c = "openai-responses-a", "anthropic-messages-b", "openai-responses-b"
    assert [member.split("/")[0] for member in members] == [a, b, b, c, c, a]
    assert {call["status"] for call in sims["b"].settled_calls()} == {200, 529}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_thinking_that_nobody_asked_for(broker: Broker, sims: Simulators, stream: bool) -> None:
    """A client that says nothing of thinking gets it all the same, and sends it back."""
    for name in ACCOUNTS:
        sims[name].script(strict=True, replies=[{"text": "Hi", "reasoning": thought_of(name)}])
    turns: list[Any] = [{"role": "user", "content": "Hi"}]
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as sdk:
        for serves in "aba":
            sims["a"].script(
                strict=True,
                replies=[{"text": "Hi", "reasoning": thought_of("a")}],
                faults=[{"status": 503}] if serves == "b" else [],
            )
            asked: Any = {"model": "unasked", "max_tokens": 100, "messages": turns}
            if stream:
                with sdk.messages.stream(**asked) as events:
                    message = events.get_final_message()
            else:
                message = sdk.messages.create(**asked)
            assert message.content[0].type == "thinking" and message.content[0].thinking == thought_of(serves)
            turns += [{"role": "assistant", "content": message.content}, {"role": "user", "content": "And?"}]
    assert_kept_apart(sims)
    assert Seals("a").seal("thinking", thought_of("a")) in json.dumps(json.loads(sent(sims["a"])[-1]))


# -- what users write


@pytest.mark.parametrize(
    "text", ["mb1:", "mb1:openai-responses-a:x:y", 'say "mb1:anthropic-messages-b:z:" to a@b']
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_tags_in_texts_are_texts(broker: Broker, sims: Simulators, text: str, stream: bool) -> None:
    tool: dict[str, Any] = {
        "type": "object",
        "properties": {"id": {"default": text, "examples": [{"id": text}]}},
    }
    for name in ("anthropic-messages", "openai-responses", "openai-chat"):
        sims.reset()
        sims["a"].script(strict=True, replies=[{"text": text}])
        said = ask(broker, f"{name}.{name}", name, text, tool, stream)
        assert said == text
        body = json.loads(sims["a"].settled_calls()[0]["body"])
        assert text in (body["messages"][0]["content"] if "messages" in body else body["input"])
        assert json.dumps(text) in json.dumps(body["tools"]) and json.dumps({"id": text}) in json.dumps(body)


def ask(broker: Broker, pool: str, client: str, text: str, schema: Any, stream: bool) -> str:
    turn: Any = [{"role": "user", "content": text}]
    if client == "anthropic-messages":
        tools: Any = [{"name": "f", "input_schema": schema}]
        with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as sdk:
            asked: Any = {"model": pool, "max_tokens": 2000, "messages": turn, "tools": tools}
            asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}
            if stream:
                with sdk.messages.stream(**asked) as events:
                    return events.get_final_text()
            return str(sdk.messages.create(**asked).content[0].text)  # type: ignore[union-attr]
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as oai:
        if client == "openai-responses":
            asked = {
                "model": pool,
                "input": text,
                "tools": [{"type": "function", "name": "f", "parameters": schema}],
            }
            if stream:
                with oai.responses.stream(**asked) as response:
                    return str(response.get_final_response().output_text)
            return oai.responses.create(**asked).output_text
        tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
        chat: Any = {"model": pool, "messages": turn, "tools": tools}
        if stream:
            with oai.chat.completions.stream(**chat) as completion:
                return str(completion.get_final_completion().choices[0].message.content)
        return str(oai.chat.completions.create(**chat).choices[0].message.content)


def test_a_forged_tag_gets_no_further_than_a_plain_blob(broker: Broker, sims: Simulators) -> None:
    """Whoever writes a tag says only which account is to judge what he made up; it refuses it."""
    for name in ACCOUNTS:
        sims[name].script(strict=True)
    kind = "openai-responses.encrypted_content"
    for issuer, asked in (
        ("openai-responses-a", 400),
        ("openai-responses-b", 200),
        ("nowhere", 200),
        ("", 400),
    ):
        forged = {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "encrypted_content": f"mb1:{issuer}:{kind}:AAAA",
        }
        turn = [
            {"role": "user", "content": "Hi"},
            forged,
            {"role": "assistant", "content": "Hm"},
            {"role": "user", "content": "So?"},
        ]
        sims["a"].forget()
        with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
            asking: Any = {"model": "openai-responses.openai-responses", "input": turn, "store": False}
            if asked == 400:
                with pytest.raises(openai.BadRequestError) as refused:
                    sdk.responses.create(**asking)
                assert refused.value.code == "invalid_encrypted_content"
            else:
                sdk.responses.create(**asking)
        (received,) = sims["a"].settled_calls()
        assert (received["status"], "AAAA" in received["body"], "mb1:" in received["body"]) == (
            asked,
            asked == 400,
            False,
        )
    assert sims["b"].calls() == []
