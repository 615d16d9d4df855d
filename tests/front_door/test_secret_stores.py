"""Keys of providers and callers in a store: rotated under load, kept while it is away, seen nowhere."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY, Broker, provider
from support.calls import Ask, Got, call, client
from support.load import load
from support.shown import everything_shown
from support.simulators import Simulators
from support.vault import SimulatedVault, Token
from support.waiting import wait_until

TOKEN, FIRST = "hvs.canary-token", "sk-canary-0"
ROTATIONS = 6


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("main") as simulators:
        yield simulators


@pytest.fixture
def vault(sims: Simulators) -> Iterator[SimulatedVault]:
    made = SimulatedVault(tokens={TOKEN: Token()})
    made.put("llm/main", key=FIRST, note="the main account")
    made.put("callers/tester", key=KEY)
    sims.reset()
    sims["main"].script(keys=[FIRST])
    yield made
    made.close()


def config(vault: SimulatedVault, sims: Simulators, **times: str) -> dict[str, Any]:
    store = {"name": "vault", "vault": {"address": vault.url, "auth": {"token": {"env": "VAULT"}}}}
    main = provider("main", sims["main"].port, "openai-chat", "/v1")
    return {
        "secrets": {"stores": [store], "refresh": "1s", **times},
        "providers": [{**main, "credential": {"vault": "llm/main", "field": "key"}}],
        "callers": [{"name": "tester", "key": {"vault": "callers/tester"}}],
        "pools": [{"name": "chat", "members": [{"provider": "main", "model": "m"}]}],
    }


def asked(broker: Broker, key: str = KEY) -> Got:
    async def ask() -> Got:
        async with client(broker.url) as http:
            http.headers["authorization"] = f"Bearer {key}"
            return await call(http, Ask("chat"))

    return asyncio.run(ask())


def came_with(sims: Simulators, key: str) -> bool:
    said = ("authorization", f"Bearer {key}")
    return any(said == tuple(pair) for made in sims["main"].calls() for pair in made["headers"])


def test_rotations_under_load_fail_no_call(vault: SimulatedVault, sims: Simulators, tmp_path: Path) -> None:
    """The provider takes the old key beside the new one until this one was seen, as providers do."""
    keys = [FIRST, *[f"sk-canary-{number}" for number in range(1, ROTATIONS + 1)]]

    async def run(broker: Broker) -> Any:
        async with load(broker.url, [("chat", "openai-chat")], workers=8) as under_way:
            await under_way.reach(20)
            for old, new in itertools.pairwise(keys):
                sims["main"].script(keys=[old, new])
                vault.put("llm/main", key=new, note="the main account")
                await asyncio.to_thread(wait_until, lambda new=new: came_with(sims, new))
                before = under_way.calls
                await under_way.reach(before + 20)  # what is under way with the old one has ended
                sims["main"].script(keys=[new])
        return under_way

    with Broker(tmp_path, config(vault, sims), environ={"VAULT": TOKEN}) as broker:
        done = asyncio.run(run(broker))
        assert not done.bad, done.told(0)
        (main,) = [one for one in broker.status()["secrets"] if one["secret"] == "vault:llm/main#key"]
        assert (main["state"], main["version"], main["failures"]) == ("good", str(ROTATIONS + 1), 0)
        assert broker.metrics("modelbroker_secret_good") == {
            '{secret="vault:callers/tester"}': 1.0,
            '{secret="vault:llm/main#key"}': 1.0,
        }
        shown = everything_shown(broker)
        for secret in (*keys, TOKEN, KEY):
            assert [place for place, text in shown.items() if secret in text] == []


def test_a_callers_key_that_was_replaced_is_good_for_the_overlap(
    vault: SimulatedVault, sims: Simulators, tmp_path: Path
) -> None:
    with Broker(tmp_path, config(vault, sims, overlap="4s"), environ={"VAULT": TOKEN}) as broker:
        assert asked(broker).status == 200
        vault.put("callers/tester", key="mb-the-next")
        wait_until(lambda: asked(broker, "mb-the-next").status == 200)
        assert asked(broker).status == 200
        wait_until(lambda: asked(broker).status == 401)
        assert asked(broker, "mb-the-next").status == 200


def test_a_store_that_is_away(vault: SimulatedVault, sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(vault, sims), environ={"VAULT": TOKEN}) as broker:
        assert asked(broker).status == 200
        vault.state = "sealed"

        def is_told() -> bool:
            told = broker.status()["secrets"]
            return all(one["failures"] > 1 and "sealed" in one["error"] for one in told)

        wait_until(is_told)
        assert asked(broker).status == 200  # by the last value
        assert {one["state"] for one in broker.status()["secrets"]} == {"good"}
        assert broker.stop() == 0
        # A broker that begins without it serves nobody, says why, and goes on by itself.
        broker.start()
        assert any("vault: it is sealed" in warning for warning in broker.status()["warnings"])
        assert asked(broker).status == 401
        vault.state = "up"
        wait_until(lambda: asked(broker).status == 200)
        assert not broker.status()["warnings"]


def test_a_secret_that_is_kept_no_longer(vault: SimulatedVault, sims: Simulators, tmp_path: Path) -> None:
    times = {"keep": "3s", "overlap": "0s"}
    with Broker(tmp_path, config(vault, sims, **times), environ={"VAULT": TOKEN}) as broker:
        assert asked(broker).status == 200
        vault.delete("llm/main")
        wait_until(lambda: asked(broker).status == 503)
        (main,) = [one for one in broker.status()["secrets"] if one["secret"] == "vault:llm/main#key"]
        assert (main["state"], main["error"]) == ("missing", "llm/main is not there")
        vault.put("llm/main", key=FIRST, note="again")
        wait_until(lambda: asked(broker).status == 200)


def test_a_restart_with_another_configuration(
    vault: SimulatedVault, sims: Simulators, tmp_path: Path
) -> None:
    """What the last good one has in the store is asked for as well, and not in the place of the new one's."""
    told = config(vault, sims)
    with Broker(tmp_path, told, environ={"VAULT": TOKEN}) as broker:
        assert asked(broker).status == 200
        assert broker.stop() == 0
        vault.put("llm/other", key="sk-canary-other")
        sims["main"].script(keys=["sk-canary-other", "sk-canary-next"])
        told["providers"][0]["credential"] = {"vault": "llm/other"}
        broker.write(told)
        broker.start()
        wait_until(lambda: asked(broker).status == 200)
        vault.put("llm/other", key="sk-canary-next")
        wait_until(lambda: asked(broker).status == 200 and came_with(sims, "sk-canary-next"))
