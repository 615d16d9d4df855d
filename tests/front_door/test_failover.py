"""One member fails, in every way that a provider can fail: no client sees it, the member is ejected and
comes back.

A member that fails and a good one, twice over: side by side by weight, and on two levels. Each way of
failing is tried with all dialects, whole and streamed, at the same time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from modelbroker.exchange.member import PREAMBLE_HOLD_MS
from support.broker import KEY_SHA256, Broker, one_a_dialect
from support.calls import Ask, Got, asks, make
from support.faults import FAULTS, Fault
from support.simulators import SimulatorHandle, Simulators

DIALECTS = ("openai-chat", "anthropic-messages", "openai-responses")
FAILOVER = 2
EJECTIONS = {
    "kept": "off",
    "ejected": {"consecutive_errors": 3, "base": "500ms", "max": "500ms", "ramp": "500ms"},
}
ROUTINGS = ("weight", "level")
# Only stalls are waited for; a busy machine must have time for a good answer within it.
QUICK = {"first_event": "2s", "reply": "2s"}
PATIENT = {"first_event": "60s", "reply": "60s"}
PARALLEL_EACH = 12  # in each of three pools or six


def pool_name(dialect: str, stream: bool, routing: str, ejection: str, timeouts: str) -> str:
    """A pool a cell, so that what one ejects is nothing to another."""
    return f"{dialect}.{'stream' if stream else 'whole'}.{routing}.{ejection}.{timeouts}"


def pools() -> Iterator[dict[str, Any]]:
    for dialect in DIALECTS:
        for stream in (False, True):
            for routing in ROUTINGS:
                for ejection, configured in EJECTIONS.items():
                    for timeouts, limits in (("quick", QUICK), ("patient", PATIENT)):
                        good = {"provider": f"good-{dialect}", "model": "good-model"}
                        yield {
                            "name": pool_name(dialect, stream, routing, ejection, timeouts),
                            "failover": FAILOVER,
                            "members": [
                                {"provider": f"bad-{dialect}", "model": "bad-model"},
                                good | ({"priority": 1} if routing == "level" else {}),
                            ],
                            "ejection": configured,
                            "timeouts": limits,
                        }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("bad", "good") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": one_a_dialect(sims, DIALECTS),
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": list(pools()),
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def misbehave(sim: SimulatorHandle, fault: Fault) -> None:
    sim.script(refuse=True)  # ends idle connections: those that are there would not be accepted any more
    sim.script(faults=[fault.script])


def calls_of(fault: Fault, routing: str, ejection: str, each: int) -> list[Ask]:
    """`each` calls of every dialect, whole and streamed, where the fault can show itself."""
    kinds = [stream for stream in (False, True) if (fault.stream if stream else fault.whole)]
    return [
        ask
        for dialect in DIALECTS
        for stream in kinds
        for ask in asks(each, pool_name(dialect, stream, routing, ejection, fault.timeouts), dialect, stream)
    ]


def assert_unseen(got: list[Got]) -> None:
    """Every reply is whole and the very answer of the member that the headers name."""
    for g in got:
        assert g.is_whole, str(g)
        name = g.member.partition("-")[0]
        assert g.text == f"{name} answering as {name}-model: {g.ask.question}", str(g)
        assert 1 <= g.attempts <= 1 + FAILOVER, str(g)


def is_preamble_let_through(g: Got) -> bool:
    """A preamble alone is held for a second and no longer; a provider on a busy machine may take that time to
    break off behind it."""
    is_alone = g.body.count(b"\n\n") == 1 and b'"message_start"' in g.body
    return bool(g.broken) and is_alone and g.took_s >= PREAMBLE_HOLD_MS / 1000


def make_all(broker: Broker, calls: list[Ask]) -> tuple[list[Got], int]:
    """The calls at once, all of them good; how many preambles were let through. Those calls are made again,
    one at a time, which the machine has the time for; three such streams in a row put a member out, so what
    is known of members is forgotten before each."""
    got = make(broker.url, calls, parallel=len(calls))
    slow = [g for g in got if is_preamble_let_through(g)]
    got = [g for g in got if g not in slow]
    for g in slow:
        broker.forget()
        got += make(broker.url, [Ask(g.ask.pool, g.ask.dialect, g.ask.stream)])
    assert_unseen(got)
    return got, len(slow)


def assert_attempts(got: list[Got], sims: Simulators) -> None:
    """The providers saw what the header says, so no attempt was made in secret."""
    seen = Counter(
        question
        for sim in sims
        for call in sim.settled_calls()
        if (question := question_in(call)) is not None
    )
    for g in got:
        assert seen[g.ask.question] == g.attempts, str(g)


def question_in(call: dict[str, Any]) -> str | None:
    body = call.get("body") or ""
    start = body.find("question no. ")
    return body[start : body.index(".", start + len("question no. ")) + 1] if start >= 0 else None


def poll(make_calls: Callable[[], list[Got]], holds: Callable[[list[Got]], bool], what: str) -> None:
    """Calls, all of them good, until `holds` of a batch."""
    deadline_s = time.monotonic() + 90
    while True:
        got = make_calls()
        assert_unseen(got)
        if holds(got):
            return
        assert time.monotonic() < deadline_s, f"{what}: {[str(g) for g in got]}"


def pools_of(got: list[Got], holds: Callable[[Got], bool]) -> set[str]:
    return {g.ask.pool for g in got if holds(g)}


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_without_ejection(broker: Broker, sims: Simulators, fault: Fault, routing: str) -> None:
    misbehave(sims["bad"], fault)
    calls = calls_of(fault, routing, "kept", PARALLEL_EACH)
    got, let_through = make_all(broker, calls)
    assert {g.member.partition("-")[0] for g in got} == {"good"}
    if not fault.leaves_a_request:
        return
    assert_attempts(got, sims)
    tried = len(sims["bad"].calls()) - let_through
    if fault.says_when:
        # By its own word it is left alone, but for the calls that were under way.
        assert 1 <= tried <= len(got)
    elif routing == "level":
        assert tried == len(got)
    else:
        # Nothing is ejected: about half of the calls meet the failing member first.
        assert len(got) / 3 < tried < len(got) * 2 / 3


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_with_ejection(broker: Broker, sims: Simulators, fault: Fault, routing: str) -> None:
    misbehave(sims["bad"], fault)
    calls = calls_of(fault, routing, "ejected", PARALLEL_EACH)
    every_pool = {ask.pool for ask in calls}
    got, _ = make_all(broker, calls)
    assert {g.member.partition("-")[0] for g in got} == {"good"}
    if fault.leaves_a_request:
        assert_attempts(got, sims)

    spared: set[str] = set()

    def few(done: set[str]) -> list[Got]:
        """Six calls to each pool that is not done."""
        asked = [ask for ask in calls_of(fault, routing, "ejected", 6) if ask.pool not in done]
        return make(broker.url, asked)

    def is_spared(batch: list[Got]) -> bool:
        # In a pool whose six calls all went to the good member at once, the bad one is not asked.
        spared.update(pools_of(batch, lambda g: True) - pools_of(batch, lambda g: g.attempts > 1))
        return spared == every_pool

    poll(lambda: few(spared), is_spared, "the failing member was not ejected")
    sims["bad"].script()
    if fault.says_when:
        broker.forget()  # some say that they want none for a minute
    back: set[str] = set()

    def is_back(batch: list[Got]) -> bool:
        back.update(pools_of(batch, lambda g: g.member.startswith("bad-")))
        return back == every_pool

    poll(lambda: few(back), is_back, "the member did not come back")
