"""A new key that the provider refuses: calls go on with the one before it, and the new one is tried again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.figures import enlarged
from support.load import Load, load
from support.shown import everything_shown
from support.simulators import Simulators
from support.waiting import wait_until

OLD, NEW = "sk-canary-old", "sk-canary-new"
GONE = "upstream_credential_refused"


@pytest.fixture(scope="module")
def all_sims() -> Iterator[Simulators]:
    with Simulators("main", "other") as simulators:
        yield simulators


@pytest.fixture
def sims(all_sims: Simulators) -> Simulators:
    all_sims.reset()
    all_sims["main"].script(keys=[OLD])
    return all_sims


def config(sims: Simulators, key: Path, *members: str, **pool: Any) -> dict[str, Any]:
    main, other = (provider(name, sims[name].port, "openai-chat", "/v1") for name in ("main", "other"))
    return {
        "providers": [{**main, "credential": {"file": str(key)}}, other],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "chat", "members": [{"provider": name, "model": "m"} for name in members], **pool}
        ],
    }


def answers(sims: Simulators, *, under_load: bool = False) -> Counter[tuple[str, int]]:
    """What the provider said to which key: of ended calls. `under_load` there is always one that has not."""
    seen: Counter[tuple[str, int]] = Counter()
    main = sims["main"]
    for made in main.calls() if under_load else main.settled_calls():
        for name, value in made["headers"]:
            if name == "authorization" and made["status"] is not None:
                seen[value.removeprefix("Bearer "), made["status"]] += 1
    return seen


def state(broker: Broker) -> str:
    (told,) = broker.status()["secrets"]
    found: str = told["state"]
    return found


async def refused(broker: Broker, key: Path, under_way: Load) -> None:
    """The new key is there, and the provider does not know it."""
    await under_way.reach(20)
    await asyncio.to_thread(key.write_text, NEW)
    await asyncio.to_thread(wait_until, lambda: state(broker) == "refused")
    await under_way.reach(under_way.calls + enlarged(40))


def test_one_member_alone_loses_no_call_and_has_the_new_key_once_it_is_taken(
    sims: Simulators, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(OLD)

    async def run(broker: Broker) -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=4) as under_way:
            await refused(broker, key, under_way)
            assert answers(sims)[NEW, 401] > 0
            (name,) = broker.metrics("modelbroker_secret_refused")
            await asyncio.to_thread(
                wait_until, lambda: broker.metrics("modelbroker_secret_refused")[name] == 1
            )
            sims["main"].script(keys=[OLD, NEW])
            await asyncio.to_thread(wait_until, lambda: answers(sims, under_load=True)[NEW, 200] > 20, 90)
            await under_way.reach(under_way.calls + enlarged(20))
            await under_way.end_those_under_way()  # with the old one, it may be
            sims["main"].script(keys=[NEW])
            await under_way.reach(under_way.calls + enlarged(20))
            assert state(broker) == "good"
        return under_way

    with Broker(tmp_path, config(sims, key, "main")) as broker:
        done = asyncio.run(run(broker))
        assert not done.bad, done.told(0)
        assert answers(sims)[OLD, 401] == 0
        assert f"file:{key}: main/m refuses the new value; calls go with the one before" in broker.log()
        shown = everything_shown(broker)
        for secret in (OLD, NEW):
            assert [where for where, text in shown.items() if secret in text and where != str(key)] == []


def test_another_member_answers_meanwhile(sims: Simulators, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(OLD)

    async def run(broker: Broker) -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=4) as under_way:
            await refused(broker, key, under_way)
            before = answers(sims, under_load=True)[OLD, 200]
            await asyncio.to_thread(wait_until, lambda: answers(sims, under_load=True)[OLD, 200] > before)
        return under_way

    with Broker(tmp_path, config(sims, key, "main", "other")) as broker:
        done = asyncio.run(run(broker))
        assert not done.bad, done.told(0)


def test_without_any_further_attempt_those_calls_fail_that_were_refused(
    sims: Simulators, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(OLD)

    async def run(broker: Broker) -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=4) as under_way:
            await refused(broker, key, under_way)
        return under_way

    with Broker(tmp_path, config(sims, key, "main", failover="none")) as broker:
        done = asyncio.run(run(broker))
        said = answers(sims)
        assert {(got.status, GONE in got.body.decode()) for got in done.bad} == {(502, True)}
        assert len(done.bad) == said[NEW, 401] > 0
        assert sum(done.good.values()) == said[OLD, 200] and len(said) == 2


def test_a_refusal_of_another_kind_costs_no_call_though_the_old_key_was_revoked(
    sims: Simulators, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(OLD)

    # Of the new key alone: by the next attempt calls may go with the old one already.
    fault = {"first": 1, "status": 403, "match": {"headers": {"authorization": f"Bearer {NEW}"}}}

    async def run(broker: Broker) -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=4) as under_way:
            await under_way.reach(20)
            sims["main"].script(keys=[OLD, NEW])
            await asyncio.to_thread(key.write_text, NEW)
            await asyncio.to_thread(wait_until, lambda: answers(sims, under_load=True)[NEW, 200] > 20)
            # A refusal counts once it is sure that Envoy has the new key, which is told a moment later.
            times = 0
            while not answers(sims, under_load=True)[OLD, 401]:
                times += 1
                assert times < 30, "the old key was never tried"
                sims["main"].script(keys=[NEW], faults=[fault])
                await asyncio.to_thread(
                    wait_until, lambda t=times: answers(sims, under_load=True)[NEW, 403] >= t
                )
                await under_way.end_those_under_way()
            # It was refused, too, and let go of.
            told = f"file:{key}: main/m refuses the value before the newest as well"
            await asyncio.to_thread(wait_until, lambda: told in broker.log())
            await under_way.reach(under_way.calls + enlarged(100))
            assert state(broker) == "good"
        return under_way

    with Broker(tmp_path, config(sims, key, "main")) as broker:
        done = asyncio.run(run(broker))
        assert not done.bad, done.told(0)
