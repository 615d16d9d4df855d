"""Shadows: calls that are sent again, to a member or pool whose replies no client gets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from modelbroker.core.traffic import Sample
from modelbroker.exchange.errand import ERRAND_HEADER, Errand, sealed_errand
from modelbroker.traffic.stores import open_store
from support.broker import BASES, KEY, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.kills import child_of_control
from support.load import Load, load
from support.records import lines_of, record_of
from support.simulators import Simulators
from support.waiting import wait_until

USED = {"input": 1_000, "output": 100}
PAYROLL = "mb-payroll-key"
RATES = {"input": 3, "output": 15}
COST = 1_000 * 3_000 + 100 * 15_000


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("stable", "other") as simulators:
        yield simulators


def config(sims: Simulators, **shadow: Any) -> dict[str, Any]:
    """Each call of `chat` is copied to a member that speaks another dialect."""
    said = {"to": "other/n", "share": "100%", "budget": "$500/day", **shadow}
    return {
        "providers": [
            provider("stable", sims["stable"].port, "openai-chat", BASES["openai-chat"])
            | {"credential": {"env": "KEY_OF_STABLE"}},
            provider("other", sims["other"].port, "anthropic-messages", BASES["anthropic-messages"])
            | {"credential": {"env": "KEY_OF_OTHER"}},
        ],
        "callers": [
            {"name": "tester", "team": "research", "key": {"sha256": KEY_SHA256}},
            {"name": "payroll", "key": {"env": "KEY_OF_PAYROLL"}},
        ],
        "budgets": [
            {"name": "all", "amount": "$1000", "per": "day"},
            {"name": "teams", "by": ["team"], "amount": "$1000", "per": "day"},
        ],
        "pools": [
            {
                "name": "chat",
                "cache": {"scope": "all"},
                "timeouts": {"first_event": "20s", "reply": "20s"},
                "members": [{"provider": "stable", "model": "m"}],
                "shadow": said,
            }
        ],
        "rules": [{"match": {"caller": "shadow:chat"}, "deny": "a rule never sees a copy"}],
        "prices": [{"provider": p, "model": m, **RATES} for p, m in (("stable", "m"), ("other", "n"))],
        "ledger": {"url": {"env": "LEDGER_URL"}},
        "capture": {
            "rules": [{"match": {}, "pools": "chat"}],
            "exempt": ["payroll"],
            "encryption": "none",
        },
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("shadow")
    environ = {
        "KEY_OF_STABLE": "sk-stable",
        "KEY_OF_OTHER": "sk-other",
        "LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "KEY_OF_PAYROLL": PAYROLL,
    }
    with Broker(folder, config(sims), environ=environ, with_ledger=True) as running:
        yield running


@pytest.fixture(autouse=True)
def well(sims: Simulators) -> None:
    for simulator in sims:
        simulator.script(replies=[{"text": f"from {simulator.name}", "tokens": USED}])
        simulator.forget()


def one(broker: Broker, *, stream: bool = False, pool: str = "chat", **headers: str) -> Got:
    (got,) = make(broker.url, [Ask(pool, stream=stream, headers=headers)])
    return got


def command(broker: Broker, *words: str) -> str:
    where = ["--config", str(broker.config_dir), "--state-dir", str(broker.folder / "state")]
    ran = subprocess.run(
        [sys.executable, "-m", "modelbroker.cli.main", words[0], *where, *words[1:]],
        capture_output=True,
        text=True,
        env={**os.environ, "LEDGER_URL": f"sqlite:///{broker.folder}/ledger.db"},
        check=True,
    )
    return ran.stdout


def samples(broker: Broker) -> list[Sample]:
    path = broker.folder / "state" / "traffic.db"
    if not path.exists():
        return []
    with open_store(f"sqlite:///{path}") as store:
        return list(store.read())


def copies_of(broker: Broker, request_id: str) -> list[dict[str, Any]]:
    return [line for line in lines_of(broker, request_id) if line["shadow_of"] == request_id]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_sent_again_translated_with_the_others_key(
    broker: Broker, sims: Simulators, stream: bool
) -> None:
    got = one(broker, stream=stream)
    assert got.status == 200 and "from stable" in got.text
    record = record_of(broker, got)
    (copy,) = wait_until(lambda: copies_of(broker, record["request_id"]), 20)
    assert copy["request_id"] != record["request_id"]
    told = {name: copy[name] for name in ("purpose", "caller", "team", "pool", "member", "status", "stream")}
    assert told == {
        "purpose": "shadow",
        "caller": "shadow:chat",
        "team": "",
        "pool": "chat~other/n",
        "member": "other/n",
        "status": 200,
        "stream": stream,
    }
    assert (record["purpose"], record["shadow_of"], record["member"]) == ("", "", "stable/m")
    assert (copy["cost"]["total"], record["cost"]["total"]) == (COST, COST)
    # Its own budget, and no other one; the client's are charged for the client's call alone.
    assert [one["budget"] for one in copy["budgets"]] == ["shadow:chat>other/n"]
    assert [(one["budget"], one["charged"]) for one in record["budgets"]] == [("all", COST), ("teams", COST)]
    assert copy["cache"] == ""
    (there,) = sims["other"].settled_calls()
    headers = {name.lower(): value for name, value in there["headers"]}
    assert headers["x-api-key"] == "sk-other"
    assert not [name for name in headers if name.startswith(("x-broker", "broker-"))]
    sent = there["body"] if isinstance(there["body"], dict) else json.loads(there["body"])
    assert (sent["model"], sent["messages"][0]["content"]) != ("chat", None)
    assert sent["model"] == "n" and "max_tokens" in sent  # Anthropic's own field


def test_both_replies_are_captured_or_neither(broker: Broker) -> None:
    """A caller that is exempt is so wherever its call is sent."""
    got = one(broker)
    hidden = one(broker, authorization=f"Bearer {PAYROLL}")
    ids = [each.headers["x-broker-request-id"] for each in (got, hidden)]
    hidden_copy = wait_until(lambda: copies_of(broker, ids[1]), 20)[0]["request_id"]

    def pair() -> dict[str, Sample]:
        found = {one.purpose: one for one in samples(broker) if ids[0] in (one.request_id, one.shadow_of)}
        return found if len(found) == 2 else {}

    kept = wait_until(pair, 30)
    first, copy = kept[""], kept["shadow"]
    assert (first.request, copy.shadow_of, copy.pool) == (copy.request, ids[0], "chat~other/n")
    assert b"from stable" in (first.reply or b"") and b"from other" in (copy.reply or b"")
    assert not {ids[1], hidden_copy} & {each.request_id for each in samples(broker)}


def test_clients_cannot_send_the_broker_on_errands(broker: Broker, sims: Simulators) -> None:
    errand = Errand("shadow", "x", "chat~other/n", "tester", "", "", "", time.time() + 100)
    for value in (sealed_errand(errand, b"a key of somebody else's"), "AAAA", ""):
        got = one(broker, **{ERRAND_HEADER: value})
        record = record_of(broker, got)
        assert (record["purpose"], record["caller"], record["member"]) == ("", "tester", "stable/m")
    sealed = sealed_errand(errand, b"no")
    assert one(broker, **{"authorization": "Bearer nobody's", ERRAND_HEADER: sealed}).status == 401
    # Nor is the pool that the broker has made anything that they could name.
    assert one(broker, pool="chat~other/n").status == 404
    for call in sims["stable"].settled_calls():
        assert not [name for name, _ in call["headers"] if name.lower() == ERRAND_HEADER]


def test_spend_tells_it_apart(broker: Broker) -> None:
    got = one(broker)
    wait_until(lambda: copies_of(broker, got.headers["x-broker-request-id"]), 20)

    def is_taken() -> bool:
        status = broker.status()["ledger"]
        return bool(status["state"] == "following" and status["behind_bytes"] == 0)

    wait_until(is_taken, 20)
    shown = json.loads(command(broker, "spend", "--format", "json"))
    by_purpose = json.loads(command(broker, "spend", "--by", "purpose", "--format", "json"))
    groups = {one["purpose"]: one for one in by_purpose["groups"]}
    assert shown["total"]["calls"] == groups[""]["calls"]
    assert shown["besides"]["shadow"]["cost_nano"] == groups["shadow"]["cost_nano"] > 0
    table = command(broker, "spend", "--by", "team")
    assert f"Besides these, {groups['shadow']['calls']} calls were for shadow: " in table


def shown(broker: Broker) -> dict[str, Any]:
    found: dict[str, Any] = broker.status()["shadows"]["chat>other/n"]
    return found


def is_copied(broker: Broker) -> bool:
    """Is a call copied, and answered there?"""
    before = shown(broker).get("answered", 0)
    assert one(broker).status == 200
    wait_until(lambda: (now := shown(broker))["waiting"] == now["under_way"] == 0, 60)
    return bool(shown(broker).get("answered", 0) > before)


WORSE: dict[str, dict[str, Any]] = {
    "dead": {"refuse": True},
    "slow": {"faults": [{"delay_headers_ms": 4_000}]},
    "wrong": {"faults": [{"rate": 0.5, "status": 500}, {"garbage": "body"}]},
}


@pytest.mark.parametrize("how", WORSE)
def test_clients_never_hear_of_a_shadow_that_is(broker: Broker, sims: Simulators, how: str) -> None:
    before = shown(broker)
    sims["other"].script(**WORSE[how])

    async def some() -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=6) as seen:
            await seen.reach(400)
        return seen

    seen = asyncio.run(some())
    assert seen.bad == [] and seen.calls >= 400
    assert seen.attempts.keys() == {1}
    # What became of the copies is counted, and none of them was waited for.
    after = shown(broker)
    counts = {name: after.get(name, 0) - before.get(name, 0) for name in after if name != "to"}
    expected = {"dead": "failed", "slow": "dropped", "wrong": "failed"}[how]
    assert counts[expected] > 0, counts
    assert counts["under_way"] <= 16 and counts["waiting"] <= 200
    sims["other"].script(replies=[{"text": "well again", "tokens": USED}])
    broker.forget()
    wait_until(lambda: is_copied(broker), 60)


def test_its_sender_may_die(broker: Broker) -> None:
    old = child_of_control(broker, "modelbroker.trials.sender")
    os.kill(old, signal.SIGKILL)
    assert one(broker).status == 200
    wait_until(lambda: child_of_control(broker, "modelbroker.trials.sender") not in (0, old), 20)
    wait_until(lambda: is_copied(broker), 30)


def test_its_budget_holds(broker: Broker, sims: Simulators) -> None:
    broker.edit(config(sims, budget="$0.03/day"))
    for _ in range(30):
        assert one(broker).status == 200
    wait_until(lambda: shown(broker).get("refused", 0) > 0, 20)
    before = shown(broker).get("paused", 0)
    assert one(broker).status == 200
    assert shown(broker)["paused"] == before + 1
    refused = [line for line in lines_of(broker) if line["code"] == "budget_exceeded"]
    assert {(line["purpose"], line["budget"]) for line in refused} == {("shadow", "shadow:chat>other/n")}


def test_it_comes_through_a_listener_with_tls(sims: Simulators, tmp_path: Path) -> None:
    """Whose certificate is for a name that is not the one by which the broker reaches itself."""
    authority = trustme.CA()
    certificate = authority.issue_cert("broker.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    tls = {"cert_file": str(cert), "key_file": str(key)}
    said = {**config(sims), "listen": {"tls": tls}, "ledger": {"url": "none"}}
    environ = {"KEY_OF_STABLE": "sk-stable", "KEY_OF_OTHER": "sk-other", "KEY_OF_PAYROLL": PAYROLL}
    with Broker(tmp_path, said, environ=environ) as broker:
        port = int(broker.url.rpartition(":")[2])
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.check_hostname = False
        reply = httpx.post(
            f"https://127.0.0.1:{port}/v1/chat/completions",
            json=Ask("chat").body,
            headers={"authorization": f"Bearer {KEY}"},
            verify=context,
            timeout=30,
        )
        assert reply.status_code == 200
        copies = wait_until(lambda: copies_of(broker, reply.headers["x-broker-request-id"]), 20)
        assert [copy["status"] for copy in copies] == [200]
