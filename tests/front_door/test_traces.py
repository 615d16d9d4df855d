"""A span a call and a span an attempt, from the agent's trace through the broker to the provider and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from support.broker import BASES, KEY, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.collectors import Collector
from support.collectors import Got as Seen
from support.records import record_of
from support.shown import everything_shown
from support.simulators import Simulators
from support.waiting import wait_until

TRACE, AGENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{AGENT}-01", "tracestate": "vendor=opaque", "baggage": "user=canary"}
SERVER, CLIENT = 2, 3
EXPORTER = "modelbroker.telemetry.follow"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b", "c", "d") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def config(sims: Simulators, telemetry: dict[str, Any]) -> dict[str, Any]:
    two = [{"provider": "a", "model": "m"}, {"provider": "b", "model": "n", "priority": 1}]
    patient = {"timeouts": {"first_event": "30s", "reply": "30s"}, "ejection": "off"}
    return {
        "providers": [
            provider("a", sims["a"].port, ["openai-chat", "openai-embeddings"], BASES["openai-chat"]),
            provider("b", sims["b"].port, "anthropic-messages"),
            provider("c", sims["c"].port, "openai-chat", BASES["openai-chat"]),
            provider("d", sims["d"].port, "bedrock-converse"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "qa", "agent": "bot"}],
        "pools": [
            {"name": "two", **patient, "members": two},
            {
                "name": "pair",
                **patient,
                "members": two,
                "hedge": {"after": "100ms", "reply_after": "100ms", "share": "100%"},
            },
            {"name": "three", **patient, "members": [*two, {"provider": "c", "model": "o", "priority": 2}]},
            {"name": "signed", **patient, "members": [{"provider": "d", "model": "p"}]},
            {"name": "kept", "cache": "short-context", "members": [{"provider": "c", "model": "o"}]},
        ],
        "rules": [{"name": "no-tools", "match": {"tools": True}, "deny": "not with tools"}],
        "prices": [
            {"provider": "a", "model": "m", "input": 1, "cache_read": 1, "cache_write_5m": 1, "output": 2}
        ],
        "telemetry": telemetry,
    }


@pytest.fixture(scope="module")
def broker(
    sims: Simulators, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    told = {
        "otlp": {"endpoint": collector.grpc_url, "headers": {"api-key": {"env": "COLLECTOR_KEY"}}},
        "traces": {"share": "100%"},
        "logs": True,
        "resource": {"deployment.environment.name": "test"},
    }
    folder = tmp_path_factory.mktemp("broker")
    with Broker(folder, config(sims, told), environ={"COLLECTOR_KEY": "sk-canary-collector"}) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest, sims: Simulators) -> None:
    sims.reset()
    if "broker" in request.fixturenames:
        request.getfixturevalue("broker").forget()


def seen(broker: Broker, collector: Collector, got: Got) -> tuple[Seen, list[Seen]]:
    """The span of a call, and those of its attempts."""
    record = record_of(broker, got)
    spans = wait_until(
        lambda: [s for s in collector.spans if s["modelbroker.request_id"] == record["request_id"]]
    )
    assert len(spans) == 1 + len(record["attempts"])
    call_span, *attempts = sorted(spans, key=lambda span: span.span_id)
    assert (call_span.trace_id, call_span.span_id) == (record["trace_id"], record["span_id"])
    assert [span.span_id for span in attempts] == [one["span_id"] for one in record["attempts"]]
    for span, told in zip((call_span, *attempts), (record, *record["attempts"]), strict=True):
        assert abs(span.start_ns - told["started_s"] * 1e9) < 2_000
        assert abs(span.end_ns - span.start_ns - told["duration_ms"] * 1e6) < 2_000
    assert all(
        (span.trace_id, span.parent_id) == (call_span.trace_id, call_span.span_id) for span in attempts
    )
    assert (call_span.kind, {span.kind for span in attempts} - {CLIENT}) == (SERVER, set())
    header = f"00-{call_span.trace_id}-{call_span.span_id}-"
    assert got.headers["traceresponse"].startswith(header)
    return call_span, attempts


def parents(sims: Simulators, name: str) -> list[str]:
    """What this provider was told of traces."""
    return [dict(entry["headers"]).get("traceparent", "") for entry in sims[name].settled_calls()]


def test_an_agents_trace_goes_on(broker: Broker, sims: Simulators, collector: Collector) -> None:
    (got,) = make(broker.url, [Ask("two", headers=PARENT)])
    call_span, (attempt,) = seen(broker, collector, got)
    assert (call_span.trace_id, call_span.parent_id) == (TRACE, AGENT)
    assert parents(sims, "a") == [f"00-{TRACE}-{attempt.span_id}-01"]
    headers = dict(sims["a"].calls()[0]["headers"])
    assert headers["tracestate"] == "vendor=opaque"
    assert "baggage" not in headers and not [name for name in headers if name.startswith("x-broker")]
    assert got.headers["traceresponse"] == f"00-{TRACE}-{call_span.span_id}-01"
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "a",
        "gen_ai.request.model": "two",
        "gen_ai.response.model": "m",
        "http.response.status_code": 200,
        "modelbroker.pool": "two",
        "modelbroker.member": "a/m",
        "modelbroker.team": "qa",
        "gen_ai.agent.name": "bot",
        "modelbroker.outcome": "ok",
    }
    assert {name: call_span[name] for name in wanted} == wanted
    assert call_span["gen_ai.usage.input_tokens"] > 0
    assert call_span["modelbroker.cost.nano_dollars"] == record_of(broker, got)["cost"]["total"] > 0
    assert (attempt.what, attempt["server.address"], attempt["server.port"]) == (
        "chat m",
        "127.0.0.1",
        sims["a"].port,
    )
    assert call_span.resource["deployment.environment.name"] == "test"
    assert call_span.resource["service.name"] == "modelbroker"
    assert "error.type" not in call_span.attributes and not call_span.error
    assert all(headers["api-key"] == "sk-canary-collector" for headers in collector.headers)


def test_a_trace_that_begins_here_has_the_calls_id(
    broker: Broker, sims: Simulators, collector: Collector
) -> None:
    wrong = {"traceparent": f"00-{TRACE}-{'0' * 16}-01", "tracestate": "vendor=opaque"}
    for headers in ({}, wrong):
        sims.reset()
        (got,) = make(broker.url, [Ask("two", headers=headers)])
        call_span, (attempt,) = seen(broker, collector, got)
        assert (call_span.trace_id, call_span.parent_id) == (got.headers["x-broker-request-id"], "")
        assert parents(sims, "a") == [f"00-{call_span.trace_id}-{attempt.span_id}-03"]
        assert "tracestate" not in dict(sims["a"].calls()[0]["headers"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_each_attempt_of_a_failover_is_a_span(
    broker: Broker, sims: Simulators, collector: Collector, stream: bool
) -> None:
    sims["a"].script(faults=[{"status": 529}])
    sims["b"].script(faults=[{"status": 500}])
    (got,) = make(broker.url, [Ask("three", stream=stream, headers=PARENT)])
    assert got.member == "c/o"
    call_span, attempts = seen(broker, collector, got)
    assert [span["modelbroker.member"] for span in attempts] == ["a/m", "b/n", "c/o"]
    assert [span["http.response.status_code"] for span in attempts] == [529, 500, 200]
    assert [span["error.type"] for span in attempts] == ["overloaded", "server-error", None]
    assert [bool(span.error) for span in (*attempts, call_span)] == [True, True, False, False]
    assert [span["http.request.resend_count"] for span in attempts] == [None, 1, 2]
    told = [parents(sims, name) for name in "abc"]
    assert told == [[f"00-{TRACE}-{span.span_id}-01"] for span in attempts]
    assert call_span["gen_ai.request.stream"] is stream
    assert ("gen_ai.response.time_to_first_chunk" in call_span.attributes) is stream
    assert dict(sims["c"].calls()[0]["headers"])["tracestate"] == "vendor=opaque"


def test_two_attempts_side_by_side_have_spans_of_their_own(
    broker: Broker, sims: Simulators, collector: Collector
) -> None:
    sims["a"].script(faults=[{"delay_headers_ms": 20_000}])
    (got,) = make(broker.url, [Ask("pair", headers=PARENT)])
    assert got.member == "b/n"
    _, attempts = seen(broker, collector, got)
    assert [span["modelbroker.hedge"] for span in attempts] == [False, True]
    assert [span["error.type"] for span in attempts] == [None, None]  # nobody waited for the first any more
    told = [*parents(sims, "a"), *parents(sims, "b")]
    assert told == [f"00-{TRACE}-{span.span_id}-01" for span in attempts] and len(set(told)) == 2
    assert attempts[0].end_ns >= attempts[1].start_ns


def test_a_request_that_is_signed_has_its_span_beside_the_signature(
    broker: Broker, sims: Simulators, collector: Collector
) -> None:
    (got,) = make(broker.url, [Ask("signed", headers=PARENT)])
    assert got.is_whole, str(got)
    _, (attempt,) = seen(broker, collector, got)
    assert attempt["gen_ai.provider.name"] == "aws.bedrock"
    headers = dict(sims["d"].settled_calls()[0]["headers"])
    assert headers["traceparent"] == f"00-{TRACE}-{attempt.span_id}-01"
    assert "traceparent" not in headers["authorization"]  # a proxy on the way may put its own there


def test_calls_that_ask_nobody(broker: Broker, sims: Simulators, collector: Collector) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    (denied,) = make(broker.url, [Ask("two", headers=PARENT, more={"tools": [tool]})])
    span, attempts = seen(broker, collector, denied)
    assert (denied.status, attempts, span.parent_id, span.error) == (403, [], AGENT, "")
    assert (span["error.type"], span["modelbroker.outcome"]) == ("denied_by_rule", "refused")
    ask = Ask("kept")
    (first,) = make(broker.url, [ask])
    record_of(broker, first)
    (hit,) = make(broker.url, [ask])
    assert hit.headers["x-broker-cache"] == "hit"
    span, attempts = seen(broker, collector, hit)
    assert (attempts, span["modelbroker.cache"]) == ([], "hit")
    assert span["modelbroker.cached_request_id"] == first.headers["x-broker-request-id"]


def test_who_is_not_known_is_traced_too(broker: Broker, collector: Collector) -> None:
    agent = openai.OpenAI(base_url=f"{broker.url}/v1", api_key="sk-wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as refused:
        agent.chat.completions.create(
            model="two",
            messages=[{"role": "user", "content": "hi"}],
            extra_headers={"traceparent": PARENT["traceparent"]},
        )
    _, trace_id, span_id, _ = refused.value.response.headers["traceresponse"].split("-")
    (span,) = wait_until(lambda: [one for one in collector.spans if one.span_id == span_id])
    assert (trace_id, span["error.type"], span.parent_id) == (TRACE, "invalid_api_key", AGENT)


def test_an_agent_that_does_not_sample_is_not_exported(
    broker: Broker, sims: Simulators, collector: Collector
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{AGENT}-00"}
    (got,) = make(broker.url, [Ask("two", headers=headers)])
    record = record_of(broker, got)
    assert (record["trace_id"], record["sampled"]) == (TRACE, False)
    assert parents(sims, "a") == [f"00-{TRACE}-{record['attempts'][0]['span_id']}-00"]
    (line,) = wait_until(lambda: [one for one in collector.logs if one.span_id == record["span_id"]])
    assert (line.severity, line["modelbroker.pool"]) == ("INFO", "two")
    assert not [one for one in collector.spans if one.span_id == record["span_id"]]


def test_a_log_record_a_call(broker: Broker, sims: Simulators, collector: Collector) -> None:
    for sim in sims:
        sim.script(faults=[{"status": 500}])
    (got,) = make(broker.url, [Ask("two", "anthropic-messages", headers=PARENT)])
    record = record_of(broker, got)
    (line,) = wait_until(lambda: [one for one in collector.logs if one.span_id == record["span_id"]])
    assert (line.trace_id, line.severity, line["error.type"]) == (TRACE, "ERROR", record["code"])
    span, _ = seen(broker, collector, got)
    assert span.error == record["code"] != ""
    assert line.attributes == span.attributes


def test_no_text_and_no_key_is_exported(broker: Broker, sims: Simulators, collector: Collector) -> None:
    sims["a"].script(replies=[{"text": "canary-answer"}])
    asks = [
        Ask("two", dialect, stream, "canary-question")
        for dialect in ("openai-chat", "anthropic-messages")
        for stream in (False, True)
    ]
    for got in make(broker.url, asks):
        assert got.is_whole
        seen(broker, collector, got)
    raw = bytes(collector.raw)
    for canary in ("canary-question", "canary-answer", KEY, "sk-provider-secret", "user=canary"):
        assert canary.encode() not in raw
    shown = everything_shown(broker)
    assert [place for place, text in shown.items() if "sk-canary-collector" in text] == []
