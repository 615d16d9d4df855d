"""`guard: full`: streams of the client's own dialect that are watched to their end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from support.broker import KEY_SHA256, Broker, one_a_dialect
from support.calls import PATHS, Ask, Got, make, opened
from support.records import record_of, records_of, told
from support.sdks import anthropic_sdk, openai_sdk
from support.simulators import SimulatorHandle, Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages")
WORDS = "one two three four five six seven eight nine ten"
REPLY = {"text": WORDS, "chunks": 10}
# What an event with a word of the answer has, near its beginning.
WORD = {
    "openai-chat": b'"content":"',
    "openai-responses": b"event: response.output_text.delta",
    "anthropic-messages": b"event: content_block_delta",
}
IN_THE_MIDDLE = 8  # events: the first real one is there, the last one is not
# How a pool's replies get through the broker: as they are; with the account's name in ids of OpenAI's.
KINDS = ("one", "owned")
Sent = Sequence[tuple[Ask, bytes]]  # a call, and what the provider sends for it
TRUNCATED = (200, "upstream_truncated", [("upstream_truncated", "cut")])


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("first", "next", "direct") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    def pool(name: str, dialect: str, *accounts: str, **more: Any) -> dict[str, Any]:
        members = [
            {"provider": f"{account}-{dialect}", "model": "m", "priority": level}
            for level, account in enumerate(accounts)
        ]
        return {"name": f"{name}-{dialect}", "members": members, "ejection": "off", "guard": "full", **more}

    quick = {"first_event": "3s", "between_events": "3s"}
    config = {
        "providers": one_a_dialect([sims["first"], sims["next"]], DIALECTS),
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            *(pool("one", dialect, "first") for dialect in DIALECTS),
            *(pool("owned", dialect, "first", "next") for dialect in DIALECTS),
            *(pool("quick", dialect, "first", timeouts=quick) for dialect in DIALECTS),
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(broker: Broker, sims: Simulators) -> None:
    sims.reset()
    broker.forget()


def streams(*kinds: str) -> list[Ask]:
    return [Ask(f"{kind}-{dialect}", dialect, stream=True) for kind in kinds for dialect in DIALECTS]


def by_itself(sim: SimulatorHandle, ask: Ask) -> bytes:
    """The bytes of the stream that the provider sends for this call."""
    url = f"http://127.0.0.1:{sim.port}{PATHS[ask.dialect]}"
    headers = {"authorization": "Bearer x", "x-api-key": "x", "anthropic-version": "2023-06-01"}
    return httpx.post(url, json={**ask.body, "model": "m"}, headers=headers, timeout=60).content


def replay(sims: Simulators, folder: Path, sent: Sent, split_bytes: int | None = None, **fault: Any) -> None:
    """Make the provider answer each of the calls with just these bytes."""
    rows, replies = [], []
    for number, (ask, body) in enumerate(sent):
        response = {"status": 200, "headers": {"content-type": "text/event-stream"}, "body": body.decode()}
        row = {"id": f"r{number}", "kind": ask.dialect, "request": {"body": {}}, "response": response}
        rows.append(json.dumps(row))
        replies.append({"match": {"contains": ask.question}, "recording": row["id"]})
    path = folder / "streams.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    split = {"split_bytes": split_bytes} if split_bytes else {}
    sims["first"].script(recordings=[str(path)], replies=replies, faults=[fault] if fault else [], **split)


def made(broker: Broker, sent: Sent, parallel: int = 50) -> list[tuple[Got, bytes]]:
    """The calls, each with what was sent for it."""
    asks, bodies = [ask for ask, _ in sent], [body for _, body in sent]
    return list(zip(make(broker.url, asks, parallel), bodies, strict=True))


def unnamed(body: bytes) -> bytes:
    """Without the account's name in the ids of a pool with several."""
    return body.replace(b"@first-openai-responses", b"")


def errors_in(got: Got) -> list[dict[str, Any]]:
    """The data of the stream's error events; all of it has to be JSON."""
    lines = [line[6:] for line in got.body.split(b"\n") if line.startswith(b"data: {")]
    assert got.body.endswith(b"\n\n") and got.body.count(b"data: ") == len(lines), str(got)
    return [event for event in map(json.loads, lines) if event.get("error")]


# -- early ends


def between(events: list[bytes]) -> bytes:
    return b"".join(events)


