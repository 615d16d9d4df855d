"""Bodies of captured calls get into the store without what is nobody's to keep, and harm no call; of all
others nothing is kept at all."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from modelbroker.core.traffic import Sample
from modelbroker.traffic.stores import open_store
from support.broker import BASES, KEY_SHA256, Broker, one_a_dialect, provider
from support.calls import PATHS, Ask, Got, make, text_of
from support.envoy import stats
from support.kills import writer_of
from support.leaving import Client
from support.records import record_of
from support.simulators import Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages")
# Client's dialect → that of a member which has its calls translated.
OTHERS = {
    "openai-chat": "anthropic-messages",
    "openai-responses": "gemini",
    "anthropic-messages": "openai-chat",
}
KEY_TEXT = "6b" * 32
CANARIES = {
    "email": "canary.bird@secret-mine.example",
    "keys": "sk-ant-api03-CanaryCanary0123456789",
    "card": "4111 1111 1111 1111",
    "iban": "DE89370400440532013000",
    "phone": "+49 30 1234567",
}
CANARY = " and ".join(CANARIES.values())
# What no canary of may be anywhere: longer pieces of each.
PIECES = (
    "canary.bird",
    "secret-mine",
    "CanaryCanary",
    "1111 1111",
    "1111111111111111",
    "3704004405",
    "30 1234567",
)
QUICK = {"after": "100ms", "reply_after": "100ms", "share": "100%"}
ARGUMENTS = {"to": CANARIES["email"], "inner": json.dumps({"key": CANARIES["keys"]})}
REPLY = {"text": f"I know {CANARY}, you see."}
PIN = {"x-mock-reply": json.dumps(REPLY)}


def pool(name: str, *members: str, **more: Any) -> dict[str, Any]:
    listed = [{"provider": each, "model": "m", "priority": level} for level, each in enumerate(members)]
    return {"name": name, "members": listed, "ejection": "off", **more}


def config(sims: Simulators, **capture: Any) -> dict[str, Any]:
    first = sims["first"].port
    said = {
        "rules": [
            {"match": {}, "pools": ["own-*", "translated-*", "pair", "cached", "hedged", "brief"]},
            {"match": {}, "pools": ["asked", "asked-pair"], "bodies": "request"},
            {"match": {}, "pools": "half", "share": "50%"},
        ],
        "encryption": "none",
        "body_bytes": "64KiB",
        **capture,
    }
    return {
        "providers": [
            *one_a_dialect([sims["first"], sims["next"]], DIALECTS),
            *(provider(f"other-{name}", first, name, BASES[name]) for name in OTHERS.values()),
        ],
        "callers": [
            {"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "red"},
            {"name": "payroll", "key": {"env": "PAYROLL_KEY"}},
        ],
        "pools": [
            *(pool(f"own-{dialect}", f"first-{dialect}") for dialect in DIALECTS),
            *(pool(f"translated-{dialect}", f"other-{OTHERS[dialect]}") for dialect in DIALECTS),
            pool("pair", "first-openai-chat", "next-openai-chat"),
            pool("cached", "first-openai-chat", cache={"scope": "all"}),
            pool("hedged", "first-openai-chat", "next-openai-chat", hedge=QUICK),
            pool("brief", "first-openai-chat", timeouts={"call": "500ms"}),
            pool("asked", "first-openai-chat"),
            pool("asked-pair", "first-openai-chat", "next-openai-chat"),
            pool("other", "next-openai-chat"),
            pool("half", "first-openai-chat"),
            pool("silent", "first-openai-chat"),
        ],
        **({"capture": said} if capture.get("rules") != [] else {}),
    }


ENVIRON = {"PAYROLL_KEY": "key-of-payroll", "TRAFFIC_KEY": KEY_TEXT}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("first", "next") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("capture")
    said = config(sims, exempt=["payroll"], drop=["metadata"])
    with Broker(folder, said, environ=ENVIRON, with_ledger=True) as one:
        yield one


@pytest.fixture(autouse=True)
def fresh(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def samples(broker: Broker, keys: tuple[bytes, ...] = ()) -> dict[str, Sample]:
    path = broker.folder / "state" / "traffic.db"
    if not path.exists():
        return {}
    with open_store(f"sqlite:///{path}", keys) as store:
        return {sample.request_id: sample for sample in store.read()}


def id_of(got: Got) -> str:
    return got.headers["x-broker-request-id"]


def sample_of(broker: Broker, got: Got) -> Sample:
    return wait_until(lambda: samples(broker).get(id_of(got)))


def everything(folder: Path) -> Mapping[str, bytes]:
    """All that is on the disk, but for the configuration: file → its bytes."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "broker.yaml":
            found[str(path)] = path.read_bytes()
    return found


