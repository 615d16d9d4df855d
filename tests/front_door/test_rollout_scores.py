"""A rollout that says by itself how good answers are: judges and rules, real Envoy, one broker for all of
it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.kills import child_of_control
from support.records import lines_of
from support.rollouts import drive, events_of, rollouts_of, say
from support.simulators import Simulators
from support.waiting import wait_until

PAYROLL = "mb-key-of-payroll"
CANARY = "canary.secret@example.com"
GOOD = "The capital of France is Paris."
BAD = "I would rather not speak of geography."
SHAPED = json.dumps({"city": "Paris"})
TOKENS = {"input": 100, "output": 10}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
MARKS = {"kind": "judge", "pool": "judges", "grade": True}
SHARES = [{"share": "50%"}, {"share": "100%"}]
# Pool → (the candidate's model, its stages, its scores).
POOLS: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
    "worse": ("bad", SHARES, {"by": [MARKS], "budget": "$5/day"}),
    "equal": ("good", SHARES, {"by": [MARKS, {"kind": "regex", "pattern": "Paris"}], "budget": "$5/day"}),
    "unshaped": ("good", SHARES, {"by": [{"kind": "json", "schema": SCHEMA}]}),
    "unjudged": ("bad", SHARES, {"by": [{**MARKS, "pool": "dead"}], "budget": "$5/day"}),
    "failing": ("down", SHARES, {"by": [{"kind": "regex", "pattern": "Paris"}]}),
    "waiting": ("bad", SHARES, {"by": [{**MARKS, "pool": "slow"}], "budget": "$5/day"}),
    "poor": ("bad", SHARES, {"by": [MARKS], "budget": "$0.000001/day"}),
    "compared": (
        "bad",
        [{"shadow": "100%", "budget": "$1/day"}, {"share": "100%", "gates": {"errors": "50%"}}],
        {"by": [{"kind": "judge", "pool": "judges"}, {"kind": "similarity"}], "budget": "$5/day"},
    ),
}
ERRORS = {"failing": "off"}


class Ran(NamedTuple):
    broker: Broker
    got: dict[str, list[Got]]  # by pool


def config(sims: Simulators) -> dict[str, Any]:
    pools = [
        {
            "name": name,
            "affinity": {"by": "session", "header": "x-my-session"},
            "members": [{"provider": "own", "model": "shaped" if name == "unshaped" else "m"}],
            "rollout": {
                "to": f"new/{model}",
                "name": name,
                "hold": "1s",
                "min_calls": 20,
                "within": "5m",
                "gates": {"confidence": "90%", "errors": ERRORS.get(name, "50%"), "quality": "25%"},
                "stages": stages,
                "scores": {"share": "100%", **scores},
            },
        }
        for name, (model, stages, scores) in POOLS.items()
    ]
    judges = [
        {"name": name, "members": [{"provider": name, "model": "j"}], "failover": "none"}
        for name in ("judges", "dead", "slow")
    ]
    members = (("own", "*"), ("new", "*"), ("judges", "j"), ("dead", "j"), ("slow", "j"))
    return {
        "providers": [
            provider("own", sims["own"].port, "openai-chat", BASES["openai-chat"]),
            provider("new", sims["new"].port, "anthropic-messages", BASES["anthropic-messages"]),
            *(
                provider(name, sims[name].port, "openai-chat", BASES["openai-chat"])
                for name in ("judges", "dead", "slow")
            ),
        ],
        "callers": [
            {"name": "tester", "key": {"sha256": KEY_SHA256}},
            {"name": "payroll", "key": {"sha256": hashlib.sha256(PAYROLL.encode()).hexdigest()}},
        ],
        "pools": [*pools, *judges],
        "prices": [{"provider": p, "model": m, "input": 3, "output": 15} for p, m in members],
        # Nothing is captured: only whom nobody may look at is said.
        "capture": {"exempt": ["payroll"], "encryption": "none"},
    }


def script(sims: Simulators) -> None:
    sims["own"].script(
        replies=[
            {"match": {"model": "shaped"}, "text": SHAPED, "tokens": TOKENS},
            {"text": GOOD, "tokens": TOKENS},
        ]
    )
    sims["new"].script(
        faults=[{"match": {"model": "down"}, "status": 500}],
        replies=[
            {"match": {"model": "bad"}, "text": BAD, "tokens": TOKENS},
            {"text": GOOD, "tokens": TOKENS},
        ],
    )
    said = {
        f"<answer>\\n{BAD}": '{"mark": 2}',
        f"<answer>\\n{GOOD}": '{"mark": 9}',
        f"<answer_a>\\n{BAD}": '{"winner": "B"}',
        f"<answer_b>\\n{BAD}": '{"winner": "A"}',
    }
    replies = [
        {"match": {"contains": piece}, "text": f"So it is.\n{word}", "tokens": TOKENS}
        for piece, word in said.items()
    ]
    sims["judges"].script(replies=replies)
    sims["dead"].script(refuse=True)
    sims["slow"].script(faults=[{"delay_headers_ms": 600_000}])


def ask(number: int) -> Ask:
    """Half of them streams, every dialect, some of somebody who is exempt."""
    pools = list(POOLS)
    turn = number // len(pools)
    dialect = ("openai-chat", "anthropic-messages", "openai-responses")[turn % 3]
    headers = {"x-my-session": f"session {number}"}
    who = ""
    if turn % 11 == 10:
        who, headers = "payroll ", {**headers, "authorization": f"Bearer {PAYROLL}"}
    question = f"{who}{number}: which is the capital of France? Write to {CANARY}"
    return Ask(pools[number % len(pools)], dialect, turn % 2 == 0, question, headers=headers)


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("own", "new", "judges", "dead", "slow") as simulators:
        script(simulators)
        yield simulators


@pytest.fixture(scope="module")
def ran(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    wanted = {"worse": "rolled-back", "equal": "done", "unshaped": "rolled-back", "compared": "rolled-back"}

    def is_over() -> bool:
        shown = rollouts_of(broker)
        moved = all(shown[name]["phase"] == phase for name, phase in wanted.items())
        return moved and shown["unjudged"]["scores"].get("failed", 0) > 20

    with Broker(tmp_path_factory.mktemp("scores"), config(sims)) as broker:
        got = asyncio.run(drive(broker, ask, is_over, 150))
        by_pool: dict[str, list[Got]] = {name: [] for name in POOLS}
        for one in got:
            by_pool[one.ask.pool].append(one)
        yield Ran(broker, by_pool)


def gate(event: dict[str, Any]) -> dict[str, Any]:
    (found,) = [one for one in event["gates"] if one["gate"] == "quality"]
    return dict(found)


def events(ran: Ran, name: str) -> list[dict[str, Any]]:
    return [event for event in events_of(ran.broker) if event["rollout"] == name]


@pytest.mark.parametrize(
    ("name", "candidate", "stable"), [("worse", 0.2, 0.9), ("unshaped", 0.0, 1.0), ("compared", None, None)]
)
def test_who_answers_worse_is_rolled_back_by_itself(
    ran: Ran, name: str, candidate: float | None, stable: float | None
) -> None:
    """By a judge's marks, by a schema; at a stage of copies by a judge of pairs, and no client gets them."""
    *_, last = events(ran, name)
    assert (last["event"], last["reason"]) == ("rolled-back", "the gate quality failed")
    figures = gate(last)
    if candidate is not None:
        assert figures["candidate"]["value"] == pytest.approx(candidate)
        assert figures["stable"]["value"] == pytest.approx(stable)
    else:
        # A pair that is lost, and words that are alike to some part.
        assert figures["stable"]["value"] == pytest.approx(0.75)
        assert figures["candidate"]["value"] < 0.3
        assert {one.member for one in ran.got[name]} == {"own/m"}
        assert last["at_stage"] == "shadow"