def without_blank_line(events: list[bytes]) -> bytes:
    return b"".join(events)[:-1]


def inside_a_line(events: list[bytes]) -> bytes:
    return b"".join(events)[:-9]


def inside_the_first_word(events: list[bytes]) -> bytes:
    return b"".join(events[:-1]) + events[-1][:3]


def behind_a_line(events: list[bytes]) -> bytes:
    return b"".join(events[:-1]) + events[-1][: events[-1].index(b"\n") + 1]


ENDS = [between, without_blank_line, inside_a_line, inside_the_first_word, behind_a_line]


def cut_streams(sims: Simulators, end: Callable[[list[bytes]], bytes], *kinds: str) -> Sent:
    """A call in each dialect."""
    sims["direct"].script(replies=[REPLY])
    sent = []
    for ask in streams(*kinds):
        body = by_itself(sims["direct"], ask)
        sent.append((ask, end([event + b"\n\n" for event in body.split(b"\n\n")][:IN_THE_MIDDLE])))
    return sent


@pytest.mark.parametrize(
    "fault", [{}, {"split_bytes": 1}, {"split_bytes": 61}, {"compress": "gzip"}], ids=str
)
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_an_early_end_is_the_dialects_own_error(
    broker: Broker,
    sims: Simulators,
    tmp_path: Path,
    end: Callable[[list[bytes]], bytes],
    fault: dict[str, Any],
) -> None:
    sent = cut_streams(sims, end, *KINDS)
    replay(sims, tmp_path, sent, **fault)
    before = broker.metrics("modelbroker_attempt_failures_total")
    for got, body in made(broker, sent):
        assert (got.status, got.broken) == (200, ""), str(got)
        whole, behind = body[: body.rfind(b"\n\n") + 2], unnamed(got.body)
        assert behind.startswith(whole), str(got)
        assert behind[len(whole) :].count(b"\n\n") == 1, str(got)
        (error,) = errors_in(got)
        assert "ended before its end" in error["error"]["message"]
        assert error["error"]["code"] == "upstream_truncated"
        if got.ask.dialect == "anthropic-messages":
            assert error["request_id"] == got.headers["x-broker-request-id"]
        assert told(record_of(broker, got)) == TRUNCATED
    for dialect in DIALECTS:
        member = f"first-{dialect}/m"
        label = f'{{cause="cut",member="{member}"}}'
        after = broker.metrics("modelbroker_attempt_failures_total")
        assert after[label] == before.get(label, 0) + len(KINDS)
        heard = broker.status()["members"][member]
        assert (heard["last_error"]["cause"], heard["last_error"]["status"]) == ("cut", 200)
    assert sims["next"].calls() == []


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_the_sdks_raise_it(
    broker: Broker, sims: Simulators, tmp_path: Path, end: Callable[[list[bytes]], bytes], kind: str
) -> None:
    sent = cut_streams(sims, end, kind)
    replay(sims, tmp_path, sent)
    before = failures(broker)
    for ask, _ in sent:
        read: list[Any] = []
        with pytest.raises((openai.APIError, anthropic.APIError), match="ended before its end"):
            read.extend(by_sdk(broker, ask))
        assert len(read) >= IN_THE_MIDDLE - 2
    # Told only now, some of these together would take the members out in a later test.
    wait_until(lambda: failures(broker) == before + len(sent), 60)


def failures(broker: Broker) -> float:
    return sum(broker.metrics("modelbroker_attempt_failures_total").values())


def by_sdk(broker: Broker, ask: Ask) -> Iterator[Any]:
    if ask.dialect == "anthropic-messages":
        with anthropic_sdk(broker.url) as claude:
            yield from claude.messages.create(**ask.body)
        return
    with openai_sdk(broker.url) as sdk:
        surface: Any = sdk.responses if ask.dialect == "openai-responses" else sdk.chat.completions
        yield from surface.create(**ask.body)


