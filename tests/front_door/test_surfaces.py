"""What the front door answers to whom: operations, refusals in the client's dialect, odd ways of HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.simulators import SimulatorHandle, Simulators
from support.wire import (
    BEARER,
    CHAT,
    COUNT_TOKENS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    X_API_KEY,
    Answer,
    Wire,
    ask,
    chat,
    chunked,
    dialect_of,
    error_of,
    head,
)

NARROW = "narrow-key"
LIMIT = 64 * 1024
PATHS = (CHAT, RESPONSES, EMBEDDINGS, MESSAGES, COUNT_TOKENS)
POOLS = ["chats", "claudes", "gpts", "keyless", "mix", "mix-alias"]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("ant", "oai") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    key_file = folder / "narrow.key"
    key_file.write_text(NARROW)
    claude = provider("claude-proxy", sims["ant"].port, "anthropic-messages", "/gate/way")
    spoken = ["openai-chat", "openai-responses", "openai-embeddings"]
    gpt = provider("gpt", sims["oai"].port, spoken, "/api/v9/openai/v1")
    keyless = provider("keyless", sims["oai"].port, spoken, "/v1")
    config = {
        "limits": {"request_bytes": LIMIT},
        "providers": [
            {**claude, "headers": {"x-team": "blue", "anthropic-beta": "from-the-provider"}},
            {**gpt, "models": {"gpt-public": 'gpt-"private"'}, "headers": {"user-agent": "broker/1"}},
            provider("chat-only", sims["oai"].port, "openai-chat", "/v1"),
            {**keyless, "credential": {"env": "A_KEY_THAT_IS_NOT_SET"}},
        ],
        "callers": [
            {"name": "tester", "key": {"sha256": KEY_SHA256}},
            {"name": "narrow", "key": {"file": str(key_file)}, "pools": ["mix"]},
        ],
        "pools": [
            {
                "name": "mix",
                "aliases": ["mix-alias", "claude-*"],
                "members": [
                    {"provider": "claude-proxy", "model": "c1"},
                    {"provider": "gpt", "model": "gpt-public"},
                ],
            },
            {"name": "claudes", "members": [{"provider": "claude-proxy", "model": "c1"}]},
            {"name": "chats", "members": [{"provider": "chat-only", "model": "m"}]},
            {"name": "gpts", "members": [{"provider": "gpt", "model": "gpt-public"}]},
            {"name": "keyless", "members": [{"provider": "keyless", "model": "m"}]},
        ],
    }
    with Broker(folder, config) as running:
        yield running


@pytest.fixture(autouse=True)
def _afresh(sims: Simulators) -> None:
    sims.reset()


def keys(path: str, key: str = KEY) -> list[tuple[str, str]]:
    return [("x-api-key", key)] if path.startswith(MESSAGES) else [("authorization", f"Bearer {key}")]


def refused(answer: Answer, path: str, status: int, code: str) -> dict[str, Any]:
    """The error, after a look that it is this one, in the dialect of `path`."""
    error = error_of(answer)
    assert (answer.status, error["code"], answer.get("x-broker-code")) == (status, code, code)
    assert dialect_of(answer) == ("anthropic" if path.startswith(MESSAGES) else "openai")
    assert not answer.broken
    return error


def only(sim: SimulatorHandle) -> dict[str, Any]:
    (call,) = sim.settled_calls()
    return call


# -- refusals


@pytest.mark.parametrize("path", PATHS)
def test_who_calls(broker: Broker, path: str) -> None:
    bare = ask(broker.url, path, chat("mix"), ())
    refused(bare, path, 401, "missing_api_key")
    assert bare.get("www-authenticate") == "Bearer" and bare.get("x-broker-request-id")
    for empty in ([("authorization", "Bearer ")], [("authorization", "Basic abc")], [("x-api-key", "")]):
        refused(ask(broker.url, path, chat("mix"), empty), path, 401, "missing_api_key")
    refused(ask(broker.url, path, chat("mix"), keys(path, "wrong")), path, 401, "invalid_api_key")
    refused(ask(broker.url, path, chat("mix"), keys(path, KEY + "x")), path, 401, "invalid_api_key")
    # The key comes first: a stranger does not learn which pools there are.
    refused(ask(broker.url, path, chat("no-such"), ()), path, 401, "missing_api_key")


@pytest.mark.parametrize("path", PATHS)
def test_which_pool(broker: Broker, sims: Simulators, path: str) -> None:
    error = refused(ask(broker.url, path, chat("claudes"), keys(path, NARROW)), path, 403, "pool_not_allowed")
    assert "mix" in error["message"] and "claudes" in error["message"]
    error = refused(ask(broker.url, path, chat("mixx"), keys(path)), path, 404, "model_not_found")
    assert "mix" in error["message"].split("nearest")[1]
    error = refused(ask(broker.url, path, chat("keyles"), keys(path, NARROW)), path, 404, "model_not_found")
    assert "keyless" not in error["message"], "it may not use that pool"
    error = refused(ask(broker.url, path, chat("keyless"), keys(path)), path, 503, "no_eligible_member")
    assert "keyless/m: its provider can't be used right now" in error["message"]
    assert "A_KEY_THAT_IS_NOT_SET" not in error["message"], "that is the operator's to know"
    assert not sims["ant"].calls() and not sims["oai"].calls()


@pytest.mark.parametrize("path", [COUNT_TOKENS, EMBEDDINGS])
def test_what_no_member_can_do(broker: Broker, sims: Simulators, path: str) -> None:
    """No provider of Claude's makes embeddings, and none that speaks Chat alone counts a prompt's tokens."""
    spoken = {COUNT_TOKENS: ("chats", "openai-chat"), EMBEDDINGS: ("claudes", "anthropic-messages")}
    pool, dialect = spoken[path]
    error = refused(ask(broker.url, path, chat(pool), keys(path)), path, 400, "content_not_supported")
    assert dialect in error["message"] and not sims["ant"].calls() and not sims["oai"].calls()


BAD_BODIES = {
    "truncated": (b'{"model": "mix"', "invalid_json"),
    "nothing": (b"", "invalid_json"),
    "space": (b"  ", "invalid_json"),
    "array": (b"[]", "invalid_request"),
    "array of a request": (b'[{"model": "mix"}]', "invalid_request"),
    "text": (b'"mix"', "invalid_request"),
    "null": (b"null", "invalid_request"),
    "two values": (b'{"model": "mix"} {}', "invalid_json"),
    "a comment": (b'{"model": "mix" /* hi */}', "invalid_json"),
    "not UTF-8": (b'{"model": "m\xff"}', "invalid_json"),
    "form": (b"model=mix", "invalid_json"),
    "deep": (b'{"model": "mix", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "invalid_json"),
    "no model": (b'{"messages": []}', "invalid_request"),
    "model is inside": (b'{"metadata": {"model": "mix"}}', "invalid_request"),
    "model is empty": (b'{"model": ""}', "invalid_request"),
    "model is a number": (b'{"model": 5}', "invalid_request"),
    "model is null": (b'{"model": null}', "invalid_request"),
    "model is a list": (b'{"model": ["mix"]}', "invalid_request"),
    "twice": (b'{"model": "mix", "model": "mix"}', "invalid_request"),
    "twice, differently": (b'{"model": "claudes", "x": 1, "model": "mix"}', "invalid_request"),
    "twice, first null": (b'{"model": null, "model": "mix"}', "invalid_request"),
    "twice, last null": (b'{"model": "mix", "model": null}', "invalid_request"),
    "twice, one a number": (b'{"model": "mix", "model": 1}', "invalid_request"),
    "twice, escaped first": (rb'{"mod\u0065l": "claudes", "model": "mix"}', "invalid_request"),
    "twice, escaped last": (rb'{"model": "mix", "\u006D\u006fdel": "claudes"}', "invalid_request"),
    "twice, both escaped": (rb'{"\u006dodel": "mix", "mode\u006C": "claudes"}', "invalid_request"),
}


@pytest.mark.parametrize("path", [CHAT, RESPONSES, EMBEDDINGS, MESSAGES])
@pytest.mark.parametrize("body", BAD_BODIES)
def test_bodies_that_cannot_be_routed(broker: Broker, sims: Simulators, path: str, body: str) -> None:
    raw, code = BAD_BODIES[body]
    refused(ask(broker.url, path, raw, keys(path)), path, 400, code)
    assert not sims["ant"].calls() and not sims["oai"].calls()


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_no_body_at_all(broker: Broker, path: str) -> None:
    refused(ask(broker.url, path, None, keys(path)), path, 400, "invalid_json")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_too_large(broker: Broker, sims: Simulators, path: str) -> None:
    fits = json.dumps(chat("mix")).encode()
    assert ask(broker.url, path, fits + b" " * (LIMIT - len(fits)), keys(path)).status == 200
    refused(
        ask(broker.url, path, fits + b" " * (LIMIT - len(fits) + 1), keys(path)),
        path,
        413,
        "request_too_large",
    )
    for size in (LIMIT + 1, LIMIT + 3 * 1024 * 1024):  # above the second Envoy stops reading by itself
        with Wire(broker.url) as wire:
            wire.send(head("POST", path, [("host", "x"), ("transfer-encoding", "chunked"), *keys(path)]))
            wire.send(chunked([fits, *[b" " * 16_000] * (size // 16_000 + 1)]))
            refused(wire.receive(), path, 413, "request_too_large")
    # Said to be far too large: refused before it is sent.
    with Wire(broker.url) as wire:
        wire.send(head("POST", path, [("host", "x"), ("content-length", str(3 * LIMIT)), *keys(path)]))
        refused(wire.receive(), path, 413, "request_too_large")


@pytest.mark.parametrize(("extra", "status"), [({}, 413), ({"content-encoding": "br"}, 415)])
def test_a_client_that_still_sends_gets_its_answer(
    broker: Broker, extra: dict[str, str], status: int
) -> None:
    """asyncio's transports drop what they have received when a write fails: an early answer would be lost."""
    headers = {"authorization": f"Bearer {KEY}", **extra}

    async def post() -> list[int]:
        async with httpx.AsyncClient(base_url=broker.url, timeout=30, trust_env=False) as client:
            body = b" " * (2 * LIMIT - 1)
            return [
                (await client.post("/v1/chat/completions", content=body, headers=headers)).status_code
                for _ in range(5)
            ]

    assert asyncio.run(post()) == [status] * 5


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_encodings_upgrades_paths_and_methods(broker: Broker, path: str) -> None:
    url, key = broker.url, keys(path)
    for encoding in ("gzip", "br", "GZIP", "gzip, identity"):
        answer = ask(url, path, b"\x1f\x8b", [*key, ("content-encoding", encoding)])
        refused(answer, path, 415, "unsupported_encoding")
    plain = ask(url, path, chat("mix"), [*key, ("content-encoding", "identity")])
    assert plain.status == 200
    websocket = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]
    websocket.append(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="))
    answer = ask(url, path, None, [*key, *websocket], method="GET")
    refused(answer, path, 426, "upgrade_not_supported")
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = ask(url, path, None, key, method=method)
        refused(answer, path, 405, "method_not_allowed")
        assert answer.get("allow") == "POST"
    refused(ask(url, f"{path}/batches", {}, key), path, 404, "unknown_path")
    refused(ask(url, f"{path}x", {}, key), path, 404, "unknown_path")


def test_paths_of_nothing(broker: Broker) -> None:
    for path in ("/", "/v1", "/v1/files", "/status", "/metrics", "/v2/chat/completions", "/healthz/x"):
        refused(ask(broker.url, path, {}, BEARER), path, 404, "unknown_path")
    refused(ask(broker.url, "*", None, BEARER, method="OPTIONS"), "", 400, "invalid_path")
    refused(ask(broker.url, "/v1%2Fchat/completions", {}, BEARER), "", 400, "invalid_path")


# -- what is there beside calls


def test_health(broker: Broker) -> None:
    assert ask(broker.url, "/healthz", None, (), method="GET").json == {"status": "ok"}
    without = ask(broker.url, "/healthz", None, (), method="HEAD")
    assert (without.status, without.body, without.broken) == (200, b"", False)
    refused(ask(broker.url, "/healthz", {}, ()), "", 401, "missing_api_key")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/", "/v1/models?limit=2"])
def test_models(broker: Broker, path: str) -> None:
    theirs = ask(broker.url, path, None, BEARER, method="GET").json
    assert theirs["object"] == "list" and [model["id"] for model in theirs["data"]] == POOLS
    assert all(model["object"] == "model" for model in theirs["data"])
    ours = ask(broker.url, path, None, X_API_KEY, method="GET").json
    assert [model["id"] for model in ours["data"]] == POOLS and ours["has_more"] is False
    assert (ours["first_id"], ours["last_id"]) == (POOLS[0], POOLS[-1])
    narrow = ask(broker.url, path, None, keys(CHAT, NARROW), method="GET").json
    assert [model["id"] for model in narrow["data"]] == ["mix", "mix-alias"]
    answer = ask(broker.url, path, None, BEARER, method="HEAD")
    assert (answer.status, answer.body, answer.broken) == (200, b"", False)
    refused(ask(broker.url, path, None, (), method="GET"), path, 401, "missing_api_key")
    answer = ask(broker.url, path, {}, BEARER)
    refused(answer, path, 405, "method_not_allowed")
    assert answer.get("allow") == "GET, HEAD"


def test_models_by_the_sdks(broker: Broker) -> None:
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as oai:
        assert oai.models.retrieve("mix-alias").id == "mix-alias"
        with pytest.raises(openai.NotFoundError):
            oai.models.retrieve("nope")
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as ant:
        assert ant.models.retrieve("mix").id == "mix"


def test_aliases_and_patterns(broker: Broker) -> None:
    for model in ("mix", "mix-alias", "claude-3-5-haiku-latest"):
        answer = ask(broker.url, MESSAGES, chat(model), X_API_KEY)
        assert answer.status == 200 and answer.get("x-broker-pool") == "mix"


# -- what the provider gets


def test_path_prefix_model_mapping_and_provider_headers(broker: Broker, sims: Simulators) -> None:
    answer = ask(broker.url, CHAT, chat("gpts"), [*BEARER, ("user-agent", "mine")])
    assert answer.get("x-broker-member") == "gpt/gpt-public"
    call = only(sims["oai"])
    assert call["path"] == "/api/v9/openai/v1/chat/completions"
    assert call["model"] == 'gpt-"private"'
    assert [value for name, value in call["headers"] if name == "user-agent"] == ["broker/1"]
    ask(broker.url, MESSAGES, chat("claudes"), X_API_KEY)
    call = only(sims["ant"])
    assert call["path"] == "/gate/way/v1/messages" and dict(call["headers"])["x-team"] == "blue"


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (f"{MESSAGES}?beta=true", "/gate/way/v1/messages?beta=true"),
        (f"{MESSAGES}/?beta=true&x=%2F%20", "/gate/way/v1/messages?beta=true&x=%2F%20"),
        (f"{COUNT_TOKENS}?beta=true", "/gate/way/v1/messages/count_tokens?beta=true"),
        ("//v1//messages?a=//b", "/gate/way/v1/messages?a=//b"),
        ("/v1/./x/../messages?", "/gate/way/v1/messages?"),
        (f"{CHAT}/", "/api/v9/openai/v1/chat/completions"),
        (f"{RESPONSES}?a=1&a=2", "/api/v9/openai/v1/responses?a=1&a=2"),
        (f"{EMBEDDINGS}/?x", "/api/v9/openai/v1/embeddings?x"),
    ],
)
def test_queries_and_slashes(broker: Broker, sims: Simulators, asked: str, got: str) -> None:
    for sim in sims:
        sim.script(strict=False)  # one body for every path has fields that some of them don't know
    pool, sim = ("claudes", "ant") if "messages" in asked else ("gpts", "oai")
    answer = ask(broker.url, asked, {**chat(pool), "input": "x"}, X_API_KEY)
    assert answer.status == 200, answer
    assert only(sims[sim])["path"] == got


