"""Requests that are odd, bytes that are hardly HTTP, clients that stop in the middle: always an answer or an
end, and a broker that serves the next call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from support.broker import KEY
from support.fuzzing import budget
from support.fuzzing.frames import fuzzed_frames
from support.fuzzing.house import Fuzzed, fuzzed, tell
from support.fuzzing.requests import fuzzed_request, mutated_bytes, render
from support.fuzzing.sockets import Answers, Case, Heard, run_all
from support.fuzzing.verdict import judge
from support.simulators import Simulators

pytestmark = pytest.mark.timeout(budget.timeout_s())
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with Simulators("a", "o") as sims, fuzzed(tmp_path_factory.mktemp("fuzz"), sims) as running:
        yield running


def test_odd_requests(house: Fuzzed, record_property: Record) -> None:
    numbers = range(budget.cases("requests"))
    cases = [fuzzed_request(budget.rng("requests", n), budget.name("requests", n)) for n in numbers]
    tell("requests", house.run(cases), record_property)


def test_damaged_bytes(house: Fuzzed, record_property: Record) -> None:
    numbers = range(budget.cases("bytes"))
    cases = [mutated_bytes(budget.rng("bytes", n), budget.name("bytes", n)) for n in numbers]
    tell("bytes", house.run(cases, keys="not in headers for keys"), record_property)


def test_http2_frames(house: Fuzzed, record_property: Record) -> None:
    numbers = range(budget.cases("frames"))
    cases = [fuzzed_frames(budget.rng("frames", n), budget.name("frames", n)) for n in numbers]
    tell("frames", house.run(cases, keys="not in headers for keys"), record_property)


def test_a_request_whose_bytes_are_no_text(house: Fuzzed) -> None:
    """They go into the access log, which has to go on for everyone."""
    headers = [("host", "broker"), ("user-agent", "\xff\xfe"), ("x-a", "\x80")]
    sent = render("GET", "/v1/models", headers)
    house.run([Case("no text", (sent,))] * 20)


@pytest.mark.parametrize("size", [1, 100, 500])
@pytest.mark.parametrize("count", [88, 95, 110, 150, 190, 196, 199, 210])
def test_many_headers(house: Fuzzed, count: int, size: int) -> None:
    """What the outer listener takes the members take, too: refused there, it looked like a provider's
    failure, and three such requests ejected every member of the pool."""
    body = b'{"model":"fuzzed","input":"x"}'
    headers = [("host", "broker"), ("authorization", f"Bearer {KEY}"), ("content-length", str(len(body)))]
    headers += [(f"x{number}", "y" * size) for number in range(count)]

    def judge_headers(case: Case, heard: Heard, answers: Answers) -> str:
        wrong = judge(case, heard, answers)
        return wrong or ("" if answers.found[0].status in (200, 431) else "neither served nor too much")

    case = Case("many headers", (render("POST", "/v1/embeddings", headers, body),))
    assert not (wrong := asyncio.run(run_all(house.port, [case], judge_headers))), wrong[0]
    house.check_alive()
