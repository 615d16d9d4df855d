"""The configuration under drill: the user's, with a caller more and shorter waits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml
from modelbroker.core.catalog import Catalog, LedgerPlace
from modelbroker.core.telemetry import NO_TELEMETRY
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN
from modelbroker.drill.overlay import edited, overlay
from modelbroker.drill.scenarios import CALLER
from modelbroker.settings import compile_texts, read_files

SHIPPED = Path(__file__).parents[2] / "config"
OWN = """
listen: {address: 0.0.0.0, port: 443, tls: {cert_file: cert.pem, key_file: key.pem}}
callers: [{name: me, key: {env: MY_KEY}}]
pools:
  - name: patient
    failover: up to 2
    timeouts: {first_event: 5m, call: 1h}
    ejection: {base: 1m, consecutive_errors: 7}
    members: [{provider: openai, model: gpt-x, weight: 70}, {provider: anthropic, model: claude-x}]
  - name: quick
    timeouts: {first_event: 200ms}
    ejection: off
    members: [{provider: openai, model: gpt-x}]
rules: [{match: {}, pool: quick}]
"""


def compiled(files: dict[str, str]) -> Catalog:
    return compile_texts(files, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog


def test_what_the_user_configured_stays_but_for_waits() -> None:
    before = compiled({"own.yaml": OWN})
    made = overlay({"own.yaml": OWN}, before, "a-key")
    after = compiled(dict(made.files))
    patient, quick = after.pools["patient"], after.pools["quick"]
    assert patient.members == before.pools["patient"].members
    assert (patient.failover, patient.ejection.consecutive_errors) == (2, 7)
    assert (patient.timeouts.first_event_ms, patient.timeouts.reply_ms) == (1000, 1000)
    assert patient.timeouts.call_ms == 3_600_000
    assert (patient.ejection.base_ms, patient.ejection.max_ms) == (1000, 3000)
    assert quick.timeouts.first_event_ms == 200  # it is short already
    assert not quick.ejection.enabled
    assert after.rules == ()
    assert (after.listen.address, after.listen.port, after.listen.tls_cert_file) == ("127.0.0.1", 0, "")


def test_the_drill_has_a_caller_of_its_own_beside_the_others() -> None:
    made = overlay({"own.yaml": OWN}, compiled({"own.yaml": OWN}), "a-key")
    callers = {caller.name: caller for caller in compiled(dict(made.files)).callers}
    assert set(callers) == {"me", CALLER}
    assert callers[CALLER].keys[0].name == hashlib.sha256(b"a-key").hexdigest()
    assert callers[CALLER].trusted_for == {"feature"}


VOUCHED = """
listen: {tls: {cert_file: c.pem, key_file: k.pem, client_ca_file: a.pem, require_client_cert: true}}
issuers: [{name: corp, issuer: i, audiences: any, jwks: not/there.json}]
callers:
  - {name: me, key: {env: MY_KEY}, spiffe: "spiffe://prod/me"}
  - {name: staff, jwt: corp}
pools: [{name: p, members: [{provider: openai, model: m}]}]
"""


def test_callers_without_a_key_are_not_drilled() -> None:
    """No token of theirs is there, nor a certificate; and the keys of their issuers need not be."""
    made = overlay({"own.yaml": VOUCHED}, compiled({"own.yaml": VOUCHED}), "a-key")
    after = compiled(dict(made.files))
    assert {caller.name for caller in after.callers} == {"me", CALLER}
    assert (after.issuers, after.listen.client_ca_file) == ((), "")
    assert "tokens and certificates of callers are not drilled" in made.notes


def test_what_is_other_than_in_the_users_files_is_said() -> None:
    notes = "\n".join(overlay({"own.yaml": OWN}, compiled({"own.yaml": OWN}), "k").notes)
    assert "1 rules are not drilled" in notes
    assert "TLS of the listener is not drilled" in notes
    assert "timeouts.first_event 1 s" in notes
    assert "ejection.base 1 s" in notes


def test_real_times_are_the_configurations_own() -> None:
    before = compiled({"own.yaml": OWN})
    made = overlay({"own.yaml": OWN}, before, "k", time_lapse=False)
    assert compiled(dict(made.files)).pools == before.pools
    assert not any("time-lapse" in note for note in made.notes)


def test_the_shipped_configuration_of_several_files_compiles(tmp_path: Path) -> None:
    texts = read_files(SHIPPED)
    more = "pools: [{name: more, members: [{provider: openai, model: gpt-x}]}]"
    made = overlay({**texts, "more.yaml": more}, compiled({**texts, "more.yaml": more}), "k")
    assert len(made.files) == len(texts) + 2
    assert "more" in compiled(dict(made.files)).pools


def test_edits_give_new_revisions_and_keep_the_shares() -> None:
    revisions = {compiled({"own.yaml": edited(OWN, number)}).revision for number in range(3)}
    assert len(revisions) == 3
    first, second = compiled({"own.yaml": edited(OWN, 2)}).pools["patient"].members
    assert (first.weight, second.weight) == (702, 12)
    assert yaml.safe_load(edited("callers: []", 1)) == {"callers": []}


def test_shadows_and_rollouts_are_not_drilled() -> None:
    """A candidate's faults would be taken for the pool's own."""
    tried = """
pools:
  - name: p
    members: [{provider: openai, model: m}]
    shadow: {to: openai/n, budget: $1/day}
    rollout: {to: openai/n}
"""
    made = overlay({"own.yaml": tried}, compiled({"own.yaml": tried}), "a-key")
    assert compiled(dict(made.files)).trials == {}
    assert "shadows and rollouts are not drilled" in made.notes


def test_no_collector_hears_of_a_drill() -> None:
    traced = OWN + "telemetry: {otlp: {endpoint: https://collector.internal}, logs: on}"
    made = overlay({"own.yaml": traced}, compiled({"own.yaml": traced}), "a-key")
    assert compiled(dict(made.files)).telemetry == NO_TELEMETRY
    assert "no collector hears of the drill's calls: they are not traced" in made.notes


def test_a_drills_calls_are_no_audit_events() -> None:
    text = OWN + "audit: {sinks: [{name: siem, file: {path: /var/log/audit.jsonl}}]}\n"
    made = overlay({"own.yaml": text}, compiled({"own.yaml": text}), "a-key")
    assert not compiled(dict(made.files)).audit.is_on
    assert any("no audit event is made" in note for note in made.notes)


def test_a_drill_writes_nothing_where_others_read() -> None:
    text = OWN + (
        "ledger: {url: postgresql://ledger.internal/calls}\n"
        "redis: {url: redis://redis.internal}\n"
        "cache: {bytes: 1MiB, redis: redis://redis.internal}\n"
        "capture: {rules: [{match: {}, share: 1%}], encryption: none, store: postgresql://ledger.internal/bodies}\n"
    )
    made = overlay({"own.yaml": text}, compiled({"own.yaml": text}), "a-key")
    drilled = compiled(dict(made.files))
    assert (drilled.ledger, drilled.fleet, drilled.cache.redis) == (LedgerPlace(), None, None)
    assert not drilled.capture.is_set and drilled.cache.bytes == 1 << 20
    assert any("your ledger, Redis and store of captured calls are left alone" in note for note in made.notes)
