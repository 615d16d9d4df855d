"""A member that says how long it wants no calls is out for so long, and Envoy's ejection adds nothing to it;
one that says nothing of it is ejected."""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import asks, make
from support.simulators import Simulators
from support.waiting import wait_until

USED_UP = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "30s",
}
DRAFT = {"ratelimit": '"default";r=0;t=30', "x-ratelimit-remaining-requests": "9"}
# What is said → (status, headers, the member is out by it).
WORDS: dict[str, tuple[int, dict[str, str], bool]] = {
    "seconds": (429, {"retry-after": "30"}, True),
    "milliseconds": (429, {"retry-after-ms": "30000"}, True),
    "used-up": (429, USED_UP, True),
    "draft": (429, {"retry-after": "", **DRAFT}, True),
    "overloaded": (503, {"retry-after": "30"}, True),
    "nothing": (500, {}, False),
    "at-once": (503, {"retry-after": "0"}, False),
    "some-left": (429, USED_UP | {"x-ratelimit-remaining-requests": "9"}, False),
    "another-cause": (503, USED_UP, False),
}
CLIENTS = ("openai-chat", "anthropic-messages")  # of the member's dialect, and translated
# Another member answers the calls of a pool, or their clients get the last words of the only one.
KINDS = ("two", "alone")
POOLS = [".".join(parts) for parts in itertools.product(KINDS, CLIENTS, ("whole", "stream"), WORDS)]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    def pool(name: str) -> dict[str, Any]:
        """Members have a model for each: what they say is nothing to another pool's."""
        members = [{"provider": "a", "model": name, "weight": 1000}, {"provider": "b", "model": name}]
        return {
            "name": name,
            "failover": "none" if name.startswith("alone") else 1,
            "ejection": {"consecutive_errors": 3, "base": "10m", "max": "10m"},
            "members": members[:1] if name.startswith("alone") else members,
        }

    config = {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in ("a", "b")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [pool(name) for name in POOLS],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def members(broker: Broker) -> dict[str, dict[str, Any]]:
    """Of each pool its member `a`, with what Envoy itself says of it."""
    with urllib.request.urlopen(f"{broker.admin_url}/status?envoy", timeout=10) as reply:
        pools = json.load(reply)["pools"]
    return {pool["name"]: pool["members"][0] for pool in pools}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_not_made_longer_by_an_ejection(broker: Broker, sims: Simulators, word: str) -> None:
    """All at once, so that many are under way before the first is heard."""
    status, headers, is_out = WORDS[word]
    sims["a"].script(faults=[{"status": status, "delay_headers_ms": 300, "headers": headers}])
    for name in (name for name in POOLS if name.endswith(f".{word}")):
        kind, client, how, _ = name.split(".")
        got = make(broker.url, asks(8, name, client, stream=how == "stream"), parallel=8)
        assert {g.status >= 400 for g in got} == {kind == "alone"}, [str(g) for g in got]
        assert [header for g in got for header in g.headers if header.startswith("broker-")] == []
        wait_until(lambda name=name: _is_out(broker, name, by_its_word=is_out))
        assert members(broker)[name]["envoy"]["ejected"] is not is_out, name


def _is_out(broker: Broker, name: str, by_its_word: bool) -> bool:
    member = members(broker)[name]
    return bool(member["state"] == "out" if by_its_word else member["envoy"]["ejected"])
