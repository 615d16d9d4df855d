"""1,000 pools of 10 members: an edit is in effect within a second, and calls do not notice it.

The figures are printed (`-s`). MODELBROKER_HEAVY=1 adds 2,000 distinct members.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, asks, call, client, make
from support.prober import Prober
from support.simulators import Simulators

Config = dict[str, Any]
POOLS, MEMBERS, PROVIDERS = 1_000, 10, 6
DISTINCT = [
    60,
    pytest.param(2_000, marks=pytest.mark.skipif("MODELBROKER_HEAVY" not in os.environ, reason="slow")),
]
# The promise is 1 s on a quiet machine with two cores; a busy one is given this.
GENEROUS_S = 20.0


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("sim") as simulators:
        yield simulators


def config(sims: Simulators, distinct: int) -> Config:
    chooser = random.Random(7)
    port = sims["sim"].port
    members = [(f"p{number % PROVIDERS}", f"model-{number}") for number in range(distinct)]
    dialects = ["openai-chat", "anthropic-messages"]

    def pool(number: int) -> Config:
        # Every pool has somebody for each dialect; all pairs are used.
        chosen = {members[(number * MEMBERS + i) % distinct] for i in range(MEMBERS)}
        entries = [{"provider": p, "model": m, "weight": chooser.randint(1, 100)} for p, m in sorted(chosen)]
        return {"name": f"pool-{number}", "members": entries}

    return {
        "providers": [provider(f"p{n}", port, dialects[n % 2]) for n in range(PROVIDERS)],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [pool(number) for number in range(POOLS)],
    }


def dump(tree: Config) -> str:
    return yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False)


def megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def memory(broker: Broker) -> str:
    return ", ".join(f"{name} {megabytes(broker.child_pids(name)[0]):.0f} MB" for name in ("serve", "envoy"))


def change(tree: Config, number: int) -> str:
    """A model of one pool's own, heaviest by far; its name."""
    model = f"new-{number}"
    members = tree["pools"][number]["members"]
    members.append({"provider": "p0", "model": model, "weight": 1_000_000})
    return f"p0/{model}"


def seconds_to_effect(broker: Broker, text: str, pool: str, member: str) -> float:
    """From the write to a call that goes to `member`."""

    async def run() -> float:
        async with client(broker.url) as http:
            await call(http, Ask(pool))
            started = time.monotonic()
            broker.write(text)
            while time.monotonic() - started < 60:
                got = await call(http, Ask(pool))
                assert got.is_whole, got
                if got.member == member:
                    return time.monotonic() - started
        raise AssertionError(f"no effect in 60 s\n{broker.log()[-3000:]}")

    return asyncio.run(run())


def percentiles(values: list[float]) -> str:
    if len(values) < 2:
        return f"{len(values)} in the time"
    cuts = statistics.quantiles(values, n=100)
    return (
        f"p50 {cuts[49]:.1f} p90 {cuts[89]:.1f} p99 {cuts[98]:.1f} max {max(values):.1f} ms of {len(values)}"
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("distinct", DISTINCT)
def test_a_thousand_pools(sims: Simulators, tmp_path: Path, distinct: int) -> None:
    tree = config(sims, distinct)
    started = time.monotonic()
    with Broker(tmp_path, dump(tree)) as broker:
        print(
            f"\n{distinct} distinct members: first start {time.monotonic() - started:.1f} s; {memory(broker)}"
        )
        assert all(got.is_whole for got in make(broker.url, [Ask(f"pool-{n}") for n in range(0, POOLS, 50)]))
        measure(broker, tree)
        broker.wait_for(lambda s: s["serving"] == s["revision"] and s["in_effect"])
        print(f"after all edits: {memory(broker)}")
        assert not any(broker.metrics("modelbroker_xds_nacks_total").values())


def measure(broker: Broker, tree: Config) -> None:
    with Prober(broker.url, "pool-500") as quiet:
        time.sleep(1)
    took = []
    for number in range(3):
        member = change(tree, number)
        took.append(seconds_to_effect(broker, dump(tree), f"pool-{number}", member))
    print("one pool's edit in effect after", *(f"{seconds:.2f} s" for seconds in took))
    assert statistics.median(took) < GENEROUS_S
    texts = []
    for number in range(3, 8):
        change(tree, number)
        texts.append(dump(tree))
    with Prober(broker.url, "pool-500") as edited:
        for text in texts:
            broker.edit(text, 30)
    tree["limits"] = {"request_bytes": "8MiB"}  # new clusters and listeners throughout
    text, started = dump(tree), time.monotonic()
    with Prober(broker.url, "pool-500") as everything:
        broker.edit(text, 60)
    print(f"an edit of everything in effect after {time.monotonic() - started:.2f} s")
    print("calls, quiet:     ", percentiles(quiet.milliseconds))
    print("calls, five edits:", percentiles(edited.milliseconds))
    print("calls, everything:", percentiles(everything.milliseconds))


def test_the_control_plane_comes_back_with_a_thousand_pools(sims: Simulators, tmp_path: Path) -> None:
    tree = config(sims, 60)
    with Broker(tmp_path, dump(tree)) as broker:
        (pid,) = broker.child_pids("serve")
        started = time.monotonic()
        os.kill(pid, 9)
        broker.wait_for(lambda s: s["in_effect"], timeout_s=60)
        assert all(got.is_whole for got in make(broker.url, asks(20, "pool-1")))
        print(f"\nthe control plane was back after {time.monotonic() - started:.2f} s; {memory(broker)}")
        (pid,) = broker.child_pids("envoy")
        started = time.monotonic()
        os.kill(pid, 9)
        broker.wait_for(lambda s: not s["in_effect"], timeout_s=60)
        broker.wait_for(lambda s: s["in_effect"], timeout_s=60)
        print(f"Envoy had all again after {time.monotonic() - started:.2f} s")
        assert all(got.is_whole for got in make(broker.url, asks(20, "pool-1")))