@pytest.mark.parametrize("usage", [True, False], ids=["asked", "not-asked"])
def test_a_cut_beside_the_usage(broker: Broker, sims: Simulators, tmp_path: Path, usage: bool) -> None:
    """A chat stream that has said why it stopped is whole without [DONE], whatever is cut behind that."""
    asked = {"stream_options": {"include_usage": True}}
    sims["direct"].script(replies=[REPLY])
    body = by_itself(sims["direct"], Ask("m", stream=True, more=asked))
    events = [event + b"\n\n" for event in body.removesuffix(b"\n\n").split(b"\n\n")]
    *_, stop, tells_usage, done = events
    assert (
        b'"finish_reason":"stop"' in stop and b'"total_tokens"' in tells_usage and done == b"data: [DONE]\n\n"
    )
    upto = b"".join(events[:-2])
    ends = [  # what the provider sends, and what of it the client gets
        (upto, upto),
        (upto + tells_usage, upto + tells_usage if usage else upto),
        (body, body if usage else upto + done),
    ]
    more = asked if usage else {}
    sent = [(Ask("one-openai-chat", stream=True, more=more), end) for end, _ in ends]
    cut = Ask("one-openai-chat", stream=True, more=more)
    broken = b"".join(events[:-3]) + tells_usage[:-20]
    replay(sims, tmp_path, [*sent, (cut, broken)], split_bytes=50)
    for (got, _), (_, expected) in zip(made(broker, sent), ends, strict=True):
        assert (got.status, got.broken) == (200, "") and got.body == expected, str(got)
        assert told(record_of(broker, got)) == (200, "", [("", "")])
    (got,) = make(broker.url, [cut])
    assert len(errors_in(got)) == 1 and b"total_tokens" not in got.body
    assert told(record_of(broker, got)) == TRUNCATED


# -- whole streams


@pytest.mark.parametrize(
    "fault", [{}, {"split_bytes": 1}, {"split_bytes": 61}, {"compress": "gzip"}], ids=str
)
@pytest.mark.parametrize(
    "reply", [REPLY, {"text": "caf\u00e9 \u4f60\u597d " * 9, "chunk_bytes": 1}], ids=["words", "bytes"]
)
def test_whole_streams_are_the_providers_bytes(
    broker: Broker, sims: Simulators, tmp_path: Path, fault: dict[str, Any], reply: dict[str, Any]
) -> None:
    sims["direct"].script(replies=[reply])
    sent = [(ask, by_itself(sims["direct"], ask)) for ask in streams(*KINDS)]
    replay(sims, tmp_path, sent, **fault)
    mine = set()
    for got, body in made(broker, sent):
        assert got.is_whole and unnamed(got.body) == body, str(got)
        assert told(record_of(broker, got)) == (200, "", [("", "")])
        mine.add(got.headers["x-broker-request-id"])
    # What a test before this one has done may be told now.
    errors = [member["last_error"] for member in broker.status()["members"].values()]
    assert not [error for error in errors if error and error["request_id"] in mine]


@pytest.mark.parametrize(
    "reply",
    [{"text": "word " * 3000, "chunks": 3000}, {"text": "x" * 3_000_000, "chunks": 3}],
    ids=["many", "large"],
)
def test_many_and_large_events(
    broker: Broker, sims: Simulators, tmp_path: Path, reply: dict[str, Any]
) -> None:
    sims["direct"].script(replies=[reply])
    asks = [Ask(ask.pool, ask.dialect, True, max_tokens=2_000_000) for ask in streams(*KINDS)]
    sent = [(ask, by_itself(sims["direct"], ask)) for ask in asks]
    replay(sims, tmp_path, sent)
    for got, body in made(broker, sent, parallel=3):
        assert got.is_whole and unnamed(got.body) == body
        assert told(record_of(broker, got)) == (200, "", [("", "")])
    cut = [(ask, body[: body.rfind(WORD[ask.dialect]) + 15]) for ask, body in sent]  # inside the last word
    replay(sims, tmp_path, cut)
    for got, _ in made(broker, cut, parallel=3):
        assert (got.status, got.broken) == (200, "") and len(errors_in(got)) == 1
        assert told(record_of(broker, got)) == TRUNCATED


def test_the_providers_own_error_stays_its_own(broker: Broker, sims: Simulators) -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    fault = {"error_event": True, "after_events": IN_THE_MIDDLE, "error": error}
    sims["first"].script(replies=[REPLY], faults=[fault])
    for got in make(broker.url, streams(*KINDS)):
        assert not got.broken and b"Overloaded" in got.body and len(errors_in(got)) == 1, str(got)
        status, code, attempts = told(record_of(broker, got))
        assert (status, code) == (200, "upstream_error")
        assert attempts[0][1] in ("overloaded", "server-error")


