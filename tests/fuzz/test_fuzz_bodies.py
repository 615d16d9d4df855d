"""Bodies that are not what they should be: JSON changed in places, cut, in another encoding, very deep or
long; clients that stop in the middle; two lengths in one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from support.broker import KEY
from support.fuzzing import budget
from support.fuzzing.house import Fuzzed, fuzzed, tell
from support.fuzzing.requests import body_request, render, valid_request
from support.fuzzing.sockets import Answers, Case, Heard, run_all
from support.fuzzing.verdict import judge
from support.simulators import Simulators

pytestmark = pytest.mark.timeout(budget.timeout_s())
Record = Callable[[str, object], None]
KEYS = [("host", "broker"), ("content-type", "application/json"), ("authorization", f"Bearer {KEY}")]
CHAT = "/v1/chat/completions"
# What a broker that read the lengths otherwise than its Envoy would take for a request of its own.
HIDDEN = render(
    "POST", "/v1/embeddings", [*KEYS, ("content-length", "35")], b'{"model":"fuzzed","input":"hidden"}'
)


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "o") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def house(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with fuzzed(tmp_path_factory.mktemp("fuzz"), sims) as running:
        yield running


def test_odd_bodies(house: Fuzzed, record_property: Record) -> None:
    numbers = range(budget.cases("bodies"))
    cases = [body_request(budget.rng("bodies", n), budget.name("bodies", n)) for n in numbers]
    tell("bodies", house.run(cases), record_property)


def _smuggled() -> list[bytes]:
    """One request to one reader, two to another (RFC 9112, sections 6.1 and 11.2)."""
    body = b"0\r\n\r\n" + HIDDEN
    length = ("content-length", str(len(body)))
    chunked = ("transfer-encoding", "chunked")
    odd = [
        "chunked, identity",
        "identity, chunked",
        "xchunked",
        "gzip, chunked",
        "chunked\x0b",
        "Chunked;x",
        "\x00",
    ]
    heads = [
        [length, chunked],
        [chunked, length],
        [("content-length", "5"), length],
        [length, ("content-length", "5")],
        [("content-length", f"{len(body)}, 5")],
        [("content-length", "+5")],
        [("content-length", "5 5")],
        [("content-length", "-5")],
        [("content-length", "5" * 30)],
        [("content-length ", "5"), chunked],
        [chunked, chunked],
        [length, ("transfer-encoding ", "chunked")],
        [length, ("Transfer-Encoding", " chunked")],
        [length, ("transfer-encoding", "x"), chunked],
        *[[length, ("transfer-encoding", value)] for value in odd],
        *[[("transfer-encoding", value)] for value in odd],
    ]
    return [render("POST", CHAT, [*KEYS, *head], body) for head in heads]


def test_no_request_hides_in_a_body(house: Fuzzed, sims: Simulators) -> None:
    for number, sent in enumerate(_smuggled()):
        wrong = asyncio.run(run_all(house.port, [Case(f"smuggled {number}", (sent,))], judge))
        assert not wrong, wrong[0]
    # Two valid lengths that agree, or a chunked body and a request behind it, are two requests for everyone.
    for sim in sims:
        for call in sim.settled_calls():
            assert "hidden" not in str(call.get("body")), call
    house.check()


def test_clients_that_stop_in_the_middle(house: Fuzzed) -> None:
    """They are cut by the listener's time limits, with words where the request is known."""
    whole = valid_request(budget.rng("stop", 0), CHAT)
    head = whole.index(b"\r\n\r\n") + 4
    half = render("POST", CHAT, [*KEYS, ("transfer-encoding", "chunked")], b"5\r\n{")
    cut_heads = [b"P", whole[:20], whole[: head - 2]]
    cut_bodies = [whole[:head], whole[:-1], half]
    cases = [
        Case(f"stops {len(cut)}", (cut,), patience_s=40.0, stays=True) for cut in (*cut_heads, *cut_bodies)
    ]

    def judge_stop(case: Case, heard: Heard, answers: Answers) -> str:
        is_told = bool(answers.found) and answers.found[0].status == 408
        is_due = case.sent in cut_bodies
        return judge(case, heard, answers) or (
            "" if is_told or not is_due else "was not told that time is up"
        )

    assert not (wrong := asyncio.run(run_all(house.port, cases, judge_stop))), wrong[0]
    house.check()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_byte_at_a_time(house: Fuzzed, path: str) -> None:
    whole = valid_request(budget.rng("slow", 0), path)
    case = Case(f"byte by byte {path}", tuple(whole[i : i + 1] for i in range(len(whole))))
    assert not (wrong := asyncio.run(run_all(house.port, [case], judge))), wrong[0]
    house.check()
