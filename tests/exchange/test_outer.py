"""The outer conversation: who calls, what for, what goes on and what stays."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from modelbroker.cli.secrets import resolve
from modelbroker.exchange import Forward, Inbound, Moment, OuterCall, Reply, Strip, View
from support.catalogs import catalog

KEY = "key-of-tests"
POOLS = [
    {
        "name": "fast",
        "failover": "up to 2",
        "aliases": ["quick"],
        "timeouts": {"first_event": "7s", "reply": "90s"},
        "members": [
            {"provider": "a", "model": "claude-x", "weight": 70},
            {"provider": "b", "model": "gpt-x", "weight": 25},
            {"provider": "c", "model": "gpt-y", "weight": 5},
        ],
    },
    {"name": "secret-pool", "members": [{"provider": "b", "model": "gpt-x"}]},
]
CALLERS = [
    {
        "name": "tester",
        "key": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()},
        "pools": ["fast"],
        "trusted_for": ["customer"],
    }
]


def view(**sections: Any) -> View:
    loaded = catalog(**{"pools": POOLS, "callers": CALLERS, **sections})
    resolved = resolve(loaded, {"K": "provider-key"})
    return View("g", loaded, resolved.state, resolved.callers)


VIEW = view()


def call(
    body: Any,
    *headers: tuple[str, str],
    path: str = "/v1/chat/completions",
    seen: View = VIEW,
    method: str = "POST",
) -> Forward | Reply:
    outer = OuterCall(seen, "id-1")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    key = () if any(name in ("authorization", "x-api-key") for name, _ in headers) else (("x-api-key", KEY),)
    inbound = Inbound([(":method", method), (":path", path), *key, *headers])
    answer = outer.on_headers(inbound, ends=not raw)
    return answer if isinstance(answer, Reply) else outer.on_body(raw, Moment(0.0, 1_000))


def test_a_call_goes_to_its_pool_with_all_that_the_members_need() -> None:
    forward = call({"model": "fast", "stream": True}, path="/v1/chat/completions?a=b")
    assert isinstance(forward, Forward)
    headers = dict(forward.set_headers)
    assert headers["x-broker-pool"] == "fast"
    assert headers["x-broker-request-id"] == "id-1"
    assert headers["x-broker-revision"] == VIEW.catalog.revision
    assert headers["x-broker-stream"] == "openai-chat"
    assert headers["x-broker-suffix"] == "/chat/completions?a=b"
    assert headers["x-broker-surface"] == "openai-chat"
    assert headers["x-broker-attempt"] == "1"
    assert "server-error" in headers["x-broker-handback"].split(",")  # there are others
    assert "bad-request" not in headers["x-broker-handback"].split(",")
    assert headers["x-broker-wait-ms"] == "7000"
    assert headers["x-broker-first-event-by"] == "8000"
    assert headers["accept-encoding"] == "identity"
    whole = call({"model": "fast"})
    assert isinstance(whole, Forward)
    assert dict(whole.set_headers)["x-broker-wait-ms"] == "90000"
    assert "x-broker-stream" not in dict(whole.set_headers)


def test_what_only_the_broker_may_say_is_stripped() -> None:
    spoofed = [
        ("x-broker-stream", "openai-chat"),
        ("x-broker-member", "b"),
        ("x-envoy-retry-on", "5xx"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-request-id", "mine"),
        ("cookie", "c=1"),
        ("openai-organization", "org"),
        ("authorization", f"Bearer {KEY}"),
    ]
    forward = call({"model": "fast"}, *spoofed, ("anthropic-beta", "x"), ("x-forwarded-proto", "http"))
    assert isinstance(forward, Forward)
    assert set(forward.remove_headers) == {name for name, _ in spoofed}


def test_what_the_client_says_in_the_brokers_name_is_gone_before_the_body() -> None:
    outer = OuterCall(VIEW, "id-1")
    spoofed = [("x-broker-request-id", "mine"), ("x-broker-pool", "p"), ("x-api-key", KEY)]
    inbound = Inbound([(":method", "POST"), (":path", "/v1/messages"), *spoofed])
    assert outer.on_headers(inbound, ends=False) == Strip("id-1", ("x-broker-pool",))


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([("authorization", "")], 401, "missing_api_key"),
        ([("authorization", "Basic abc")], 401, "missing_api_key"),
        ([("authorization", "Bearer wrong")], 401, "invalid_api_key"),
        ([("x-api-key", "wrong")], 401, "invalid_api_key"),
        ([("x-api-key", "\xff\xfe")], 401, "invalid_api_key"),
        ([("content-encoding", "gzip")], 415, "unsupported_encoding"),
        ([("content-length", "99999999999")], 413, "request_too_large"),
        ([("upgrade", "websocket")], 426, "upgrade_not_supported"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_refused_by_headers(path: str, headers: list[tuple[str, str]], status: int, code: str) -> None:
    reply = call({"model": "fast"}, *headers, path=path)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.code) == (status, code)
    body = json.loads(reply.body)
    assert body["error"]["code"] == code
    assert ("type" in body) == (path == "/v1/messages")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        ({"model": "nothing-like-it"}, 404, "model_not_found"),
        ({"model": "secret-pool"}, 403, "pool_not_allowed"),
        ({"model": 7}, 400, "invalid_request"),
    ],
)
def test_refused_by_body(body: Any, status: int, code: str) -> None:
    reply = call(body)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.code) == (status, code)


def test_paths_and_methods() -> None:
    for path, method, status in (
        ("/v1/nothing", "POST", 404),
        ("/v1/chat/completions", "GET", 405),
        ("/healthz", "GET", 200),
        ("/v1/models", "GET", 200),
    ):
        reply = call(b"", path=path, method=method)
        assert isinstance(reply, Reply)
        assert reply.status == status


def test_models_are_those_that_this_caller_may_use() -> None:
    reply = call(b"", path="/v1/models", method="GET")
    assert isinstance(reply, Reply)
    assert [model["id"] for model in json.loads(reply.body)["data"]] == ["fast", "quick"]
    reply = call(b"", ("anthropic-version", "2023-06-01"), path="/v1/models", method="GET")
    assert isinstance(reply, Reply)
    assert json.loads(reply.body)["first_id"] == "fast"


def test_one_model() -> None:
    """As the SDKs' `models.retrieve` asks."""
    for path in ("/v1/models/fast", "/v1/models/quick", "/v1/models/fast/"):
        reply = call(b"", path=path, method="GET")
        assert isinstance(reply, Reply) and reply.status == 200
        assert (
            json.loads(reply.body)["id"] == path.split("/")[3] and json.loads(reply.body)["object"] == "model"
        )
    theirs = call(
        b"", ("anthropic-version", "2023-06-01"), ("x-api-key", KEY), path="/v1/models/fast", method="GET"
    )
    assert isinstance(theirs, Reply) and json.loads(theirs.body)["type"] == "model"
    for path in ("/v1/models/secret-pool", "/v1/models/no-such"):
        reply = call(b"", path=path, method="GET")
        assert isinstance(reply, Reply) and (reply.status, reply.code) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/v1/messages", "/chat/completions"])
