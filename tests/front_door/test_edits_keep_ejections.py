"""A member that is ejected stays so over edits of its pool: they are no amnesty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Got, asks, make
from support.simulators import Simulators

Config = dict[str, Any]
MEMBERS = [{"provider": "bad", "model": "m", "weight": 50}, {"provider": "good", "model": "m", "weight": 50}]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("bad", "good", "more") as simulators:
        yield simulators


def config(sims: Simulators, *members: Config, **pool: Any) -> Config:
    ejection = {"consecutive_errors": 2, "base": "10m", "max": "10m"}
    return {
        "providers": [provider(name, sims[name].port, "openai-chat") for name in ("bad", "good", "more")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "ejection": ejection, "members": list(members), **pool}],
    }


@pytest.fixture(scope="module")
def ejected(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker whose member `bad` was ejected, and is well again."""
    folder: Path = tmp_path_factory.mktemp("broker")
    with Broker(folder, config(sims, *MEMBERS)) as running:
        sims["bad"].script(faults=[{"status": 503}])
        first = make(running.url, asks(10, "chat"), parallel=1)
        assert sum(got.attempts > 1 for got in first) == 2
        sims["bad"].script()
        yield running


def calls_after(broker: Broker, sims: Simulators, edited: Config) -> list[Got]:
    sims["bad"].forget()
    broker.edit(edited)
    results = make(broker.url, asks(20, "chat"))
    assert [str(got) for got in results if not got.is_whole] == []
    assert sims["bad"].settled_calls() == []
    return results


def test_over_an_edit_of_weights(ejected: Broker, sims: Simulators) -> None:
    calls_after(ejected, sims, config(sims, MEMBERS[0] | {"weight": 90}, MEMBERS[1] | {"weight": 1}))


def test_over_a_member_that_is_added_and_taken_out(ejected: Broker, sims: Simulators) -> None:
    """The classes that the member belongs to change, and so what its endpoint carries."""
    more = {"provider": "more", "model": "m", "weight": 50}
    added = calls_after(ejected, sims, config(sims, *MEMBERS, more))
    assert {got.member for got in added} == {"good/m", "more/m"}
    removed = calls_after(ejected, sims, config(sims, *MEMBERS))
    assert {got.member for got in removed} == {"good/m"}


def test_over_edits_of_other_things(ejected: Broker, sims: Simulators) -> None:
    calls_after(ejected, sims, config(sims, *MEMBERS, failover=1, aliases=["gpt-*"]))


def test_another_ejection_is_another_pool(ejected: Broker, sims: Simulators) -> None:
    """How a pool ejects is a part of its cluster: with a new one it starts afresh."""
    edited = config(sims, *MEMBERS)
    edited["pools"][0]["ejection"]["consecutive_errors"] = 7
    ejected.edit(edited)
    assert {got.member for got in make(ejected.url, asks(20, "chat"))} == {"bad/m", "good/m"}
