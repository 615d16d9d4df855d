"""Keys stay where they belong, and nobody speaks to the broker's inside through headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.shown import everything_shown
from support.simulators import SimulatorHandle, Simulators
from support.wire import BEARER, CHAT, MESSAGES, X_API_KEY, Answer, Wire, ask, chat, error_of

SECRET = "sk-provider-secret-7f3a"
SECOND_SECRET = "sk-second-secret-9c1e"
# What a client might send in the hope that the broker or its Envoy obeys; no provider may see any of it.
SPOOFED = {
    "x-broker-cluster": "provider/evil",
    "x-broker-dialect": "anthropic-messages",
    "x-broker-levels": "7",
    "x-broker-member": "evil",
    "x-broker-model-span": "0-1",
    "x-broker-pool": "other",
    "x-broker-request-id": "evil",
    "x-broker-revision": "evil",
    "x-broker-role": "member",
    "x-broker-generation": "evil",
    "x-broker-stream": "openai-chat",
    "x-broker-suffix": "/evil",
    "x-broker-attempts": "9",
    "x-broker-feature": "evil",
    "x-broker-customer": "evil",
    "x-broker-anything": "evil",
    "x-envoy-attempt-count": "9",
    "x-envoy-decorator-operation": "evil",
    "x-envoy-expected-rq-timeout-ms": "1",
    "x-envoy-external-address": "8.8.8.8",
    "x-envoy-force-trace": "1",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-internal": "true",
    "x-envoy-ip-tags": "evil",
    "x-envoy-max-retries": "9",
    "x-envoy-original-dst-host": "203.0.113.1:80",
    "x-envoy-original-host": "evil.test",
    "x-envoy-original-path": "/evil",
    "x-envoy-retriable-header-names": "content-type",
    "x-envoy-retriable-status-codes": "200",
    "x-envoy-retry-grpc-on": "cancelled",
    "x-envoy-retry-on": "5xx,retriable-status-codes,retriable-headers",
    "x-envoy-upstream-alt-stat-name": "evil",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-upstream-rq-timeout-alt-response": "204",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-stream-duration-ms": "1",
    "x-forwarded-client-cert": "By=evil",
    "x-forwarded-for": "203.0.113.1",
    "x-forwarded-host": "evil.test",
    "x-forwarded-port": "1",
    "x-forwarded-proto": "https",
    "x-amz-security-token": "evil",
    "x-goog-api-key": "evil",
    "x-real-ip": "203.0.113.1",
    "x-request-id": "evil",
    "api-key": "evil",
    "cookie": "session=evil",
    "forwarded": "for=203.0.113.1",
    "openai-organization": "org-evil",
    "openai-project": "proj-evil",
    "proxy-authorization": "Basic ZXZpbA==",
}
NEVER = ("x-broker-", "x-envoy-", "x-forwarded-", "x-amz-")


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("ant", "oai", "evil") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    second = {**provider("evil", sims["evil"].port, "openai-chat", "/v1"), "credential": {"env": "SECOND"}}
    config = {
        "providers": [
            provider("ant", sims["ant"].port, "anthropic-messages"),
            provider("oai", sims["oai"].port, "openai-chat", "/v1"),
            second,
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": "mix",
                "ejection": "off",
                "members": [{"provider": "ant", "model": "c"}, {"provider": "oai", "model": "g"}],
            },
            {"name": "ants", "ejection": "off", "members": [{"provider": "ant", "model": "c"}]},
            {"name": "oais", "ejection": "off", "members": [{"provider": "oai", "model": "g"}]},
            {"name": "other", "members": [{"provider": "evil", "model": "e"}]},
            {
                "name": "both",
                "ejection": "off",
                "members": [
                    {"provider": "oai", "model": "g"},
                    {"provider": "evil", "model": "e", "priority": 1},
                ],
            },
        ],
    }
    environ = {"KEY_OF_PROVIDERS": SECRET, "SECOND": SECOND_SECRET}
    with Broker(tmp_path_factory.mktemp("broker"), config, environ=environ) as running:
        yield running


@pytest.fixture(autouse=True)
def _afresh(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def only(sim: SimulatorHandle) -> dict[str, Any]:
    (call,) = sim.settled_calls()
    return call


def foreign(call: dict[str, Any]) -> list[str]:
    """Headers that the provider got and must not get."""
    names = [name.lower().replace("_", "-") for name, _ in call["headers"]]
    return [
        name
        for name in names
        if name.startswith(NEVER) or (name in SPOOFED and name not in ("x-api-key", "authorization"))
    ]


SPELLINGS = {
    "as they are": lambda name: [name],
    "upper": lambda name: [name.upper()],
    "odd case": lambda name: ["".join(c.upper() if n % 2 else c for n, c in enumerate(name))],
    "twice": lambda name: [name, name.title()],
    "underscores": lambda name: [name.replace("-", "_")],
    "mixed": lambda name: [name.replace("-", "_", 1), name.title().replace("-", "_"), name],
}


# Pool → its one provider, and the path there: calls in its own dialect pass, others are translated.
SERVED = {"oais": ("oai", "/v1/chat/completions"), "ants": ("ant", "/v1/messages")}
CLIENTS = [(CHAT, BEARER), (MESSAGES, X_API_KEY)]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pool", SERVED)
def test_internal_headers_of_clients_are_ignored_and_stripped(
    broker: Broker, sims: Simulators, pool: str, spelling: str, stream: bool
) -> None:
    spoofed = [(each, value) for name, value in SPOOFED.items() for each in SPELLINGS[spelling](name)]
    sim, served_path = SERVED[pool]
    for path, keys in CLIENTS:
        answer = ask(broker.url, path, chat(pool, stream=stream), [*keys, *spoofed])
        assert answer.status == 200 and not answer.broken, answer
        call = only(sims[sim])
        assert foreign(call) == [] and call["path"] == served_path
        assert call["model"] in ("g", "c") and call["stream"] is stream
        named_well(answer, pool)
        assert "evil" not in str(answer.headers)
        sims[sim].forget()
    assert not sims["evil"].calls()


def named_well(answer: Answer, pool: str) -> None:
    """The headers by which a call can be told, each once."""
    assert len(answer.get("x-broker-request-id")) == 32
    assert answer.get("x-broker-pool") == pool
    assert len(answer.get("x-broker-revision")) == 12
    assert answer.get("x-broker-attempts").isdigit() and "/" in answer.get("x-broker-member")


def test_each_header_alone_changes_nothing(broker: Broker, sims: Simulators) -> None:
    """Several of them could cancel each other out."""
    with Wire(broker.url) as wire:
        for name, value in SPOOFED.items():
            answer = wire.ask(CHAT, chat("oais"), [*BEARER, (name, value)])
            assert (answer.status, answer.get("x-broker-attempts")) == (200, "1"), name
            named_well(answer, "oais")
    assert [foreign(call) for call in sims["oai"].settled_calls()] == [[]] * len(SPOOFED)


def test_nobody_chooses_a_host(broker: Broker, sims: Simulators) -> None:
    evil = f"127.0.0.1:{sims['evil'].port}"
    own = f"127.0.0.1:{sims['oai'].port}"
    for target, host in (
        (CHAT, evil),
        (f"http://{evil}{CHAT}", evil),
        (f"http://{evil}{CHAT}", "broker.test"),
        (f"https://{evil}{CHAT}", None),
    ):
        answer = ask(broker.url, target, chat("oais"), BEARER, host=host)
        assert answer.status == (400 if host is None and answer.status == 400 else 200)
    two = ask(broker.url, CHAT, chat("oais"), [*BEARER, ("Host", evil)])
    assert two.status in (200, 400)
    answer = ask(broker.url, f"{evil}{CHAT}", None, BEARER, method="CONNECT")
    assert answer.status in (400, 426) and answer.code
    calls = sims["oai"].settled_calls()
    assert len(calls) >= 3 and {dict(call["headers"])["host"] for call in calls} == {own}
    assert not sims["evil"].calls()


def test_nobody_chooses_a_host_by_http_2(broker: Broker, sims: Simulators) -> None:
    pytest.importorskip("h2")
    evil = f"127.0.0.1:{sims['evil'].port}"
    with httpx.Client(http1=False, http2=True, base_url=broker.url, timeout=60) as client:
        headers = [*BEARER, ("host", evil), *SPOOFED.items()]
        reply = client.post(CHAT, json=chat("oais"), headers=headers)
    assert reply.status_code == 200
    call = only(sims["oai"])
    assert dict(call["headers"])["host"] == f"127.0.0.1:{sims['oai'].port}" and foreign(call) == []
    assert not sims["evil"].calls()


@pytest.mark.parametrize("stream", [False, True])
def test_providers_do_not_speak_for_the_broker(broker: Broker, sims: Simulators, stream: bool) -> None:
    spoofed = {
        "x-broker-pool": "evil",
        "x-broker-member": "evil",
        "x-broker-request-id": "evil",
        "x-broker-revision": "evil",
        "x-broker-attempts": "evil",
        "X-Broker-Anything": "evil",
        "x-broker-local-reply": "1",
        "x-envoy-upstream-service-time": "evil",
        "x-envoy-immediate-health-check-fail": "evil",
        "x-envoy-degraded": "evil",
        "x-forwarded-for": "evil",
        "set-cookie": "session=evil",
        "alt-svc": 'h3=":443"; ma=1; evil',
        "strict-transport-security": "max-age=1; evil",
    }
    sims["oai"].script(faults=[{"headers": spoofed}])
    sims["ant"].script(faults=[{"headers": spoofed}])
    for path, keys in CLIENTS:
        for pool in SERVED:
            answer = ask(broker.url, path, chat(pool, stream=stream), keys)
            assert answer.status == 200 and "evil" not in str(answer.headers)
            assert not answer.get("x-broker-local-reply")
            assert (b'"choices"' in answer.body) is (path == CHAT), "it is not in the client's dialect"
            named_well(answer, pool)


def test_a_providers_envoy_does_not_stop_failover(broker: Broker, sims: Simulators) -> None:
    """`x-envoy-ratelimited` in a reply tells a router that it must not retry."""
    sims["oai"].script(faults=[{"status": 429, "headers": {"x-envoy-ratelimited": "true"}}])
    answer = ask(broker.url, CHAT, chat("both"))
    assert (answer.status, answer.get("x-broker-member")) == (200, "evil/e")


def test_each_attempt_has_its_own_key(broker: Broker, sims: Simulators) -> None:
    sims["oai"].script(faults=[{"status": 503}])
    answer = ask(broker.url, CHAT, chat("both"))
    assert (answer.status, answer.get("x-broker-attempts")) == (200, "2")
    assert dict(only(sims["oai"])["headers"])["authorization"] == f"Bearer {SECRET}"
    assert dict(only(sims["evil"])["headers"])["authorization"] == f"Bearer {SECOND_SECRET}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_is_not_quoted(broker: Broker, sims: Simulators, status: int) -> None:
    fault = {"status": status, "error": {"message": f"Incorrect API key provided: {SECRET}"}}
    for pool, (name, _) in SERVED.items():
        sims[name].script(faults=[{**fault, "headers": {"www-authenticate": f'Bearer key="{SECRET}"'}}])
        for path, keys in CLIENTS:
            for stream in (False, True):
                answer = ask(broker.url, path, chat(pool, stream=stream), keys)
                assert (answer.status, error_of(answer)["code"]) == (502, "upstream_credential_refused")
                assert SECRET not in str(answer)


def test_a_refused_credential_in_a_stream_is_not_quoted(broker: Broker, sims: Simulators) -> None:
    error = {"type": "authentication_error", "code": "invalid_api_key", "message": f"wrong: {SECRET}"}
    for pool, (name, _) in SERVED.items():
        sims[name].script(faults=[{"error_event": True, "error": error}])
        for path, keys in CLIENTS:
            answer = ask(broker.url, path, chat(pool, stream=True), keys)
            assert (answer.status, error_of(answer)["code"]) == (502, "upstream_credential_refused")
            assert SECRET not in str(answer)
            named_well(answer, pool)


def test_no_key_is_written_down_or_shown(broker: Broker, sims: Simulators) -> None:
    """After calls that went well, and calls that failed in every place."""
    for body in (chat("mix"), chat("mix", stream=True), chat("nope"), chat("both")):
        ask(broker.url, CHAT, body)
        ask(broker.url, MESSAGES, body, X_API_KEY)
    ask(broker.url, CHAT, b"{", [("authorization", f"Bearer {KEY} and more")])
    for fault in ({"status": 401}, {"status": 500}, {"reset": "before-headers"}, {"garbage": "not-http"}):
        sims["oai"].script(faults=[fault])
        ask(broker.url, CHAT, chat("mix"))
    shown = everything_shown(broker)
    assert "provider/oai" in shown["/config_dump?include_eds"], "it dumps nothing"
    assert any("broker.log" in name for name in shown)
    for secret in (SECRET, SECOND_SECRET, KEY):
        assert [name for name, text in shown.items() if secret in text] == []


def test_clients_keys_stay_here(broker: Broker, sims: Simulators) -> None:
    for keys in (BEARER, X_API_KEY, [*BEARER, *X_API_KEY], [("AUTHORIZATION", f"bEARER  {KEY}")]):
        for pool in SERVED:
            ask(broker.url, CHAT, chat(pool), keys)
            ask(broker.url, MESSAGES, chat(pool), keys)
    for name, header, value in (("oai", "authorization", f"Bearer {SECRET}"), ("ant", "x-api-key", SECRET)):
        calls = sims[name].settled_calls()
        assert len(calls) == 8
        for call in calls:
            credentials = [pair for pair in call["headers"] if pair[0] in ("authorization", "x-api-key")]
            assert [tuple(pair) for pair in credentials] == [(header, value)]
            assert KEY not in str(call)
