"""The ledger has what the journal has, each call once and exact, whatever is killed."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelbroker.ledger.database import Ledger
from sqlalchemy import text
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, asks, make
from support.kills import follower_of
from support.ledgers import ids_in
from support.load import load
from support.servers import Postgres
from support.simulators import Simulators
from support.waiting import wait_until

LOADED = [("chat", "openai-chat"), ("messages", "anthropic-messages")]
# $3, $0.30, $3.75 and $15 a million: 1,000 + 200 + 50 + 100 tokens.
USED = {"input": 1_000, "cache_read": 200, "cache_write": 50, "output": 100}
RATES = {"input": 3, "cache_read": 0.3, "cache_write_5m": 3.75, "output": 15}
TOTAL = 4_747_500


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        for simulator in simulators:
            simulator.script(replies=[{"text": "one two three", "chunks": 3, "tokens": USED}])
        yield simulators


def config(sims: Simulators, **more: Any) -> dict[str, Any]:
    return {
        "providers": [
            provider("a", sims["a"].port, "openai-chat", BASES["openai-chat"]),
            provider("b", sims["b"].port, "anthropic-messages", BASES["anthropic-messages"]),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "search"}],
        "pools": [
            {"name": "chat", "ejection": "off", "members": [{"provider": "a", "model": "m"}]},
            {"name": "messages", "ejection": "off", "members": [{"provider": "b", "model": "n"}]},
            {"name": "kept", "cache": "short-context", "members": [{"provider": "a", "model": "m"}]},
            {"name": "dear", "ejection": "off", "members": [{"provider": "b", "model": "unpriced"}]},
        ],
        "prices": [
            {"provider": "a", "model": "m", **RATES},
            {"provider": "b", "model": "n", **RATES, "batch": RATES},
            {
                "provider": "b",
                "model": "small",
                "input": 1,
                "cache_read": 0,
                "cache_write_5m": 0,
                "output": 2,
            },
        ],
        **more,
    }


def command(broker: Broker, name: str, *arguments: str, **environ: str) -> str:
    """What a command says on stdout."""
    words = [sys.executable, "-m", "modelbroker.cli.main", name, "--config", str(broker.config_dir)]
    words += ["--state-dir", str(broker.folder / "state"), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environ}, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def journal(broker: Broker) -> list[dict[str, Any]]:
    """All whole lines, also of the older files."""
    found = []
    for path in (broker.folder / "state").glob("calls.jsonl*"):
        data = path.read_text()
        found += [json.loads(line) for line in data[: data.rfind("\n") + 1].splitlines()]
    return found


def wait_until_taken(broker: Broker, url: str) -> list[dict[str, Any]]:
    """The journal, once the ledger has all of it."""
    wait_until(lambda: sorted(one["request_id"] for one in journal(broker)) == ids_in(url), 60)
    return journal(broker)


def assert_exact(url: str, records: list[dict[str, Any]]) -> None:
    with Ledger(url) as ledger, ledger.reading() as connection:
        query = "SELECT count(*), sum(cost_total), count(*) - count(cost_total), sum(input) FROM calls"
        calls, cost, unknown, read = connection.execute(text(query)).one()
        attempts = connection.execute(text("SELECT count(*) FROM attempts WHERE member <> ''")).scalar()
    totals = [record["cost"]["total"] for record in records]
    assert (calls, cost or 0) == (len(records), sum(total for total in totals if total is not None))
    assert unknown == totals.count(None)
    tried = [attempt for record in records for attempt in record["attempts"]]
    assert attempts == len(tried)
    assert read == sum(attempt["usage"]["input"] for attempt in tried if attempt["usage"])


def test_without_set_up_it_is_a_file_beside_the_journal(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(sims), with_ledger=True) as broker:
        url = f"sqlite:///{broker.folder}/state/ledger.db"
        calls = [Ask("chat"), Ask("chat", stream=True), Ask("messages", "anthropic-messages"), Ask("dear")]
        assert all(got.is_whole for got in make(broker.url, calls))
        make(broker.url, [Ask("chat", headers={"authorization": "Bearer wrong"})])
        wait_until(lambda: len(journal(broker)) == 5)
        assert_exact(url, wait_until_taken(broker, url))
        status = broker.wait_for(lambda s: s["ledger"]["taken"] == 5 and not s["ledger"]["behind_bytes"])
        assert (status["ledger"]["state"], status["ledger"]["error"]) == ("following", None)
        assert broker.metrics("modelbroker_ledger_up", labels=False) == {"": 1.0}
        running = command(broker, "spend", "--by", "team,model", "--since", "1d")
        told = json.loads(command(broker, "spend", "--by", "model", "--format", "json", "--as", "b/small"))
    rows = [line.split() for line in running.splitlines()[:6]]
    assert rows[0][:3] == ["TEAM", "MODEL", "CALLS"]
    assert rows[1] == ["search", "m", "2", "2000", "400", "100", "200", "0.009495"]
    assert rows[2] == ["search", "n", "1", "1000", "200", "50", "100", "0.0047475"]
    assert rows[3] == ["search", "unpriced", "1", "1000", "200", "50", "100", "?", "1"]
    assert rows[5][:2] == ["ALL", "5"] and rows[5][-4:] == ["0.0142425", "+", "?", "1"]
    assert (told["total"]["cost_usd"], told["total"]["unknown"]) == (None, 1)
    assert told["total"]["cost_known_usd"] == "0.0142425"
    # $1 and $2 a million, for 1,000 and 100 tokens: 1,200,000 a call.
    assert told["total"]["as_cost_nano"] == 4 * 1_200_000
    assert (told["total"]["as_here_nano"], told["total"]["as_there_nano"]) == (3 * TOTAL, 3_600_000)
    assert command(broker, "spend", "--by", "team,model", "--since", "1d") == running  # it runs no more
    table = list(csv.DictReader(io.StringIO(command(broker, "spend", "--by", "pool", "--format", "csv"))))
    assert [row["cost_nano"] for row in table if row["pool"] == "chat"] == [str(2 * TOTAL)]


def test_what_the_cache_saved(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(sims), with_ledger=True) as broker:
        for _ in range(3):
            (got,) = make(broker.url, [Ask("kept", question="the same as ever")])
            assert got.is_whole
        wait_until_taken(broker, f"sqlite:///{broker.folder}/state/ledger.db")
        wait_until(lambda: len(journal(broker)) == 3)
    (row,) = csv.DictReader(io.StringIO(command(broker, "spend", "--by", "pool", "--format", "csv")))
    assert (row["calls"], row["cost_nano"], row["unknown"]) == ("3", str(TOTAL), "0")
    assert (row["cache_hits"], row["saved_nano"], row["saved_unknown"]) == ("2", str(2 * TOTAL), "0")
    assert "CACHE HITS" in command(broker, "spend")


def test_what_a_killed_broker_left_is_there_when_spend_is_asked(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(sims), with_ledger=True) as broker:
        make(broker.url, asks(3, "chat"))
        wait_until(lambda: len(journal(broker)) == 3)
        pid = wait_until(lambda: follower_of(broker))
        os.kill(pid, signal.SIGSTOP)
        make(broker.url, asks(2, "chat"))
        wait_until(lambda: len(journal(broker)) == 5)
        os.kill(pid, signal.SIGKILL)
        assert broker.process is not None
        broker.process.kill()
        broker.process.wait()
        wait_until(lambda: follower_of(broker) is None)
        told = json.loads(command(broker, "spend", "--format", "json"))
        assert (told["total"]["calls"], told["total"]["cost_nano"]) == (5, 5 * TOTAL)
        broker.start()


async def _kill_all_under_load(broker: Broker, postgres: Postgres) -> None:
    async with load(broker.url, LOADED) as under_way:
        for name in ("follower", "postgres", "frozen", "follower", "serve", "postgres"):
            await under_way.reach(under_way.calls + 60)
            if name == "frozen":
                await asyncio.to_thread(postgres.freeze)
                await under_way.reach(under_way.calls + 60)
                await asyncio.to_thread(lambda: postgres.freeze(thaws=True))
            elif name == "postgres":
                await asyncio.to_thread(postgres.kill)
                await under_way.reach(under_way.calls + 60)
                await asyncio.to_thread(postgres.start)
            elif name == "serve":
                (old,) = broker.child_pids("serve")
                os.kill(old, signal.SIGKILL)
                await asyncio.to_thread(wait_until, lambda: broker.status().get("in_effect"))
            else:
                pid = await asyncio.to_thread(wait_until, lambda: follower_of(broker))
                os.kill(pid, signal.SIGKILL)
        await under_way.reach(under_way.calls + 60)


def test_all_is_killed_while_calls_flow(sims: Simulators, postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    ledger = {"url": {"env": "LEDGER_URL"}}
    with Broker(tmp_path, config(sims, ledger=ledger), environ={"LEDGER_URL": url}) as broker:
        asyncio.run(_kill_all_under_load(broker, postgres))
        broker.wait_for(lambda s: s["ledger"]["state"] == "following", 30)
        wait_until(lambda: len(journal(broker)) > 300)
        records = wait_until_taken(broker, url)
        told = json.loads(command(broker, "spend", "--by", "pool", "--format", "json", LEDGER_URL=url))
    records = wait_until_taken(broker, url)
    assert_exact(url, records)
    assert told["total"]["calls"] <= len(records)
    told = json.loads(command(broker, "spend", "--by", "pool", "--format", "json", LEDGER_URL=url))
    assert told["total"]["calls"] == len(records)
    log = broker.log()
    assert "the ledger waits, records stay in the journal" in log and "the ledger goes on" in log
    assert url not in log and broker.left_behind() == []


def test_two_brokers_write_to_one(sims: Simulators, postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    more = {"ledger": {"url": url}}
    with (
        Broker(tmp_path / "one", config(sims, **more)) as one,
        Broker(tmp_path / "two", config(sims, **more)) as two,
    ):
        for broker in (one, two, one):
            make(broker.url, [*asks(10, "chat"), *asks(5, "messages", "anthropic-messages", stream=True)])
        wait_until(lambda: len(ids_in(url)) == 45)
        records = [*journal(one), *journal(two)]
        assert sorted(record["request_id"] for record in records) == ids_in(url)
        assert_exact(url, records)
        with Ledger(url) as ledger, ledger.reading() as connection:
            query = text("SELECT source, count(*) FROM calls GROUP BY source")
            assert sorted(count for _, count in connection.execute(query)) == [15, 30]


def test_an_edit_moves_it(sims: Simulators, postgres: Postgres, tmp_path: Path) -> None:
    """The new one gets what the journal still has, too."""
    secret = tmp_path / "ledger-url"
    secret.write_text("mysql://root:hidden@nowhere/ledger")
    with Broker(tmp_path, config(sims), with_ledger=True) as broker:
        make(broker.url, asks(3, "chat"))
        wait_until_taken(broker, f"sqlite:///{broker.folder}/state/ledger.db")
        # A file that is gone would be good for the overlap yet.
        broker.write(config(sims, ledger={"url": {"file": str(secret)}}, secrets={"overlap": "0s"}))
        status = broker.wait_for(lambda s: s["ledger"]["state"] == "waiting")
        assert "the ledger can't be in 'mysql'" in status["ledger"]["error"]
        assert status["ledger"]["error"] in broker.log() and "hidden" not in broker.log()
        url = postgres.new_database()
        secret.write_text(url)
        broker.wait_for(lambda s: "PostgreSQL" in (s["ledger"]["database"] or ""))
        make(broker.url, asks(2, "chat"))
        wait_until(lambda: len(ids_in(url)) == 5)
        secret.unlink()
        status = broker.wait_for(lambda s: s["ledger"]["state"] == "waiting")
        assert "can't be read" in status["ledger"]["error"]
        broker.write(config(sims, ledger={"url": "none"}))
        broker.wait_for(lambda s: s["ledger"]["state"] == "off")
        wait_until(lambda: follower_of(broker) is None)