def test_a_wrong_base_url_is_explained(path: str) -> None:
    reply = call({"model": "fast"}, path=path)
    assert isinstance(reply, Reply) and (reply.status, reply.code) == (404, "unknown_path")
    message = json.loads(reply.body)["error"]["message"]
    assert "POST /v1/chat/completions" in message and "ends with /v1" in message


NEEDS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    # (what the members can't, what the call asks, path, the field that is named)
    ({"choices": False}, {"n": 3}, "/v1/chat/completions", "n"),
    ({"max_output": 10}, {"max_tokens": 100}, "/v1/messages", "max_tokens"),
    ({"max_output": 10}, {"max_output_tokens": 100}, "/v1/responses", "max_output_tokens"),
    (
        {"schema": False},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        "/v1/chat/completions",
        "response_format",
    ),
    (
        {"tools": False},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        "/v1/chat/completions",
        "tools",
    ),
    ({"keeps_replies": False}, {"store": True}, "/v1/responses", "store"),
]


@pytest.mark.parametrize(("cannot", "asked", "path", "field"), NEEDS)
def test_what_no_member_can_is_named(cannot: Any, asked: Any, path: str, field: str) -> None:
    members = [{"provider": name, "model": "m", "capabilities": cannot} for name in ("a", "b")]
    seen = view(pools=[{"name": "fast", "members": members}])
    body = {"model": "fast", "input": "Hi"} if "responses" in path else {"model": "fast", "messages": []}
    reply = call({**body, **asked}, path=path, seen=seen)
    assert isinstance(reply, Reply) and (reply.status, reply.code) == (400, "content_not_supported")
    assert json.loads(reply.body)["error"]["param"] == field


