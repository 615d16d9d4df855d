"""Any client at any provider: the official SDKs through the real Envoy, a member replaying real traffic.

What the SDK makes of the reply must be what the provider said, field by field, whole and streamed; it is read
from the recording by a reader that knows nothing of the product (support/essence.py).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from support import essence
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.essence import Essence
from support.recordings import recordings
from support.simulators import Simulators

# Kind of recording → the dialect of the member that replays it.
KINDS: Mapping[str, str] = {
    "openai-chat": "openai-chat",
    "openai-compatible-chat": "openai-chat",
    "openai-responses": "openai-responses",
    "anthropic-messages": "anthropic-messages",
    "bedrock-converse": "bedrock-converse",
    "bedrock-converse-stream": "bedrock-converse",
    "gemini-generate-content": "gemini",
}
CLIENTS = ("openai-chat", "openai-responses", "anthropic-messages")
PATHS = {"openai-chat": "/v1", "openai-responses": "/v1", "gemini": "/v1beta"}
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_FOLDER = Path(os.environ.get("MODELBROKER_RECORDINGS", Path(__file__).parents[3] / "shared" / "recordings"))


def is_streamed(body: Any) -> bool:
    return isinstance(body, str) or (isinstance(body, dict) and set(body) == {"base64"})


ROWS = [
    pytest.param(client, kind, *row.values, id=f"{client}:{kind}:{row.id}", marks=row.marks)
    for client in CLIENTS
    for kind, dialect in KINDS.items()
    if dialect != client
    for row in recordings(kind)
]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*KINDS) as simulators:
        for kind in KINDS:
            if (path := _FOLDER / f"{kind}.jsonl").exists():
                simulators[kind].script(recordings=[str(path.resolve())], journal={"entries": 100})
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [
            provider(kind, sims[kind].port, dialect, PATHS.get(dialect, ""))
            for kind, dialect in KINDS.items()
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": f"pool-{kind}",
                "failover": "none",
                "ejection": "off",
                "members": [{"provider": kind, "model": "some-model"}],
            }
            for kind in KINDS
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.mark.parametrize(("client", "kind", "row"), ROWS)
def test_what_the_provider_said_is_what_the_sdk_reads(
    broker: Broker, client: str, kind: str, row: Any
) -> None:
    body, status = row["response"]["body"], row["response"]["status"]
    pin = {"x-mock-reply": json.dumps({"recording": row["id"]})}
    ask = {"openai-chat": ask_chat, "openai-responses": ask_responses, "anthropic-messages": ask_messages}[
        client
    ]
    if status != 200:
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as raised:
            ask(broker, f"pool-{kind}", pin, is_streamed(body))
        message = body.get("message") or body["error"]["message"]
        if re.search("model .*does not exist|model identifier is invalid", message):
            # The client asked for a pool: which model its member has is not for it to read.
            assert raised.value.status_code == 502 and "no such model" in str(raised.value)
            assert message not in str(raised.value)
            return
        assert raised.value.status_code == status and message in str(raised.value)
        return
    if isinstance(body, dict) and body.get("status") == "queued":
        pytest.skip("only background calls are answered so, and they are not translated")
    if isinstance(body, str) and '"error":{"message"' in body:
        with pytest.raises((openai.APIError, anthropic.APIError)):
            ask(broker, f"pool-{kind}", pin, True)
        return
    said = as_seen(essence.of_recording(kind, body), client)
    seen = ask(broker, f"pool-{kind}", pin, is_streamed(body))
    assert seen == said


def as_seen(said: Essence, client: str) -> Essence:
    """What of it the client's dialect has a word for."""
    stop = essence.SEEN_AS[client].get(said.stop, said.stop)
    if client == "anthropic-messages" and said.prompt is None:  # it can't say nothing of usage
        said = replace(said, prompt=0, output=0)
    return replace(said, stop=stop, reasoning=said.reasoning.strip())


def ask_chat(broker: Broker, pool: str, pin: Mapping[str, str], stream: bool) -> Essence:
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
    asked: dict[str, Any] = {"model": pool, "messages": ASK, "tools": tools, "extra_headers": pin}
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        if not stream:
            return tidy(essence.of_completion(sdk.chat.completions.create(**asked)))
        with sdk.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            return tidy(essence.of_completion(events.get_final_completion()))


def ask_responses(broker: Broker, pool: str, pin: Mapping[str, str], stream: bool) -> Essence:
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
    asked: dict[str, Any] = {"model": pool, "input": "Weather?", "tools": tools, "extra_headers": pin}
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        if not stream:
            return tidy(essence.of_response(sdk.responses.create(**asked)))
        with sdk.responses.stream(**asked) as events:
            # `get_final_response` knows no answers that end early.
            ends = [e for e in events if e.type in ("response.completed", "response.incomplete")]
            return tidy(essence.of_response(ends[-1].response))


def ask_messages(broker: Broker, pool: str, pin: Mapping[str, str], stream: bool) -> Essence:
    tools: Any = [{"name": "get_weather", "input_schema": SCHEMA}]
    asked: dict[str, Any] = {
        "model": pool,
        "max_tokens": 1000,
        "messages": ASK,
        "tools": tools,
        "extra_headers": pin,
    }
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as sdk:
        if not stream:
            return tidy(essence.of_message(sdk.messages.create(**asked)))
        with sdk.messages.stream(**asked) as events:
            return tidy(essence.of_message(events.get_final_message()))


def tidy(seen: Essence) -> Essence:
    return replace(seen, reasoning=seen.reasoning.strip())
