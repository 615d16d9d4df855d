"""Which of a pool's timeouts bounds what: a reply that is waited for is not a stream that fell silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, one_a_dialect
from support.calls import Ask, make
from support.simulators import Simulators

DIALECTS = ("openai-chat", "anthropic-messages", "openai-responses")
# Of a stream, far shorter than what a whole reply takes here.
OF_STREAMS = {"between_events": "300ms", "first_event": "300ms"}
PAIRS = [(client, wire) for client in DIALECTS for wire in DIALECTS]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("slow") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    def pool(wire: str, kind: str, **timeouts: str) -> dict[str, Any]:
        return {
            "name": f"{kind}-{wire}",
            "failover": "none",
            "ejection": "off",
            "timeouts": OF_STREAMS | timeouts,
            "members": [{"provider": f"slow-{wire}", "model": "m"}],
        }

    config = {
        "providers": one_a_dialect(sims, DIALECTS),
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            pool(wire, kind, reply=reply)
            for wire in DIALECTS
            for kind, reply in (("patient", "60s"), ("quick", "700ms"))
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def calls(kind: str) -> list[Ask]:
    """Of every client's dialect at every member: passing and translated."""
    return [Ask(f"{kind}-{wire}", client) for client, wire in PAIRS]


@pytest.mark.parametrize("where", ["delay_headers_ms", "delay_first_event_ms"])
def test_a_whole_reply_may_take_longer_than_a_stream_may_be_silent(
    broker: Broker, sims: Simulators, where: str
) -> None:
    sims["slow"].script(faults=[{where: 1500}])
    for got in make(broker.url, calls("patient")):
        assert got.is_whole and got.attempts == 1, str(got)


@pytest.mark.parametrize("where", ["before-headers", "after-headers"])
def test_a_whole_reply_is_bounded_to_its_end(broker: Broker, sims: Simulators, where: str) -> None:
    sims["slow"].script(faults=[{"stall": where}])
    for got in make(broker.url, calls("quick")):
        assert (got.status, got.broken) == (504, "") and b"upstream_timeout" in got.body, str(got)