def test_a_caller_sets_only_facts_that_it_is_trusted_for() -> None:
    rules = [
        {"match": {"customer": "acme"}, "deny": "customer seen"},
        {"match": {"feature": "search"}, "deny": "feature seen"},
    ]
    seen = view(rules=rules)
    trusted = call({"model": "fast"}, ("x-broker-customer", "acme"), seen=seen)
    assert isinstance(trusted, Reply)
    assert b"customer seen" in trusted.body
    assert isinstance(call({"model": "fast"}, ("x-broker-feature", "search"), seen=seen), Forward)


def test_declared_headers_are_facts() -> None:
    seen = view(
        facts={"headers": {"department": "x-department"}},
        rules=[{"match": {"department": "ops"}, "deny": "no ops"}],
    )
    assert isinstance(call({"model": "fast"}, ("x-department", "ops"), seen=seen), Reply)
    assert isinstance(call({"model": "fast"}, ("x-department", "dev"), seen=seen), Forward)


HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "authorization",
                    "x-api-key",
                    "content-length",
                    "content-encoding",
                    "upgrade",
                    "x-broker-pool",
                    "x",
                ]
            ),
            HEADER_TEXT,
        ),
        max_size=5,
    ),
    path=st.sampled_from(["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/models", "/x", ""])
    | HEADER_TEXT,
    body=st.binary(max_size=40),
    method=st.sampled_from(["POST", "GET", "PUT", "", "CONNECT"]),
)
@example([("content-length", "²")], "/v1/messages", b"{}", "POST")
@example([("content-length", "9" * 5_000)], "/v1/messages", b"{}", "POST")
def test_anything_gets_a_decision_or_an_error_in_shape(
    headers: list[tuple[str, str]], path: str, body: bytes, method: str
) -> None:
    outcome = call(body, *headers, path=path, method=method)
    if isinstance(outcome, Reply):
        answer = json.loads(outcome.body)
        assert outcome.status == 200 or answer["error"]["code"]


SPEAKS: dict[str, Any] = {"messages": [], "modalities": ["text", "audio"], "audio": {}}
NAMES_A_FILE: dict[str, Any] = {
    "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1@b"}}]}]
}


@pytest.mark.parametrize(
    ("providers", "body", "owned"),
    [
        ("bc", SPEAKS, "1"),
        ("b0c", SPEAKS, "1"),  # an account without weight is one all the same: weights are edited
        ("bb", SPEAKS, ""),
        ("ab", SPEAKS, ""),  # of the client's dialect there is one
        ("bc", {"messages": []}, ""),
        ("bc", NAMES_A_FILE, "bound"),
        ("ab", NAMES_A_FILE, "bound"),
    ],
)
def test_replies_name_their_account_where_there_are_several(
    providers: str, body: dict[str, Any], owned: str
) -> None:
    members = [
        {"provider": name, "model": f"gpt-{place}", "weight": 0 if providers[place - 1] == "0" else 1}
        for place, name in enumerate(providers)
        if name != "0"
    ]
    members[0]["weight"] = 1
    seen = view(pools=[{"name": "fast", "members": members}])
    forward = call({"model": "fast", **body}, seen=seen)
    assert isinstance(forward, Forward), forward
    headers = dict(forward.set_headers)
    assert headers.get("x-broker-owned", "") == owned
    assert headers.get("x-broker-rewrite", "") == ("1" if owned else "")
