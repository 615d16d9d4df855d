"""What a pool says is done about each cause (`on`): where the call goes, how often, and what its client gets.

Two members that fail side by side, and a good one behind them. Three attempts have met both, two have gone
past the second one, one is the provider's own answer.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from modelbroker.core.causes import ALWAYS_CLIENTS, Cause
from support.broker import KEY_SHA256, Broker, one_a_dialect, provider
from support.calls import Ask, Got, make
from support.records import lines_of
from support.simulators import Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "anthropic-messages", "openai-responses")
ACTIONS = {"next": 3, "next-priority": 2, "client": 1, "other": 2}  # → attempts
ACTED_ON = [cause.value for cause in Cause if cause not in ALWAYS_CLIENTS]
# Only silence is waited for; a busy machine must have time for a good answer within it.
TIMEOUTS = {
    "patient": {"connect": "30s", "first_event": "60s", "reply": "60s"},
    "quick": {"first_event": "2s", "reply": "2s"},
}

# Cause → (timeouts of the pool, what the failing members do), where they speak at all.
SAID: dict[str, dict[str, Any]] = {
    cause: {"trouble": cause.replace("-", "_")}
    for cause in ("billing", "model-not-found", "conflict", "too-large", "rate-limit", "server-error")
}
SAID |= {
    "overloaded": {"trouble": "overloaded"},
    "context-overflow": {"trouble": "context_overflow"},
    "content-policy": {"trouble": "content_policy"},
    "credential": {"trouble": "invalid_key"},
    "timeout": {"trouble": "timeout"},
    "reset": {"reset": "before-headers"},
    "garbage": {"garbage": "not-http"},
}
BEGUN: dict[str, dict[str, Any]] = {
    "rate-limit": {"trouble": "rate_limit", "error_event": True},
    "overloaded": {"trouble": "overloaded", "error_event": True},
    "context-overflow": {"trouble": "context_overflow", "error_event": True},
    "content-policy": {"trouble": "content_policy", "error_event": True, "pings": 1},
    "reset": {"reset": "mid-stream", "after_events": 0},
    "cut": {"cut": "end", "after_events": 0},
}
NEVER = {"bad-request": {"trouble": "bad_field"}, "unknown-id": {"trouble": "unknown_id"}}
SILENT = {"whole": {"stall": "after-headers"}, "stream": {"stall": "after-headers"}}
UNREACHED = ("connect", "dns", "tls")


def pool(name: str, action: str, wire: str, bad: tuple[str, str], timeouts: str) -> dict[str, Any]:
    """Members have a model for each pool: what they say is nothing to another pool's."""
    return {
        "name": name,
        "failover": 2,
        "ejection": "off",
        "timeouts": TIMEOUTS[timeouts],
        "on": dict.fromkeys(ACTED_ON, action),
        "members": [
            {"provider": bad[0], "model": name},
            {"provider": bad[1], "model": name},
            {"provider": f"good-{wire}", "model": name, "priority": 1},
        ],
    }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("bad", "worse", "good") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    closed, plain = _closed_port(), sims["good"].port
    bases = {"connect": f"http://127.0.0.1:{closed}/v1", "dns": "http://nobody.invalid/v1"}
    bases["tls"] = f"https://127.0.0.1:{plain}/v1"
    unreached = [
        {**provider(f"{cause}-{n}", 1, "openai-chat"), "base_url": bases[cause]}
        for cause in UNREACHED
        for n in (1, 2)
    ]
    pools = [
        pool(f"{timeouts}.{action}.{wire}", action, wire, (f"bad-{wire}", f"worse-{wire}"), timeouts)
        for timeouts in TIMEOUTS
        for action in ACTIONS
        for wire in DIALECTS
    ]
    pools += [
        pool(f"{cause}.{action}", action, "openai-chat", (f"{cause}-1", f"{cause}-2"), "patient")
        for cause in UNREACHED
        for action in ACTIONS
    ]
    pools.append({"name": "other", "members": [{"provider": "good-openai-chat", "model": "of-the-other"}]})
    config = {
        "providers": [*one_a_dialect(sims, DIALECTS), *unreached],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": pools,
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def records(broker: Broker, got: list[Got]) -> dict[str, dict[str, Any]]:
    """Request id → record, once all are there."""
    ids = {g.headers["x-broker-request-id"] for g in got}

    def found() -> dict[str, dict[str, Any]]:
        there = {line["request_id"]: line for line in lines_of(broker) if line["request_id"] in ids}
        return there if there.keys() == ids else {}

    return wait_until(found)


def check(broker: Broker, got: list[Got], cause: str) -> None:
    """Each call went where its pool's action sends it, and its record says why."""
    told = records(broker, got)
    for g in got:
        action = g.ask.pool.split(".")[1]
        attempts = ACTIONS[action]
        record = told[g.headers["x-broker-request-id"]]
        shown = f"{g}\n{json.dumps(record)}"
        assert g.attempts == attempts == record["attempts_made"] == len(record["attempts"]), shown
        assert [one["cause"] for one in record["attempts"]][: attempts - 1] == [cause] * (attempts - 1), shown
        served_by = "other" if action == "other" else g.ask.pool
        assert g.headers["x-broker-pool"] == record["pool"] == served_by, shown
        if action == "client":
            assert record["attempts"][0]["cause"] == cause, shown
            # What a stream of the client's own dialect says of the request passes as it came.
            is_event = g.status == 200 and cause in BEGUN and b"error" in g.body
            assert is_event or (g.status >= 400 and json.loads(g.body)["error"]["message"]), shown
            assert g.status == record["status"], shown
        else:
            assert g.is_whole, shown
            model = "of-the-other" if action == "other" else g.ask.pool
            assert g.text == f"good answering as {model}: {g.ask.question}", shown
        assert len({one["member"] for one in record["attempts"]}) == attempts, shown


def calls(client: str, stream: bool, timeouts: str = "patient") -> list[Ask]:
    """To every pool: of the client's dialect, and translated."""
    return [Ask(f"{timeouts}.{action}.{wire}", client, stream) for action in ACTIONS for wire in DIALECTS]


def fail(sims: Simulators, broker: Broker, **fault: Any) -> None:
    for name in ("bad", "worse"):
        sims[name].script(faults=[fault])
    broker.forget()


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("cause", SAID)
def test_what_the_provider_says(broker: Broker, sims: Simulators, cause: str, client: str) -> None:
    for stream in (False, True):
        fail(sims, broker, **SAID[cause])
        check(broker, make(broker.url, calls(client, stream)), cause)


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("cause", BEGUN)
def test_what_a_stream_begins_with(broker: Broker, sims: Simulators, cause: str, client: str) -> None:
    fail(sims, broker, **BEGUN[cause])
    check(broker, make(broker.url, calls(client, True)), cause)


@pytest.mark.parametrize("client", DIALECTS)
def test_silence(broker: Broker, sims: Simulators, client: str) -> None:
    for stream, cause in ((False, "timeout"), (True, "first-event")):
        fail(sims, broker, stall="after-headers")
        check(broker, make(broker.url, calls(client, stream, "quick")), cause)


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("cause", UNREACHED)
def test_nobody_is_reached(broker: Broker, sims: Simulators, cause: str, client: str) -> None:
    for stream in (False, True):
        broker.forget()
        asked = [Ask(f"{cause}.{action}", client, stream) for action in ACTIONS]
        check(broker, make(broker.url, asked), cause)


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("cause", NEVER)
def test_the_clients_own_fault_is_never_tried_again(
    broker: Broker, sims: Simulators, cause: str, client: str
) -> None:
    for stream in (False, True):
        fail(sims, broker, **NEVER[cause])
        got = make(broker.url, calls(client, stream))
        told = records(broker, got)
        for g in got:
            record = told[g.headers["x-broker-request-id"]]
            assert 400 <= g.status < 500 and g.attempts == 1, str(g)
            assert [one["cause"] for one in record["attempts"]] == [cause], f"{g}\n{record}"
