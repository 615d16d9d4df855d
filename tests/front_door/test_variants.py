"""The same dialects at other houses: Claude at Vertex AI and Bedrock, Gemini at Vertex AI, OpenAI's at Azure.

Each has its own paths, keys, bodies, framing and errors; a client of any dialect notices none of it. The
simulators are strict: a `model` in the body where it stands in the path, another's version, an unknown field
or a signature that does not fit is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.essence import Essence
from support.faults import FAULTS, Fault
from support.sdks import CLIENTS, anthropic_sdk, ask, openai_sdk
from support.simulators import Simulators

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
IN_PROJECT = "/v1/projects/house/locations/us-east5/publishers"
SECRET = "sk-provider-secret"
BEARER = ("authorization", f"Bearer {SECRET}")
API_KEY = ("api-key", SECRET)


@dataclass(frozen=True)
class Variant:
    """A provider, and what its requests look like. `paths`: the dialect spoken → (whole, streamed)."""

    name: str
    entry: Mapping[str, Any]
    model: str
    paths: Mapping[str, tuple[str, str]]
    key: tuple[str, str] | None  # None: signed
    in_body: Mapping[str, Any] = field(default_factory=dict)
    not_in_body: tuple[str, ...] = ()
    base: str = ""

    @property
    def dialects(self) -> list[str]:
        return list(self.paths)

    def spoken_to(self, client: str) -> str:
        return client if client in self.paths else next(d for d in self.paths if d != "openai-embeddings")


GOOGLE = {"project": "house", "region": "us-east5", "auth": "bearer"}
VARIANTS = [
    Variant(
        "vertex-claude",
        {"dialect": "anthropic-messages", "variant": "vertex", **GOOGLE},
        "claude-sonnet-4-5@20250929",
        {
            "anthropic-messages": (
                f"{IN_PROJECT}/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
                f"{IN_PROJECT}/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
            )
        },
        BEARER,
        {"anthropic_version": "vertex-2023-10-16"},
        ("model",),
        "/v1",
    ),
    Variant(
        "bedrock-claude",
        {"dialect": "anthropic-messages", "variant": "bedrock", "auth": "aws-sigv4", "region": "us-east-1"},
        CLAUDE,
        {
            "anthropic-messages": (
                f"/model/{CLAUDE}/invoke",
                f"/model/{CLAUDE}/invoke-with-response-stream",
            )
        },
        None,
        {"anthropic_version": "bedrock-2023-05-31"},
        ("model", "stream"),
    ),
    Variant(
        "bedrock-profile",
        {"dialect": "anthropic-messages", "variant": "bedrock", "auth": "aws-sigv4", "region": "us-east-1"},
        PROFILE,
        {
            "anthropic-messages": (
                f"/model/{PROFILE.replace('/', '%2F')}/invoke",
                f"/model/{PROFILE.replace('/', '%2F')}/invoke-with-response-stream",
            )
        },
        None,
        {"anthropic_version": "bedrock-2023-05-31"},
        ("model", "stream"),
    ),
    Variant(
        "vertex-gemini",
        {"dialect": "gemini", "variant": "vertex", **GOOGLE},
        "gemini-2.5-flash",
        {
            "gemini": (
                f"{IN_PROJECT}/google/models/gemini-2.5-flash:generateContent",
                f"{IN_PROJECT}/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            )
        },
        BEARER,
        {},
        ("model", "stream"),
        "/v1",
    ),
    Variant(
        "azure",
        {"auth": "api-key"},
        "gpt-5",
        {
            "openai-responses": ("/openai/v1/responses",) * 2,
            "openai-chat": ("/openai/v1/chat/completions",) * 2,
        },
        API_KEY,
        {"model": "gpt-5"},
        base="/openai/v1",
    ),
    Variant(
        "azure-deployments",
        {"auth": "api-key", "variant": "azure", "api_version": "2024-10-21"},
        "my-gpt",
        {
            "openai-chat": ("/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",) * 2,
            "openai-embeddings": ("/openai/deployments/my-gpt/embeddings?api-version=2024-10-21",) * 2,
        },
        API_KEY,
    ),
    Variant(
        "azure-responses",
        {"auth": "api-key", "variant": "azure", "api_version": "2025-03-01-preview"},
        "my-gpt",
        {"openai-responses": ("/openai/responses?api-version=2025-03-01-preview",) * 2},
        API_KEY,
        {"model": "my-gpt"},
    ),
]
NAMED = {variant.name: variant for variant in VARIANTS}
TIMEOUTS: Mapping[str, Mapping[str, str]] = {"": {}, ".quick": {"first_event": "2s", "reply": "2s"}}
CLAUDES = ("vertex-claude", "bedrock-claude")

SAID = Essence(
    text="Cold. ❄",
    calls=[("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "São Paulo"})],
    stop="tool_calls",
    prompt=190,
    cache_read=90,
    output=5,
)
REPLY = {
    "text": SAID.text,
    "tool_calls": [{"name": name, "arguments": given} for name, given in SAID.calls],
    "tokens": {"input": 100, "output": 5, "cache_read": 90},
}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*NAMED, "plain") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    entries = []
    for variant in VARIANTS:
        entry = provider(variant.name, sims[variant.name].port, variant.dialects, variant.base)
        entry |= variant.entry
        if variant.key is None:
            entry["credential"] = {"env": "AWS_KEYS_OF_PROVIDERS"}
        entries.append(entry)
    entries.append(provider("plain", sims["plain"].port, "openai-chat", "/v1"))
    members = {name: {"provider": name, "model": variant.model} for name, variant in NAMED.items()}
    config = {
        "providers": entries,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            *({"name": name, "ejection": "off", "members": [member]} for name, member in members.items()),
            *(
                {
                    "name": f"{name}.plain{more}",
                    "ejection": "off",
                    "timeouts": limits,
                    "members": [member, {"provider": "plain", "model": "gpt-5", "priority": 1}],
                }
                for name, member in members.items()
                for more, limits in TIMEOUTS.items()
            ),
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def script(sims: Simulators, name: str, **more: Any) -> None:
    sims[name].script(strict=True, replies=[REPLY], **more)


def only_call(sims: Simulators, name: str) -> tuple[dict[str, Any], dict[str, str], Any]:
    """(the one call that it got, its headers by lower-case names, its body)."""
    (call,) = sims[name].settled_calls()
    return call, {key.lower(): value.strip() for key, value in call["headers"]}, json.loads(call["body"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", NAMED)
def test_any_client_is_served(broker: Broker, sims: Simulators, name: str, client: str, stream: bool) -> None:
    variant = NAMED[name]
    script(sims, name)
    seen, headers = ask(client, broker.url, name, stream)
    assert seen == SAID and headers["x-broker-member"] == f"{name}/{variant.model}"
    call, got, body = only_call(sims, name)
    assert call["path"] == variant.paths[variant.spoken_to(client)][stream]
    assert variant.in_body.items() <= body.items() and body.keys().isdisjoint(variant.not_in_body)
    if variant.key is None:
        assert got["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    else:
        assert got[variant.key[0]] == variant.key[1]
    assert KEY not in str(call) and not [key for key in got if key.startswith(("x-broker-", "x-envoy-"))]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", NAMED)
def test_an_overloaded_one_is_left_for_another_dialect(
    broker: Broker, sims: Simulators, name: str, client: str, stream: bool
) -> None:
    script(sims, name, faults=[{"status": 503}])
    script(sims, "plain")
    seen, headers = ask(client, broker.url, f"{name}.plain", stream)
    assert seen == SAID
    assert (headers["x-broker-member"], headers["x-broker-attempts"]) == ("plain/gpt-5", "2")
    assert only_call(sims, "plain")[2]["model"] == "gpt-5"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_who_fails_in_any_way_is_left(broker: Broker, sims: Simulators, fault: Fault) -> None:
    more = ".quick" if fault.timeouts == "quick" else ""
    for name in NAMED:
        sims[name].script(refuse=True)  # ends idle connections: they would not be accepted any more
        sims[name].script(faults=[fault.script])
    kinds = [stream for stream in (False, True) if (fault.stream if stream else fault.whole)]
    calls = [
        Ask(f"{name}.plain{more}", client, stream) for name in NAMED for client in CLIENTS for stream in kinds
    ]
    for got in make(broker.url, calls, parallel=20):
        assert got.is_whole and got.text == f"plain answering as gpt-5: {got.ask.question}", str(got)
        assert got.member == "plain/gpt-5", str(got)
        # Who has said for how long it wants no call gets none.
        assert got.attempts == 2 or (fault.says_when and got.attempts == 1), str(got)


RAISED = {
    400: (anthropic.BadRequestError, openai.BadRequestError),
    429: (anthropic.RateLimitError, openai.RateLimitError),
    403: (anthropic.InternalServerError, openai.InternalServerError),  # the broker's key is not the client's
    500: (anthropic.InternalServerError, openai.InternalServerError),
}


@pytest.mark.parametrize(
    ("status", "stream"), [(400, False), (403, True), (429, False), (429, True), (500, False)]
)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", NAMED)
def test_errors_are_the_clients_own(
    broker: Broker, sims: Simulators, name: str, client: str, status: int, stream: bool
) -> None:
    sims[name].script(faults=[{"status": status, "error": {"message": "Not today."}}])
    with pytest.raises(RAISED[status]) as raised:
        ask(client, broker.url, name, stream)
    error: Any = raised.value
    assert error.status_code == (502 if status == 403 else status)
    if client == "anthropic-messages":
        # Google's replies have no ids of their own: then the broker's stands in the body.
        assert error.body["type"] == "error" and error.body["error"]["type"]
        assert error.request_id or error.body["request_id"]
        message = error.body["error"]["message"]
    else:
        assert error.body.get("type") or error.body["code"]  # Azure's own have a code alone
        message = error.body["message"]
    assert ("Not today." in message) == (status != 403), message


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", NAMED)
def test_limits_say_when_to_try_again(
    broker: Broker, sims: Simulators, name: str, client: str, stream: bool
) -> None:
    """In whatever words: Google says it in the body, and speaks of billing whatever the limit."""
    sims[name].script(faults=[{"status": 429, "retry_after_s": 7}])
    with pytest.raises((anthropic.RateLimitError, openai.RateLimitError)) as raised:
        ask(client, broker.url, name, stream)
    assert raised.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("name", CLAUDES)
def test_an_error_inside_a_stream_is_the_clients_own(broker: Broker, sims: Simulators, name: str) -> None:
    script(sims, name, faults=[{"error_event": True, "after_events": 4, "error": {"message": "Not today."}}])
    with pytest.raises(anthropic.APIStatusError, match=r"Not today\."):
        ask("anthropic-messages", broker.url, name, True)


@pytest.mark.parametrize("split", [None, 1, 7, 64])
@pytest.mark.parametrize("name", CLAUDES)
def test_a_stream_of_the_same_dialect_is_the_providers_own(
    broker: Broker, sims: Simulators, name: str, split: int | None
) -> None:
    """Event by event what the model said, however it was framed and cut."""
    more = {"split_bytes": split} if split else {}
    sims[name].script(replies=[{"text": "Hello ❄", "chunks": 3}], **more)
    (got,) = make(broker.url, [Ask(name, "anthropic-messages", stream=True)])
    assert got.is_whole and got.text == "Hello ❄", str(got)
    events = [event.split(b"\n") for event in got.body.split(b"\n\n") if event]
    kinds = [event[0].removeprefix(b"event: ").decode() for event in events]
    assert [kind for kind in kinds if kind != "ping"] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert [json.loads(event[1].removeprefix(b"data: "))["type"] for event in events] == kinds
    assert got.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CLAUDES)
def test_betas_go_where_the_house_wants_them(
    broker: Broker, sims: Simulators, name: str, stream: bool
) -> None:
    """The SDK says them in a header, and marks the path; Bedrock has neither."""
    betas = ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"]
    script(sims, name)
    with anthropic_sdk(broker.url) as sdk:
        asked: Any = {"model": name, "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
        sdk.beta.messages.create(**asked, betas=betas, stream=stream).close() if stream else (
            sdk.beta.messages.create(**asked, betas=betas)
        )
    call, got, body = only_call(sims, name)
    assert call["status"] == 200 and call["path"] == NAMED[name].paths["anthropic-messages"][stream]
    in_header = got.get("anthropic-beta", "").split(",")
    assert (body.get("anthropic_beta"), in_header) == (
        (betas, [""]) if name == "bedrock-claude" else (None, betas)
    )


@pytest.mark.parametrize("name", CLAUDES)
def test_unknown_fields_of_the_same_dialect_pass(broker: Broker, sims: Simulators, name: str) -> None:
    sims[name].script()
    with anthropic_sdk(broker.url) as sdk:
        sdk.messages.create(
            model=name,
            max_tokens=100,
            messages=[{"role": "user", "content": "Hi"}],
            extra_body={"not_yet_known": {"b": 1.50, "a": [1e3]}},
        )
    (call,) = sims[name].settled_calls()
    assert '"not_yet_known":{"b": 1.5, "a": [1000.0]}' in call["body"] or (
        '"not_yet_known":{"b":1.5,"a":[1000.0]}' in call["body"]
    )


@pytest.mark.parametrize("name", ["vertex-claude", "bedrock-claude", "vertex-gemini"])
def test_counts(broker: Broker, sims: Simulators, name: str) -> None:
    """By each house's own way, for the one client dialect that counts."""
    sims[name].script(strict=True, replies=[{"tokens": {"input": 1234}}])
    with anthropic_sdk(broker.url) as sdk:
        counted = sdk.messages.count_tokens(
            model=name,
            system="Be brief.",
            messages=[{"role": "user", "content": "Hi"}],
            tools=[{"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}],
        )
    assert counted.input_tokens == 1234
    call, _, body = only_call(sims, name)
    assert (
        call["path"]
        == {
            "vertex-claude": f"{IN_PROJECT}/anthropic/models/count-tokens:rawPredict",
            "bedrock-claude": f"/model/{CLAUDE}/count-tokens",
            "vertex-gemini": f"{IN_PROJECT}/google/models/gemini-2.5-flash:countTokens",
        }[name]
    )
    if name == "vertex-claude":
        assert body["model"] == "claude-sonnet-4-5@20250929"


def test_embeddings_of_a_deployment(broker: Broker, sims: Simulators) -> None:
    """Classic deployments have them in a path of their own, too."""
    with openai_sdk(broker.url) as sdk:
        assert len(sdk.embeddings.create(model="azure-deployments", input=["a", "b"]).data) == 2
    call, headers, _ = only_call(sims, "azure-deployments")
    assert call["path"] == NAMED["azure-deployments"].paths["openai-embeddings"][0]
    assert headers["api-key"] == SECRET


@pytest.mark.parametrize("split", [None, 7])
def test_azures_first_chunk_is_no_usage_event(broker: Broker, sims: Simulators, split: int | None) -> None:
    """It has no choices either; what the content filter says of the prompt is the client's to read."""
    sims["azure-deployments"].script(**({"split_bytes": split} if split else {}))
    with openai_sdk(broker.url) as sdk:
        asked: Any = {"model": "azure-deployments", "messages": [{"role": "user", "content": "Hi"}]}
        first, *rest = sdk.chat.completions.create(**asked, stream=True)
    assert first.choices == [] and first.model_extra and "prompt_filter_results" in first.model_extra
    assert all(chunk.choices for chunk in rest) and not any(chunk.usage for chunk in (first, *rest))
    assert only_call(sims, "azure-deployments")[2]["stream_options"] == {"include_usage": True}
