"""A broker with all that metrics tell of, and a real Prometheus that scrapes it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import yaml

from .broker import BASES, KEY_SHA256, Broker, provider
from .calls import Ask, make
from .servers import Postgres, Prometheus
from .simulators import Simulators
from .vault import SimulatedVault
from .waiting import wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
SIMS = ("a", "b", "c", "down", "refused", "waits", "stored")
TOKENS = {"input": 1_000, "output": 10}
# Calls of the pool `dear` cost a tenth of its budget each.
DEAR = {"input": 100, "output": 0}
LIMITS = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "60",
    "x-ratelimit-reset-requests": "1h",
}


def config(sims: Simulators, vault: SimulatedVault, ledger: str) -> dict[str, Any]:
    chats = [provider(name, sims[name].port, "openai-chat", BASES["openai-chat"]) for name in SIMS]
    stored = next(one for one in chats if one["name"] == "stored")
    stored["credential"] = {"vault": "llm/stored", "field": "key"}
    stored["base_url"] = chats[0]["base_url"]
    other = provider("other", sims["c"].port, "anthropic-messages", BASES["anthropic-messages"])
    store = {"name": "vault", "vault": {"address": vault.url, "auth": {"token": {"env": "VAULT"}}}}
    rollout = {
        "to": "b/n",
        "name": "new",
        "hold": "1h",
        "min_calls": 1000,
        "stages": [{"share": "50%"}, {"share": "100%"}],
    }
    return {
        "providers": [*chats, other],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "red"}],
        "metrics": {"labels": ["team"]},
        "secrets": {"stores": [store], "refresh": "1s"},
        "ledger": {"url": ledger},
        "capture": {"rules": [{"match": {}, "pools": "chat"}], "encryption": "none"},
        "pools": [
            pool("chat", "a/m", "b/m", shadow={"to": "c/m", "share": "50%", "budget": "$50/day"}),
            pool("translated", "other/m"),
            pool("cached", "a/m", cache={"scope": "all"}),
            pool(
                "hedged",
                "a/m",
                "b/m",
                ejection="off",
                hedge={"after": "1ms", "reply_after": "1ms", "share": "100%"},
            ),
            pool("rolled", "a/m", affinity={"by": "session", "header": "x-s"}, rollout=rollout),
            pool("stored", "stored/m"),
            pool("dear", "a/dear"),
            pool("frugal", "a/dear"),
            pool("unpriced", "a/mystery"),
            pool("down", "down/m", ejection="off"),
            pool("refused", "refused/m"),
            pool("waits", "waits/m"),
            pool("pair", "down/n", "b/m"),
        ],
        "rules": [{"name": "no-tools", "match": {"tools": True}, "deny": True}],
        "prices": [
            *({"provider": name, "model": "?", "input": 1, "output": 10} for name in (*SIMS, "other")),
            {"provider": "a", "model": "dear", **DEAR},
        ],
        "budgets": [
            {"name": "all", "by": "team", "amount": "$100000", "per": "day", "on_unknown_cost": "allow"},
            {
                "name": "dear",
                "match": {"pool": "dear"},
                "amount": "$1",
                "per": "day",
                "at": [{"50%": "warn"}, {"100%": "deny"}],
            },
            {
                "name": "frugal",
                "match": {"pool": "frugal"},
                "amount": "$100",
                "per": "day",
                "at": [{"0.05%": {"degrade": "chat"}}],
            },
        ],
    }


def pool(name: str, *members: str, **more: Any) -> dict[str, Any]:
    parted = [member.partition("/") for member in members]
    return {"name": name, "members": [{"provider": one[0], "model": one[2]} for one in parted], **more}


class Watched:
    """`broker`, and `prometheus` that scrapes it. `fired`: alerts that have been seen firing."""

    def __init__(self, folder: Path, sims: Simulators, vault: SimulatedVault, postgres: Postgres) -> None:
        self.sims, self.vault, self.postgres = sims, vault, postgres
        self.config = config(sims, vault, postgres.new_database())
        self.broker = Broker(
            folder, self.config, environ={"VAULT": "root"}, may_be_refused=True, with_ledger=True
        )
        self.fired: set[str] = set()

    def start(self) -> None:
        for name in SIMS:
            self.sims[name].script(
                faults=[{"headers": LIMITS, "delay_headers_ms": 1}],
                replies=[{"text": "yes", "tokens": TOKENS}],
            )
        self.vault.put("llm/stored", key="sk-stored")
        self.broker.start()
        self.prometheus = Prometheus(
            quick_config(self.broker.admin_url), {"alerts.yml": without_waits()}
        ).__enter__()

    def stop(self) -> None:
        self.prometheus.__exit__()
        self.broker.stop()

    def ask(self, pool: str, count: int = 1, **more: Any) -> None:
        make(self.broker.url, [Ask(pool, **more) for _ in range(count)], parallel=8)

    def use_all(self) -> None:
        """Calls of every kind that go well, and some that policy or the client's own mistake ends."""
        self.ask("chat", 30)
        self.ask("chat", 30, stream=True)
        self.ask("translated", 10, stream=True)
        self.ask("hedged", 10)
        self.ask("stored", 3)
        for _ in range(2):
            self.ask("cached", question="what is asked again")
        make(self.broker.url, [Ask("rolled", headers={"x-s": f"session {n}"}) for n in range(20)])
        self.ask("no-such-pool", 3)
        self.ask("chat", 3, more={"tools": [{"type": "function", "function": {"name": "f"}}]})

    def until(self, expression: str) -> None:
        """Until Prometheus has an answer to the query."""
        wait_until(lambda: self.prometheus.values(expression), 60)

    def tells(self, expression: str, value: float) -> None:
        """Until Prometheus says just this. (Metrics of one scrape are read one after the other.)"""
        seen: list[float] = []

        def is_so() -> bool:
            seen[:] = self.prometheus.values(expression)
            return seen == [value]

        try:
            wait_until(is_so)
        except AssertionError:
            raise AssertionError(f"{expression} is {seen}, not {value}") from None

    def until_firing(self, *names: str) -> None:
        try:
            wait_until(lambda: set(names) <= self._look(), 60)
        except AssertionError:
            raise AssertionError(f"{set(names) - self.fired} did not fire\n{self.broker.log()}") from None

    def _look(self) -> set[str]:
        self.fired |= self.prometheus.firing()
        return self.fired

    def edit_provider(self, name: str, **said: Any) -> None:
        """The configuration with something else said of a provider."""
        entries = [one | said if one["name"] == name else one for one in self.config["providers"]]
        self.broker.write({**self.config, "providers": entries})

    def mend(self) -> None:
        """The configuration is what it was."""
        self.broker.write(self.config)
        self.broker.wait_for(lambda status: not status["error"] and status["in_effect"])

    def kill(self, name: str) -> None:
        for pid in self.broker.child_pids(name):
            os.kill(pid, signal.SIGKILL)


def quick_config(admin_url: str) -> dict[str, Any]:
    """The one that is shipped, for this broker, and in a hurry."""
    shipped: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    shipped["global"] = {"scrape_interval": "250ms", "evaluation_interval": "250ms"}
    for job in shipped["scrape_configs"]:
        job["static_configs"] = [{"targets": [admin_url.removeprefix("http://")]}]
    return shipped


def without_waits() -> str:
    """The alerts that are shipped, which fire at once."""
    text = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    return re.sub(r"^ *for: .*\n", "", text, flags=re.MULTILINE)