def test_anthropics_headers(broker: Broker, sims: Simulators) -> None:
    own = [("anthropic-version", "2099-01-01"), ("anthropic-dangerous-direct-browser-access", "true")]
    ask(broker.url, MESSAGES, chat("claudes"), [*BEARER, *own])
    sent = only(sims["ant"])["headers"]
    assert [value for name, value in sent if name == "anthropic-version"] == ["2099-01-01"]
    assert dict(sent)["anthropic-dangerous-direct-browser-access"] == "true"
    sims["ant"].forget()
    assert ask(broker.url, MESSAGES, chat("claudes"), BEARER).status == 200
    sent = only(sims["ant"])["headers"]
    assert [value for name, value in sent if name == "anthropic-version"] == ["2023-06-01"]


# -- ways of HTTP


def test_a_connection_lives_through_errors(broker: Broker) -> None:
    bodies: list[tuple[Any, int]] = [
        (chat("mix"), 200),
        (chat("no-such"), 404),
        (chat("keyless"), 503),
        (chat("mix", stream=True), 200),
        (chat("claudes"), 200),
        (chat("mix"), 200),
    ]
    with Wire(broker.url) as wire:
        for body, status in bodies:
            assert wire.ask(CHAT, body).status == status
        assert wire.ask(CHAT, chat("mix"), ()).status == 401
        assert wire.ask("/v1/nothing", {}).status == 404
        assert wire.ask(CHAT, None, method="GET").status == 405
        last = wire.ask(CHAT, b"{")
        assert last.status == 400
        # After a bad request Envoy may close, and then it says so.
        assert last.get("connection") == "close" or wire.ask(CHAT, chat("mix")).status == 200


