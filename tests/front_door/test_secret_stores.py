"""Keys of providers and callers in a store: rotated under load, kept while it is away, seen nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.kept_keys import STORES
from support.rotation import asked, came_with, rotated
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


@pytest.mark.parametrize("kind", STORES)
def test_rotations_under_load_fail_no_call(kind: str, sims: Simulators, tmp_path: Path) -> None:
    keys = [f"sk-canary-{number}" for number in range(ROTATIONS + 1)]
    sims.reset()
    sims["main"].script(keys=keys[:1])
    main = provider("main", sims["main"].port, "openai-chat", "/v1")
    (folder := tmp_path / "store").mkdir()
    with STORES[kind](folder) as kept:
        kept.put(keys[0])
        told = {
            "secrets": {"stores": [kept.store], "refresh": "1s"},
            "providers": [{**main, "credential": kept.credential}],
            "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
            "pools": [{"name": "chat", "members": [{"provider": "main", "model": "m"}]}],
        }
        # Clients of stores would write whole answers into this log.
        debug = ("--log-level", "debug")
        with Broker(tmp_path / "broker", told, environ=kept.environ, arguments=debug) as broker:
            done = rotated(broker, sims, keys, kept.put)
            assert not done.bad, done.told(0)
            (main,) = broker.status()["secrets"]
            assert (main["state"], main["failures"]) == ("good", 0)
            assert broker.metrics("modelbroker_secret_good") == {f'{{secret="{main["secret"]}"}}': 1.0}
            shown = everything_shown(broker)
            for secret in (*keys, *([kept.secret] if kept.secret else [])):
                assert [place for place, text in shown.items() if secret in text] == []


def test_a_callers_key_that_was_replaced_is_good_for_the_overlap(
    vault: SimulatedVault, sims: Simulators, tmp_path: Path
) -> None:
    with Broker(tmp_path, config(vault, sims, overlap="1h"), environ={"VAULT": TOKEN}) as broker:
        assert asked(broker).status == 200
        vault.put("callers/tester", key="mb-the-next")
        wait_until(lambda: asked(broker, "mb-the-next").status == 200)
        assert asked(broker).status == 200
        broker.edit(config(vault, sims, overlap="2s"))
        vault.put("callers/tester", key="mb-the-last")
        wait_until(lambda: asked(broker, "mb-the-last").status == 200)
        wait_until(lambda: asked(broker, "mb-the-next").status == 401)
        assert asked(broker).status == 401  # two are good at most
        assert asked(broker, "mb-the-last").status == 200
        versions = {one["secret"]: one["version"] for one in broker.status()["secrets"]}
        assert versions == {"vault:callers/tester": "3", "vault:llm/main#key": "1"}
        shown = everything_shown(broker)
        for secret in (FIRST, TOKEN, KEY, "mb-the-next", "mb-the-last"):
            assert [place for place, text in shown.items() if secret in text] == []


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
        assert (main["state"], main["error"]) == ("missing", "llm/main is not there, in the mount secret")
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