def test_who_answers_as_well_gets_there(ran: Ran) -> None:
    told = [(one["event"], one["at_stage"]) for one in events(ran, "equal")]
    assert told == [("began", "50%"), ("promoted", "50%"), ("done", "100%")]
    figures = gate(events(ran, "equal")[1])
    assert figures["verdict"] == "passed"
    # Of nine marks of ten and what a pattern says.
    assert [figures[arm]["value"] for arm in ("candidate", "stable")] == pytest.approx([0.95, 0.95])
    assert figures["candidate"]["n"] >= 10


@pytest.mark.parametrize(("name", "why"), [("unjudged", "judge"), ("poor", "budget")])
def test_without_scores_it_stays_open(ran: Ran, name: str, why: str) -> None:
    """Its judge is dead, or costs more than it may: nobody is promoted, or rolled back."""
    shown = rollouts_of(ran.broker)[name]
    assert (shown["phase"], shown["stage"]) == ("running", "50%")
    assert [one["event"] for one in events(ran, name)] == ["began"]
    figures = gate({"gates": shown["gates"]})
    assert (figures["verdict"], figures["candidate"], figures["stable"]) == ("open", None, None)
    scores = shown["scores"]
    assert scores["last_failure"] == why and scores.get("scored", 0) == 0
    assert scores["failed"] > 0 and (why == "judge" or scores["paused"] > 0)
    assert "last failure" in say(ran.broker, "status", name).stdout


