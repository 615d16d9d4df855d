"""What each kind of server finds in what it takes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk
from modelbroker.audit.sink import Refused, SinkAway
from modelbroker.audit.sinks import KINDS as ALL_KINDS
from modelbroker.audit.sinks import open_sink
from modelbroker.core.errors import Misconfigured
from support.sink_servers import Collector, GrpcReceiver, OtlpReceiver, SimulatedElastic, SimulatedSplunk
from support.sinks import AT_MS, KINDS, Authority, event, events, ids, sink
from support.waiting import wait_until


def _served(server: Any, opened: ExitStack) -> Any:
    opened.callback(server.stop)
    return server


# -- Splunk


def test_splunk_gets_the_event_its_time_and_its_id(opened: ExitStack) -> None:
    server = _served(SimulatedSplunk(), opened)
    about = {"index": "audit", "host": "broker-1", "source": "s", "sourcetype": "t"}
    made = KINDS["splunk"].sink(server, **about)
    made.send([event(7)])
    got = server.lines[event(7).id]
    assert got == {
        "time": "1790000000.130",
        **about,
        "fields": {"event_id": event(7).id, "seq": 7},
        "event": json.loads(event(7).line),
    }
    assert server.headers[0]["content-encoding"] == "gzip"
    made.close()


def test_splunk_says_what_is_wrong_with_the_token_or_index(opened: ExitStack) -> None:
    server = _served(SimulatedSplunk(), opened)
    wrong = KINDS["splunk"].sink(server, secret="00000000-wrong")
    with pytest.raises(SinkAway, match=r"the token is not valid \(code 4\)"):
        wrong.send(events(1, 1))
    elsewhere = KINDS["splunk"].sink(server, index="secret")
    with pytest.raises(SinkAway, match="may not write to this index"):
        elsewhere.send(events(1, 1))
    for code, words in ((1, "disabled"), (9, "busy"), (23, "shutting down"), (8, "internal error")):
        server.state = code
        with pytest.raises(SinkAway, match=words):
            KINDS["splunk"].sink(server).send(events(1, 1))
    assert server.ids == []


def test_with_acks_events_are_taken_when_they_are_indexed(opened: ExitStack) -> None:
    server = _served(SimulatedSplunk(), opened)
    made = KINDS["splunk with acks"].sink(server, ack_timeout_ms="1")
    server.indexes_at_once = False
    with pytest.raises(SinkAway, match=r"has not acknowledged within 0\.001 s"):
        made.send(events(1, 2))
    server.indexes_at_once = True
    made.send(events(1, 2))
    assert list(dict.fromkeys(server.ids)) == ids(events(1, 2))
    made.close()


def test_an_acknowledgment_is_waited_for(opened: ExitStack) -> None:
    import threading

    server = _served(SimulatedSplunk(), opened)
    made = KINDS["splunk with acks"].sink(server)
    server.indexes_at_once = False
    sending = threading.Thread(target=made.send, args=(events(1, 2),))
    sending.start()
    asked = lambda: sum(b"acks" in body for body in server.bodies)  # noqa: E731
    wait_until(lambda: asked() >= 2)
    assert sending.is_alive()
    with server._lock:
        for known in server.acks.values():
            known.update(dict.fromkeys(known, True))
    sending.join(60)
    assert not sending.is_alive()
    made.close()


def test_acks_that_the_token_does_not_give(opened: ExitStack) -> None:
    server = _served(SimulatedSplunk(), opened)
    made = KINDS["splunk"].sink(server, ack="true")
    with pytest.raises(SinkAway, match="the token has no indexer acknowledgment"):
        made.send(events(1, 1))
    made.close()


# -- Elasticsearch


def test_the_simulated_elasticsearch_is_one_to_its_official_client(opened: ExitStack) -> None:
    server = _served(SimulatedElastic(), opened)
    client = Elasticsearch(server.url, api_key=server.api_key)
    opened.callback(client.close)
    server.unwanted, server.busy = {"c"}, {"d": 1}
    actions = [
        {"_op_type": "create", "_index": "logs", "_id": key, "@timestamp": "2026-01-01T00:00:00Z"}
        for key in ("a", "b", "a", "c", "d")
    ]
    ends = [
        (is_good, item["create"]["status"])
        for is_good, item in streaming_bulk(client, actions, raise_on_error=False, max_retries=0)
    ]
    assert ends == [(True, 201), (True, 201), (False, 409), (False, 400), (False, 429)]
    reply = client.bulk(
        operations=[{"create": {"_id": "e"}}, {"@timestamp": "2026-01-01T00:00:00Z"}],
        index="logs",
        filter_path="errors,items.*.status,items.*.error.type",
    )
    assert dict(reply) == {"errors": False, "items": [{"create": {"status": 201}}]}


def test_elastic_gets_documents_with_a_timestamp(opened: ExitStack) -> None:
    server = _served(SimulatedElastic(), opened)
    options = {"address": server.url, "index": "logs-audit-default", "user": server.user}
    made = sink("elastic", options, {"password": server.password})
    made.send([event(7)])
    assert server.lines[event(7).id] == {
        "@timestamp": "2026-09-21T14:13:20.130Z",
        **json.loads(event(7).line),
    }
    made.close()
    # ECS has one of its own: a document that lacks it is the broker's fault, and shows.
    ecs = sink("elastic", options, {"password": server.password}, form="ecs")
    with pytest.raises(Refused):
        ecs.send([event(8)])
    own = event(9)._replace(line=b'{"@timestamp":"2026-01-01T00:00:00Z","x":1}')
    ecs.send([own])
    assert server.lines[own.id] == {"@timestamp": "2026-01-01T00:00:00Z", "x": 1}
    ecs.close()


# -- HTTP


def test_http_batches_are_lines_or_an_array_with_a_key_for_repeats(opened: ExitStack) -> None:
    server = _served(Collector(), opened)
    made = KINDS["http"].sink(server)
    server.plan.append("taken, then cut")
    with pytest.raises(SinkAway):
        made.send(events(1, 2))
    made.send(events(1, 2))
    made.send(events(3, 2))
    assert server.bodies[-1] == event(3).line + b"\n" + event(4).line + b"\n"
    keys = [headers["idempotency-key"] for headers in server.headers]
    assert keys[0] == keys[1] and len(set(keys)) == 2
    made.close()
    array = KINDS["http array"].sink(server, method="PUT", **{"header.x-team": "security"})
    array.send(events(5, 2))
    assert json.loads(server.bodies[-1]) == [json.loads(one.line) for one in events(5, 2)]
    assert server.headers[-1]["x-team"] == "security"
    array.close()


def test_a_client_s_certificate(authority: Authority, opened: ExitStack) -> None:
    server = _served(Collector(cert=authority.localhost, client_ca=authority.ca), opened)
    stranger = KINDS["http"].sink(server, ca_file=authority.ca)
    with pytest.raises(SinkAway):
        stranger.send(events(1, 1))
    stranger.close()
    cert, key = authority.client
    made = KINDS["http"].sink(server, ca_file=authority.ca, cert_file=cert, key_file=key)
    made.send(events(1, 1))
    assert server.ids == ids(events(1, 1))
    made.close()


def test_proxies_of_the_environment_are_ignored(opened: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("http", "otlp grpc"):
        server = _served(KINDS[name].server(), opened)
        made = KINDS[name].sink(server)
        made.send(events(1, 1))
        assert server.ids == ids(events(1, 1))
        made.close()


# -- OTLP


@pytest.mark.parametrize("name", ["otlp", "otlp grpc"])
def test_otlp_gets_a_record_an_event(name: str, opened: ExitStack) -> None:
    server: OtlpReceiver | GrpcReceiver = _served(KINDS[name].server(), opened)
    made = KINDS[name].sink(server)
    made.send([event(7, severity=4)])
    record = server.lines[event(7).id]
    attributes = {one.key: one.value.string_value or one.value.int_value for one in record.attributes}
    assert attributes == {
        "log.record.uid": event(7).id,
        "modelbroker.audit.form": "ocsf",
        "modelbroker.audit.seq": 7,
    }
    assert record.time_unix_nano == (AT_MS + 7) * 1_000_000
    assert (record.severity_number, record.severity_text) == (17, "High")
    assert record.body.string_value.encode() == event(7).line
    assert record.event_name == "modelbroker.audit"
    made.close()


def test_otlp_may_be_given_with_its_path(opened: ExitStack) -> None:
    server = _served(OtlpReceiver(), opened)
    made = sink("otlp", {"address": f"{server.url}/v1/logs", "gzip": "false"})
    made.send(events(1, 1))
    assert server.ids == ids(events(1, 1))
    made.close()


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelbroker.audit import sinks
    from modelbroker.audit.sink import SinkSettings

    monkeypatch.setattr(sinks, "_is_there", lambda package: False)
    with pytest.raises(Misconfigured, match=r"pip install 'modelbroker\[otlp\]'"):
        open_sink(SinkSettings(name="otel", kind="otlp", form="ocsf", options={"address": "http://h"}))
    for kind in set(ALL_KINDS) - {"otlp"}:
        options = {"address": "http://h", "path": "/x/y", "index": "i"}
        open_sink(SinkSettings(name="s", kind=kind, form="ocsf", options=options, secrets={"token": "t"}))