def test_pipelined_requests(broker: Broker) -> None:
    raw = json.dumps(chat("mix")).encode()
    one = head("POST", CHAT, [("host", "x"), ("content-length", str(len(raw))), *BEARER]) + raw
    with Wire(broker.url) as wire:
        wire.send(one * 3)
        assert [wire.receive().status for _ in range(3)] == [200, 200, 200]


def test_chunked_bodies_arrive_whole(broker: Broker, sims: Simulators) -> None:
    raw = json.dumps(chat("gpts", user="ünïcode ❄"), ensure_ascii=False).encode()
    with Wire(broker.url) as wire:
        wire.send(head("POST", CHAT, [("host", "x"), ("transfer-encoding", "chunked"), *BEARER]))
        wire.send(chunked([raw[i : i + 1] for i in range(len(raw))]))
        assert wire.receive().status == 200
    assert only(sims["oai"])["body"] == raw.decode().replace('"gpts"', '"gpt-\\"private\\""')


def test_expect_continue(broker: Broker) -> None:
    raw = json.dumps(chat("mix")).encode()
    pairs = [("host", "x"), ("expect", "100-continue"), ("content-length", str(len(raw))), *BEARER]
    with Wire(broker.url) as wire:
        wire.send(head("POST", CHAT, pairs))
        assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        wire.send(raw)
        assert wire.receive().status == 200