def asks(dialect: str) -> list[Ask]:
    made = []
    for where in ("own", "translated"):
        for stream in (False, True):
            ask = Ask(f"{where}-{dialect}", dialect, stream, headers=PIN)
            made.append(Ask(ask.pool, dialect, stream, f"{ask.question} {CANARY}", headers=PIN))
    return made


@pytest.mark.parametrize("dialect", DIALECTS)
def test_bodies_are_kept_without_what_is_nobodys_to_keep(
    broker: Broker, sims: Simulators, dialect: str
) -> None:
    for got in make(broker.url, asks(dialect)):
        assert got.is_whole and CANARIES["email"] in got.text, got
        sample = sample_of(broker, got)
        assert sample.request is not None and sample.reply is not None and not sample.cut
        assert (sample.dialect, sample.path, sample.stream) == (dialect, PATHS[dialect], got.ask.stream)
        assert (sample.status, sample.member, sample.pool) == (200, got.member, got.ask.pool)
        assert (sample.caller, sample.team, sample.purpose) == ("tester", "red", "")
        assert got.ask.question.split(".")[0] in sample.request.decode()
        assert set(CANARIES) <= set(sample.redacted)
        for body in (sample.request, sample.reply):
            text = body.decode()
            assert not [piece for piece in PIECES if piece in text], text
            assert all(f"[{name}]" in text for name in CANARIES) or got.ask.stream, text
        assert record_of(broker, got)["captured"] == "both"
    seen = {name.lower() for call in sims["first"].calls() for name, _ in call["headers"]}
    assert seen and not [name for name in seen if name.startswith("x-broker")]
    assert not [
        (name, piece)
        for name, body in everything(broker.folder).items()
        for piece in PIECES
        if piece.encode() in body
    ]


def arguments(body: bytes, stream: bool) -> str:
    """Of the tool's call in a chat's reply."""
    if not stream:
        function = json.loads(body)["choices"][0]["message"]["tool_calls"][0]["function"]
        return str(function["arguments"])
    text = ""
    for line in body.splitlines():
        if line.startswith(b"data: {"):
            for choice in json.loads(line.removeprefix(b"data: "))["choices"]:
                for one in choice["delta"].get("tool_calls", ()):
                    text += one["function"].get("arguments", "")
    return text


