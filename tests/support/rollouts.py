"""Rollouts of a running broker: where they are, and the calls that move them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

from .broker import Broker
from .calls import Ask, Got, call, client

PER_S = 50


def rollouts_of(broker: Broker) -> dict[str, dict[str, Any]]:
    """By name."""
    with urllib.request.urlopen(f"{broker.admin_url}/rollouts", timeout=10) as reply:
        return {one["rollout"]: one for one in json.load(reply)["rollouts"]}


def rollout_of(broker: Broker) -> dict[str, Any]:
    (found,) = rollouts_of(broker).values()
    return found


def events_of(broker: Broker) -> list[dict[str, Any]]:
    path = broker.folder / "state" / "rollouts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def say(broker: Broker, word: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelbroker.cli.main", "rollout", "--admin", broker.admin_url, word]
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False)


async def load(broker: Broker, phases: set[str], most_s: float = 100.0) -> list[Got]:
    """So many calls a second, each of a session of its own, until the rollout is in one of `phases`."""
    return await drive(broker, _of_chat, lambda: rollout_of(broker)["phase"] in phases, most_s)


def _of_chat(number: int) -> Ask:
    return Ask("chat", stream=number % 2 == 0, headers={"x-my-session": f"session {number}"})


async def drive(
    broker: Broker, ask: Callable[[int], Ask], is_over: Callable[[], bool], most_s: float = 100.0
) -> list[Got]:
    """So many calls a second, until it is over."""
    got: list[Got] = []
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    async def one(number: int) -> None:
        got.append(await call(http, ask(number)))

    async with client(broker.url) as http:
        for number in range(int(most_s * PER_S)):
            if number % PER_S == 0 and await asyncio.to_thread(is_over):
                break
            await asyncio.sleep(max(0.0, began_s + number / PER_S - loop.time()))
            tasks.add(task := asyncio.create_task(one(number)))
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return got
