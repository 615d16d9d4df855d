"""Syslog, to a real rsyslog over TCP and TLS, and to a receiver that ends connections at any byte."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.audit.sink import SinkAway, SinkSettings
from modelbroker.audit.sinks import syslog
from modelbroker.audit.sinks.syslog import Frames, Syslog, ascii_json
from support.frames import Receiver
from support.rsyslog import Rsyslog
from support.sinks import UNICODE, Authority, event, events, ids, until_taken
from support.waiting import wait_until


def _sink(port: int, scheme: str = "tcp", prove_s: float = 0, **options: str) -> Syslog:
    """`prove_s` 0: of a server that takes what it is given no proof is waited for."""
    options = {"address": f"{scheme}://localhost:{port}", **options}
    return Syslog(SinkSettings(name="siem", kind="syslog", form="ocsf", options=options), prove_s=prove_s)


@pytest.fixture(scope="module")
def rsyslog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rsyslog]:
    server = Rsyslog(tmp_path_factory.mktemp("rsyslog"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Rsyslog]:
    cert = (*authority.localhost, authority.ca)
    server = Rsyslog(tmp_path_factory.mktemp("rsyslog-tls"), cert, client_name="broker")
    yield server
    server.kill()


def test_rsyslog_reads_every_part_of_a_message(rsyslog: Rsyslog) -> None:
    made = _sink(rsyslog.port, facility="local3", app_name="broker", hostname="edge-1")
    made.send([event(7, UNICODE, severity=4)])
    got = _of(rsyslog, ids([event(7)]))[0]
    assert got["pri"] == str(19 * 8 + 3)
    assert got["at"] == "2026-09-21T14:13:20.130Z"
    assert (got["host"], got["app"], got["kind"]) == ("edge-1", "broker", "audit")
    assert got["process"].isdecimal()
    assert got["data"] == f'[modelbroker@32473 id="{event(7).id}" seq="7"]'
    assert json.loads(got["message"]) == json.loads(event(7, UNICODE).line)
    made.close()


def test_rsyslog_takes_a_full_batch_and_large_events(rsyslog: Rsyslog) -> None:
    made = _sink(rsyslog.port)
    batch = [*events(1_000, made.most_events - 1, "x" * 400), event(1_999, "y" * 30_000)]
    made.send(batch)
    assert [entry["message"] for entry in _of(rsyslog, ids(batch))] == [one.line.decode() for one in batch]
    made.close()


def test_what_rsyslog_had_no_time_for_comes_again(tmp_path: Path) -> None:
    server = Rsyslog(tmp_path)
    made = _sink(server.port)
    made.send(events(1, 5))
    _of(server, ids(events(1, 5)))
    server.freeze()  # its kernel takes what it will never read
    made.send(events(6, 5))
    server.kill()
    with pytest.raises(SinkAway):
        made.send(events(11, 5))
    server.start()
    until_taken(made, events(11, 5))
    _of(server, ids(events(1, 15)))
    made.close()
    server.kill()


def test_a_restart_of_rsyslog_is_no_failure(tmp_path: Path) -> None:
    server = Rsyslog(tmp_path)
    made = _sink(server.port)
    made.send(events(1, 5))
    _of(server, ids(events(1, 5)))
    server.kill()
    server.start()
    made.send(events(6, 5))  # that the connection is closed is seen before
    _of(server, ids(events(1, 10)))
    made.close()
    server.kill()


def test_tls_with_a_client_s_certificate(over_tls: Rsyslog, authority: Authority) -> None:
    cert, key = authority.client
    made = _sink(over_tls.port, "tls", prove_s=600, ca_file=authority.ca, cert_file=cert, key_file=key)
    made.send(events(1, 5))
    made.send([event(6, UNICODE)])
    batch = events(7, made.most_events - 7, "x" * 400)
    made.send(batch)
    made.close()
    _of(over_tls, ids(events(1, made.most_events - 1)))


def test_a_client_without_a_certificate_is_told_so(over_tls: Rsyslog, authority: Authority) -> None:
    made = _sink(over_tls.port, "tls", prove_s=60, ca_file=authority.ca)
    with pytest.raises(SinkAway):
        made.send(events(50_000, 5))  # with TLS 1.3 a client hears of it behind its handshake
    assert not set(over_tls.ids()) & set(ids(events(50_000, 5)))


def test_a_server_that_is_not_trusted_gets_nothing(over_tls: Rsyslog, authority: Authority) -> None:
    cert, key = authority.client
    for more in ({}, {"ca_file": authority.ca, "server_name": "elsewhere.test"}):
        made = _sink(over_tls.port, "tls", cert_file=cert, key_file=key, **more)
        with pytest.raises(SinkAway, match="certificate is not trusted"):
            made.send(events(60_000, 5))
    assert not set(over_tls.ids()) & set(ids(events(60_000, 5)))


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SinkAway, match="refuses the connection"):
        _sink(port).send(events(1, 1))


def test_a_server_that_reads_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syslog, "SEND_S", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as deaf:
        made = _sink(deaf.getsockname()[1])
        with pytest.raises(SinkAway, match="does not answer in time"):
            for seq in range(1, 1_000):
                made.send([event(seq, "x" * 200_000)])


def test_a_proxy_that_has_no_server_takes_nothing() -> None:
    receiver = Receiver()
    receiver.plan += [(1, False), (1, True)] * 5
    made = _sink(receiver.port, prove_s=60)
    for _ in range(10):
        with pytest.raises(SinkAway, match="closed the connection"):
            made.send(events(1, 3))
    proven = _sink(receiver.port)
    proven.send(events(1, 3))
    wait_until(lambda: len(receiver.took) == 3)
    proven.close()
    receiver.stop()


@pytest.mark.parametrize(("idle_s", "repeats"), [(61.0, 0), (59.0, 3)])
def test_what_a_server_had_time_for_is_not_sent_again(idle_s: float, repeats: int) -> None:
    """One that closes what is idle gets nothing twice."""
    now_s = [0.0]
    receiver = Receiver()
    options = {"address": f"tcp://127.0.0.1:{receiver.port}"}
    settings = SinkSettings(name="s", kind="syslog", form="ocsf", options=options)
    made = Syslog(settings, lambda: now_s[0], prove_s=0)
    made.send(events(1, 3))
    wait_until(lambda: len(receiver.took) == 3)
    now_s[0] = idle_s
    receiver.end_connection()
    wait_until(lambda: _is_closed(made))
    now_s[0] = 1_000.0  # while there is no connection nothing gets older
    made.send(events(4, 3))
    wait_until(lambda: len(receiver.took) == 6 + repeats)
    assert list(dict.fromkeys(key for _, key in receiver.took)) == ids(events(1, 6))
    made.close()
    receiver.stop()


def test_nothing_gets_older_while_only_a_proxy_answers() -> None:
    now_s = [0.0]
    receiver = Receiver()
    options = {"address": f"tcp://127.0.0.1:{receiver.port}"}
    settings = SinkSettings(name="s", kind="syslog", form="ocsf", options=options)
    made = Syslog(settings, lambda: now_s[0], prove_s=0)
    made.send(events(1, 3))
    wait_until(lambda: len(receiver.took) == 3)
    receiver.plan += [(1, False), (1, True)]
    receiver.end_connection()
    wait_until(lambda: _is_closed(made))
    made._prove_s = 60
    for at_s in (50.0, 500.0):
        now_s[0] = at_s
        with pytest.raises(SinkAway):
            made.send(events(4, 3))
    made._prove_s = 0
    made.send(events(4, 3))
    wait_until(lambda: len(receiver.took) == 9)
    made.close()
    receiver.stop()


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    plan=st.lists(st.tuples(st.integers(0, 3_000), st.booleans()), max_size=6),
)
def test_wherever_connections_end_each_comes_at_least_once_and_in_order(
    sizes: list[int], plan: list[tuple[int, bool]]
) -> None:
    receiver = Receiver()
    receiver.plan += plan
    made = _sink(receiver.port)
    first = 1
    try:
        for size in sizes:
            until_taken(made, events(first, size))
            first += size
        # The last batch of a connection that breaks is what nobody can know of: only the next one shows it.
        marks = iter(range(100_000, 200_000))
        wanted = set(ids(events(1, first - 1)))
        wait_until(lambda: wanted <= _sent(made, receiver, next(marks)))
    finally:
        made.close()
        receiver.stop()
    by_connection: dict[int, list[str]] = {}
    for number, key in receiver.took:
        by_connection.setdefault(number, []).append(key)
    assert all(keys == sorted(keys) for keys in by_connection.values())


def _sent(made: Syslog, receiver: Receiver, seq: int) -> set[str]:
    until_taken(made, [event(seq)])
    return {key for _, key in receiver.took}


def _is_closed(made: Syslog) -> bool:
    made._drop_if_closed()
    return made._socket is None


@given(st.dictionaries(st.text(), st.text()))
def test_json_in_ascii_is_the_same_json(value: dict[str, str]) -> None:
    line = json.dumps(value, ensure_ascii=False)
    try:
        text = line.encode()
    except UnicodeEncodeError:  # half a pair: no UTF-8 has it
        return
    spelled = ascii_json(text)
    assert spelled.isascii() and json.loads(spelled) == value


@given(st.text(), st.integers(0, 99), st.text(max_size=300))
def test_every_frame_is_rfc_5424_s(key: str, severity: int, host: str) -> None:
    made = Frames(SinkSettings(name="s", kind="syslog", form="ocsf"), host, 7)
    frame = made.of(event(3, "héllo", severity)._replace(id=key.encode("utf-8", "replace").decode()))
    length, message = frame.split(b" ", 1)
    assert int(length) == len(message)
    found = re.fullmatch(
        rb"<(\d{1,3})>1 (\S+) ([\x21-\x7e]{1,255}) ([\x21-\x7e]{1,48}) (\d+) audit "
        rb'\[modelbroker@32473 id="((?:[^"\\\]]|\\["\\\]])*)" seq="3"\] (\{.*\})',
        message,
        re.S,
    )
    assert found is not None
    assert 13 * 8 <= int(found[1]) < 14 * 8
    assert re.sub(rb"\\(.)", rb"\1", found[6], flags=re.S).decode() == key.encode("utf-8", "replace").decode()


def _of(server: Rsyslog, keys: list[str]) -> list[dict[str, str]]:
    """What it got of these, the first of each, in order: all of them are waited for."""
    wait_until(lambda: set(keys) <= set(server.ids()), 60)
    first: dict[str, dict[str, str]] = {}
    for key, entry in zip(server.ids(), server.got(), strict=False):
        if key in keys:
            first.setdefault(key, entry)
    assert list(first) == keys
    return list(first.values())
