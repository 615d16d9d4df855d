"""Streams that break behind their first event: none looks like a whole one, to a client or in its record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, one_a_dialect
from support.calls import Ask, make
from support.records import record_of, told
from support.simulators import Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages")
WORDS = "one two three four five six seven eight nine ten"
REPLY = {"text": WORDS, "chunks": 10}
# Behind which event a stream is cut: the first real one is there, the last one is not.
IN_THE_MIDDLE = 8


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("first", "next") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    def pool(dialect: str, kind: str, **more: Any) -> dict[str, Any]:
        members = [
            {"provider": f"{name}-{dialect}", "model": "m", "priority": level}
            for level, name in enumerate(("first", "next"))
        ]
        return {"name": f"{kind}-{dialect}", "members": members, "ejection": "off", **more}

    config = {
        "providers": one_a_dialect(sims, DIALECTS),
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [pool(dialect, "plain") for dialect in DIALECTS]
        + [
            {"name": f"alone-{dialect}", "members": [{"provider": f"first-{dialect}", "model": "m"}]}
            for dialect in DIALECTS
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(broker: Broker, sims: Simulators) -> None:
    sims.reset()
    broker.forget()


def streams(kind: str) -> list[Ask]:
    return [Ask(f"{kind}-{dialect}", dialect, stream=True) for dialect in DIALECTS]


# -- Python is out of the path: the client gets what came, and the record says what it was


@pytest.mark.parametrize("size", [None, 1, 7, 61])
def test_a_clean_end_before_the_last_event_is_in_the_record(
    broker: Broker, sims: Simulators, size: int | None
) -> None:
    split = {"split_bytes": size} if size else {}
    sims["first"].script(replies=[{**REPLY, **split}], faults=[{"cut": "end", "after_events": IN_THE_MIDDLE}])
    before = broker.metrics("modelbroker_attempt_failures_total")
    for got in make(broker.url, streams("plain")):
        assert (got.status, got.broken) == (200, "") and "one" in got.text and not got.is_whole, str(got)
        assert told(record_of(broker, got)) == (200, "upstream_truncated", [("upstream_truncated", "cut")])
        member = f"first-{got.ask.dialect}/m"
        label = f'{{cause="cut",member="{member}"}}'
        assert broker.metrics("modelbroker_attempt_failures_total")[label] == before.get(label, 0) + 1
        heard = broker.status()["members"][member]
        assert (heard["last_error"]["cause"], heard["last_error"]["status"]) == ("cut", 200)
    assert sims["next"].calls() == []


@pytest.mark.parametrize("size", [None, 1, 7, 61, 4096])
@pytest.mark.parametrize("usage", [True, False], ids=["with-usage", "without"])
def test_a_whole_stream_is_whole_in_the_record(
    broker: Broker, sims: Simulators, size: int | None, usage: bool
) -> None:
    sims["first"].script(replies=[{**REPLY, **({"split_bytes": size} if size else {})}])
    asks = streams("plain")
    if usage:
        asks.append(Ask("plain-openai-chat", stream=True, more={"stream_options": {"include_usage": True}}))
    for got in make(broker.url, asks):
        assert got.is_whole and got.text == WORDS, str(got)
        assert told(record_of(broker, got)) == (200, "", [("", "")])
    assert all(not member["last_error"] for member in broker.status()["members"].values())


@pytest.mark.parametrize("fault", [{"reset": "mid-stream"}, {"cut": "close"}], ids=["reset", "no-last-chunk"])
def test_a_broken_transfer_stays_one(broker: Broker, sims: Simulators, fault: dict[str, Any]) -> None:
    sims["first"].script(
        replies=[REPLY], faults=[{**fault, "after_events": IN_THE_MIDDLE, "token_delay_ms": 5}]
    )
    for got in make(broker.url, streams("plain")):
        assert got.status == 200 and got.broken and "one" in got.text, str(got)
        assert told(record_of(broker, got)) == (200, "upstream_reset", [("upstream_reset", "reset")])


def test_the_providers_own_error_in_the_middle_is_in_the_record(broker: Broker, sims: Simulators) -> None:
    """Its client gets the event as it came."""
    sims["first"].script(
        replies=[REPLY],
        faults=[
            {
                "error_event": True,
                "after_events": IN_THE_MIDDLE,
                "error": {"type": "overloaded_error", "message": "Overloaded"},
            }
        ],
    )
    for got in make(broker.url, streams("plain")):
        assert not got.broken and b"Overloaded" in got.body and not got.is_whole
        record = told(record_of(broker, got))
        assert record[:2] == (200, "upstream_error")
        assert record[2][0][1] in ("overloaded", "server-error")


# -- a member that goes on like this


BREAKS: list[dict[str, Any]] = [
    {"cut": "end"},
    {"reset": "mid-stream", "token_delay_ms": 5},
    {"error_event": True, "error": {"type": "overloaded_error", "message": "Overloaded"}},
]


@pytest.mark.parametrize("fault", BREAKS, ids=["cut", "reset", "error"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_breaks_three_streams_in_a_row_is_left_out(
    broker: Broker, sims: Simulators, dialect: str, fault: dict[str, Any]
) -> None:
    sims["first"].script(replies=[REPLY], faults=[{**fault, "after_events": IN_THE_MIDDLE}])
    member = f"first-{dialect}/m"

    def state() -> dict[str, Any]:
        return dict(broker.status()["members"].get(member, {"state": "well"}))

    pool = f"plain-{dialect}"
    for number in (1, 2, 3):
        assert state()["state"] == "well"
        (got,) = make(broker.url, [Ask(pool, dialect, stream=True)])
        assert got.member == member and not got.is_whole, str(got)
        record = record_of(broker, got)
        wait_until(lambda number=number: state().get("failures_in_a_row") == number)
    wait_until(lambda: state()["state"] == "out")
    told = broker.status()["members"][member]
    assert told["cause"] == record["attempts"][0]["cause"]
    label = f'{{member="{member}",pool="",reason="{told["cause"]}"}}'
    assert wait_until(lambda: broker.metrics("modelbroker_member_out").get(label)) == 1
    for got in make(broker.url, [Ask(pool, dialect, stream=True) for _ in range(20)]):
        assert got.is_whole and got.member == f"next-{dialect}/m", str(got)
    # Who is alone is tried all the same, and with the first good reply it comes back.
    sims["first"].script(replies=[REPLY])
    (got,) = make(broker.url, [Ask(f"alone-{dialect}", dialect, stream=True)])
    assert got.is_whole and got.member == member, str(got)
    wait_until(lambda: state()["state"] == "ramping")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whole_replies_that_go_well_do_not_hide_broken_streams(
    broker: Broker, sims: Simulators, dialect: str
) -> None:
    breaks = {"cut": "end", "after_events": IN_THE_MIDDLE, "match": {"stream": True}}
    sims["first"].script(replies=[REPLY], faults=[breaks])
    pool, member = f"plain-{dialect}", f"first-{dialect}/m"
    for _ in range(3):
        for stream in (False, True):
            (got,) = make(broker.url, [Ask(pool, dialect, stream)])
            assert got.member == member and got.is_whole is not stream, str(got)
            record_of(broker, got)  # what it tells of the member is known by then
    assert broker.status()["members"][member]["state"] == "out"
    for got in make(broker.url, [Ask(pool, dialect, stream=True) for _ in range(20)]):
        assert got.is_whole and got.member == f"next-{dialect}/m", str(got)


# -- before its first event, and in a whole reply, the same is another member's


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (True, {"reset": "mid-stream", "after_events": 1}),
        (True, {"cut": "close", "after_events": 1}),
        (False, {"reset": "mid-body"}),
        (False, {"cut": "close"}),
    ],
    ids=["stream-reset", "stream-no-last-chunk", "whole-reset", "whole-short"],
)
def test_what_is_not_committed_is_handed_back(
    broker: Broker, sims: Simulators, stream: bool, fault: dict[str, Any]
) -> None:
    sims["first"].script(replies=[REPLY], faults=[{**fault, "token_delay_ms": 5}])
    sims["next"].script(replies=[REPLY])
    for got in make(broker.url, [Ask(f"plain-{dialect}", dialect, stream) for dialect in DIALECTS]):
        assert got.is_whole and got.text == WORDS, str(got)
        record = record_of(broker, got)
        assert (record["status"], record["code"]) == (200, "")
        assert sorted(a["cause"] for a in record["attempts"]) == ["", "reset"]
