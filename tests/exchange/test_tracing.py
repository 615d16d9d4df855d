"""A call's trace in what goes on to a member, comes back to the agent, and is told to the record."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from modelbroker.core.telemetry import Telemetry, Traces
from modelbroker.exchange import Forward, Inbound, Moment, OuterCall, Reply, Strip, View
from modelbroker.policy import State
from support.catalogs import catalog

ID = "0190a5d3c4b27cde8f0123456789abcd"
SEAL = b"s" * 32
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
AGENTS = (("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=b"), ("baggage", "user=x"))
OWN = "8f0123456789ab00"
POOL = {
    "name": "p",
    "failover": "up to 2",
    "members": [{"provider": "a", "model": "m"}, {"provider": "b", "model": "m"}],
}


def view(traces: Traces | None) -> View:
    loaded = replace(catalog(pools=[POOL]), telemetry=Telemetry(traces=traces))
    return View("g", loaded, State({}, {}), {})


def made(seen: View, *headers: tuple[str, str], body: Any = None, request_id: str = ID) -> Forward | Reply:
    outer = OuterCall(seen, request_id, SEAL)
    inbound = Inbound([(":method", "POST"), (":path", "/v1/chat/completions"), *headers])
    answer = outer.on_headers(inbound, ends=False)
    assert answer is None or isinstance(answer, Strip)
    outcome = outer.on_body(json.dumps(body or {"model": "p", "messages": []}).encode(), Moment(0.0, 1_000))
    assert isinstance(outcome, (Forward, Reply))
    return outcome


def sent(outcome: Forward | Reply) -> dict[str, str]:
    assert isinstance(outcome, Forward)
    return dict(outcome.set_headers)


@pytest.mark.parametrize(
    ("traces", "parent", "kept"),
    [
        (Traces(), f"00-{TRACE}-{OWN}-01", {"tracestate"}),
        (Traces(from_agents=False), f"00-{ID}-{OWN}-03", set()),
        (Traces(to_providers=False), "", set()),
        (None, "", set()),
    ],
)
def test_what_a_provider_hears_of_an_agents_trace(traces: Traces | None, parent: str, kept: set[str]) -> None:
    forward = made(view(traces), *AGENTS)
    headers = sent(forward)
    assert headers.get("traceparent", "") == parent
    assert isinstance(forward, Forward)
    gone = {"traceparent", "tracestate", "baggage"} - kept - ({"traceparent"} if parent else set())
    assert gone == {name for name in forward.remove_headers if name in dict(AGENTS)}
    assert ("x-broker-trace" in headers) == (traces is not None) == ("trace" in dict(forward.facts))


def test_the_record_and_the_member_know_the_trace() -> None:
    forward = made(view(Traces()), *AGENTS)
    assert sent(forward)["x-broker-trace"] == f"00-{TRACE}-{OWN}-01"
    assert isinstance(forward, Forward)
    assert dict(forward.facts)["trace"] == f"{TRACE},{OWN},{SPAN},01"


def test_a_call_that_was_handed_back_is_where_it_was() -> None:
    seen = view(Traces())
    first = sent(made(seen, *AGENTS))
    back = (
        *((name, first[name]) for name in ("x-broker-call", "x-broker-trace", "traceparent")),
        ("tracestate", "a=b"),
        ("broker-cause", "overloaded"),
        ("broker-member", "a/m"),
    )
    again = made(seen, *back, request_id="0190a5d3c4b27cde8fffffffffffffff")
    assert isinstance(again, Forward)
    assert dict(again.facts)["trace"] == f"{TRACE},{OWN},{SPAN},01"
    assert sent(again)["traceparent"] == f"00-{TRACE}-{OWN}-01"
    assert "tracestate" not in again.remove_headers
    # One that was sent on before calls were traced goes on without.
    before = sent(made(view(None), *AGENTS))
    late = made(seen, ("x-broker-call", before["x-broker-call"]), *back[3:])
    assert isinstance(late, Forward) and "trace" not in dict(late.facts)


def test_the_brokers_own_answers_say_it() -> None:
    refused = made(view(Traces()), *AGENTS, body={"model": "no-such", "messages": []})
    assert isinstance(refused, Reply)
    assert dict(refused.headers)["traceresponse"] == f"00-{TRACE}-{OWN}-01"
    assert dict(refused.facts)["trace"] == f"{TRACE},{OWN},{SPAN},01"
    silent = made(view(None), *AGENTS, body={"model": "no-such", "messages": []})
    assert isinstance(silent, Reply)
    assert "traceresponse" not in dict(silent.headers) and "trace" not in dict(silent.facts)
