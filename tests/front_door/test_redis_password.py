"""The password of a fleet's Redis in a store: away at start, and rotated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as client
from support.broker import KEY_SHA256, Broker, provider
from support.rotation import asked
from support.servers import Redis
from support.shown import everything_shown
from support.simulators import Simulators
from support.vault import SimulatedVault
from support.waiting import wait_until

FIRST, SECOND = "pw-canary-one", "pw-canary-two"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    (tmp_path / "redis").mkdir()
    made = Redis(tmp_path / "redis")
    made.start()
    yield made
    made.stop()


def is_away(broker: Broker) -> float:
    (value,) = broker.metrics("modelbroker_budget_redis_away", labels=False).values()
    return value


def test_it_comes_with_its_store_and_is_rotated(server: Redis, tmp_path: Path) -> None:
    vault = SimulatedVault(state="sealed")
    vault.put("fleet/redis", password=FIRST)
    operator = client.Redis(port=server.port)
    operator.execute_command("ACL", "SETUSER", "default", "resetpass", f">{FIRST}")
    operator.close()
    operator = client.Redis(port=server.port, password=FIRST)
    with Simulators("main") as sims:
        store = {"name": "vault", "vault": {"address": vault.url, "auth": {"token": {"env": "VAULT"}}}}
        told = {
            "secrets": {"stores": [store], "refresh": "1s"},
            "redis": {"url": server.url, "credential": {"vault": "fleet/redis"}, "timeout": "5s"},
            "providers": [provider("main", sims["main"].port, "openai-chat", "/v1")],
            "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
            "pools": [{"name": "chat", "members": [{"provider": "main", "model": "m"}]}],
            "budgets": [{"name": "all", "by": "caller", "amount": "1000 calls", "per": "month"}],
        }
        (tmp_path / "broker").mkdir()
        with Broker(tmp_path / "broker", told, environ={"VAULT": "root"}) as broker:
            why = "redis.credential: vault: it is sealed, or in maintenance; budgets and rollouts are"
            assert any(warning.startswith(why) for warning in broker.status()["warnings"])
            assert asked(broker).status == 200 and is_away(broker) == 1
            vault.state = "up"
            wait_until(lambda: is_away(broker) == 0)
            assert not broker.status()["warnings"]
            assert asked(broker).status == 200
            # As Redis' own manual says: both are good until everybody has the new one.
            operator.acl_setuser("default", enabled=True, passwords=[f"+{SECOND}"])
            vault.put("fleet/redis", password=SECOND)
            wait_until(lambda: broker.status()["secrets"][0]["version"] == "2")
            operator.acl_setuser("default", enabled=True, passwords=[f"-{FIRST}"])
            operator.client_kill_filter(_type="normal", skipme=True)
            wait_until(lambda: asked(broker).status == 200 and is_away(broker) == 0)
            shown = everything_shown(broker)
            for secret in (FIRST, SECOND):
                assert [where for where, text in shown.items() if secret in text] == []
    operator.close()
    vault.close()
