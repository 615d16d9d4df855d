"""What holds for every sink that is a server of somebody's: what is taken, what is not and comes again, what
is refused, and whom it trusts."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.audit.sink import SinkAway
from modelbroker.audit.sinks import otlp, web
from support.sink_servers import GrpcReceiver
from support.sinks import KINDS, UNICODE, Authority, Kind, event, events, ids, until_taken


def test_what_was_sent_is_taken_in_order_with_its_ids(kind: Kind, server: Any) -> None:
    made = kind.sink(server)
    made.send(events(1, 3))
    made.send([event(4, UNICODE)])
    assert server.ids == ids(events(1, 4))
    assert UNICODE in _texts(server.lines[event(4).id])
    made.close()


def test_one_connection_is_kept(kind: Kind, server: Any) -> None:
    made = kind.sink(server)
    for seq in range(1, 6):
        made.send([event(seq)])
    made.close()
    assert len({connection for connection, _ in server.took}) == 1


def test_a_full_batch_is_taken(kind: Kind, server: Any) -> None:
    made = kind.sink(server)
    text = "é" * (made.most_bytes // made.most_events // 2)
    batch = events(1, made.most_events, text)
    made.send(batch)
    assert server.ids == ids(batch)
    made.close()


def test_a_server_that_is_not_there_gets_them_when_it_is_back(kind: Kind, server: Any) -> None:
    made = kind.sink(server)
    made.send(events(1, 2))
    server.stop()
    for _ in range(2):
        with pytest.raises(SinkAway):
            made.send(events(3, 2))
    server.start()
    until_taken(made, events(3, 2))
    assert server.ids == ids(events(1, 4))
    made.close()


def test_a_connection_that_the_server_closed_meanwhile_is_no_failure(kind: Kind, server: Any) -> None:
    made = kind.sink(server)
    made.send(events(1, 2))
    server.stop()
    server.start()
    if isinstance(server, GrpcReceiver):  # gRPC may hear of it with the next call only
        until_taken(made, events(3, 2))
    else:
        made.send(events(3, 2))
    assert server.ids == ids(events(1, 4))
    made.close()


FATES = ("503", "429", "500", "408", "301", "401", "403", "404", "cut", "taken, then cut", "half")
GRPC_FATES = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "PERMISSION_DENIED", "taken, then UNAVAILABLE")


@pytest.mark.parametrize("number", range(len(FATES)))
def test_whatever_is_no_answer_of_success_is_sent_again(kind: Kind, server: Any, number: int) -> None:
    fates = GRPC_FATES if isinstance(server, GrpcReceiver) else FATES
    fate = fates[number % len(fates)]
    made = kind.sink(server)
    made.send(events(1, 2))
    server.plan += [fate] * 2  # a connection that was kept is tried twice
    with pytest.raises(SinkAway) as away:
        made.send(events(3, 2))
    assert "secret" not in str(away.value)
    server.plan.clear()
    assert until_taken(made, events(3, 2)) == ()
    assert list(dict.fromkeys(server.ids)) == ids(events(1, 4))
    made.close()


def test_a_server_that_hangs_is_left(kind: Kind, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "ANSWER_S", 0.3)
    monkeypatch.setattr(otlp, "ANSWER_S", 0.3)
    made = kind.sink(server)
    server.plan.append("DEADLINE_EXCEEDED" if isinstance(server, GrpcReceiver) else "hang")
    with pytest.raises(SinkAway, match="does not answer in time"):
        made.send(events(1, 2))
    monkeypatch.undo()
    until_taken(made, events(1, 2))
    assert list(dict.fromkeys(server.ids)) == ids(events(1, 2))
    made.close()


@pytest.mark.parametrize("secret", ["wrong", "wrong\r\nx-more: 1", "wröng…"])
def test_a_credential_that_is_wrong_is_said_and_not_shown(kind: Kind, server: Any, secret: str) -> None:
    made = kind.sink(server, secret=secret)
    with pytest.raises(SinkAway) as away:
        made.send(events(1, 2))
    assert "wr" not in str(away.value).replace("write", "")
    assert server.ids == []
    assert "wr" not in repr(made)
    made.close()


def test_tls_by_an_authority_of_ones_own(kind: Kind, authority: Authority, opened: ExitStack) -> None:
    server = _tls_server(kind, authority.localhost, opened)
    made = kind.sink(server, ca_file=authority.ca)
    made.send(events(1, 2))
    assert server.ids == ids(events(1, 2))
    made.close()


def test_a_server_that_is_not_trusted_gets_nothing(
    kind: Kind, authority: Authority, opened: ExitStack
) -> None:
    stranger = _tls_server(kind, authority.localhost, opened)
    made = kind.sink(stranger)
    with pytest.raises(SinkAway, match="certificate is not trusted"):
        made.send(events(1, 2))
    made.close()
    other = _tls_server(kind, authority.elsewhere, opened)
    named = kind.sink(other, ca_file=authority.ca)
    with pytest.raises(SinkAway, match=r"certificate is not trusted|can't be reached or trusted"):
        named.send(events(1, 2))
    named.close()
    assert stranger.ids == other.ids == []


def test_an_authority_that_can_t_be_read_is_waited_for(
    kind: Kind, authority: Authority, opened: ExitStack, tmp_path: Path
) -> None:
    server = _tls_server(kind, authority.localhost, opened)
    path = tmp_path / "ca.pem"
    made = kind.sink(server, ca_file=str(path))
    with pytest.raises(SinkAway, match=r"ca_file .*ca\.pem can't be read"):
        made.send(events(1, 2))
    path.write_text(Path(authority.ca).read_text())
    made.send(events(1, 2))
    assert server.ids == ids(events(1, 2))
    made.close()


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=15)
@given(data=st.data())
def test_over_any_failures_each_is_taken_at_least_once_and_in_order(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    fates = GRPC_FATES if kind.server is GrpcReceiver else FATES
    server = kind.server()
    made = kind.sink(server)
    first = 1
    try:
        for size in data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=5)):
            server.plan += data.draw(st.lists(st.sampled_from(["ok", *fates]), max_size=4))
            assert until_taken(made, events(first, size)) == ()
            first += size
    finally:
        made.close()
        server.stop()
    assert set(server.ids) == set(ids(events(1, first - 1)))
    _check_order(server.took)


def _check_order(took: list[tuple[int, str]]) -> None:
    """What comes for the first time comes in order, and so does each connection's, but for repeats."""
    assert list(dict.fromkeys(key for _, key in took)) == sorted({key for _, key in took})
    for number in {connection for connection, _ in took}:
        mine = list(dict.fromkeys(key for connection, key in took if connection == number))
        assert mine == sorted(mine)


def _tls_server(kind: Kind, cert: tuple[str, str], opened: ExitStack) -> Any:
    is_grpc = kind.server is GrpcReceiver
    key, chain = Path(cert[1]).read_bytes(), Path(cert[0]).read_bytes()
    server = kind.server(cert=(key, chain) if is_grpc else cert)
    opened.callback(server.stop)
    return server


def _texts(took: Any) -> str:
    """The message of the event in whatever form it was taken."""
    if hasattr(took, "body"):
        import json

        took = json.loads(took.body.string_value)
    event_of = took.get("event", took)
    return str(event_of["message"])
