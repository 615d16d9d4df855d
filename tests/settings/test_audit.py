"""The section `audit`, compiled."""

from __future__ import annotations

from modelbroker.core.audit import NO_AUDIT, Audit
from modelbroker.core.catalog import SecretRef
from modelbroker.dialects import BUILT, KNOWN
from modelbroker.settings import compile_texts

POOL = "pools: [{name: p, members: [{provider: openai, model: m}]}]\n"


def audit_of(text: str) -> Audit:
    return compile_texts({"a.yaml": POOL + text}, dialects=KNOWN, built=BUILT).catalog.audit


def test_it_is_off_until_it_stands_there() -> None:
    assert audit_of("") is NO_AUDIT
    assert audit_of("audit:\n") is NO_AUDIT  # all of its lines are comments
    assert audit_of("audit: {}") == Audit(is_on=True)
    assert NO_AUDIT.keep_s == 90 * 86_400


def test_what_it_says() -> None:
    said = audit_of(
        "audit: {form: ecs, keep: forever, most_bytes: 1GiB, key: {env: AUDIT_KEY}, sinks: ["
        "{name: a, file: {path: /var/log/a.jsonl}}, {name: b, form: ocsf, file: {path: /var/log/b.jsonl}}]}"
    )
    assert (said.form, said.keep_s, said.most_bytes) == ("ecs", 0, 1 << 30)
    assert said.key == SecretRef("env", "AUDIT_KEY")
    assert [(one.name, one.kind, one.form) for one in said.sinks] == [
        ("a", "file", "ecs"),
        ("b", "file", "ocsf"),
    ]


def test_it_is_part_of_the_revision_only_where_it_is_on() -> None:
    def revision(text: str) -> str:
        return compile_texts({"a.yaml": POOL + text}, dialects=KNOWN, built=BUILT).catalog.revision

    assert revision("") == revision("audit:") != revision("audit: {}")
    assert revision("audit: {}") != revision("audit: {keep: 5d}")
