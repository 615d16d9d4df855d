"""Audit events: one for each call and each act, once, in a chain that shows tampering, whatever is killed."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from modelbroker.audit.acts import os_user
from modelbroker.audit.chain import read
from modelbroker.audit.store import segments
from support.broker import BASES, KEY, KEY_SHA256, START_TIMEOUT_S, Broker, provider
from support.calls import Ask, make
from support.chains import acts_of, audit, chain_ids, journal_ids, lines, verified, words
from support.rollouts import say
from support.shown import everything_shown
from support.siem import ecs_problems, ocsf_problems
from support.simulators import Simulators
from support.waiting import wait_until

CANARY = "the-canary-sings-at-dawn"
RATES = {"input": 3, "cache_read": 0.3, "cache_write_5m": 3.75, "output": 15}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        for simulator in simulators:
            simulator.script(replies=[{"text": f"{CANARY}: one two three", "chunks": 3}])
        yield simulators


def config(sims: Simulators, **more: Any) -> dict[str, Any]:
    return {
        "providers": [
            provider("a", sims["a"].port, "openai-chat", BASES["openai-chat"]),
            provider("b", sims["b"].port, "anthropic-messages"),
        ],
        "callers": [
            {
                "name": "tester",
                "key": {"sha256": KEY_SHA256},
                "agent": "support-agent",
                "user": "alice",
                "team": "search",
                "customer": "acme",
                "trusted_for": ["feature"],
            }
        ],
        "pools": [
            {"name": "chat", "ejection": "off", "members": [{"provider": "a", "model": "m"}]},
            {"name": "messages", "ejection": "off", "members": [{"provider": "b", "model": "n"}]},
        ],
        "rules": [
            {"name": "no-drafts", "match": {"feature": "drafts"}, "deny": "drafts are over"},
            {"name": "by-name", "match": {"model": "chat"}, "pool": "chat"},
        ],
        "prices": [{"provider": "a", "model": "m", **RATES}],
        "audit": {},
        **more,
    }


def test_every_call_and_act_is_an_event(sims: Simulators, tmp_path: Path) -> None:
    out = {form: tmp_path / f"{form}.jsonl" for form in ("ocsf", "ecs")}
    sinks = [{"name": form, "form": form, "file": {"path": str(path)}} for form, path in out.items()]
    with Broker(tmp_path, config(sims, audit={"sinks": sinks})) as broker:
        good = [
            Ask("chat", question=CANARY),
            Ask("chat", stream=True, question=CANARY),
            Ask("messages", "anthropic-messages", question=CANARY),
        ]
        assert all(got.is_whole for got in make(broker.url, good))
        fault = {"x-mock-fault": '{"status": 400}'}
        bad = [
            Ask("chat", headers={"authorization": f"Bearer {CANARY}"}),
            Ask("chat", headers={"x-broker-feature": "drafts"}, question=CANARY),
            Ask("chat", headers=fault, question=CANARY),
            Ask(f"no-{CANARY[:9]}"),
        ]
        assert all(got.status >= 400 for got in make(broker.url, bad))
        pools = [*config(sims)["pools"], {"name": "more", "members": [{"provider": "a", "model": "m"}]}]
        broker.edit(config(sims, audit={"sinks": sinks}, pools=pools))
        done = subprocess.run(
            [sys.executable, "-m", "modelbroker.cli.main", "forget", "a/m", "--admin", broker.admin_url],
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        wait_until(lambda: sum(line.event.kind == "call" for line in lines(broker)) == 7)
        wait_until(lambda: "members.forgotten" in {line.event.act for line in lines(broker)})
        status = broker.wait_for(
            lambda s: s["audit"]["sinks"] and all(not one["behind"] for one in s["audit"]["sinks"])
        )["audit"]
        assert (status["state"], status["error"], status["refused_lines"]) == ("following", None, 0)
        assert status["head"]["seq"] == len(lines(broker))
        assert broker.metrics("modelbroker_audit_up", labels=False) == {"": 1.0}
        assert broker.metrics("modelbroker_audit_sink_up") == {'{sink="ocsf"}': 1.0, '{sink="ecs"}': 1.0}
        shown = everything_shown(broker)
        config_text = str(broker.config_dir / "broker.yaml")
        assert [place for place, text in shown.items() if CANARY in text and place != config_text] == []
        assert [place for place, text in shown.items() if KEY in text] == []
        asked = audit(broker, "query", "--agent", "support-agent", "--since", "1h", "--format", "json")
        denied = audit(broker, "query", "--outcome", "refused", "--code", "denied_by_rule")
        edits = audit(broker, "query", "--act", "config.loaded", "--format", "json")
    calls = [line.event for line in lines(broker) if line.event.kind == "call"]
    assert Counter(one.outcome for one in calls) == {"ok": 3, "refused": 3, "error": 1}
    chat = next(one for one in calls if one.outcome == "ok" and one.pool == "chat")
    assert (chat.provider, chat.model, chat.agent, chat.user, chat.team, chat.customer, chat.rule) == (
        *("a", "m", "support-agent", "alice", "search", "acme", "by-name"),
    )
    assert (chat.eligible, chat.attempts, chat.status) == (("a/m",), 1, 200)
    dear = next(one for one in calls if one.pool == "messages")
    assert isinstance(chat.cost_nano, int) and chat.cost_nano > 0 and dear.cost_nano is None
    found = [read(line.encode()).event for line in asked.stdout.splitlines()]
    assert Counter(one.id for one in found) == Counter(one.id for one in calls if one.agent)
    assert denied.stdout.count("denied_by_rule") == 1
    first, second = (read(line.encode()).event for line in edits.stdout.splitlines())
    assert (first.details["before"], second.details["changed"]) == ("", "pools")
    assert (second.actor, second.user, second.details["before"]) == (
        *("edit", os_user(), first.details["name"]),
    )
    (forgotten,) = [line.event for line in lines(broker) if line.event.act == "members.forgotten"]
    assert (forgotten.actor, forgotten.user, forgotten.details["name"]) == (
        "command",
        os_user(),
        "a/m",
    )
    assert words(broker)[-1] == "broker.stopped"
    assert chain_ids(broker) == journal_ids(broker)
    told = verified(broker, "--public-key", audit(broker, "key").stdout.strip())
    assert "not signed yet" not in told  # its end signs what is there
    for form, problems in (("ocsf", ocsf_problems), ("ecs", ecs_problems)):
        events = out[form].read_bytes().splitlines()
        assert [problem for line in events for problem in problems(line)] == []
        seqs = [
            one["metadata"]["sequence"] if form == "ocsf" else one["event"]["sequence"]
            for one in map(json.loads, events)
        ]
        assert seqs == list(range(1, len(lines(broker)) + 1))
        assert CANARY not in out[form].read_text() and KEY not in out[form].read_text()


class Collector:
    """An HTTP server that can be away: its port is held, and nobody listens there."""

    def __init__(self) -> None:
        self.ids: Counter[str] = Counter()
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port = self._held.getsockname()[1]
        self._server: ThreadingHTTPServer | None = None

    def begin(self) -> None:
        taken = self.ids

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                told = (
                    json.loads(body)
                    if body.startswith(b"[")
                    else [json.loads(one) for one in body.splitlines()]
                )
                taken.update(one["metadata"]["uid"] for one in told)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = self._held
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        if self._server is not None:
            self._server.shutdown()
        self._held.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.end()


def test_an_outage_of_a_sink_loses_nothing_over_a_restart(
    sims: Simulators, tmp_path: Path, collector: Collector
) -> None:
    near = tmp_path / "near.jsonl"
    address = f"http://127.0.0.1:{collector.port}/audit"
    sinks = [
        {"name": "away", "http": {"address": address, "gzip": False}},
        {"name": "near", "file": {"path": str(near)}},
    ]
    broker = Broker(tmp_path, config(sims, audit={"sinks": sinks}))
    with broker:
        assert all(got.is_whole for got in make(broker.url, [Ask("chat") for _ in range(20)]))

        def state(status: dict[str, Any]) -> dict[str, Any]:
            return {one["name"]: one for one in status["audit"]["sinks"]}

        status = broker.wait_for(lambda s: s["audit"]["sinks"] and state(s)["away"]["state"] == "away")
        assert state(status)["away"]["error"]
        broker.wait_for(lambda s: state(s)["near"]["sent"] > 20 and not state(s)["near"]["behind"])
        assert not collector.ids
    with broker:
        assert all(got.is_whole for got in make(broker.url, [Ask("chat") for _ in range(20)]))
        collector.begin()
        wait_until(lambda: len(collector.ids) >= 42, 60)
        broker.wait_for(lambda s: not state(s)["away"]["behind"] and state(s)["away"]["state"] == "sending")
    every = {line.event.id for line in lines(broker)}
    missing = every - set(collector.ids)
    # What the end of the broker itself wrote may not have gone out; the next start sends it.
    assert all(line.event.kind == "act" for line in lines(broker) if line.event.id in missing)
    assert {line.event.id for line in lines(broker) if line.event.kind == "call"} <= set(collector.ids)
    told = [json.loads(line)["metadata"]["uid"] for line in near.read_text().splitlines()]
    assert set(told) >= {line.event.id for line in lines(broker) if line.event.kind == "call"}
    verified(broker)


class Printing(Broker):
    """Events are on its standard output, too; `printed` has them."""

    def _first_line(self) -> str:
        assert self.process is not None and self.process.stdout is not None
        said: queue.Queue[str] = queue.Queue()
        stdout, self.printed = self.process.stdout, list[str]()

        def listen() -> None:
            for line in stdout:
                if line.startswith("ready "):
                    said.put(line)
                else:
                    self.printed.append(line)
            said.put("")

        self.listening = threading.Thread(target=listen, daemon=True)
        self.listening.start()
        return said.get(timeout=START_TIMEOUT_S)


def test_events_on_the_standard_output_of_up(sims: Simulators, tmp_path: Path) -> None:
    sinks = [{"name": "console", "stdout": True}]
    with Printing(tmp_path, config(sims, audit={"sinks": sinks})) as broker:
        assert all(got.is_whole for got in make(broker.url, [Ask("chat") for _ in range(5)]))

        def calls() -> list[str]:
            return [line for line in broker.printed if '"class_uid":6003' in line]

        wait_until(lambda: len(calls()) == 5)
        os.kill(broker.child_pids("serve")[0], signal.SIGKILL)
        wait_until(lambda: words(broker).count("broker.started") == 2)
        assert make(broker.url, [Ask("chat")])[0].is_whole
        wait_until(lambda: len({json.loads(line)["metadata"]["uid"] for line in calls()}) == 6)
    broker.listening.join(30)
    assert not broker.listening.is_alive()  # nobody holds it open
    assert [problem for line in broker.printed for problem in ocsf_problems(line.encode())] == []


def test_edits_that_are_refused_and_what_came_back(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(sims), may_be_refused=True) as broker:
        good = broker.wait_for(lambda s: s["in_effect"])["revision"]
        broker.write("pools: [{name: chat}]\n")
        broker.wait_for(lambda s: s["error"])
        wait_until(lambda: "config.refused" in words(broker))
        refused = next(one for one in acts_of(broker) if one["act"] == "config.refused")
        assert (
            refused["result"] == "failed" and "broker.yaml:1: pools[0].members" in refused["details"]["error"]
        )
        assert (refused["revision"], refused["actor"]) == (good, "edit")
        providers = config(sims)["providers"]
        providers[0] |= {"base_url": "https://127.0.0.1:1", "ca_file": str(tmp_path / "none.pem")}
        broker.write(config(sims, providers=providers))
        broker.wait_for(lambda s: s["refused_by_envoy"])
        wait_until(lambda: "config.rolled-back" in words(broker))
        nacked, back = (
            next(one for one in acts_of(broker) if one["act"] == word)
            for word in ("config.nacked", "config.rolled-back")
        )
        assert nacked["result"] == "failed" and nacked["details"]["name"] not in ("", good)
        assert (back["details"]["name"], back["revision"]) == (good, good)
        wait_until(lambda: chain_ids(broker) == journal_ids(broker))


def test_secrets_that_are_rotated(sims: Simulators, tmp_path: Path) -> None:
    provider_key, caller_key = tmp_path / "provider-key", tmp_path / "caller-key"
    provider_key.write_text("sk-the-first-one")
    caller_key.write_text("mb-the-first-one")
    said = config(sims)
    said["providers"][0]["credential"] = {"file": str(provider_key)}
    said["callers"].append({"name": "bot", "key": {"file": str(caller_key)}})
    with Broker(tmp_path, said) as broker:
        broker.wait_for(lambda s: s["in_effect"])
        for path, text in ((provider_key, "sk-the-second"), (caller_key, "mb-the-second")):
            fresh = path.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(path)
        # Whichever is read first is told first.
        expected = {("secret.rotated", f"file:{path}") for path in (provider_key, caller_key)}
        expected.add(("caller.key-rotated", "bot"))
        wait_until(lambda: expected <= {(a["act"], a["details"].get("name")) for a in acts_of(broker)}, 60)
        wait_until(lambda: chain_ids(broker) == journal_ids(broker))
    written = b"".join(path.read_bytes() for _, path in segments(tmp_path / "state" / "audit"))
    for secret in (b"the-first-one", b"the-second", hashlib.sha256(b"mb-the-second").hexdigest().encode()):
        assert secret not in written + (tmp_path / "state" / "acts.jsonl").read_bytes()


def test_steps_of_a_rollout_are_told_with_who_commanded_them(sims: Simulators, tmp_path: Path) -> None:
    said = config(sims)
    said["pools"][0] |= {
        "affinity": {"by": "session", "header": "x-my-session"},
        "rollout": {
            "to": "b/n",
            "name": "try",
            "stages": [{"share": "10%"}, {"share": "100%"}],
            "hold": "1h",
            "min_calls": 1_000,
            "within": "5h",
            "gates": {"confidence": "90%", "errors": "30%"},
        },
    }
    said["admin"] = {"users": [{"name": "ana", "token": {"env": "TOKEN_OF_ANA"}}]}
    token = "the-token-of-ana-for-commands"
    with Broker(tmp_path, said, environ={"TOKEN_OF_ANA": token}) as broker:
        wait_until(lambda: "rollout.began" in words(broker))
        for word in ("pause", "resume"):
            done = say(broker, word, "try")
            assert done.returncode == 0, done.stderr
        for word, more in (("promote", ""), ("pause", "&by=rob"), ("rollback", "&by=rob&actor=command")):
            where, shown = f"{broker.admin_url}/rollouts?rollout=try&do={word}{more}", f"Bearer {token}"
            asked = urllib.request.Request(where, b"", {"authorization": shown})
            assert urllib.request.urlopen(asked, timeout=60).status == 200
        wait_until(lambda: "rollout.rolled-back" in words(broker))
        steps = [one for one in acts_of(broker) if one["act"].startswith("rollout.")]
        wait_until(lambda: chain_ids(broker) == journal_ids(broker))
    assert [(one["act"], one["actor"], one["user"]) for one in steps] == [
        ("rollout.began", "broker", ""),
        *((f"rollout.{word}", "command", os_user()) for word in ("paused", "resumed")),
        *((f"rollout.{word}", "token", "ana") for word in ("promoted", "paused", "rolled-back")),
    ]
    assert {one["details"]["name"] for one in steps} == {"try"} and "calls_candidate" in steps[-1]["details"]


def test_acts_are_told_without_the_section_and_the_key_is_waited_for(
    sims: Simulators, tmp_path: Path
) -> None:
    key = tmp_path / "audit-key"
    said = config(sims)
    del said["audit"]
    with Broker(tmp_path, said) as broker:
        wait_until(lambda: words(broker) == ["config.loaded", "broker.started"])
        assert broker.status()["audit"]["state"] == "off"
        broker.write(config(sims, audit={"key": {"file": str(key)}}))
        status = broker.wait_for(lambda s: s["audit"]["state"] == "waiting")
        assert f"audit.key: the file {key} can't be read" in status["audit"]["error"]
        assert any("no events are written" in one for one in status["warnings"])
        assert make(broker.url, [Ask("chat")])[0].is_whole
        key.write_text("6b" * 32)
        wait_until(lambda: bool(segments(tmp_path / "state" / "audit")))
        wait_until(lambda: sum(line.event.kind == "call" for line in lines(broker)) == 1)
        wait_until(lambda: chain_ids(broker) == journal_ids(broker))
        told = verified(broker)
    assert "nothing is wrong" in told and "6b" * 32 not in told