# -- what the guard can't mend


@pytest.mark.parametrize("fault", [{"reset": "mid-stream"}, {"cut": "close"}], ids=["reset", "no-last-chunk"])
def test_a_broken_transfer_stays_one(broker: Broker, sims: Simulators, fault: dict[str, Any]) -> None:
    struck = {**fault, "after_events": IN_THE_MIDDLE, "token_delay_ms": 5}
    sims["first"].script(replies=[REPLY], faults=[struck])
    for got in make(broker.url, streams(*KINDS)):
        assert got.status == 200 and got.broken and "one" in got.text, str(got)
        assert told(record_of(broker, got)) == (200, "upstream_reset", [("upstream_reset", "reset")])


def test_silence_is_a_broken_transfer(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(replies=[REPLY], faults=[{"stall": "mid-stream", "after_events": IN_THE_MIDDLE}])
    for got in make(broker.url, streams("quick")):
        assert got.status == 200 and got.broken and "one" in got.text, str(got)
        assert told(record_of(broker, got)) == (200, "upstream_stalled", [("upstream_stalled", "stall")])


# -- up to the commit point all is as without it


@pytest.mark.parametrize(
    "fault",
    [
        {"error_event": True},
        {"cut": "end", "after_events": 1},
        {"reset": "mid-stream", "after_events": 1, "token_delay_ms": 5},
        {"status": 503},
    ],
    ids=str,
)
def test_what_is_not_committed_is_another_members(
    broker: Broker, sims: Simulators, fault: dict[str, Any]
) -> None:
    sims["first"].script(replies=[REPLY], faults=[fault])
    sims["next"].script(replies=[REPLY])
    for got in make(broker.url, streams("owned")):
        assert got.is_whole and got.text == WORDS and got.attempts == 2, str(got)
        assert told(record_of(broker, got))[:2] == (200, "")


def test_a_client_that_goes_is_seen_by_the_provider(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(replies=[REPLY], faults=[{"stall": "mid-stream", "after_events": IN_THE_MIDDLE}])

    def read(ask: Ask) -> Got:
        headers = {"authorization": "Bearer mb-test-key", "anthropic-version": "2023-06-01"}
        with httpx.stream("POST", broker.url + PATHS[ask.dialect], json=ask.body, headers=headers) as reply:
            body = next(reply.iter_raw())
            return Got(ask, reply.status_code, dict(reply.headers), body)

    for got in [read(ask) for ask in streams(*KINDS)]:
        record = record_of(broker, got)
        assert told(record) == (200, "client_gone", [("cancelled", "")]), record
        assert len(records_of(broker, got)) == 1
    outcomes = [call["outcome"] for call in wait_until(sims["first"].settled_calls, 60)]
    assert outcomes == ["client-gone"] * len(outcomes)


def test_nobody_asks_for_it_by_a_header(broker: Broker, sims: Simulators) -> None:
    """Neither a client nor a provider gets to see it, or has a say in it."""
    sims["first"].script(replies=[REPLY])
    for got in make(broker.url, [Ask("one-openai-chat", stream=True, headers={"x-broker-guard": "0"})]):
        assert got.is_whole and "x-broker-guard" not in got.headers
    (call,) = sims["first"].settled_calls()
    assert "x-broker-guard" not in {name.lower() for name, _ in call["headers"]}


def test_a_watched_stream_ends_with_the_control_plane(broker: Broker, sims: Simulators) -> None:
    """It never looks whole; a new control plane takes the next call."""
    sims["first"].script(replies=[{"text": "word " * 2000, "chunks": 2000}], faults=[{"token_delay_ms": 5}])
    ask = Ask("one-openai-chat", stream=True)

    async def killed_in_the_middle() -> bytes:
        body = b""
        (pid,) = broker.child_pids("serve")
        async with opened(broker.url, ask) as reply:
            with pytest.raises(httpx.HTTPError):
                async for piece in reply.aiter_raw():
                    if not body:
                        os.kill(pid, signal.SIGKILL)
                    body += piece
        return body

    assert b"[DONE]" not in asyncio.run(killed_in_the_middle())
    sims["first"].script(replies=[REPLY])
    wait_until(lambda: make(broker.url, [ask])[0].is_whole)