def test_http_1_0(broker: Broker) -> None:
    """Its streams end with the connection, so that a broken one would look like a whole one."""
    for host in ("x", None):
        answer = ask(broker.url, CHAT, chat("mix"), BEARER, host=host, version="HTTP/1.0")
        refused(answer, CHAT, 426, "http_version_not_supported")


def test_http_2_with_prior_knowledge(broker: Broker) -> None:
    pytest.importorskip("h2")
    with httpx.Client(
        http1=False, http2=True, base_url=broker.url, headers=dict(BEARER), timeout=60
    ) as client:
        whole = client.post(CHAT, json=chat("mix"))
        assert (whole.http_version, whole.status_code) == ("HTTP/2", 200)
        streamed = client.post(CHAT, json=chat("mix", stream=True))
        assert streamed.text.rstrip().endswith("data: [DONE]")
        assert client.post(MESSAGES, json=chat("nope")).json()["error"]["code"] == "model_not_found"
        large = client.post(CHAT, content=b" " * (LIMIT + 1))
        assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
        assert client.get("/v1/models").status_code == 200


# -- as the SDKs see refusals


def test_exception_classes(broker: Broker) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    oai_seen, ant_seen = {}, {}
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as oai:
        for model in ("nope", "keyless", "x" * LIMIT):
            with pytest.raises(openai.APIStatusError) as caught:
                oai.chat.completions.create(model=model, messages=messages)
            oai_seen[caught.value.code] = type(caught.value)
        with pytest.raises(openai.PermissionDeniedError):
            oai.with_options(api_key=NARROW).chat.completions.create(model="claudes", messages=messages)
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as ant:
        for model in ("nope", "keyless", "x" * LIMIT):
            with pytest.raises(anthropic.APIStatusError) as seen:
                ant.messages.create(model=model, max_tokens=9, messages=messages)
            ant_seen[seen.value.body["error"]["code"]] = type(seen.value)
        with pytest.raises(anthropic.PermissionDeniedError):
            ant.with_options(api_key=NARROW).messages.create(model="claudes", max_tokens=9, messages=messages)
    assert oai_seen == {
        "model_not_found": openai.NotFoundError,
        "no_eligible_member": openai.InternalServerError,
        "request_too_large": openai.APIStatusError,
    }
    assert ant_seen["model_not_found"] is anthropic.NotFoundError
    assert issubclass(ant_seen["no_eligible_member"], anthropic.InternalServerError)
    assert issubclass(ant_seen["request_too_large"], anthropic.APIStatusError)