@pytest.mark.parametrize("stream", [False, True])
def test_a_tools_arguments_are_looked_at(broker: Broker, stream: bool) -> None:
    reply = {"tool_calls": [{"name": "send", "arguments": ARGUMENTS}]}
    tool = {"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}
    headers = {"x-mock-reply": json.dumps(reply)}
    (got,) = make(
        broker.url, [Ask("own-openai-chat", stream=stream, headers=headers, more={"tools": [tool]})]
    )
    assert got.status == 200 and "canary.bird" in arguments(got.body, stream)
    said = sample_of(broker, got)
    assert said.reply is not None and {"email", "keys"} <= set(said.redacted)
    left = arguments(said.reply, stream)
    assert not [piece for piece in PIECES if piece in left or piece.encode() in said.reply]
    assert json.loads(left)["to"] == "[email]"


def test_calls_that_are_not_captured_are_seen_by_nobody(broker: Broker) -> None:
    before = stats(broker, "ext_proc.capture.streams_started")
    asked = [Ask("silent", stream=stream) for stream in (False, True)]
    asked += [Ask("own-openai-chat", headers={"authorization": "Bearer key-of-payroll"})]
    got = make(broker.url, [*asked, Ask("asked", question=f"who? {CANARY}")])
    refused = make(broker.url, [Ask("no-such-pool"), Ask("silent", headers={"x-broker-capture": "1"})])
    assert [one.status for one in got + refused] == [200] * 4 + [404, 200]
    (last,) = make(broker.url, [Ask("own-openai-chat")])
    sample_of(broker, last)
    after = stats(broker, "ext_proc.capture.streams_started")
    assert sum(after.values()) == sum(before.values()) + 1  # of the last one
    found = samples(broker)
    assert [id_of(one) in found for one in got + refused] == [False] * 3 + [True] + [False] * 2
    alone = found[id_of(got[3])]
    assert alone.request is not None and alone.reply is None and b"[email]" in alone.request
    assert [record_of(broker, one)["captured"] for one in got] == ["", "", "", "request"]


def test_a_share_is_drawn_by_the_id(broker: Broker) -> None:
    from modelbroker.policy.capturing import lot

    got = make(broker.url, [Ask("half") for _ in range(40)])
    chosen = {id_of(one) for one in got if lot(id_of(one)) < 500_000}
    assert 5 < len(chosen) < 35
    wait_until(lambda: chosen <= set(samples(broker)))
    assert {id_of(one) for one in got} & set(samples(broker)) == chosen


def test_failovers_failures_and_answers_of_the_cache(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(faults=[{"status": 503}])
    over = make(broker.url, [Ask("pair"), Ask("pair", stream=True)])
    for got in over:
        sample = sample_of(broker, got)
        assert got.is_whole and got.attempts == 2
        assert (sample.member, sample.status, sample.cut) == ("next-openai-chat/m", 200, "")
    (failed,) = make(broker.url, [Ask("own-openai-chat", question="fails")])
    sample = sample_of(broker, failed)
    assert failed.status == sample.status == 503 and sample.reply == failed.body
    sims.reset()
    broker.forget()
    for expected in ("miss", "hit"):
        (got,) = make(broker.url, [Ask("cached", question="the same again")])
        sample = sample_of(broker, got)
        assert got.headers["x-broker-cache"] == expected
        assert sample.request is not None and sample.reply is not None
        assert record_of(broker, got)["captured"] == "both"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("winner", ["first", "next"])
def test_of_a_hedged_call_the_answer_that_won_is_kept(
    broker: Broker, sims: Simulators, winner: str, stream: bool
) -> None:
    """Also where the loser had begun to answer, and where both had."""
    sims["first"].script(
        replies=[{"text": "said by first"}],
        faults=[{"delay_headers_ms": 600 if winner == "first" else 20_000}],
    )
    loser = [{"delay_headers_ms": 20_000}] if winner == "first" else []
    sims["next"].script(replies=[{"text": "said by next"}], faults=loser)
    before = broker.status()["capture"]["written"]
    (got,) = make(broker.url, [Ask("hedged", stream=stream)])
    assert got.is_whole and (got.member, got.attempts) == (f"{winner}-openai-chat/m", 2), str(got)
    sample = sample_of(broker, got)
    assert (sample.member, sample.status, sample.cut) == (got.member, 200, "")
    assert sample.reply == got.body and f"said by {winner}" in text_of(got.ask, sample.reply)
    record = record_of(broker, got)
    assert record["hedged"] and record["captured"] == "both"
    sims.reset()
    (after,) = make(broker.url, [Ask("own-openai-chat")])
    sample_of(broker, after)
    wait_until(lambda: broker.status()["capture"]["written"] == before + 2)


def test_a_client_that_leaves_while_two_attempts_run(broker: Broker, sims: Simulators) -> None:
    for sim in ("first", "next"):
        sims[sim].script(faults=[{"stall": "before-headers"}])
    question = "goes between two"
    with Client(broker.url, Ask("hedged", question=question), "http/1.1") as one:
        one.send()
        wait_until(lambda: any(question in json.dumps(call["body"]) for call in sims["next"].calls()))
        one.leave()

    def left() -> list[Sample]:
        return [one for one in samples(broker).values() if one.request and question.encode() in one.request]

    (sample,) = wait_until(left)
    assert (sample.status, sample.cut, sample.reply, sample.member) == (None, "ended", None, "")


def test_of_a_call_that_fails_over_there_is_one_sample_of_its_beginning(
    broker: Broker, sims: Simulators
) -> None:
    """Whatever is captured of it: its request is sent several times, and kept once."""
    sims["first"].script(faults=[{"status": 503, "delay_headers_ms": 1_500}])
    before = broker.status()["capture"]["written"]
    got = make(broker.url, [Ask("asked-pair"), Ask("pair")])
    for one in got:
        assert one.is_whole and one.attempts == 2
        sample, record = sample_of(broker, one), record_of(broker, one)
        assert abs(sample.at_s - record["started_s"]) < 1.0, (sample.at_s, record)
    alone, both = (sample_of(broker, one) for one in got)
    assert (alone.request is not None, alone.reply) == (True, None)
    assert both.reply == got[1].body
    sims.reset()
    broker.forget()
    (after,) = make(broker.url, [Ask("own-openai-chat")])
    sample_of(broker, after)
    wait_until(lambda: broker.status()["capture"]["written"] == before + 3)


def test_errors_that_the_broker_tells_of_calls_under_way(broker: Broker, sims: Simulators) -> None:
    """The second member is gone by the time it is needed; or all of the call takes too long."""
    sims["first"].script(faults=[{"status": 503, "delay_headers_ms": 3_000}])
    sims["next"].script(faults=[{"status": 429, "retry_after_s": 600}])
    failed, limited = make(broker.url, [Ask("pair"), Ask("other")])
    assert (failed.status, limited.status) == (503, 429)
    assert json.loads(failed.body)["error"]["code"] == "no_member_ready", str(failed)
    sims["first"].script(faults=[{"stall": "before-headers"}])
    (late,) = make(broker.url, [Ask("brief")])
    assert late.status == 504
    for got in (failed, late):
        sample = sample_of(broker, got)
        assert (sample.status, sample.reply, sample.cut) == (got.status, got.body, "")
        assert sample.request is not None and record_of(broker, got)["captured"] == "both"


def test_what_is_too_large_is_left_out(broker: Broker) -> None:
    long = "long " * 20_000
    large, reply = make(
        broker.url,
        [
            Ask("own-openai-chat", question=long),
            Ask(
                "own-openai-chat",
                stream=True,
                headers={"x-mock-reply": json.dumps({"text": "y " * 3_000, "chunks": 3_000})},
            ),
        ],
    )
    assert large.is_whole and reply.status == 200 and not reply.broken
    first, second = sample_of(broker, large), sample_of(broker, reply)
    assert (first.request, first.cut) == (None, "size") and first.reply is not None
    assert (second.reply, second.cut) == (None, "size") and second.request is not None


def test_a_client_that_leaves_leaves_a_sample(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(faults=[{"stall": "mid-stream", "after_events": 3}])
    with Client(
        broker.url, Ask("own-openai-chat", stream=True, question="leaves in the middle"), "http/1.1"
    ) as one:
        one.send()
        assert b"200 OK" in one.read()
        one.leave()
    sims["first"].script(faults=[{"stall": "before-headers"}])
    with Client(broker.url, Ask("own-openai-chat", question="leaves before"), "http/1.1") as one:
        one.send()
        wait_until(lambda: any("leaves before" in json.dumps(call["body"]) for call in sims["first"].calls()))
        one.leave()

    def left() -> list[Sample]:
        return [one for one in samples(broker).values() if one.request and b"leaves " in one.request]

    wait_until(lambda: len(left()) == 2)
    middle, before = sorted(left(), key=lambda one: one.at_s)
    assert (middle.status, middle.cut) == (200, "ended") and middle.reply and b"data: " in middle.reply
    assert (before.status, before.cut, before.reply) == (None, "ended", None)


def test_what_is_killed_harms_no_call(broker: Broker, sims: Simulators) -> None:
    (before,) = make(broker.url, [Ask("own-openai-chat")])
    sample_of(broker, before)
    old = wait_until(lambda: writer_of(broker))
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: writer_of(broker) not in (None, old))
    got = make(broker.url, [Ask("own-openai-chat", stream=stream) for stream in (False, True)])
    assert all(one.is_whole for one in got)
    assert all(sample_of(broker, one).reply for one in got)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_stream_that_is_being_captured_outlives_the_control_plane(
    broker: Broker, sims: Simulators, how: signal.Signals
) -> None:
    (before,) = make(broker.url, [Ask("own-openai-chat")])
    sample_of(broker, before)
    sims["first"].script(replies=[{"text": "word " * 100, "chunks": 100}], faults=[{"token_delay_ms": 30}])
    with Client(broker.url, Ask("own-openai-chat", stream=True), "http/1.1") as one:
        one.send()
        text = one.read()
        (old,) = broker.child_pids("serve")
        os.kill(old, how)
        while b"0\r\n\r\n" not in text and (more := one.read()):
            text += more
    assert b"[DONE]" in text and text.endswith(b"0\r\n\r\n")
    wait_until(lambda: broker.child_pids("serve") not in ([], [old]))  # `up` sees to it
    (after,) = make(broker.url, [Ask("own-openai-chat")])
    assert sample_of(broker, after).reply


def test_encrypted_and_off(sims: Simulators, tmp_path: Path) -> None:
    """With a key nothing can be read without it; without the section no text is on the disk at all."""
    said = config(sims, encryption={"key": {"env": "TRAFFIC_KEY"}}, redact="none", rules=[{"match": {}}])
    with Broker(tmp_path, said, environ=ENVIRON, with_ledger=True) as broker:
        (got,) = make(broker.url, [Ask("own-openai-chat", question=f"what? {CANARY}", headers=PIN)])
        key = bytes.fromhex(KEY_TEXT)
        sample = wait_until(lambda: samples(broker, (key,)).get(id_of(got)))
        assert sample.request and CANARIES["email"].encode() in sample.request
        assert b"canary" not in b"".join(everything(tmp_path / "state").values())
        for path in (tmp_path / "state").glob("traffic.db*"):
            path.unlink()
        broker.edit(config(sims, rules=[]))
        asked = [one for dialect in DIALECTS for one in asks(dialect)]
        for got in make(broker.url, asked):
            assert got.is_whole
            assert record_of(broker, got)["captured"] == ""
        assert broker.status()["capture"]["state"] == "off"
    found = everything(tmp_path)
    assert not [(name, piece) for name, body in found.items() for piece in PIECES if piece.encode() in body]
    assert not [name for name, body in found.items() if b"question no." in body]
    assert not list((tmp_path / "state").glob("traffic*"))
