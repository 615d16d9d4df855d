"""Events that a server will never take: found, named, and no hindrance for the others; a server that takes
nothing at all is waited for."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.audit.sink import Refused, SinkAway
from support.sink_servers import Collector, GrpcReceiver, OtlpReceiver, SimulatedElastic, SimulatedSplunk
from support.sinks import KINDS, event, events, ids, until_taken

NAMED = {
    "splunk": (SimulatedSplunk, "the event's format is not valid"),
    "elastic": (SimulatedElastic, "document_parsing_exception"),
    "http": (Collector, "HTTP 422"),
}


@pytest.mark.parametrize("name", NAMED)
@settings(max_examples=15)
@given(bad=st.sets(st.integers(1, 20), max_size=20), fates=st.lists(st.sampled_from(["503", "cut", "ok"])))
def test_refused_ones_are_named_and_the_others_taken(name: str, bad: set[int], fates: list[str]) -> None:
    make, why = NAMED[name]
    server = make()
    made = KINDS[name].sink(server)
    try:
        server.unwanted = {event(seq).id for seq in bad}
        server.plan += fates
        batch = events(1, 21)  # one at least is wanted
        assert until_taken(made, batch) == tuple(seq - 1 for seq in sorted(bad))
        assert set(server.ids) == set(ids(batch)) - server.unwanted
        server.plan.clear()
        if bad:
            with pytest.raises(Refused, match=why):
                made.send(events(1, 21))
    finally:
        made.close()
        server.stop()


def test_a_server_that_refuses_all_is_wrong_itself_and_waited_for(opened: ExitStack) -> None:
    server = Collector()
    opened.callback(server.stop)
    made = KINDS["http"].sink(server)
    server.unwanted = {event(seq).id for seq in range(1, 9)}
    with pytest.raises(SinkAway, match=r"it refuses every event: it answers \(HTTP 422\)"):
        made.send(events(1, 8))
    asked = len(server.bodies)
    with pytest.raises(SinkAway):
        made.send(events(1, 8))
    assert len(server.bodies) == asked + 1  # that is known by then
    server.unwanted = {event(3).id}
    with pytest.raises(SinkAway):  # one request says no more than before
        made.send(events(1, 8))
    with pytest.raises(Refused) as refused:  # with others that are taken it is known whose fault it is
        made.send(events(1, 9))
    assert refused.value.indexes == (2,)
    assert set(server.ids) == set(ids(events(1, 9))) - {event(3).id}
    made.close()


def test_an_event_that_is_too_large_alone_is_refused(opened: ExitStack) -> None:
    server = Collector()
    opened.callback(server.stop)
    made = KINDS["http"].sink(server)
    server.plan += ["413", "413", "ok"]  # both together; the first; the second
    with pytest.raises(Refused, match="no request of this size") as refused:
        made.send(events(1, 2))
    assert refused.value.indexes == (0,)
    assert server.ids == [event(2).id]
    made.close()


def test_elastic_gets_again_only_what_it_had_no_room_for(opened: ExitStack) -> None:
    server = SimulatedElastic()
    opened.callback(server.stop)
    made = KINDS["elastic"].sink(server)
    server.busy = {event(2).id: 2, event(5).id: 1}
    for _ in range(2):
        with pytest.raises(SinkAway, match=r"es_rejected_execution_exception \(status 429\)"):
            made.send(events(1, 6))
    made.send(events(1, 6))
    assert sorted(server.ids) == ids(events(1, 6))
    assert [body.count(b'"create"') for body in server.bodies] == [6, 2, 1]
    made.close()


def test_elastic_has_taken_what_it_knows_already(opened: ExitStack) -> None:
    server = SimulatedElastic()
    opened.callback(server.stop)
    for _ in range(2):  # as over a restart of the broker
        made = KINDS["elastic"].sink(server)
        made.send(events(1, 3))
        made.close()
    assert list(server.lines) == ids(events(1, 3))


@pytest.mark.parametrize("name", ["otlp", "otlp grpc"])
def test_otlp_says_how_many_and_not_which(name: str, opened: ExitStack) -> None:
    server = KINDS[name].server()
    opened.callback(server.stop)
    made = KINDS[name].sink(server)
    server.rejects = 2
    with pytest.raises(Refused, match="it rejects 2 of 5") as refused:
        made.send(events(1, 5))
    assert len(refused.value.indexes) == 2
    made.send(events(6, 1))
    made.close()


@pytest.mark.parametrize(("name", "fate"), [("otlp", "400"), ("otlp grpc", "INVALID_ARGUMENT")])
def test_otlp_that_refuses_a_request_is_asked_for_its_parts(name: str, fate: str, opened: ExitStack) -> None:
    server: OtlpReceiver | GrpcReceiver = KINDS[name].server()
    opened.callback(server.stop)
    made = KINDS[name].sink(server)
    server.plan += [fate, fate]  # all four; the first two; then the first one
    server.plan += [fate]
    with pytest.raises(Refused) as refused:
        made.send(events(1, 4))
    assert refused.value.indexes == (0,)
    assert server.ids == ids(events(2, 3))
    made.close()
