"""Metrics as a real Prometheus has them, which scrapes a real broker and its Envoy under load: every query of
every dashboard gives numbers, every alert fires when it should, and none on a broker that is well."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.servers import Postgres, program
from support.simulators import Simulators
from support.vault import SimulatedVault
from support.waiting import wait_until
from support.watched import DEPLOY, SIMS, Watched

# Of a machine that is busy with other tests nobody knows how long it takes.
OF_TIME = {"AddedLatency"}
# What can't be had without a full disk, a Redis or a repository that goes away, or a sink that lacks events:
# promtool's tests have them alone (tests/deploy/alerts.yml). That of a listener with TLS has a broker of its
# own (test_certificate_times.py).
ELSEWHERE = {
    "AddedLatency",
    "AuditEventsMissing",
    "CertificateExpiring",
    "ConfigurationSourceAway",
    "RecordsLagging",
    "RecordsNotWritten",
    "SharedBudgetsAway",
}
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))


def expressions() -> dict[str, str]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.fixture(scope="module")
def watched(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    vault = SimulatedVault()
    with Simulators(*SIMS) as sims:
        made = Watched(tmp_path_factory.mktemp("watched"), sims, vault, postgres)
        made.start()
        try:
            yield made
        finally:
            made.stop()
            vault.close()


@pytest.fixture(scope="module")
def well(watched: Watched) -> dict[str, str]:
    """What fired while all was well; the broker has served calls of every kind since."""
    watched.until("modelbroker_ledger_up == 1")
    watched.until("modelbroker_config_in_effect == 1")
    watched.fired.clear()  # of the beginning, when it was not yet
    watched.use_all()
    watched.until("sum(modelbroker_calls_total{purpose=''}) >= 111")
    watched.until("modelbroker_ledger_records_total >= 111")
    watched.until("modelbroker_ledger_behind_bytes == 0")
    watched.until("modelbroker_rollout_calls_total")
    alerts = watched.prometheus.get("alerts")["alerts"]
    return {one["labels"]["alertname"]: str(one["labels"]) for one in alerts}


@pytest.fixture(scope="module")
def alarmed(watched: Watched, well: dict[str, str]) -> set[str]:
    """What fired at one fault after the other, as they are provoked."""
    watched.vault.state = "sealed"  # it takes a while until that was three times in a row
    watched.ask("unpriced", 3)
    watched.until_firing("UnknownPrice")
    watched.ask("dear", 6)
    watched.until('modelbroker_budget_spent{budget="dear"} >= 6e8')
    watched.ask("dear", 5)  # the first of them is warned of
    watched.until('modelbroker_budget_spent{budget="dear"} > 1e9')
    watched.ask("dear", 2)  # which are denied
    watched.ask("frugal")
    watched.until('modelbroker_budget_spent{budget="frugal"} > 0')
    watched.ask("frugal", 2)
    watched.until_firing("BudgetAt80")
    for name, fault in (("down", {"status": 500}), ("refused", {"status": 401})):
        watched.sims[name].script(faults=[fault])
    watched.sims["waits"].script(faults=[{"first": 1, "status": 429, "retry_after_s": 1}])
    watched.ask("down", 4)
    watched.until('modelbroker_call_errors_total{pool="down"}')  # it grows from there
    watched.ask("down", 12)
    watched.ask("refused", 2)
    watched.ask("pair", 20)
    watched.ask("waits")  # is told to wait, which those after it do
    watched.ask("waits")
    watched.until('modelbroker_queue_seconds_count{pool="waits"}')
    watched.sims["waits"].script(faults=[{"first": 1, "status": 429, "retry_after_s": 1}])
    watched.ask("waits")
    watched.ask("waits")
    watched.until_firing("ErrorRate", "ProviderDown", "PoolHasNoMember", "PoolDegraded")
    watched.broker.write("pools: nonsense\n")
    watched.until_firing("ConfigurationRefused")
    watched.mend()
    ca_file = watched.broker.folder / "ca.pem"
    ca_file.write_text("this is no certificate")
    watched.edit_provider("other", ca_file=str(ca_file), base_url="https://127.0.0.1:1")
    watched.until_firing("Nack")
    watched.mend()
    watched.edit_provider("other", credential={"env": "NOT_SET_ANYWHERE"})
    watched.until_firing("SecretMissing")
    watched.mend()
    unset, nobody = {"env": "NOT_SET_ANYWHERE"}, "http://127.0.0.1:1"
    telemetry = {"otlp": {"endpoint": nobody}}
    watched.broker.write({**watched.config, "audit": {"key": unset}, "telemetry": telemetry})
    watched.broker.wait_for(lambda status: status["telemetry"]["state"] == "following")
    watched.ask("chat")  # calls from then on are told of
    watched.until_firing("AuditDown", "TelemetryDown")
    splunk = {"name": "siem", "splunk": {"address": nobody, "token": unset}}
    watched.broker.write({**watched.config, "audit": {"sinks": [splunk]}})
    watched.until_firing("AuditSinkAway")
    watched.mend()
    watched.postgres.kill()
    watched.ask("chat", 5)
    watched.until_firing("LedgerDown", "SecretFailing")
    watched.postgres.start()
    watched.vault.state = "up"
    watched.use_all()  # what came up for the first time before grows: only that is a rate
    for pool in ("dear", "frugal", "unpriced", "down"):
        watched.ask(pool, 3)
    watched.until("sum(modelbroker_calls_total{pool='chat', purpose='', outcome='ok'}) >= 125")
    watched.until("modelbroker_ledger_up == 1")
    return watched.fired


def test_no_alert_fires_while_all_is_well(well: dict[str, str]) -> None:
    assert {name: labels for name, labels in well.items() if name not in OF_TIME} == {}


def test_prometheus_takes_everything_that_is_scraped(watched: Watched, well: dict[str, str]) -> None:
    targets = watched.prometheus.get("targets")["activeTargets"]
    assert {(one["labels"]["job"], one["health"], one["lastError"]) for one in targets} == {
        ("modelbroker", "up", ""),
        ("modelbroker-envoy", "up", ""),
    }


def test_what_is_counted_is_what_was_asked(watched: Watched, well: dict[str, str]) -> None:
    told = {
        'sum(modelbroker_calls_total{pool="chat", outcome="ok", team="red", purpose=""})': 60,
        'sum(gen_ai_server_request_duration_seconds_count{pool="chat", error_type=""})': 60,
        'sum(gen_ai_server_time_to_first_token_seconds_count{pool="chat"})': 30,
        'sum(gen_ai_client_operation_duration_seconds_count{pool="chat", error_type=""})': 60,
        # The simulator's word: 1,000 tokens in and 10 out, at $1 and $10 a million.
        'sum(modelbroker_tokens_total{pool="chat", purpose="", bucket="input"})': 60_000,
        'sum(modelbroker_cost_nano_dollars_total{pool="chat", purpose=""})': 60 * 1_100_000,
        'sum(gen_ai_client_token_usage_sum{pool="chat", gen_ai_token_type="output"})': 600,
        'modelbroker_denials_total{reason="denied_by_rule", scope="no-tools"}': 3,
        'sum(gen_ai_server_request_duration_seconds_count{gen_ai_request_model="other"})': 3,
        'modelbroker_cache_hits_total{pool="cached"}': 1,
        'modelbroker_rate_limit_left_ratio{member="a/m", limit="requests"}': 0.6,
    }
    for expression, value in told.items():
        watched.tells(expression, value)
    watched.until('envoy_cluster_upstream_rq_total{envoy_cluster_name="provider/a"} > 0')


def test_every_alert_fires_when_it_should(alarmed: set[str]) -> None:
    provoked = set(expressions()) - ELSEWHERE - {"EnvoyDown", "BrokerDown", "ConfigurationNotInEffect"}
    assert provoked <= alarmed


def test_every_alert_is_a_query_that_prometheus_can_answer(watched: Watched, alarmed: set[str]) -> None:
    for name, expression in expressions().items():
        assert "metric" not in name and watched.prometheus.get("query", query=expression)["resultType"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_shows_numbers(watched: Watched, alarmed: set[str], path: Path) -> None:
    dashboard = json.loads(path.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            asked = as_asked(target["expr"])

            def has_numbers(asked: str = asked) -> bool:
                return any(math.isfinite(value) for value in watched.prometheus.values(asked))

            try:
                wait_until(has_numbers)
            except AssertionError:
                pytest.fail(f"{panel['title']}: {asked}")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_variables_and_annotations_have_values(watched: Watched, well: dict[str, str], path: Path) -> None:
    dashboard = json.loads(path.read_text())
    for variable in dashboard["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        assert watched.prometheus.get(f"label/{label}/values", **{"match[]": metric})
    (annotation,) = dashboard["annotations"]["list"]
    assert watched.prometheus.values(as_asked(annotation["expr"]))


def as_asked(expression: str) -> str:
    """As Grafana asks when nothing is chosen, over five minutes."""
    for name, value in (("$__rate_interval", "5m"), ("$instance", ".*"), ("$pool", ".*")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_the_text_is_as_prometheus_wants_it(watched: Watched, alarmed: set[str]) -> None:
    with urllib.request.urlopen(f"{watched.broker.admin_url}/metrics", timeout=15) as reply:
        text = reply.read()
    command = [program("promtool", "prometheus"), "check", "metrics"]
    linted = subprocess.run(command, input=text, capture_output=True, check=False)
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, b"", b"")


def test_envoys_stats_can_be_filtered_and_nothing_else(watched: Watched, well: dict[str, str]) -> None:
    def ask(query: str) -> tuple[int, str]:
        try:
            url = f"{watched.broker.admin_url}/metrics/envoy{query}"
            with urllib.request.urlopen(url, timeout=15) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    status, text = ask("?filter=server.live")
    assert status == 200 and [line for line in text.splitlines() if line[0] != "#"] == [
        "envoy_server_live{} 1"
    ]
    assert ask("?text_readouts") == (400, "the query may be filter=REGEX, and nothing else\n")
    status, text = ask("?filter=server.(live")
    assert status == 400 and text.startswith("Envoy does not take this filter") and "server.(live" in text


def test_what_has_ended_is_seen_to_have_ended(watched: Watched, alarmed: set[str]) -> None:
    """The last of all: nothing runs behind it."""
    assert watched.broker.process is not None
    watched.broker.process.send_signal(signal.SIGSTOP)  # the supervisor would start them again
    try:
        watched.kill("envoy")
        watched.until_firing("EnvoyDown", "ConfigurationNotInEffect")
        watched.kill("serve")
        watched.until_firing("BrokerDown")
    finally:
        watched.broker.process.send_signal(signal.SIGCONT)