def test_a_judge_that_never_answers_has_places_of_its_own(ran: Ran) -> None:
    """Its rollout waits, and no other one does."""
    shown = rollouts_of(ran.broker)["waiting"]
    assert (shown["phase"], shown["stage"]) == ("running", "50%")
    scores = shown["scores"]
    assert scores["under_way"] == 8 and scores["waiting"] > 0 and scores.get("scored", 0) == 0


def test_what_others_answer_in_its_place_is_no_score_of_the_candidates(ran: Ran) -> None:
    shown = rollouts_of(ran.broker)["failing"]
    assert shown["phase"] == "running" and shown["calls"]["candidate"] > 10
    figures = gate({"gates": shown["gates"]})
    assert (figures["candidate"], figures["stable"]["value"]) == (None, 1.0)
    assert shown["scores"]["scored"] == figures["stable"]["n"] > 10
    assert {one.member for one in ran.got["failing"]} == {"own/m"}


def test_no_client_hears_of_any_of_it(ran: Ran) -> None:
    for name, got in ran.got.items():
        bad = [str(one) for one in got if not one.is_whole]
        assert not bad, (name, bad[:3])


def test_judges_are_paid_for_by_the_scores_alone(ran: Ran) -> None:
    asked = [line for line in lines_of(ran.broker) if line["purpose"] == "score"]
    paid = [line for line in asked if line["pool"] == "judges" and line["status"] == 200]
    assert paid and {line["caller"] for line in paid} == {"score:worse", "score:equal", "score:compared"}
    for line in paid:
        assert [one["budget"] for one in line["budgets"]] == [line["caller"]]
        assert (line["rollout"], line["arm"], line["captured"], line["shadow_of"], line["cache"]) == ("",) * 5
    refused = [line for line in asked if line["caller"] == "score:poor"]
    assert {line["code"] for line in refused} == {"budget_exceeded"}
    assert {line["captured"] for line in lines_of(ran.broker)} == {""}
    metric = ran.broker.metrics("modelbroker_rollout_scores_total")
    assert all(
        metric[f'{{arm="{arm}",result="scored",rollout="worse"}}'] > 0 for arm in ("stable", "candidate")
    )


def test_judges_see_what_capture_would_keep_and_the_disk_nothing(ran: Ran, sims: Simulators) -> None:
    """No canary, nobody who is exempt; and with nothing captured no text at all is on the disk."""
    seen = [json.dumps(call["body"]) for call in sims["judges"].settled_calls()]
    assert len(seen) > 20 and all("[email]" in body for body in seen)
    assert not [body for body in seen if CANARY in body or "payroll" in body]
    assert [one for one in ran.got["worse"] if one.ask.question.startswith("payroll")]
    places = [path for path in Path(ran.broker.folder).rglob("*") if path.is_file()]
    found = [path for path in places for text in (CANARY, GOOD, BAD) if text.encode() in path.read_bytes()]
    assert places and not found
    assert CANARY not in ran.broker.log() and BAD not in ran.broker.log()


def test_a_scorer_that_is_killed_begins_again(ran: Ran) -> None:
    """And calls go on meanwhile."""
    before = rollouts_of(ran.broker)["unjudged"]["scores"]["failed"]
    os.kill(child_of_control(ran.broker, "modelbroker.trials.scorer"), signal.SIGKILL)
    number = 0

    def is_scoring() -> bool:
        nonlocal number
        number += 1
        (got,) = make(ran.broker.url, [Ask("unjudged", headers={"x-my-session": f"again {number}"})])
        assert got.is_whole
        return bool(rollouts_of(ran.broker)["unjudged"]["scores"]["failed"] > before)

    wait_until(is_scoring, 60)
    assert "the scorer of answers ended" in ran.broker.log()
