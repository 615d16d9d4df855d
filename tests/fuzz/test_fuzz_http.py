"""Requests that are odd, bytes that are hardly HTTP, clients that stop in the middle: always an answer or an
end, and a broker that serves the next call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.fuzzing import budget
from support.fuzzing.frames import fuzzed_frames
from support.fuzzing.house import Fuzzed, fuzzed, tell
from support.fuzzing.requests import fuzzed_request, mutated_bytes, render
from support.fuzzing.sockets import Case
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
