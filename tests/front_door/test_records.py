"""Every call leaves one line in the state folder: who, what for, which attempts, how it ended."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from modelbroker.records.reference import contract
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.records import lines_of, record_with
from support.simulators import Simulators
from support.waiting import wait_until


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in ("a", "b")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "qa", "agent": "bot"}],
        "pools": [
            {
                "name": "fast",
                "ejection": "off",
                "members": [
                    {"provider": "a", "model": "m-a"},
                    {"provider": "b", "model": "m-b", "priority": 1},
                ],
            }
        ],
        "rules": [
            {"name": "streams", "match": {"stream": True}, "pool": "fast"},
            {"name": "no-tools", "match": {"tools": True}, "deny": "not with tools"},
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def _well_behaved(sims: Simulators) -> None:
    sims.reset()


def call(broker: Broker, key: str = KEY, **body: Any) -> httpx.Response:
    body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}], **body}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{broker.url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def test_a_call_that_went_well(broker: Broker) -> None:
    reply = call(broker, stream=True)
    record = record_with(broker, reply.headers["x-broker-request-id"])
    assert {
        name: record[name] for name in ("caller", "team", "agent", "dialect", "model", "pool", "rule")
    } == {
        "caller": "tester",
        "team": "qa",
        "agent": "bot",
        "dialect": "openai-chat",
        "model": "fast",
        "pool": "fast",
        "rule": "streams",
    }
    assert (record["status"], record["stream"], record["member"]) == (200, True, "a/m-a")
    assert record["revision"] == reply.headers["x-broker-revision"]
    assert record["attempts_made"] == 1
    assert [(a["member"], a["status"]) for a in record["attempts"]] == [("a/m-a", 200)]
    assert record["duration_ms"] > 0
    assert record["response_bytes"] == len(reply.content)


def test_who_could_have_served_it_what_it_asked_for_and_where_its_time_went(
    broker: Broker, sims: Simulators
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    for sim in sims:
        sim.script(faults=[{"delay_headers_ms": 50}])
    asked = {"tools": [tool], "max_completion_tokens": 77, "stream": True}
    record = record_with(broker, call(broker, **asked).headers["x-broker-request-id"])
    assert record["eligible"] == [{"member": "a/m-a", "chance": 1.0}, {"member": "b/m-b", "chance": 0.0}]
    assert (record["holds"], record["max_output_tokens"], record["choices"]) == (["tools"], 77, 1)
    assert 0 < record["context_tokens"] < 200
    assert record["queue_ms"] == 0
    (attempt,) = record["attempts"]
    assert 50 <= attempt["first_byte_ms"] <= attempt["first_event_ms"] <= attempt["duration_ms"]
    for is_stream in (True, False):
        record = record_with(broker, call(broker, stream=is_stream).headers["x-broker-request-id"])
        (attempt,) = record["attempts"]
        took_ms = attempt["first_event_ms"] if is_stream else attempt["duration_ms"]
        all_ms = record["first_byte_ms"] if is_stream else record["duration_ms"]
        assert 0 < record["added_ms"] <= all_ms - took_ms + 0.01
        assert 0 <= record["upload_ms"] < all_ms


def test_a_failover_shows_both_attempts(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"status": 529}])
    record = record_with(broker, call(broker).headers["x-broker-request-id"])
    assert (record["status"], record["attempts_made"], record["member"]) == (200, 2, "b/m-b")
    tried = [(a["member"], a["status"], a["code"], a["hedge"]) for a in record["attempts"]]
    assert tried == [("a/m-a", 529, "upstream_overloaded", False), ("b/m-b", 200, "", False)]
    assert [one["chance"] for one in record["eligible"]] == [1.0, 0.0]


def test_a_providers_failure_has_its_code(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"status": 401}])
    record = record_with(broker, call(broker).headers["x-broker-request-id"])
    (refused,) = [a for a in record["attempts"] if a["member"] == "a/m-a"]
    assert (refused["status"], refused["code"]) == (502, "upstream_credential_refused")
    assert refused["provider_status"] == 401
    assert (record["status"], record["code"]) == (200, "")
    wait_until(
        lambda: "a/m-a: the provider refused the broker's credential with status 401" in broker.log(), 15
    )
    for sim in sims:
        sim.script(faults=[{"error_event": True, "error": {"type": "overloaded_error", "message": "Busy"}}])
    record = record_with(broker, call(broker, stream=True).headers["x-broker-request-id"])
    assert (record["status"], record["code"]) == (529, "upstream_overloaded")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"status": 529}, (529, "upstream_overloaded")),
        ({"status": 429}, (429, "upstream_rate_limited")),
        ({"status": 500}, (500, "upstream_error")),
        ({"status": 400}, (400, "upstream_refused")),
        ({"trouble": "context_overflow"}, (400, "upstream_refused")),
    ],
    ids=str,
)
def test_an_error_that_passes_as_it_came_has_our_code_in_its_record(
    broker: Broker, sims: Simulators, fault: dict[str, Any], told: tuple[int, str]
) -> None:
    for sim in sims:
        sim.script(faults=[fault])
    record = record_with(broker, call(broker).headers["x-broker-request-id"])
    assert (record["status"], record["code"]) == told


def test_probes_are_no_calls(broker: Broker) -> None:
    assert httpx.get(f"{broker.url}/healthz").status_code == 200
    record_with(broker, call(broker).headers["x-broker-request-id"])
    assert not [line for line in lines_of(broker) if line["path"] == "/healthz"]


def test_a_refusal_is_recorded_with_its_code(broker: Broker) -> None:
    record = record_with(broker, call(broker, key="wrong").headers["x-broker-request-id"])
    assert (record["status"], record["code"], record["attempts"]) == (401, "invalid_api_key", [])


def test_a_refusal_says_who_was_refused_and_by_what(broker: Broker) -> None:
    record = record_with(broker, call(broker, model="nothing").headers["x-broker-request-id"])
    assert (record["status"], record["code"]) == (404, "model_not_found")
    assert (record["caller"], record["team"], record["model"]) == ("tester", "qa", "nothing")
    denied = record_with(broker, call(broker, tools=[{}]).headers["x-broker-request-id"])
    assert (denied["status"], denied["code"], denied["rule"]) == (403, "denied_by_rule", "no-tools")
    assert (denied["caller"], denied["model"], denied["dialect"]) == ("tester", "fast", "openai-chat")


def test_one_record_a_call_and_metrics_agree(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"first": 1, "status": 529}])
    ids = {call(broker).headers["x-broker-request-id"] for _ in range(30)}
    wait_until(lambda: ids <= {line["request_id"] for line in lines_of(broker)}, 60)
    seen = [line["request_id"] for line in lines_of(broker)]
    assert len(seen) == len(set(seen))
    with urllib.request.urlopen(f"{broker.admin_url}/metrics") as reply:
        metrics = reply.read().decode()
    assert 'modelbroker_calls_total{outcome="ok",pool="fast",status="200"}' in metrics
    assert 'modelbroker_attempts_total{member="a/m-a",status="529"}' in metrics


def test_no_prompt_text_and_no_key_is_in_a_record(broker: Broker) -> None:
    reply = call(broker, messages=[{"role": "user", "content": "a very private question"}])
    record_with(broker, reply.headers["x-broker-request-id"])
    text = (broker.folder / "state" / "calls.jsonl").read_text()
    assert "private question" not in text
    assert KEY not in text
    assert "sk-provider-secret" not in text


def test_every_line_is_a_message_of_the_contract(broker: Broker, sims: Simulators) -> None:
    """Whole and streamed, with a failover, refused, and failed."""
    record_with(broker, call(broker).headers["x-broker-request-id"])
    record_with(broker, call(broker, key="wrong").headers["x-broker-request-id"])
    sims["a"].script(faults=[{"status": 529}])
    record_with(broker, call(broker, stream=True).headers["x-broker-request-id"])
    sims["b"].script(faults=[{"status": 500}])
    record_with(broker, call(broker).headers["x-broker-request-id"])
    file = contract()
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Record"))
    names = {field.name for field in message.DESCRIPTOR.fields}
    told = lines_of(broker)
    for line in told:
        json_format.ParseDict(line, message())
        assert set(line) == names
    assert {line["outcome"] for line in told} >= {"ok", "refused", "error"}
    assert {line["error_source"] for line in told} >= {"", "policy", "provider"}
